// Linearizable reads without a write (ReadIndex).

import Foundations

package enum ReadOutcome: Equatable, Sendable {
    /// A `ReadState` with the token will come, unless messages get lost or the leader changes: ask again after a while
    /// with the same token.
    case asked
    /// Nobody to ask.
    case noLeader
    /// Too many are waiting.
    case busy
}

extension RaftNode {
    /// Asks up to which index the state machine must be applied for the reads gathered under `token`. The token must be
    /// unique over all members and time; all reads under it must have begun before the first call with it.
    @discardableResult
    package mutating func readIndex(_ token: Bytes) -> ReadOutcome {
        switch role {
        case .leader:
            return leaderRead(token, requester: .none)
        case .follower where leader != .none:
            send(Message(.readIndex, to: leader, from: id, entries: [Entry(data: token)]))
            return .asked
        default:
            return .noLeader
        }
    }

    mutating func receiveReadRequest(_ message: Message) {
        guard message.entries.count == 1, let token = message.entries[0].data, message.term <= term else { return }
        if role == .leader {
            _ = leaderRead(token, requester: message.from == id ? .none : message.from)
        } else if role == .follower && leader != .none && leader != message.from {
            var forwarded = message
            forwarded.to = leader
            send(forwarded)
        }
    }

    private mutating func leaderRead(_ token: Bytes, requester: MemberID) -> ReadOutcome {
        let isCurrent = log.term(at: log.committed) == term || settings.sabotage.contains(.readsBeforeFirstCommit)
        if (isOnlyVoter && isCurrent) || (settings.sabotage.contains(.readsUnconfirmed) && isCurrent) {
            answerRead(token, requester, index: log.committed)
            return .asked
        }
        if reads.contains(token: token, requester: requester) {
            broadcastHeartbeat()  // The request was repeated: an answer may have been lost.
            return .asked
        }
        guard reads.count < settings.readsMax else { return .busy }
        if isCurrent {
            startRead(token, requester)
            broadcastHeartbeat()
        } else if !reads.early.contains(where: { $0.token == token && $0.requester == requester }) {
            reads.early.append((token, requester))
        }
        return .asked
    }

    private mutating func startRead(_ token: Bytes, _ requester: MemberID) {
        reads.add(token: token, requester: requester, index: log.committed)
    }

    /// The first entry of the term is committed: now the commit index is known to be current.
    mutating func startEarlyReads() {
        guard !reads.early.isEmpty else { return }
        let early = reads.early
        reads.early = []
        for read in early {
            if isOnlyVoter { answerRead(read.token, read.requester, index: log.committed) } else { startRead(read.token, read.requester) }
        }
        if !isOnlyVoter { broadcastHeartbeat() }
    }

    mutating func confirmRead(_ token: Bytes, by member: MemberID) {
        guard let (position, confirmedBy) = reads.confirm(token, by: member) else { return }
        guard confState.hasQuorum({ $0 == id || confirmedBy.contains($0) }) else { return }
        for read in reads.take(through: position) { answerRead(read.token, read.requester, index: read.index) }
    }

    /// The voters may have become fewer while reads waited.
    mutating func answerReadsOfOnlyVoter() {
        guard role == .leader, isOnlyVoter, !reads.waiting.isEmpty else { return }
        for read in reads.take(through: reads.waiting.count - 1) {
            answerRead(read.token, read.requester, index: read.index)
        }
    }

    private mutating func answerRead(_ token: Bytes, _ requester: MemberID, index: LogIndex) {
        if requester == .none {
            readStates.append(ReadState(index: index, token: token))
        } else {
            send(
                Message(
                    .readIndexResponse, to: requester, from: id, term: term, index: index, entries: [Entry(data: token)]))
        }
    }

    mutating func receiveReadResponse(_ message: Message) {
        guard message.entries.count == 1, let token = message.entries[0].data else { return }
        readStates.append(ReadState(index: message.index, token: token))
    }
}
