// When a cluster last chose another leader though no operation asked for it: an agent looks at the term from time to time, and
// a command asks all agents. Changes of members wait until that is long enough ago (G-QUORUM).
//
// An operation that moves the leader, or makes a cluster, is not what the gate fears: what happens while one holds the cluster is
// its own doing.

import Wire

struct ElectionWatch: Sendable {
    private var term: UInt64 = 0
    /// Of the last look that was answered. Monotonic nanoseconds, and seconds since 1970 for what others wrote down.
    private var lookedAt: UInt64 = 0
    private var lookedAtWall: Int64 = 0
    private var electedAt: UInt64?

    /// `term`: the highest that any member told; 0: nobody answered. `operation`: the last one, whether it has ended or not.
    mutating func saw(term now: UInt64, operation: AgentPB.Operation?, at: UInt64, wall: Int64) {
        guard now > 0 else { return }
        if term > 0 && now > term && !Self.held(operation, since: lookedAtWall) { electedAt = at }
        term = max(term, now)
        lookedAt = at
        lookedAtWall = wall
    }

    /// Whether an operation held the cluster at some time since then.
    private static func held(_ operation: AgentPB.Operation?, since: Int64) -> Bool {
        guard let operation else { return false }
        return operation.state == "open" || operation.changed >= since
    }

    /// For who asks; nil before the first look.
    func told(at now: UInt64) -> AgentPB.Elections? {
        guard term > 0 else { return nil }
        return AgentPB.Elections(
            term: term, looked: Self.seconds(now &- lookedAt),
            hasElected: electedAt != nil, elected: electedAt.map { Self.seconds(now &- $0) } ?? 0)
    }

    private static func seconds(_ nanoseconds: UInt64) -> Int64 { Int64(clamping: nanoseconds / 1_000_000_000) }

    /// Seconds since the last such election by the word of all agents; nil when none has seen one. `term` is the members' own
    /// word now: a higher one than agents know came after their last look.
    static func secondsSince(term: UInt64, _ agents: [AgentPB.ObserveResponse], now: Int64) -> Int64? {
        // No agent is believed to have looked in the future.
        let told = agents.compactMap(\.elections).map { one in
            AgentPB.Elections(term: one.term, looked: max(0, one.looked), hasElected: one.hasElected, elected: max(0, one.elected))
        }
        let known = told.filter(\.hasElected).map(\.elected).min()
        guard let newest = told.max(by: { ($0.term, -$0.looked) < ($1.term, -$1.looked) }), term > newest.term else { return known }
        // Both are whole seconds, cut off: that look may have been a second earlier.
        let wasHeld = agents.contains { held($0.operation, since: now - newest.looked - 1) }
        return wasHeld ? known : 0
    }
}
