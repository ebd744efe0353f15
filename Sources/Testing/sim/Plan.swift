// What kind of a run a seed gives: drawn once at the start, so that runs differ in kind and not only in detail.

import Foundations
import Raft

struct Plan {
    var voters: Int
    var clients: Int
    var faultTime: Microseconds
    var healedTime: Microseconds = 2_500_000
    var tick: Microseconds = 10_000
    var faultEvery: Microseconds

    // Network.
    var delayMax: Microseconds
    var lossPercent: Int
    var duplicatePercent: Int
    var straggleOneIn: Int

    // Disk.
    var syncMax: Microseconds
    var slowSyncOneIn: Int
    var syncsInline: Bool

    // Member.
    var preVote: Bool
    var mixedPreVote: Bool
    var appendBytesMax: Int
    var applyBytesMax: Int
    var inflightMessagesMax: Int
    var appliesBeforeStable: Bool
    var snapshotEvery: Int
    var catchUpEntries: Int
    var turnDelayMax: Microseconds

    // Faults in play.
    var crashes: Bool
    var partitions: Bool
    var pauses: Bool
    var membership: Bool
    var transfers: Bool
    /// Hosts tell that nobody listens where a member was; now and then they are wrong.
    var refusals: Bool

    init(_ random: inout SeededRandom) {
        func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &random)] }
        voters = pick([1, 2, 3, 3, 3, 3, 5, 5])
        clients = pick([2, 3, 4])
        faultTime = pick([1_500_000, 2_500_000, 4_000_000])
        faultEvery = pick([60_000, 150_000, 400_000])
        delayMax = pick([500, 2_000, 8_000])
        lossPercent = pick([0, 0, 1, 5, 20])
        duplicatePercent = pick([0, 0, 2, 10])
        straggleOneIn = pick([1_000_000, 200, 30])
        syncMax = pick([200, 2_000, 10_000])
        slowSyncOneIn = pick([1_000_000, 300, 40])
        syncsInline = random.chance(1, in: 4)
        preVote = random.chance(3, in: 4)
        mixedPreVote = random.chance(1, in: 5)
        appendBytesMax = pick([1, 300, 1 << 20])
        applyBytesMax = pick([1, 400, 1 << 20])
        inflightMessagesMax = pick([1, 4, 512])
        appliesBeforeStable = random.chance(1, in: 3)
        snapshotEvery = pick([10, 50, 200, 1_000_000])
        catchUpEntries = pick([0, 5, 50])
        turnDelayMax = pick([0, 0, 300, 3_000])
        crashes = random.chance(4, in: 5)
        partitions = random.chance(4, in: 5)
        pauses = random.chance(1, in: 2)
        membership = random.chance(1, in: 2)
        transfers = random.chance(1, in: 2)
        refusals = random.chance(1, in: 2)
    }
}
