// One simulated machine: the production core, driven as its contract says, over a simulated disk.

import Foundations
import Raft

/// The core of a host that is up.
final class Running {
    var raft: RaftNode

    init(_ raft: consuming RaftNode) { self.raft = raft }
}

final class Host {
    let id: MemberID
    private unowned let world: World
    private(set) var node: Running?
    /// Counts starts; events for an earlier life are void.
    private(set) var life = 0
    private(set) var disk = Disk()
    private var store: any SimulatedStore = RegisterStore()
    /// Members that may never come back; part of the replicated state.
    private(set) var removed: [MemberID] = []
    private(set) var removedAt: LogIndex?
    private(set) var applied: LogIndex = 0
    private var checkedCommit: LogIndex = 0
    private var installing: (ticket: WriteTicket, index: LogIndex)?
    private var isTurnScheduled = false

    var tick: Microseconds
    var pausedUntil: Microseconds = 0
    var isDiskSlow = false
    var isStoppedForGood = false

    // Clients' business.
    private var waitingWrites: [UInt64: Int] = [:]
    private var gatheredReads: [Read] = []
    private var askedReads: (token: Bytes, reads: [Read])?
    private var indexedReads: [(index: LogIndex, reads: [Read])] = []
    private var tokens: UInt64 = 0

    struct Read {
        var client: Int
        var command: Command
    }

    init(id: MemberID, world: World) {
        self.id = id
        self.world = world
        tick = world.plan.tick * Int.random(in: 90...110, using: &world.random) / 100
    }

    var isUp: Bool { node != nil }

    // MARK: - Life

    /// A founding member: its first snapshot is the empty state with everyone in the configuration.
    func found(_ confState: ConfState) {
        var state = StoredState()
        state.metadata = SnapshotMetadata(index: 1, term: 1, confState: confState)
        state.store = store.snapshot()
        disk.write([.received(state), .hardState(HardState(term: 1, commit: 1))], ticket: 1)
        disk.beginSync()
        _ = disk.endSync()
        disk.crash(using: &world.random)
    }

    func start() {
        invariant(!isUp, "started twice")
        life += 1
        let restart = disk.restart()
        store = disk.state.store.isEmpty ? RegisterStore() : RegisterStore(snapshot: disk.state.store)
        removed = disk.state.removed
        applied = disk.state.metadata.index
        node = Running(RaftNode(settings: settings(), seed: world.random.next(), restart: restart))
        checkedCommit = node!.raft.commitIndex
        installing = nil
        isTurnScheduled = false
        pausedUntil = 0
        world.log(
            id,
            "starts at term \(node!.raft.term), log \(node!.raft.firstIndex)...\(node!.raft.lastIndex), "
                + "commit \(node!.raft.commitIndex), applied \(applied)")
        world.schedule(after: Int.random(in: 1...tick, using: &world.random), .tick(id, life))
        scheduleTurn()
    }

    private func settings() -> Settings {
        let plan = world.plan
        var settings = Settings(id: id)
        settings.preVote = plan.mixedPreVote ? world.random.chance(1, in: 2) : plan.preVote
        settings.appendBytesMax = plan.appendBytesMax
        settings.applyBytesMax = plan.applyBytesMax
        settings.inflightMessagesMax = plan.inflightMessagesMax
        settings.appliesBeforeStable = plan.appliesBeforeStable
        settings.sabotage = world.breakage?.sabotage ?? []
        return settings
    }

    func crash() {
        guard isUp else { return }
        world.log(id, "crashes")
        node = nil
        disk.crash(using: &world.random)
        if world.breakage == .forgetsVote { disk.forgetVote() }
        if world.breakage == .losesSyncedEntry { disk.loseLastEntry() }
        for client in waitingWrites.values.sorted() { world.clientGaveUp(client) }
        for read in gatheredReads + (askedReads?.reads ?? []) + indexedReads.flatMap(\.reads) {
            world.clientGaveUp(read.client)
        }
        waitingWrites = [:]
        gatheredReads = []
        askedReads = nil
        indexedReads = []
    }

    func drift(using random: inout SeededRandom) {
        tick = world.plan.tick * Int.random(in: 85...115, using: &random) / 100
    }

    // MARK: - Input

    func tickNow() {
        node!.raft.tick()
        world.schedule(after: tick, .tick(id, life))
        scheduleTurn()
    }

    func receive(_ message: Message) {
        guard !removed.contains(message.from) else { return }
        node!.raft.step(message)
        scheduleTurn()
    }

