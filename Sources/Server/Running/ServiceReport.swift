// What systemd is told while the server runs: that it is alive, and one line of how it is.

import Foundations
import Linux
import Systemd
import TLSEngine

final class ServiceReport {
    private let manager = ServiceManager()
    private unowned let member: Member
    private let certificates: [TLSContext]
    private var lastStatus = ""

    init(_ member: Member, _ certificates: [TLSContext]) {
        self.member = member
        self.certificates = certificates
    }

    /// Nil when systemd was told, or is not there.
    func ready() -> SystemError? {
        do throws(SystemError) { try manager.ready(status: line()) } catch { return error }
        if manager.isPresent { look() }
        if let interval = manager.watchdogInterval { feed(every: interval / 2) }
        return nil
    }

    /// Why it ends stays in `systemctl status` until it runs again.
    static func failed(_ reason: String) { try? ServiceManager().stopping(status: reason) }

    func stopping() { try? manager.stopping(status: "stopping") }

    private func feed(every interval: UInt64) {
        try? manager.watchdog()
        member.loop.schedule(after: interval) { [weak self] in self?.feed(every: interval) }
    }

    private func look() {
        let text = line()
        if text != lastStatus {
            lastStatus = text
            try? manager.status(text)
        }
        member.loop.schedule(after: 2_000_000_000) { [weak self] in
            guard let self, !member.isStopped else { return }
            look()
        }
    }

    private func line() -> String {
        let role = member.isLearner ? "learner" : member.isLeader ? "leader" : member.hasLeader ? "follower" : "NO LEADER"
        var parts = [role]
        if let leader = member.state.membership[member.leader], !member.isLeader { parts.append("leader \(leader.name)") }
        parts.append("\(member.state.membership.voters.count) voters")
        parts.append("lag \(member.committed - min(member.committed, member.state.appliedIndex))")
        parts.append("db \(member.store.usedBytes / 1_048_576) MiB")
        let now = Int64(Clock.wall() / 1_000_000_000)
        if let seconds = certificates.compactMap({ $0.certificate?.secondsLeft(now: now) }).min() {
            parts.append("certificate \(seconds / 86_400) d")
        }
        for alarm in member.state.alarms.list() { parts.append("ALARM \(alarm.type == .nospace ? "NOSPACE" : "CORRUPT")") }
        return parts.joined(separator: ", ")
    }
}
