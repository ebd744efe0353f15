// A whole cluster, its network, disks, clocks and clients in one thread, from one seed.
//
//     |---------------- faults ----------------|------- healed -------|
//      clients work, hosts crash and pause,      all is well again: the cluster must make progress
//      links are cut, disks are slow, members
//      come and go

import Foundations
import Raft

enum Event {
    case tick(MemberID, Int)
    case turn(MemberID, Int)
    case syncDone(MemberID, Int)
    case retryRead(MemberID, Int, Bytes)
    case snapshotReport(MemberID, Int, MemberID, succeeded: Bool)
    case goneReport(MemberID, Int, MemberID)
    case deliver(Message)
    case start(MemberID)
    case client(Int)
    case clientTimeout(Int, UInt64)
    case fault
    case operate
    case heal
    case settle
}

final class World {
    let seed: UInt64
    let isVerbose: Bool
    let breakage: Breakage?
    var random: SeededRandom
    let plan: Plan
    var oracle: Oracle
    private var queue = EventQueue<Event>()
    var network: Network
    private(set) var hosts: [Host] = []
    var clients: Clients
    private(set) var isFaulty = true
    private(set) var events = 0
    /// Commit index that all members must have applied at the end.
    private var target: LogIndex = 0

    init(seed: UInt64, isVerbose: Bool, breakage: Breakage?) {
        self.seed = seed
        self.isVerbose = isVerbose
        self.breakage = breakage
        random = SeededRandom(seed: seed)
        plan = Plan(&random)
        network = Network(random: random.fork())
        clients = Clients(count: plan.clients, random: random.fork())
        oracle = Oracle()
    }

    struct Summary {
        var events = 0
        var operations = 0
        var terms = 0
        var entries = 0

        mutating func add(_ other: Summary) {
            events += other.events
            operations += other.operations
            terms += other.terms
            entries += other.entries
        }
    }

    var now: Microseconds { queue.now }

    func run() -> Summary {
        note("seed \(seed): \(plan)")
        found()
        while let event = queue.next() {
            if queue.now > plan.faultTime + plan.healedTime { break }
            events += 1
            handle(event)
        }
        checkEnd()
        return Summary(
            events: events, operations: clients.completed, terms: oracle.terms, entries: Int(oracle.commitIndex))
    }

    private func found() {
        for _ in 0..<plan.voters { addHost() }
        let confState = ConfState(voters: hosts.map(\.id))
        for host in hosts { host.found(confState) }
        for host in hosts { host.start() }
        for client in 0..<plan.clients { schedule(after: 1_000 * client, .client(client)) }
        schedule(after: plan.faultEvery, .fault)
        if plan.membership { schedule(after: 300_000, .operate) }
        schedule(after: plan.faultTime, .heal)
        schedule(after: plan.faultTime + plan.healedTime - 500_000, .settle)
    }

    @discardableResult
    func addHost() -> Host {
        let host = Host(id: MemberID(UInt64(hosts.count + 1)), world: self)
        hosts.append(host)
        return host
    }

    func host(_ id: MemberID) -> Host { hosts[Int(id.rawValue) - 1] }

    // MARK: - Events

    func schedule(after delay: Microseconds, _ event: Event) { queue.schedule(after: delay, event) }

    private func handle(_ event: Event) {
        switch event {
        case .tick(let id, let life): onHost(id, life, event) { $0.tickNow() }
        case .turn(let id, let life): onHost(id, life, event) { $0.turn() }
        case .syncDone(let id, let life): onHost(id, life, event) { $0.syncDone() }
        case .retryRead(let id, let life, let token): onHost(id, life, event) { $0.retryRead(token) }
        case .snapshotReport(let id, let life, let member, let succeeded):
            onHost(id, life, event) { $0.report(snapshotTo: member, succeeded: succeeded) }
        case .goneReport(let id, let life, let member): onHost(id, life, event) { $0.report(gone: member) }
        case .deliver(let message): deliver(message, event)
        case .start(let id):
            if !host(id).isUp && !host(id).isStoppedForGood { host(id).start() }
        case .client(let client): beginOperation(client)
        case .clientTimeout(let client, let command): clientTimedOut(client, command)
        case .fault:
            guard isFaulty else { return }
            injectFault()
            schedule(after: Int.random(in: plan.faultEvery / 2...plan.faultEvery * 2, using: &random), .fault)
        case .operate:
            operate()
            schedule(after: Int.random(in: 50_000...400_000, using: &random), .operate)
        case .heal: heal()
        case .settle: target = leader?.node?.raft.commitIndex ?? 0
        }
    }

