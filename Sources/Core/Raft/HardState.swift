// What a member must remember over a crash, and what it need not.

import Foundations

/// Durable before any message that depends on it leaves: a vote forgotten is a vote given twice.
package struct HardState: Equatable, Sendable {
    package var term: Term
    package var vote: MemberID
    package var commit: LogIndex

    package init(term: Term = 0, vote: MemberID = .none, commit: LogIndex = 0) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

package enum Role: UInt8, Sendable {
    case follower, preCandidate, candidate, leader
}

package struct SoftState: Equatable, Sendable {
    package var role: Role
    package var leader: MemberID

    package init(role: Role = .follower, leader: MemberID = .none) {
        self.role = role
        self.leader = leader
    }
}

/// The answer to a read request: what is applied up to `index` is new enough for every read that waits under `token`.
package struct ReadState: Equatable, Sendable {
    package var index: LogIndex
    package var token: Bytes

    package init(index: LogIndex, token: Bytes) {
        self.index = index
        self.token = token
    }
}
