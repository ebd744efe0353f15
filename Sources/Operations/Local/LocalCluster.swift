// The members of a local cluster as child processes: started, watched, started again, stopped. One loop; one line an event.
//
//     starting --all healthy--> proving --proof--> serving --signal--> stopping --all ended--> over
//        \------------------------- time-out, failed proof --------------^

import Connections
import Foundations
import Glibc
import Inventory
import Linux

final class LocalCluster {
    private enum Stage { case starting, proving, serving, stopping }

    private static let second: UInt64 = 1_000_000_000
    private static let stopLimit = 20 * second
    private static let proofAttemptsMax = 8

    private let loop: EventLoop
    private let gateway: Gateway
    private let program: String
    private let members: [LocalMember]
    private let events: EventLines
    private let readyLimit: UInt64
    /// Asks whether the cluster is the right one, once all are healthy.
    private let prove: @Sendable () async -> Result<BootstrapProof.Proven, BootstrapProof.Failure>
    /// The cluster has been proven to be what it should be. False: it cannot be recorded, so it must not serve.
    private let proven: (BootstrapProof.Proven) -> Bool
    /// Everything serves: the leader's name is told.
    private let ready: (String) -> Void
    private let isNew: Bool
    private let quorum: Int

    private var stage = Stage.starting
    private var exitCode: Int32 = 0
    private var startedAt: UInt64 = 0
    private var proofAttempts = 0
    private var signals: SignalWatch?
    private var stopping: LocalMember?
    private var lastLeader = ""

    init(
        loop: EventLoop, gateway: Gateway, program: String, members: [LocalMember], events: EventLines, isNew: Bool,
        quorum: Int,
        readyLimit: UInt64,
        prove: @escaping @Sendable () async -> Result<BootstrapProof.Proven, BootstrapProof.Failure>,
        proven: @escaping (BootstrapProof.Proven) -> Bool, ready: @escaping (String) -> Void
    ) {
        self.loop = loop
        self.gateway = gateway
        self.program = program
        self.members = members
        self.events = events
        self.isNew = isNew
        self.quorum = quorum
        self.readyLimit = readyLimit
        self.prove = prove
        self.proven = proven
        self.ready = ready
    }

    /// Until a signal ends it. The exit code.
    func run() -> Int32 {
        do throws(SystemError) {
            signals = try SignalWatch(loop, [SIGTERM, SIGINT, SIGHUP, SIGCHLD]) { [unowned self] in received($0) }
        } catch {
            events.tell("cannot watch signals: \(error)")
            return 1
        }
        startedAt = Clock.monotonic()
        for member in members { start(member) }
        loop.schedule(after: readyLimit) { [unowned self] in timeOut() }
        loop.schedule(after: Self.second / 10) { [unowned self] in look() }
        loop.run()
        return exitCode
    }

    // MARK: Processes

    private func start(_ member: LocalMember) {
        guard stage != .stopping else { return }
        LogTail.rotate(member.log, atBytes: 16 << 20)
        member.logOffset = LogTail.size(member.log)
        member.startedAt = Clock.monotonic()
        member.view = nil
        do throws(SystemError) {
            let process = try SupervisedProcess.start(program, member.words, log: member.log)
            member.phase = .running(process)
            events.tell(member.host.name, "started (pid \(process.id))")
        } catch {
            events.tell(member.host.name, "cannot be started: \(error)")
            startLater(member)
        }
    }

    private func startLater(_ member: LocalMember) {
        member.phase = .waiting
        member.told = nil
        let delay = member.policy.delay(afterRun: Clock.monotonic() &- member.startedAt)
        events.tell(member.host.name, "starts again in \(EventLines.seconds(delay))")
        loop.schedule(after: delay) { [unowned self, unowned member] in
            if member.phase == .waiting { start(member) }
        }
    }

    private func received(_ signal: Int32) {
        switch signal {
        case SIGCHLD: collect()
        default:
            if stage == .stopping {
                events.tell("killing what is left")
                for member in members { member.process?.send(SIGKILL) }
            } else {
                stop(code: 0, "stopping all members, the leader last")
            }
        }
    }

    private func collect() {
        for member in members {
            guard let process = member.process, let exit = process.exit() else { continue }
            member.phase = .stopped
            member.view = nil
            if stage == .stopping {
                events.tell(
                    member.host.name, exit == .code(0) || exit == .signal(SIGTERM) ? "stopped" : "ended with \(exit)")
                if stopping === member { stopping = nil }
                continue
            }
            let why = LogTail.complaint(member.log, from: member.logOffset).map { ": \($0)" } ?? ""
            events.tell(member.host.name, "ended with \(exit)\(why)")
            startLater(member)
        }
        if stage == .stopping && stopping == nil { stopNext() }
    }

    // MARK: Looking

