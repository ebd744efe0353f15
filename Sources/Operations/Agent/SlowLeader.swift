// Whether a leader whose disk is slow hands over, and to whom. Every write waits for the leader's disk or for a majority of the
// others': a leader that is the only slow one costs all clients what a follower that is slow costs nobody. Pure; each agent
// judges for its own member alone, so two never move the leader at once.

import Inventory

struct SlowLeader: Sendable {
    /// Consecutive ones, ten seconds apart, at which the disk must have been slow: a burst is over by then.
    static let looksMin = 4
    /// Between two attempts: a cluster whose disks are slow in turns is not to be led by turns.
    static let pause: UInt64 = 600_000_000_000

    struct Voter: Sendable, Equatable {
        var name: String
        var id: UInt64
        var lag: UInt64
        /// Nil: its agent does not tell.
        var syncTime: UInt64?
    }

    struct Sight: Sendable, Equatable {
        /// Monotonic nanoseconds.
        var at: UInt64
        /// The policy says so, no operation is open, nothing is paused.
        var mayMove = true
        var leads = true
        var syncTime: UInt64?
        /// More is slow.
        var syncTimeMost: UInt64
        /// Healthy ones, but for its own.
        var others: [Voter]
    }

    private var slowLooks = 0
    private var movedAt: UInt64?

    /// Whom to hand over to now; nil mostly.
    mutating func judge(_ sight: Sight) -> Voter? {
        guard sight.mayMove, sight.leads, let own = sight.syncTime, own > sight.syncTimeMost else {
            slowLooks = 0
            return nil
        }
        slowLooks += 1
        guard slowLooks >= Self.looksMin else { return nil }
        if let movedAt, sight.at &- movedAt < Self.pause { return nil }
        // Much better, and known to be: who is not known may be worse.
        let better = sight.others.filter { other in
            guard let time = other.syncTime else { return false }
            return other.lag <= MemberView.lagMax && time <= sight.syncTimeMost && time <= own / 2
        }
        guard let best = better.min(by: { ($0.syncTime ?? 0, $0.name) < ($1.syncTime ?? 0, $1.name) }) else { return nil }
        movedAt = sight.at
        slowLooks = 0
        return best
    }
}
