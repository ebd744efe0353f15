// Configuration changes take effect when they are applied.

import Foundations

extension RaftNode {
    /// Applies the change of the committed entry at `index`; everything before it has been applied. Returns the
    /// configuration from here on.
    @discardableResult
    package mutating func applyConfChange(_ change: ConfChange, at index: LogIndex) -> ConfState {
        invariant(index > log.applied, "a configuration change at \(index) applied twice, applied \(log.applied)")
        applied(to: index)
        let next = confState.applying(change)
        guard next != confState else { return next }
        let hadVote = confState.isVoter(id)
        confState = next
        updatePeers()
        if role == .leader {
            leadOn()
        } else if hadVote && !confState.isVoter(id) && role != .follower {
            becomeFollower(term: term, leader: .none)  // A campaign of one who may not vote any more is void.
        }
        proposeLeavingJoint()
        return next
    }

    /// Keeps what is known of members that stay.
    private mutating func updatePeers() {
        let old = peers
        peers = confState.members.map { member in
            if let known = old.first(where: { $0.id == member }) { return known }
            var new = makeProgress(member)
            // Counts as active at first, so that adding it does not cost the leader its quorum.
            new.isRecentlyActive = true
            new.owesProbe = true
            return new
        }
    }

    /// A smaller quorum may commit more and confirm more. A removed leader leads until it is stopped.
    private mutating func leadOn() {
        appendsDue = true
        if slot(of: leaderTransferee) == nil || !confState.isVoter(leaderTransferee) { leaderTransferee = .none }
        if leaderTransferee == .none { releaseHeld() }
        advanceCommit()
        answerReadsOfOnlyVoter()
    }

    /// A leader that entered a joint configuration by itself leaves it by itself.
    mutating func proposeLeavingJoint() {
        guard role == .leader, confState.isJoint, confState.autoLeave, pendingConfIndex <= log.applied else { return }
        pendingConfIndex = log.lastIndex + 1
        appendOwn(kind: .confChangeV2, data: nil)
    }
}
