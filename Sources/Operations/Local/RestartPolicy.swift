// When a member that ended is started again: soon the first time, later each time, at once patient again after it has
// run well for a while.

struct RestartPolicy: Sendable, Equatable {
    static let firstDelay: UInt64 = 500_000_000
    static let longestDelay: UInt64 = 30_000_000_000
    /// A run of this length forgives earlier failures.
    static let goodRun: UInt64 = 60_000_000_000

    private(set) var failures = 0

    /// The pause before the next start, after a run of this length. Nanoseconds.
    mutating func delay(afterRun length: UInt64) -> UInt64 {
        if length >= Self.goodRun { failures = 0 }
        let delay = Self.firstDelay << UInt64(min(failures, 6))
        failures += 1
        return min(delay, Self.longestDelay)
    }
}
