// One member as it runs: consensus, log, state and store, and the turn that moves requests from proposal to answer. Owned
// by the member's thread (loop 0); everything here is called on it. The parts:
//
//     Member.swift             what it owns, proposing, the turn, the end
//     Member+Consensus.swift   raft's work: log, peers, applying
//     Member+Reads.swift       linearizable reads
//     Member+Store.swift       batches to the store, snapshots of the log, compaction
//     Member+Transfer.swift    whole stores to and from other members
//     Member+Peers.swift       what the transport asks
//
//     propose -> (end of turn) raft -> log, peers -> committed -> apply in order -> answers, watch events
//                                                                  \-> every 1,000 changes or 100 ms: batch to the store

import Connections
import DiskLog
import FileFormats
import Foundations
import GRPC
import LMDBStore
import Linux
import MVCC
import Raft
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
        package var slowApply: UInt64 = 100_000_000
        package var preVote = true
        package var strictReconfiguration = true
        package var advancesFirstElection = true
        package var leaseCheckpoints = false

        package init() {}

        var electionTicks: Int { max(2, Int(electionTimeout / heartbeat)) }

        /// How long a proposal may wait: 5 s and two election timeouts.
        package var requestTimeout: UInt64 { 5_000_000_000 + 2 * electionTimeout }
    }

    /// A request whose result somebody waits for.
    struct Waiter {
        var reply: Reply
        var started: UInt64
        var compactsTo: Int64 = 0
    }

    /// Waits for the turn, or for a leader.
    struct Proposal {
        var kind: Entry.Kind
        var data: Bytes
        var started: UInt64
    }

    package let settings: Settings
    package let identity: LogIdentity
    package let loop: EventLoop
    let directory: DataDirectory
    let lock: DirectoryLock
    let log: DiskLog
    /// A snapshot from another member replaces both.
    package internal(set) var state: StateMachine
    package internal(set) var store: LMDBStore
    package let hub: WatchHub
    let makeState: (LMDBStore) throws(RestoreError) -> StateMachine
    let openStore: (_ generation: Int) throws(StoreError) -> LMDBStore
    /// Reports of a store that was replaced are not heard any more.
    var storeGeneration = 0

    var raft: RaftNode
    /// Nil where there is nobody to talk to: tests of one member.
    package internal(set) var transport: PeerTransport?

    /// Set when the client side is wired up.
    package weak var watches: (any WatchSink)?
    package var server: GRPCServer?
    package var onHalt: (String) -> Void = { _ in }
    /// This member is no longer part of the cluster: it stops, for good.
    package var onRemoved: (String) -> Void = { _ in }
    package var onAlarmsChanged: () -> Void = {}
    package var onLeaseRevoked: (LeaseID) -> Void = { _ in }
    package var onLeaderChanged: () -> Void = {}
    package var onCompacted: (Int64) -> Void = { _ in }
    package var servePage: (PeerPage, @escaping (PeerPageAnswer) -> Void) -> Void = { _, answer in
        answer(.error(503, "not ready"))
    }
    package var report: (String, [(String, String)]) -> Void = { _, _ in }
    /// What an operator should look at.
    package var warn: (String, [(String, String)]) -> Void = { _, _ in }
    package var metrics = MemberMetrics()
    /// Where times go; what is only counted is read from `metrics` when somebody looks.
    package var families: ServerMetrics? {
        didSet {
            applyTimes = families.map { ApplyTimes($0.server.applyDurationSeconds) }
            watchDisk()
        }
    }
    var applyTimes: ApplyTimes?
    /// Proposals whose outcome somebody waits for.
    package var writtenLogBytes: Int { log.writtenBytes }
    package var waitingProposals: Int { waiters.count }
    package internal(set) var isStopped = false
    /// Removed from the cluster, about to stop.
    package private(set) var isExpelled = false

    /// Monotonic.
    private var lastTick: UInt64 = 0
    /// When the compaction that is under way was accepted; 0: none is.
    var compactionStarted: UInt64 = 0

    // Proposals
    var proposals: [Proposal] = []
    /// Others' proposals to remove this member while it leads: see `holdOwnRemoval`.
    var heldRemovals: [Proposal] = []
    var waiters: PendingProposals<Waiter>
    var output: Bytes = []
    var compactionWaiters: [(revision: Int64, reply: Reply, answer: Bytes)] = []

    // Consensus
    /// An entry of this member's own term is applied: it knows what is committed, and its leases count.
    package internal(set) var leadsForSure = false
    package internal(set) var leaderSince: UInt64 = 0
    /// Monotonic; 0 while there is a leader.
    package internal(set) var leaderlessSince: UInt64
    /// Requests that began before this moment were given to leaders before the present one.
    var formerOffered: UInt64 = 0
    var lastTicket: WriteTicket = 0
    var lastSync = SyncTime()
    var syncStarted: UInt64 = 0
    var syncPolicy = SyncPolicy()
    /// Nanoseconds, of the last dozen or two; and when it was told that they are too many.
    var usualSync: UInt64 = 0
    var slowDiskTold: UInt64 = 0
    var isMembershipDirty = true
    var connectedPeers: [MemberID] = []

    // Reads
    var waitingReads: [(started: UInt64, body: (GRPCStatus?) -> Void)] = []
    var askedReads: [AskedReads] = []
    var confirmedReads: [ConfirmedReads] = []
    var readIDs: RequestIDs

    // Store
    var lastSubmit: UInt64 = 0
    var submitTimer: TimerID?
    var submitted: [(batch: UInt64, index: LogIndex, term: Term)] = []
    var storeWaiters: [(batch: UInt64, body: () -> Void)] = []
    package internal(set) var storedIndex: LogIndex
    package internal(set) var lastSnapshotIndex: LogIndex
    /// Of the kept .snap files, oldest first.
    var snapshotIndexes: [LogIndex]
    var quotaAlarmProposed = false
    /// Asks for votes.
    var stands = false

    // Transfers
    let transfers = Worker(name: "transfers")
    /// Until then (monotonic) the log is not shortened: a member that just got a store wants what follows.
    var transferGrace: UInt64 = 0
    var transfersUnderWay = 0
    var received: (index: LogIndex, database: ReceivedDatabase)?
    package internal(set) var isInstalling = false

    init(opened: OpenedMember, loop: EventLoop, settings: Settings) {
        self.settings = settings
        self.loop = loop
        identity = opened.identity
        state = opened.state
        store = opened.store
        log = opened.log
        directory = opened.directory
        lock = opened.lock
        makeState = opened.makeState
        openStore = opened.openStore
        storedIndex = opened.state.appliedIndex
        lastSnapshotIndex = opened.snapshotIndex
        snapshotIndexes = opened.snapshotIndexes
        hub = WatchHub(seed: Linux.Clock.monotonic())
        let milliseconds = Linux.Clock.wall() / 1_000_000
        waiters = PendingProposals(ids: RequestIDs(member: opened.identity.member, startMilliseconds: milliseconds))
        readIDs = RequestIDs(member: opened.identity.member, startMilliseconds: milliseconds + (1 << 30))
        var raftSettings = Raft.Settings(id: opened.identity.member)
        raftSettings.electionTicks = settings.electionTicks
        raftSettings.preVote = settings.preVote
        raft = RaftNode(settings: raftSettings, seed: Linux.Clock.wall() ^ opened.identity.member.rawValue, restart: opened.restart)
        leaderlessSince = loop.now
        loop.atEndOfTurn { [unowned self] in turn() }
        setClock()
        state.raftTerm = raft.term
    }

    package var term: Term { raft.term }
    package var committed: LogIndex { raft.commitIndex }
    package var leader: MemberID { raft.leader }
    package var isLeader: Bool { raft.isLeader }
    package var isLearner: Bool { raft.isLearner }
    package var hasLeader: Bool { raft.leader != .none }
    package var peerStatus: [RaftNode.PeerStatus] { raft.peerStatus }
    package var raftRole: Raft.Role { raft.role }
    package var vote: MemberID { raft.vote }

    /// The only voter: what it has applied is all that anybody was told of.
    var isAlone: Bool { raft.isOnlyVoter }

    /// Begins to take part. `transport` is connected by then.
    package func start(_ transport: PeerTransport?) {
        self.transport = transport
        syncPeers()
        // What is known to be committed, a new cluster's member list to begin with, says who votes.
        drive()
        if isStopped { return }
        if isAlone {
            raft.campaign()
        } else if settings.advancesFirstElection {
            // Nobody has led for a while when a whole cluster starts: no need to wait the full time. Pre-vote keeps this
            // from disturbing a leader that is there.
            for _ in 0..<max(0, settings.electionTicks - 3) { raft.tick() }
        }
        tick()
        loop.turnAgain()
    }

    // MARK: Proposing

    package var isOverloaded: Bool {
        waiters.count > 50_000 || log.isBacklogged || store.isBacklogged || raft.commitIndex > state.appliedIndex + 5_000
    }

    /// Proposes a request of one kind. The reply gets the encoded answer or an error.
    package func propose(
        _ kindField: UInt32, _ body: RawSpan, identity who: Identity = .anonymous, compactsTo: Int64 = 0, _ reply: Reply
    ) {
        guard !isStopped, !isExpelled else { return respond(reply, .failure(EtcdError.stopped)) }
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
        proposals.append(Proposal(kind: .normal, data: data, started: now))
    }

    /// Proposes an entry that is encoded already: legacy requests and membership changes.
    package func proposeEntry(kind: Entry.Kind = .normal, _ data: Bytes) {
        guard !isStopped else { return }
        proposals.append(Proposal(kind: kind, data: data, started: loop.now))
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
        offerProposals()
        askForReads()
        drive()
        submitBatch(force: false)
        compactSlice()
        catchUpSlice()
        state.kv.endTurn()
    }

    func setClock() {
        let wall = Linux.Clock.wall()
        state.clock = State.Clock(now: Nanoseconds(Linux.Clock.monotonic()), unixTime: Int64(wall / 1_000_000_000))
    }

    // MARK: Time

    /// Every heartbeat: consensus, expired leases, requests that waited too long.
    private func tick() {
        guard !isStopped else { return }
        setClock()
        // Followers that hear nothing for long enough elect somebody else.
        if raft.isLeader, !isAlone, lastTick > 0, loop.now &- lastTick > 2 * settings.heartbeat { metrics.lateHeartbeats += 1 }
        lastTick = loop.now
        raft.tick()
        let now = loop.now
        for waiter in waiters.expire(now: now) {
            metrics.proposalsFailed += 1
            respond(waiter.reply, .failure(timeoutReason(started: waiter.started)))
        }
        releaseRemovals()
        if let first = proposals.first, now &- first.started > settings.requestTimeout {
            proposals.removeAll { now &- $0.started > settings.requestTimeout }
        }
        expireReads(now)
        if raft.isLeader {
            for lease in state.lessor.takeExpired(now: state.clock.now, max: 64) { revoke(expired: lease) }
            checkpointLeases()
        }
        loop.schedule(after: settings.heartbeat) { [weak self] in self?.tick() }
    }

    /// What kept a request from being decided in time.
    func timeoutReason(started: UInt64) -> GRPCStatus {
        let grace = 2 * settings.electionTimeout
        if leaderSince > 0, started < leaderSince, started &+ grace > leaderSince { return EtcdError.timeoutDueToLeaderFail }
        guard let transport else { return EtcdError.timeout }
        func isConnected(_ id: MemberID) -> Bool {
            if id == identity.member { return true }
            guard let since = transport.activeSince(id) else { return false }
            return since <= started
        }
        if raft.isLeader {
            if !raft.confState.hasQuorum(isConnected) { return EtcdError.timeoutDueToConnectionLost }
        } else if raft.leader != .none, !isConnected(raft.leader) {
            return EtcdError.timeoutDueToConnectionLost
        }
        return EtcdError.timeout
    }

    private func revoke(expired lease: LeaseID) {
        var request = LeaseRevokeRequest()
        request.id = lease.rawValue
        metrics.leasesExpired += 1
        propose(RequestKind.leaseRevoke, request.encoded().rawSpan, identity: rootIdentity, .nobody)
    }

    /// The server's own requests pass every check.
    var rootIdentity: Identity {
        state.auth.isEnabled ? Identity(user: Bytes("root".utf8), authRevision: state.auth.revision) : .anonymous
    }

    private func checkpointLeases() {
        guard settings.leaseCheckpoints else { return }
        let due = state.lessor.takeCheckpoints(now: state.clock.now)
        guard !due.isEmpty else { return }
        var request = LeaseCheckpointRequest()
        request.checkpoints = due.map { LeaseCheckpoint(id: $0.id.rawValue, remainingTTL: $0.remainingTTL) }
        propose(RequestKind.leaseCheckpoint, request.encoded().rawSpan, .nobody)
    }

    // MARK: Quota

    /// Against what the store uses: pages that were freed are room, without a pause to give them back to the file system.
    package func hasRoom(for cost: Int) -> Bool {
        QuotaCost.fits(cost: cost, allocatedBytes: store.usedBytes, quota: settings.quotaBytes)
    }

    /// Once the store has outgrown its quota the cluster is told, by an alarm.
    package func raiseNoSpace() {
        let own = identity.member.rawValue
        guard !quotaAlarmProposed, !state.alarms.list(.nospace).contains(where: { $0.member == own }) else { return }
        quotaAlarmProposed = true
        var request = AlarmRequest()
        request.action = .activate
        request.memberID = own
        request.alarm = .nospace
        propose(
            RequestKind.alarm, request.encoded().rawSpan,
            .body { [weak self] result in
                // Lost with a leader: the next request that does not fit raises it again.
                if case .failure = result { self?.quotaAlarmProposed = false }
            })
    }

    /// After a request that takes room: one that was on its way while there was some may have been too much. No other request
    /// raises the alarm, so one that was disarmed before there is room stays so until somebody writes.
    func checkQuota() {
        guard !quotaAlarmProposed, settings.quotaBytes != nil, !state.alarms.isOutOfSpace else { return }
        if !hasRoom(for: 1) { raiseNoSpace() }
    }

    // MARK: The end

    /// Nothing may be acknowledged any more: the disk failed, or the log says what this member cannot follow.
    func halt(_ reason: String) {
        guard !isStopped else { return }
        isStopped = true
        failEverybody()
        onHalt(reason)
    }

    /// Nobody listens to a removed member: what waits would wait in vain, and what still comes is refused at once.
    func expel() {
        isExpelled = true
        failEverybody()
    }

    private func failEverybody() {
        for waiter in waiters.takeAll() { respond(waiter.reply, .failure(EtcdError.stopped)) }
        failReads(EtcdError.stopped)
    }

    /// Who could lead in place of `leader`: this member, or else the voter that has been connected longest.
    package func successor(of leader: MemberID, except other: MemberID = .none) -> MemberID? {
        let voters = raft.confState.voters.filter { $0 != leader && $0 != other }
        if voters.contains(identity.member) { return identity.member }
        guard let transport else { return nil }
        return voters.filter { transport.activeSince($0) != nil }
            .min { transport.activeSince($0) ?? .max < transport.activeSince($1) ?? .max }
    }

    /// Before a planned stop: somebody else leads, if somebody can. `done` is called when that is so, or after a while.
    package func handOver(_ done: @escaping () -> Void) {
        guard raft.isLeader, !isAlone, !isStopped, !isExpelled, let target = successor(of: identity.member) else { return done() }
        report("leadership transfer starting", [("current-leader-member-id", "\(identity.member)"), ("transferee-member-id", "\(target)")])
        raft.transferLeader(to: target)
        loop.turnAgain()
        let deadline = loop.now + settings.requestTimeout
        func look() {
            // Until the next one is known: what came meanwhile is passed on to it.
            guard raft.isLeader || raft.leader == .none, !isStopped, loop.now < deadline else { return done() }
            loop.schedule(after: settings.heartbeat / 2, look)
        }
        look()
    }

    /// Writes what is left and lets go of the disk. After this nothing is served.
    package func stop() {
        guard !isStopped else { return }
        drive()
        transport?.flush()
        do throws(LogError) { try log.sync() } catch { report("cannot write the log while stopping", [("error", "\(error)")]) }
        submitBatch(force: true)
        isStopped = true
        transport?.stop()
        failEverybody()
        state.kv.endTurn()
        store.waitUntilCommitted()
    }
}