    func submit(_ command: Command, client: Int) {
        if command.operation == .read {
            gatheredReads.append(Read(client: client, command: command))
            return scheduleTurn()
        }
        switch node!.raft.propose(Payload.command(command).encoded()) {
        case .appended, .forwarded:
            waitingWrites[command.id] = client
            scheduleTurn()
        case .noLeader, .transferring, .removed, .tooMuchUncommitted:
            world.clientRefused(client)
        }
    }

    func forget(_ command: UInt64) {
        waitingWrites[command] = nil
        gatheredReads.removeAll { $0.command.id == command }
        askedReads?.reads.removeAll { $0.command.id == command }
        for i in indexedReads.indices { indexedReads[i].reads.removeAll { $0.command.id == command } }
    }

    func propose(_ kind: ConfChange.Kind, _ member: MemberID) {
        world.log(id, "proposes \(kind) \(member): \(node!.raft.proposeConfChange(Payload.change(kind, member).encoded()))")
        scheduleTurn()
    }

    func transfer(to member: MemberID) {
        node!.raft.transferLeader(to: member)
        scheduleTurn()
    }

    func report(snapshotTo member: MemberID, succeeded: Bool) {
        node!.raft.reportSnapshot(to: member, succeeded: succeeded)
        scheduleTurn()
    }

    func report(unreachable member: MemberID) {
        node!.raft.reportUnreachable(member)
        scheduleTurn()
    }

    func report(gone member: MemberID) {
        node!.raft.reportGone(member)
        scheduleTurn()
    }

    func syncDone() {
        persisted(through: disk.endSync())
        scheduleTurn()
    }

    private func persisted(through ticket: WriteTicket) {
        node!.raft.persisted(through: ticket)
        if let install = installing, install.ticket <= ticket {
            installing = nil
            node!.raft.applied(to: install.index)
        }
    }

    func retryRead(_ token: Bytes) {
        guard askedReads?.token == token else { return }
        _ = node!.raft.readIndex(token)
        world.schedule(after: 12 * tick, .retryRead(id, life, token))
        scheduleTurn()
    }

    // MARK: - The turn

    private func scheduleTurn() {
        guard !isTurnScheduled else { return }
        isTurnScheduled = true
        let delay = world.plan.turnDelayMax == 0 ? 0 : Int.random(in: 0...world.plan.turnDelayMax, using: &world.random)
        world.schedule(after: delay, .turn(id, life))
    }

    func turn() {
        isTurnScheduled = false
        askForReads()
        while node!.raft.hasReady { perform(node!.raft.ready()) }
        startSync()
        takeSnapshot()
    }

    private func perform(_ ready: Ready) {
        if let soft = ready.softState { world.log(id, "is \(soft.role), leader \(soft.leader), term \(node!.raft.term)") }
        if node!.raft.isLeader { world.oracle.leads(node!.raft) }
        if !ready.entries.isEmpty { world.oracle.appends(ready.entries, on: node!.raft) }
        write(ready)
        if node!.raft.commitIndex != checkedCommit {
            world.oracle.commits(node!.raft, after: checkedCommit) { world.isDurable($0, $1, $2) }
            checkedCommit = node!.raft.commitIndex
        }
        for entry in ready.committed { apply(entry) }
        if let last = ready.committed.last { node!.raft.applied(to: last.index) }
        for message in ready.messages { send(message) }
        for state in ready.readStates where askedReads?.token == state.token {
            indexedReads.append((state.index, askedReads!.reads))
            askedReads = nil
        }
        answerReads()
    }

    private func write(_ ready: Ready) {
        var records: [Disk.Record] = []
        if let snapshot = ready.snapshot {
            let state = Self.decode(snapshot)
            records.append(.received(state))
            if world.breakage != .skipsInstall { store = RegisterStore(snapshot: state.store) }
            removed = state.removed
            applied = snapshot.metadata.index
            installing = (ready.ticket!, applied)
            checkedCommit = max(checkedCommit, applied)
            world.log(id, "restores a snapshot at \(applied)")
            world.oracle.reaches(store.digest, at: applied, member: id)
        }
        for entry in ready.entries { records.append(.entry(entry)) }
        if let state = ready.hardState { records.append(.hardState(state)) }
        guard !records.isEmpty else { return }
        disk.write(records, ticket: ready.ticket)
        if world.plan.syncsInline, !disk.isSyncing, ready.ticket != nil {
            disk.beginSync()
            persisted(through: disk.endSync())
        }
    }

