// When a voter of a cluster was last seen behind: an agent sees it at its looks, and a command asks all agents. A cluster whose
// members have only just come level is not changed yet (G-CAUGHTUP): who fell behind a moment ago may do so again.

import Wire

struct LagWatch: Sendable {
    /// Level for so long is level, in seconds. Agents look as often, each at its own moments.
    static let quiet: Int64 = 10

    private var last: (name: String, lag: UInt64, at: UInt64)?

    /// `lags`: of the voters that answered, in entries.
    mutating func saw(_ lags: [String: UInt64], at: UInt64) {
        let behind = lags.filter { $0.value > MemberView.lagMax }
        guard let most = behind.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) else { return }
        last = (most.key, most.value, at)
    }

    /// For who asks; nil when nobody was behind.
    func told(at now: UInt64) -> AgentPB.Straggler? {
        last.map { AgentPB.Straggler(name: $0.name, lag: $0.lag, seconds: Int64(clamping: (now &- $0.at) / 1_000_000_000)) }
    }

    /// The last of those that matter, by the word of all agents.
    static func last(of agents: [AgentPB.ObserveResponse], among names: Set<String>) -> AgentPB.Straggler? {
        // No agent is believed to have looked in the future.
        agents.compactMap(\.straggler)
            .map { AgentPB.Straggler(name: $0.name, lag: $0.lag, seconds: max(0, $0.seconds)) }
            .filter { names.contains($0.name) }
            .min { ($0.seconds, $0.name) < ($1.seconds, $1.name) }
    }
}