    /// A paused host gets what came for it when it wakes.
    private func onHost(_ id: MemberID, _ life: Int, _ event: Event, _ act: (Host) -> Void) {
        let host = host(id)
        guard host.isUp, host.life == life else { return }
        if host.pausedUntil > queue.now { return schedule(after: host.pausedUntil - queue.now, event) }
        act(host)
    }

    private func deliver(_ message: Message, _ event: Event) {
        let receiver = host(message.to)
        onHost(message.to, receiver.life, event) { host in
            if isVerbose { note("\(message.from) -> \(message.to) \(describe(message))") }
            host.receive(message)
        }
        guard message.kind == .snapshot else { return }
        schedule(after: 100, .snapshotReport(message.from, host(message.from).life, message.to, succeeded: receiver.isUp))
    }

    func send(_ message: Message) {
        let delays = network.deliveries(of: message, plan: plan)
        for delay in delays { schedule(after: delay, .deliver(message)) }
        guard delays.isEmpty else { return }
        let (from, life) = (message.from, host(message.from).life)
        if message.kind == .snapshot {
            schedule(after: 20_000, .snapshotReport(from, life, message.to, succeeded: false))
        } else if network.isCut(from: from, to: message.to), random.chance(1, in: 4) {
            host(from).report(unreachable: message.to)
        }
    }

    func isDurable(_ member: MemberID, _ index: LogIndex, _ term: Term) -> Bool {
        host(member).disk.holds(index: index, term: term)
    }

    // MARK: - The end

    var leader: Host? {
        hosts.filter { $0.node?.raft.isLeader ?? false }.max { $0.node!.raft.term < $1.node!.raft.term }
    }

    private func heal() {
        note("healed")
        isFaulty = false
        network.heal()
        network.isFaulty = false
        for host in hosts {
            host.isDiskSlow = false
            host.pausedUntil = 0
            if !host.isUp && !host.isStoppedForGood { host.start() }
        }
        clients.beginFinal()
    }

    private func checkEnd() {
        guard let leader else { fail("no progress: no leader at the end") }
        guard clients.finalCompleted.allSatisfy({ $0 > 0 }) else {
            fail("no progress: operations of each client after healing: \(clients.finalCompleted)")
        }
        guard target > 0 else { fail("no progress: no leader half a second before the end") }
        for member in leader.node!.raft.confState.members where host(member).applied < target {
            fail("no progress: \(member) has applied \(host(member).applied) of \(target)")
        }
        let history = clients.history { self.oracle.appliedCommands.contains($0) }
        if let blocked = Linearizability.check(history) {
            fail("the history is not linearizable around\n" + blocked.map { "  \($0)" }.joined(separator: "\n"))
        }
    }

    func fail(_ what: String) -> Never { Report.fail("at \(now) us: \(what)") }

    // MARK: - Telling

    func log(_ id: MemberID, _ what: @autoclosure () -> String) {
        if isVerbose { note("\(id) \(what())") }
    }

    func note(_ what: @autoclosure () -> String) {
        if isVerbose { print("[\(queue.now)] \(what())") }
    }

    private func describe(_ message: Message) -> String {
        var text = "\(message.kind) term=\(message.term) index=\(message.index) logTerm=\(message.logTerm)"
        if !message.entries.isEmpty { text += " entries=\(message.entries.map { "\($0.index)@\($0.term)" })" }
        if message.commit > 0 { text += " commit=\(message.commit)" }
        if message.reject { text += " reject hint=\(message.rejectHint)" }
        if let snapshot = message.snapshot { text += " snapshot=\(snapshot.metadata.index)@\(snapshot.metadata.term)" }
        return text
    }
}
