// The knobs of consensus. Defaults are etcd's; all members of a cluster must agree on the tick counts.

import Foundations

package struct Settings: Sendable {
    package var id: MemberID
    /// A follower that hears nothing for this long campaigns (with up to as much again, drawn at random).
    package var electionTicks = 10
    package var heartbeatTicks = 1
    package var preVote = true
    /// Bytes of entries in one append, and in one hand-out of committed entries. One entry always goes.
    package var appendBytesMax = 1 << 20
    package var applyBytesMax = 1 << 20
    /// Appends under way to one member, by number and by bytes.
    package var inflightMessagesMax = 512
    package var inflightBytesMax = 64 << 20
    /// Payload bytes a leader takes before they commit; more is refused.
    package var uncommittedBytesMax = Int.max
    /// Read requests a leader has open, over all members; more are dropped and asked again by their members.
    package var readsMax = 4096
    /// Committed entries may be handed out before this member's own disk has them. The driver must then keep what it
    /// stores durably behind `stableIndex`.
    package var appliesBeforeStable = false
    /// Only the simulator sets this, to prove that it would notice.
    package var sabotage: Sabotage = []

    package init(id: MemberID) { self.id = id }
}

/// Rules of raft that can be broken on purpose: the simulator must find each of them. Never set elsewhere.
package struct Sabotage: OptionSet, Sendable {
    package var rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A leader counts entries of older terms (figure 8 of the paper).
    package static let commitsOlderTerms = Sabotage(rawValue: 1 << 0)
    /// A voter grants more than one vote in a term.
    package static let votesTwice = Sabotage(rawValue: 1 << 1)
    /// A voter ignores whether the candidate's log is up to date.
    package static let votesForStaleLogs = Sabotage(rawValue: 1 << 2)
    /// A leader answers reads without asking whether it still leads.
    package static let readsUnconfirmed = Sabotage(rawValue: 1 << 3)
    /// A leader answers reads before an entry of its own term is committed.
    package static let readsBeforeFirstCommit = Sabotage(rawValue: 1 << 4)
    /// Acknowledgements and votes leave before they are durable.
    package static let answersBeforeSync = Sabotage(rawValue: 1 << 5)
    /// A leader counts its own entries before they are durable.
    package static let countsUnsynced = Sabotage(rawValue: 1 << 6)
    /// Learners count for the quorum.
    package static let learnersCount = Sabotage(rawValue: 1 << 7)
    /// Several configuration changes may be under way.
    package static let changesOverlap = Sabotage(rawValue: 1 << 8)
    /// A follower takes an append without comparing the entry before it.
    package static let appendsUnmatched = Sabotage(rawValue: 1 << 9)
    /// Heartbeats carry the leader's commit index, whatever the member has.
    package static let heartbeatsOvercommit = Sabotage(rawValue: 1 << 10)
}