    private func startSync() {
        guard disk.needsSync else { return }
        disk.beginSync()
        var time = Int.random(in: 50...world.plan.syncMax, using: &world.random)
        if world.isFaulty && (isDiskSlow || world.random.chance(1, in: world.plan.slowSyncOneIn)) {
            time += Int.random(in: 0...300_000, using: &world.random)
        }
        world.schedule(after: time, .syncDone(id, life))
    }

    private func apply(_ entry: Entry) {
        if entry.index != applied + 1 { world.fail("\(id) applies entry \(entry.index) after \(applied)") }
        applied = entry.index
        if entry.kind == .normal {
            if let data = entry.data, case .command(let command) = Payload(data) {
                let outcome = store.apply(command)
                world.oracle.applies(command.id)
                if let client = waitingWrites.removeValue(forKey: command.id) { world.clientDone(client, outcome) }
            }
        } else if case .change(let kind, let member) = Payload(entry.data!) {
            applyChange(kind, member, at: entry.index)
        }
        world.oracle.reaches(store.digest, at: applied, member: id)
    }

    /// Every member judges alike: from the replicated state alone.
    private func applyChange(_ kind: ConfChange.Kind, _ member: MemberID, at index: LogIndex) {
        let now = node!.raft.confState
        let isValid =
            switch kind {
            case .addNode: !removed.contains(member) && !now.voters.contains(member)
            case .addLearnerNode: !removed.contains(member) && !now.contains(member)
            case .removeNode: now.contains(member) && now.voters != [member]
            case .updateNode: true
            }
        if isValid && kind == .removeNode { removed.append(member) }
        let next = node!.raft.applyConfChange(isValid ? ConfChange(kind, member) : .nothing, at: index)
        if isValid { world.log(id, "applies \(kind) \(member): voters \(next.voters), learners \(next.learners)") }
        if removed.contains(id) && removedAt == nil { removedAt = index }
    }

    private func send(_ message: Message) {
        guard message.to != .none, !removed.contains(message.to) else { return }
        world.oracle.sends(message)
        guard message.kind == .snapshot else { return world.send(message) }
        var enriched = message
        enriched.snapshot = encodedSnapshot()
        if enriched.snapshot!.metadata.index < message.snapshot!.metadata.index {
            world.fail("\(id) was asked for a snapshot at \(message.snapshot!.metadata.index), it is at \(applied)")
        }
        world.send(enriched)
    }

    // MARK: - Reads

    private func askForReads() {
        guard askedReads == nil, !gatheredReads.isEmpty else { return }
        tokens += 1
        var words = WordWriter()
        words.add(id.rawValue << 48 | UInt64(life) << 32 | tokens)
        askedReads = (words.bytes, gatheredReads)
        gatheredReads = []
        world.schedule(after: 0, .retryRead(id, life, words.bytes))
    }

    private func answerReads() {
        var later: [(index: LogIndex, reads: [Read])] = []
        for (index, reads) in indexedReads {
            guard applied >= index || world.breakage == .readsTooEarly else {
                later.append((index, reads))
                continue
            }
            for read in reads {
                world.clientDone(read.client, Outcome(value: store.read(key: read.command.key), succeeded: true))
            }
        }
        indexedReads = later
    }

    // MARK: - Snapshots

    private func takeSnapshot() {
        let last = disk.state.metadata.index
        guard applied >= last + LogIndex(world.plan.snapshotEvery), installing == nil, applied <= node!.raft.stableIndex,
            let term = node!.raft.term(at: applied)
        else { return }
        var state = StoredState()
        state.metadata = SnapshotMetadata(index: applied, term: term, confState: node!.raft.confState)
        state.store = store.snapshot()
        state.removed = removed
        let kept = LogIndex(world.plan.catchUpEntries)
        let compactTo = applied > kept ? applied - kept : 0
        disk.write([.own(state, compactTo: compactTo)], ticket: nil)
        startSync()
        node!.raft.compact(to: compactTo)
    }

    private func encodedSnapshot() -> Snapshot {
        var words = WordWriter()
        words.add(UInt64(removed.count))
        for member in removed { words.add(member.rawValue) }
        let metadata = SnapshotMetadata(index: applied, term: node!.raft.term(at: applied)!, confState: node!.raft.confState)
        return Snapshot(metadata: metadata, data: words.bytes + store.snapshot())
    }

    private static func decode(_ snapshot: Snapshot) -> StoredState {
        var reader = WordReader(snapshot.data)
        let count = Int(reader.next())
        let removed = (0..<count).map { _ in MemberID(reader.next()) }
        return StoredState(
            metadata: snapshot.metadata, store: Bytes(snapshot.data[(8 * (count + 1))...]), removed: removed)
    }
}