    private func look() {
        guard stage != .stopping else { return }
        let hosts = members.filter { $0.process != nil }.map(\.host)
        let (gateway, mailbox, back) = (gateway, loop.mailbox, Back(self))
        Task {
            let seen = await [String: MemberView].observe(hosts, gateway)
            mailbox.post { back.cluster.saw(seen) }
        }
    }

    private func saw(_ views: [String: MemberView]) {
        guard stage != .stopping else { return }
        for member in members where member.process != nil {
            guard let view = views[member.host.name] else { continue }
            member.view = view
            tell(member)
        }
        tellLeader()
        if stage == .starting && members.allSatisfy(\.isHealthy) { proveIt() }
        let isQuick = stage != .serving || !members.allSatisfy(\.isHealthy)
        loop.schedule(after: isQuick ? Self.second / 4 : 2 * Self.second) { [unowned self] in look() }
    }

    private func tell(_ member: LocalMember) {
        guard let view = member.view, view.health != member.told else { return }
        switch view.health {
        case .healthy: events.tell(member.host.name, "healthy")
        case .unhealthy(let reason):
            // While it starts it has no leader yet; that is no news.
            if stage == .starting || member.told == nil { return }
            events.tell(member.host.name, "unhealthy: \(reason)")
        case .unreachable(let reason):
            if stage == .starting || member.told == nil { return }
            events.tell(member.host.name, "does not answer: \(reason)")
        }
        member.told = view.health
    }

    private func tellLeader() {
        guard let leader = members.first(where: { $0.isLeader && $0.isHealthy }), let facts = leader.view?.facts else {
            return
        }
        let text = "leads, term \(facts.term)"
        if lastLeader != leader.host.name + text { events.tell(leader.host.name, text) }
        lastLeader = leader.host.name + text
    }

    // MARK: Proof

    private func proveIt() {
        stage = .proving
        let (prove, mailbox, back) = (prove, loop.mailbox, Back(self))
        Task {
            let result = await prove()
            mailbox.post { back.cluster.judged(result) }
        }
    }

    private func judged(_ result: Result<BootstrapProof.Proven, BootstrapProof.Failure>) {
        guard stage == .proving else { return }
        switch result {
        case .success(let facts):
            guard proven(facts) else { return stop(code: 1, "stopping: what was made cannot be recorded") }
            stage = .serving
            let leader = members.first(where: \.isLeader)?.host.name ?? "unknown"
            let seconds = EventLines.seconds(Clock.monotonic() &- startedAt)
            events.tell(
                "ready after \(seconds): \(members.count) of \(members.count) members healthy, leader \(leader)")
            ready(leader)
        case .failure(let failure):
            proofAttempts += 1
            events.tell("not proven yet: \(failure)")
            if proofAttempts >= Self.proofAttemptsMax {
                return stop(code: 1, "stopping: this is not the cluster that was meant")
            }
            // A member may have ended meanwhile: again when all are healthy.
            stage = .starting
        }
    }

    private func timeOut() {
        guard stage == .starting else { return }
        let late = members.filter { !$0.isHealthy }
        for member in late {
            let state =
                switch member.view?.health {
                case .unhealthy(let reason), .unreachable(let reason): reason
                default: "is not running"
                }
            let why = LogTail.complaint(member.log, from: member.logOffset).map { "; it last said: \($0)" } ?? ""
            events.tell(
                member.host.name, "not healthy in \(EventLines.seconds(readyLimit)): \(state)\(why); log: \(member.log)"
            )
        }
        if isNew { return stop(code: 1, "stopping: the cluster was not made; the next `covey up` goes on with it") }
        let healthy = members.count - late.count
        events.tell("not ready: \(healthy) of \(members.count) members are healthy, \(quorum) are needed; going on")
        if healthy >= quorum { ready(members.first(where: \.isLeader)?.host.name ?? "unknown") }
    }

    // MARK: The end

    private func stop(code: Int32, _ why: String) {
        guard stage != .stopping else { return }
        stage = .stopping
        exitCode = code
        events.tell(why)
        for member in members where member.phase == .waiting { member.phase = .stopped }
        stopNext()
    }

    /// Followers first: while the leader is there, what is under way is finished.
    private func stopNext() {
        let left = members.filter { $0.process != nil }
        guard let next = left.first(where: { !$0.isLeader }) ?? left.first, let process = next.process else {
            return loop.stop()
        }
        stopping = next
        process.send(SIGTERM)
        loop.schedule(after: Self.stopLimit) { [unowned self, unowned next] in
            guard next.process == process else { return }
            events.tell(next.host.name, "does not stop in \(EventLines.seconds(Self.stopLimit)), killing it")
            process.send(SIGKILL)
        }
    }

    /// Carries the cluster through a task and back.
    private struct Back: @unchecked Sendable {
        // Touched on the loop's thread only.
        let cluster: LocalCluster
        init(_ cluster: LocalCluster) { self.cluster = cluster }
    }
}
