// One member as it runs: its state, its log, its store, and the turn that moves requests from proposal to answer. Owned
// by the member's thread (loop 0); everything here is called on it.
//
//     propose -> (end of turn) log append -> sync -> committed -> apply in order -> answers, watch events
//                                                     \-> every 1,000 changes or 100 ms: batch to the store's thread
//
// Sync policy: inline while the disk is quick, which spares two thread hops; on the log's thread once a sync has taken
// long, so that a slow disk holds up only those who wait for it.

import Connections
import DiskLog
import FileFormats
import Foundations
import GRPC
import Linux
import LMDBStore
import MVCC
import State
import Telemetry
import Wire

package final class Member {
    package struct Settings: Sendable {
        package var name = "default"
        package var dataDirectory = ""
        package var snapshotCount: UInt64 = 10_000
        package var catchUpEntries: UInt64 = 5_000
        package var quotaBytes: Int? = QuotaCost.defaultQuotaBytes
        package var maxRequestBytes = 1_572_864
        package var maxTxnOperations = 128
        package var electionTimeout: UInt64 = 1_000_000_000
        package var heartbeat: UInt64 = 100_000_000
        package var batchInterval: UInt64 = 100_000_000
        package var batchLimit = 1_000
        package var progressInterval: UInt64 = 600_000_000_000
        package var serverVersion = "3.5.21"
        package var slowRequest: UInt64 = 300_000_000

        package init() {}

        /// How long a proposal may wait: 5 s and two election timeouts.
        package var requestTimeout: UInt64 { 5_000_000_000 + 2 * electionTimeout }
    }

    /// A request whose result somebody waits for.
    struct Waiter {
        var reply: Reply
        var started: UInt64
        var compactsTo: Int64 = 0
    }

    private struct Proposal {
        var kind: UInt64
        var data: Bytes
    }

    /// Committed and applied are one step apart at most: entries appended, waiting for the disk.
    private struct Pending {
        var index: LogIndex
        var kind: UInt64
        var data: Bytes
    }

    package let settings: Settings
    package let identity: LogIdentity
    package let loop: EventLoop
    package let state: StateMachine
    package let hub: WatchHub
    package let store: LMDBStore
    let log: DiskLog
    let directory: DataDirectory
    let lock: DirectoryLock

    /// Set when the client side is wired up.
    package weak var watches: (any WatchSink)?
    package var server: GRPCServer?
    package var onHalt: (String) -> Void = { _ in }
    package var onAlarmsChanged: () -> Void = {}
    package var onLeaseRevoked: (LeaseID) -> Void = { _ in }
    package var report: (String, [(String, String)]) -> Void = { _, _ in }
    package var metrics = MemberMetrics()

    package private(set) var term: Term
    package private(set) var lastIndex: LogIndex
    package private(set) var committed: LogIndex
    package private(set) var isStopped = false
    private var proposals: [Proposal] = []
    private var pending = Deque<Pending>()
    private var durable: LogIndex
    private var waiters: PendingProposals<Waiter>
    private var output: Bytes = []
    private var compactionWaiters: [(revision: Int64, reply: Reply)] = []

    private var lastSubmit: UInt64 = 0
    private var lastSnapshotIndex: LogIndex
    private var submitted: [(batch: UInt64, index: LogIndex, term: Term)] = []
    private var storedIndex: LogIndex
    private var syncsInBackground = false
    private var slowSyncs = 0
    private var quickSyncs = 0
    private var quotaAlarmProposed = false

    init(opened: OpenedMember, loop: EventLoop, settings: Settings) {
        self.settings = settings
        self.loop = loop
        identity = opened.identity
        state = opened.state
        store = opened.store
        log = opened.log
        directory = opened.directory
        lock = opened.lock
        term = opened.term
        lastIndex = opened.lastIndex
        committed = opened.lastIndex
        durable = opened.lastIndex
        storedIndex = opened.state.appliedIndex
        lastSnapshotIndex = opened.snapshotIndex
        hub = WatchHub(seed: Linux.Clock.monotonic())
        waiters = PendingProposals(
            ids: RequestIDs(member: opened.identity.member, startMilliseconds: Linux.Clock.wall() / 1_000_000))
        loop.atEndOfTurn { [unowned self] in turn() }
        setClock()
        state.raftTerm = term
    }

    // MARK: Becoming leader

    /// A single voter wins its own election: a new term, its vote on the disk, its first entry.
    package func start() {
        term += 1
        state.raftTerm = term
        log.set(LogState(term: term, vote: identity.member, commit: committed))
        proposals.append(Proposal(kind: 0, data: []))
        tick()
    }

    // MARK: Proposing

    package var isOverloaded: Bool { waiters.count > 50_000 || log.isBacklogged || store.isBacklogged }

    /// Proposes a request of one kind. The reply gets the encoded answer or an error.
    package func propose(
        _ kindField: UInt32, _ body: RawSpan, identity who: Identity = .anonymous, compactsTo: Int64 = 0, _ reply: Reply
    ) {
        guard !isStopped else { return respond(reply, .failure(EtcdError.stopped)) }
        guard !isOverloaded else { return respond(reply, .failure(EtcdError.tooManyRequests)) }
        let now = loop.now
        var id: UInt64
        if case .nobody = reply {
            id = waiters.anonymousID()
        } else {
            id = waiters.add(
                Waiter(reply: reply, started: now, compactsTo: compactsTo), deadline: now &+ settings.requestTimeout)
        }
        var header = RequestHeader()
        header.id = id
        if !who.user.isEmpty {
            header.username = String(decoding: who.user, as: UTF8.self)
            header.authRevision = who.authRevision
        }
        var data: Bytes = []
        data.reserveCapacity(body.byteCount + 32)
        InternalRaftRequest.append(to: &data, header: header, kindField: kindField, body: body)
        guard data.count <= settings.maxRequestBytes else {
            _ = waiters.take(id)
            return respond(reply, .failure(EtcdError.requestTooLarge))
        }
        metrics.proposalsPending = waiters.count
        proposals.append(Proposal(kind: 0, data: data))
    }

    /// Proposes an entry that is encoded already: legacy requests and membership changes.
    package func proposeEntry(kind: UInt64, _ data: Bytes) {
        guard !isStopped else { return }
        proposals.append(Proposal(kind: kind, data: data))
    }

    /// An id for an entry made elsewhere, waited for by `reply`.
    package func registerID(_ reply: Reply) -> UInt64 {
        waiters.add(Waiter(reply: reply, started: loop.now), deadline: loop.now &+ settings.requestTimeout)
    }

    package func respond(_ reply: Reply, _ result: Result<Bytes, GRPCStatus>) {
        switch reply {
        case .nobody: break
        case .body(let body): body(result)
        case .call(let call):
            switch result {
            case .success(let bytes): server?.reply(call, bytes)
            case .failure(let status): server?.finish(call, status)
            }
        }
    }

    // MARK: The turn

    private func turn() {
        guard !isStopped else { return }
        setClock()
        appendProposals()
        syncLog()
        applyCommitted()
        submitBatch(force: false)
        compactSlice()
        catchUpSlice()
        state.kv.endTurn()
    }

    private func setClock() {
        let wall = Linux.Clock.wall()
        state.clock = State.Clock(now: Nanoseconds(Linux.Clock.monotonic()), unixTime: Int64(wall / 1_000_000_000))
    }

    private func appendProposals() {
        guard !proposals.isEmpty else { return }
        for proposal in proposals {
            lastIndex += 1
            let isEmpty = proposal.data.isEmpty && proposal.kind == 0
            log.append(term: term, index: lastIndex, kind: proposal.kind, data: isEmpty ? nil : proposal.data)
            pending.append(Pending(index: lastIndex, kind: proposal.kind, data: proposal.data))
        }
        proposals.removeAll(keepingCapacity: true)
    }

    private func syncLog() {
        guard log.needsSync else { return }
        if syncsInBackground {
            log.syncInBackground(ticket: lastIndex)
            return
        }
        let start = Linux.Clock.monotonic()
        do throws(LogError) { try log.sync() } catch { return halt("\(error)") }
        let took = Linux.Clock.monotonic() - start
        metrics.walSync.observe(nanoseconds: took)
        noteSync(took)
        logged(upTo: lastIndex)
    }

    /// Several slow syncs in a row send the work to the log's thread; many quick ones bring it back.
    private func noteSync(_ took: UInt64) {
        if took > 3_000_000 {
            slowSyncs += 1
            quickSyncs = 0
        } else {
            quickSyncs += 1
            if quickSyncs > 20 { slowSyncs = 0 }
        }
        syncsInBackground = slowSyncs >= 5
    }

    /// The log's thread reports: entries up to the ticket are durable, or never will be.
    func logSynced(_ ticket: UInt64, _ error: LogError?) {
        if let error { return halt("\(error)") }
        logged(upTo: ticket)
        if !log.isSyncing {
            // The next sync is tried inline again now and then.
            slowSyncs = max(0, slowSyncs - 1)
            syncsInBackground = slowSyncs >= 5
        }
    }

    private func logged(upTo index: LogIndex) {
        durable = max(durable, index)
        // One voter: what is durable here is committed.
        committed = max(committed, durable)
    }

    // MARK: Applying

    private func applyCommitted() {
        while let entry = pending.first, entry.index <= committed {
            pending.removeFirst()
            apply(entry)
            if isStopped { return }
        }
    }

    private func apply(_ entry: Pending) {
        if entry.kind == 1 {
            applyMembership(entry)
            return
        }
        output.removeAll(keepingCapacity: output.capacity <= 1 << 20)
        let waiter = Member.requestID(of: entry.data).flatMap { waiters.take($0) }
        let applied = state.apply(
            index: entry.index, term: term, data: entry.data.rawSpan, isAwaited: waiter != nil, output: &output)
        metrics.applied += 1
        if let waiter { answer(waiter, applied) }
        if applied.hasChanges, let watches { hub.notify(state.kv, watches) }
        perform(applied.effect)
        checkQuota()
    }

    private static func requestID(of data: Bytes) -> UInt64? {
        guard !data.isEmpty, let view = try? InternalRaftRequestView(decoding: data.rawSpan) else { return nil }
        return view.requestID
    }

    private func answer(_ waiter: Waiter, _ applied: Applied) {
        metrics.proposalsPending = waiters.count
        let took = loop.now &- waiter.started
        if took > settings.slowRequest && loop.now > waiter.started {
            report("apply request took too long", [("took", "\(took / 1_000_000)ms"), ("expected-duration", "300ms")])
            metrics.slowApplies += 1
        }
        switch applied.outcome {
        case .failed(let status):
            metrics.proposalsFailed += 0
            respond(waiter.reply, .failure(status))
        case .answered, .silent:
            if waiter.compactsTo > 0 && state.kv.isCompacting {
                let bytes = output
                compactionWaiters.append((waiter.compactsTo, waiter.reply))
                compactionAnswers.append(bytes)
                return
            }
            switch waiter.reply {
            case .call(let call): server?.reply(call) { $0.append(contentsOf: output) }
            case .body(let body): body(.success(output))
            case .nobody: break
            }
        }
    }

    private var compactionAnswers: [Bytes] = []

    private func applyMembership(_ entry: Pending) {
        let applied = state.applyMembershipChange(index: entry.index, term: term, data: entry.data.rawSpan)
        if let halted = applied.halt { return halt("\(halted)") }
        state.recordConfState(
            voters: state.membership.voters.map(\.id), learners: state.membership.members.filter(\.isLearner).map(\.id))
        if let waiter = waiters.take(applied.requestID) {
            respond(waiter.reply, applied.failure.map { .failure($0) } ?? .success([]))
        }
    }

    private func perform(_ effect: Applied.Effect) {
        switch effect {
        case .none, .compactionScheduled: break
        case .termBegan:
            state.lessor.promote(now: state.clock.now)
        case .alarmsChanged:
            quotaAlarmProposed = false
            onAlarmsChanged()
        case .leaseRevoked(let lease): onLeaseRevoked(lease)
        case .clusterVersionChanged(let version):
            report("cluster version is updated", [("cluster-version", "\(version.major).\(version.minor)")])
        case .halt(let reason): halt("\(reason)")
        }
    }

    // MARK: The store

    private func submitBatch(force: Bool) {
        guard state.hasBatch else { return }
        let operations = state.kv.batch.operations.count
        guard force || operations >= settings.batchLimit || loop.now &- lastSubmit >= settings.batchInterval else {
            return scheduleSubmit()
        }
        lastSubmit = loop.now
        let index = state.appliedIndex, appliedTerm = state.appliedTerm
        let batch = state.takeBatch()
        submitted.append((batch.number, index, appliedTerm))
        store.submit(batch)
    }

    private var submitTimer: TimerID?

    private func scheduleSubmit() {
        guard submitTimer == nil else { return }
        submitTimer = loop.schedule(after: settings.batchInterval) { [weak self] in
            guard let self else { return }
            submitTimer = nil
            if !isStopped { submitBatch(force: true) }
        }
    }

    /// Calls `body` once everything applied so far is in the store.
    package func whenStored(_ body: @escaping () -> Void) {
        submitBatch(force: true)
        guard let last = submitted.last else { return body() }
        storeWaiters.append((last.batch, body))
    }

    private var storeWaiters: [(batch: UInt64, body: () -> Void)] = []

    /// The store's thread reports.
    func batchCommitted(_ number: UInt64, _ error: StoreError?) {
        if let error { return halt("\(error)") }
        state.batchCommitted(number)
        while let first = submitted.first, first.batch <= number {
            storedIndex = first.index
            submitted.removeFirst()
        }
        let ready = storeWaiters.filter { $0.batch <= number }
        storeWaiters.removeAll { $0.batch <= number }
        for waiter in ready { waiter.body() }
        snapshotIfDue()
    }

    /// A raft snapshot: the membership at an index the store has reached. From there on the log may forget.
    private func snapshotIfDue() {
        guard storedIndex >= lastSnapshotIndex + settings.snapshotCount, submitted.isEmpty, !state.hasBatch,
            storedIndex == state.appliedIndex
        else { return }
        saveSnapshot()
    }

    private func saveSnapshot() {
        let index = state.appliedIndex
        var conf = RaftPB.ConfState()
        conf.voters = state.membership.voters.map(\.id.rawValue)
        conf.learners = state.membership.members.filter(\.isLearner).map(\.id.rawValue)
        let confBytes = conf.encoded()
        let file = SnapFile(data: state.membership.snapshotDocument, index: index, term: state.appliedTerm, confState: confBytes)
        do throws(LogError) {
            try directory.snap.save(file)
            log.append(LogSnapshot(index: index, term: state.appliedTerm, confState: confBytes))
            log.set(LogState(term: term, vote: identity.member, commit: committed))
            try log.sync()
            logged(upTo: lastIndex)
            try directory.snap.purge()
        } catch { return halt("\(error)") }
        lastSnapshotIndex = index
        if index > settings.catchUpEntries { log.release(upTo: index - settings.catchUpEntries) }
        report("saved snapshot", [("snapshot-index", "\(index)")])
    }

    // MARK: Work in slices

    private func compactSlice() {
        guard state.kv.isCompacting else { return finishCompactions() }
        // Deletions become durable with their batch; a long queue of them would hold up puts.
        if submitted.count > 4 { return }
        if !state.kv.compactionStep(budget: 2_000) { loop.turnAgain() } else { finishCompactions() }
    }

    private func finishCompactions() {
        guard !compactionWaiters.isEmpty else { return }
        let waiting = compactionWaiters, answers = compactionAnswers
        compactionWaiters = []
        compactionAnswers = []
        // "Physically" means that what was removed is gone from the store, not only from memory.
        whenStored { [weak self] in
            for (waiter, answer) in zip(waiting, answers) { self?.respond(waiter.reply, .success(answer)) }
        }
    }

    private func catchUpSlice() {
        guard hub.hasLagging, let watches else { return }
        if !hub.catchUp(state.kv, watches) { loop.turnAgain() }
    }

    // MARK: Time

    /// Every heartbeat: expired leases, requests that waited too long.
    private func tick() {
        guard !isStopped else { return }
        setClock()
        for waiter in waiters.expire(now: loop.now) {
            metrics.proposalsFailed += 1
            respond(waiter.reply, .failure(EtcdError.timeout))
        }
        for lease in state.lessor.takeExpired(now: state.clock.now, max: 64) { revoke(expired: lease) }
        loop.schedule(after: settings.heartbeat) { [weak self] in self?.tick() }
    }

    private func revoke(expired lease: LeaseID) {
        var request = LeaseRevokeRequest()
        request.id = lease.rawValue
        var who = Identity.anonymous
        if state.auth.isEnabled { who = Identity(user: Bytes("root".utf8), authRevision: state.auth.revision) }
        metrics.leasesExpired += 1
        propose(RequestKind.leaseRevoke, request.encoded().rawSpan, identity: who, .nobody)
    }

    // MARK: Quota

    /// Against what the store uses: pages that were freed are room, without a pause to give them back to the file system.
    package func hasRoom(for cost: Int) -> Bool {
        QuotaCost.fits(cost: cost, allocatedBytes: store.usedBytes, quota: settings.quotaBytes)
    }

    /// Once the store has outgrown its quota the cluster is told, by an alarm.
    package func raiseNoSpace() {
        guard !quotaAlarmProposed else { return }
        quotaAlarmProposed = true
        var request = AlarmRequest()
        request.action = .activate
        request.memberID = identity.member.rawValue
        request.alarm = .nospace
        propose(RequestKind.alarm, request.encoded().rawSpan, .nobody)
    }

    private func checkQuota() {
        guard !quotaAlarmProposed, settings.quotaBytes != nil, !state.alarms.isOutOfSpace else { return }
        if !hasRoom(for: 1) { raiseNoSpace() }
    }

    // MARK: The end

    /// Nothing may be acknowledged any more: the disk failed, or the log says what this member cannot follow.
    private func halt(_ reason: String) {
        guard !isStopped else { return }
        isStopped = true
        for waiter in waiters.takeAll() { respond(waiter.reply, .failure(EtcdError.stopped)) }
        onHalt(reason)
    }

    /// Writes what is left and lets go of the disk. After this nothing is served.
    package func stop() {
        guard !isStopped else { return }
        appendProposals()
        do throws(LogError) {
            log.set(LogState(term: term, vote: identity.member, commit: committed))
            try log.sync()
            logged(upTo: lastIndex)
            applyCommitted()
        } catch { report("cannot write the log while stopping", [("error", "\(error)")]) }
        submitBatch(force: true)
        isStopped = true
        for waiter in waiters.takeAll() { respond(waiter.reply, .failure(EtcdError.stopped)) }
        state.kv.endTurn()
        store.waitUntilCommitted()
    }
}
