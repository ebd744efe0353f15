// Which voters of a cluster were seen behind a moment ago: an agent sees it at its looks, and a command asks all agents. A cluster
// whose members have only just come level is not changed yet (G-CAUGHTUP): who fell behind a moment ago may do so again.

import Wire

struct LagWatch: Sendable {
    /// Level for so long is level, in seconds. Agents look as often, each at its own moments.
    static let quiet: Int64 = 10

    /// All of them: the one furthest behind may be the one that leaves, and then another matters.
    private var behind: [String: (lag: UInt64, at: UInt64)] = [:]

    /// `lags`: of the voters that answered, in entries.
    mutating func saw(_ lags: [String: UInt64], at: UInt64) {
        behind = behind.filter { Self.seconds(from: $0.value.at, to: at) < Self.quiet }
        for (name, lag) in lags where lag > MemberView.lagMax { behind[name] = (lag, at) }
    }

    /// For who asks: those that have not been level for long enough.
    func told(at now: UInt64) -> [AgentPB.Straggler] {
        behind.sorted { $0.key < $1.key }
            .map { AgentPB.Straggler(name: $0.key, lag: $0.value.lag, seconds: Self.seconds(from: $0.value.at, to: now)) }
            .filter { $0.seconds < Self.quiet }
    }

    /// Those that matter, by the word of all agents: who was seen last comes first.
    static func stragglers(of agents: [AgentPB.ObserveResponse], among names: Set<String>) -> [AgentPB.Straggler] {
        // No agent is believed to have looked in the future.
        agents.flatMap(\.stragglers)
            .map { AgentPB.Straggler(name: $0.name, lag: $0.lag, seconds: max(0, $0.seconds)) }
            .filter { names.contains($0.name) }
            .sorted { ($0.seconds, $0.name) < ($1.seconds, $1.name) }
    }

    private static func seconds(from then: UInt64, to now: UInt64) -> Int64 { Int64(clamping: (now &- then) / 1_000_000_000) }
}
