// Rules broken on purpose, to prove that the simulator notices: most inside the core, some in the driver around it.

import Raft

enum Breakage: String, CaseIterable {
    case commitsOlderTerms = "commits-older-terms"
    case votesTwice = "votes-twice"
    case votesForStaleLogs = "votes-for-stale-logs"
    case readsUnconfirmed = "reads-unconfirmed"
    case readsBeforeFirstCommit = "reads-before-first-commit"
    case answersBeforeSync = "answers-before-sync"
    case countsUnsynced = "counts-unsynced"
    case learnersCount = "learners-count"
    case changesOverlap = "changes-overlap"
    case appendsUnmatched = "appends-unmatched"
    case heartbeatsOvercommit = "heartbeats-overcommit"
    /// The vote is not there after a restart.
    case forgetsVote = "forgets-vote"
    /// The disk loses a synced entry at a crash.
    case losesSyncedEntry = "loses-synced-entry"
    /// Reads are answered before the state machine has reached their index.
    case readsTooEarly = "reads-too-early"
    /// A received snapshot's state machine is not installed.
    case skipsInstall = "skips-install"

    var sabotage: Sabotage {
        switch self {
        case .commitsOlderTerms: .commitsOlderTerms
        case .votesTwice: .votesTwice
        case .votesForStaleLogs: .votesForStaleLogs
        case .readsUnconfirmed: .readsUnconfirmed
        case .readsBeforeFirstCommit: .readsBeforeFirstCommit
        case .answersBeforeSync: .answersBeforeSync
        case .countsUnsynced: .countsUnsynced
        case .learnersCount: .learnersCount
        case .changesOverlap: .changesOverlap
        case .appendsUnmatched: .appendsUnmatched
        case .heartbeatsOvercommit: .heartbeatsOvercommit
        case .forgetsVote, .losesSyncedEntry, .readsTooEarly, .skipsInstall: []
        }
    }
}
