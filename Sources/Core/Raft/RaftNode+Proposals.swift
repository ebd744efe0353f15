// New entries, from this member's clients or forwarded by others.

import Foundations

package enum ProposalOutcome: Equatable, Sendable {
    /// In the leader's log at this index. It may still be lost when the leadership is.
    case appended(LogIndex)
    /// On the way to the leader.
    case forwarded(MemberID)
    /// Wait for a leader and propose again.
    case noLeader
    /// The leadership is being handed over.
    case transferring
    /// This member has been removed from the cluster.
    case removed
    /// Too many bytes wait to be committed.
    case tooMuchUncommitted
}

extension RaftNode {
    /// Payload bytes of one forwarded message that gathers the proposals of a turn.
    private static var forwardBytesMax: Int { 256 << 10 }

    @discardableResult
    package mutating func propose(_ data: Bytes) -> ProposalOutcome {
        propose(Entry(data: data))
    }

    /// An encoded configuration change. A leader replaces it by an empty entry while another one is unapplied: the index is
    /// used up, and the proposer never sees its change.
    @discardableResult
    package mutating func proposeConfChange(_ data: Bytes, kind: Entry.Kind = .confChange) -> ProposalOutcome {
        propose(Entry(kind: kind, data: data))
    }

    private mutating func propose(_ entry: Entry) -> ProposalOutcome {
        switch role {
        case .leader:
            let room = roomForProposals(bytes: entry.data?.count ?? 0)
            if room == .appended(0) {
                take(entry)
                return .appended(log.lastIndex)
            }
            return room
        case .follower where leader != .none:
            forward(entry)
            return .forwarded(leader)
        default:
            return .noLeader
        }
    }

    mutating func receiveProposal(_ message: Message) {
        guard !message.entries.isEmpty else { return }
        if role == .leader {
            if leaderTransferee != .none { return hold(message) }
            let bytes = message.entries.reduce(0) { $0 + ($1.data?.count ?? 0) }
            guard roomForProposals(bytes: bytes) == .appended(0) else { return }
            for entry in message.entries { take(entry) }
        } else if role == .follower && leader == .none {
            // Sent while this member led, met on the way by the vote for the next one, who will soon be heard of.
            hold(message)
        } else if role == .follower && leader != message.from {
            var forwarded = message
            forwarded.to = leader
            send(forwarded)
        }
    }

    // MARK: - While the leadership is handed over

    /// Bytes of others' proposals that wait for the end of a transfer; more are dropped, as without a leader.
    private static var heldBytesMax: Int { 4 << 20 }

    /// The proposal is in no log: it can be given to whoever leads next without happening twice.
    private mutating func hold(_ message: Message) {
        let bytes = held.reduce(0) { $0 + $1.entries.reduce(0) { $0 + $1.weight } }
        guard message.entries.reduce(bytes, { $0 + $1.weight }) <= Self.heldBytesMax else { return }
        held.append(message)
    }

    /// The transfer has failed, or has another leader to show for it.
    mutating func releaseHeld() {
        guard !held.isEmpty else { return }
        let waiting = held
        held = []
        for message in waiting {
            guard role == .follower, leader != .none else { receiveProposal(message); continue }
            // Also back to where it came from: that one may be who leads now.
            var forwarded = message
            forwarded.to = leader
            send(forwarded)
        }
    }

    /// `.appended(0)` when a leader takes this much.
    private func roomForProposals(bytes: Int) -> ProposalOutcome {
        if slot(of: id) == nil { return .removed }
        if leaderTransferee != .none { return .transferring }
        // A single proposal beyond the limit is taken when nothing else waits: it could never be otherwise.
        if uncommittedBytes > 0 && bytes > settings.uncommittedBytesMax - uncommittedBytes { return .tooMuchUncommitted }
        return .appended(0)
    }

    private mutating func take(_ entry: Entry) {
        if settings.uncommittedBytesMax != .max { uncommittedBytes += entry.data?.count ?? 0 }
        guard entry.kind != .normal else { return appendOwn(kind: .normal, data: entry.data) }
        let leavesJoint = entry.kind == .confChangeV2 && (entry.data ?? []).isEmpty
        let isGateOpen = pendingConfIndex <= log.applied || settings.sabotage.contains(.changesOverlap)
        guard isGateOpen && confState.isJoint == leavesJoint else { return appendOwn(kind: .normal, data: nil) }
        pendingConfIndex = log.lastIndex + 1
        appendOwn(kind: entry.kind, data: entry.data)
    }

    /// Kind and data only. Proposals of one turn share a message.
    private mutating func forward(_ entry: Entry) {
        if let last = outbox.last, last.kind == .propose, last.from == id, last.to == leader,
            last.entries.reduce(entry.weight, { $0 + $1.weight }) <= Self.forwardBytesMax
        {
            outbox[outbox.count - 1].entries.append(entry)
            return
        }
        send(Message(.propose, to: leader, from: id, entries: [entry]))
    }
}
