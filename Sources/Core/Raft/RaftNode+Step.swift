// The entry for messages: the rules about terms, then to the role's part.

import Foundations

extension RaftNode {
    package mutating func step(_ message: Message) {
        switch message.kind {
        case .propose: return receiveProposal(message)
        case .readIndex: return receiveReadRequest(message)
        default: break
        }
        if message.kind.isResponse && slot(of: message.from) == nil { return }
        if message.term > term {
            guard adoptTerm(of: message) else { return }
        } else if message.term < term {
            return answerStale(message)
        }
        switch message.kind {
        case .vote, .preVote: receiveVoteRequest(message)
        case .voteResponse, .preVoteResponse: receiveVote(message)
        case .append, .heartbeat, .snapshot: receiveFromLeader(message)
        case .appendResponse: receiveAppendResponse(message)
        case .heartbeatResponse: receiveHeartbeatResponse(message)
        case .transferLeader: receiveTransfer(message)
        case .timeoutNow: receiveTimeoutNow()
        case .readIndexResponse: receiveReadResponse(message)
        case .propose, .readIndex: break
        }
    }

    package mutating func tick() {
        electionElapsed += 1
        if role == .leader {
            tickLeader()
        } else if electionElapsed >= electionTimeout || isOwnTurnToSucceed() {
            electionElapsed = 0
            if mayCampaign { campaign(settings.preVote ? .preVote : .election) }
        }
    }

    private mutating func tickLeader() {
        heartbeatElapsed += 1
        if electionElapsed >= settings.electionTicks {
            electionElapsed = 0
            checkQuorum()
            guard role == .leader else { return }
            leaderTransferee = .none  // A transfer that took a whole election timeout has failed.
            releaseHeld()
        }
        if heartbeatElapsed >= settings.heartbeatTicks {
            heartbeatElapsed = 0
            broadcastHeartbeat()
        }
    }

    /// A message of a later term. False: it is not to be looked at further.
    private mutating func adoptTerm(of message: Message) -> Bool {
        switch message.kind {
        case .vote, .preVote:
            // A member that hears from its leader does not help to depose it (lease), unless the leader itself wants it.
            let isInLease = leader != .none && electionElapsed < settings.electionTicks
            if isInLease && message.context != Message.campaignTransfer { return false }
            if message.kind == .preVote { return true }
        case .preVoteResponse where !message.reject:
            return true  // Names the term we would have; we are not there yet.
        default:
            break
        }
        becomeFollower(term: message.term, leader: message.kind.isFromLeader ? message.from : .none)
        return true
    }

    /// A message of an earlier term: its sender must learn that time has gone on, or it would disturb (or hang) for ever.
    private mutating func answerStale(_ message: Message) {
        switch message.kind {
        case .append, .heartbeat:
            send(Message(.appendResponse, to: message.from, from: id, term: term))
        case .preVote:
            send(Message(.preVoteResponse, to: message.from, from: id, term: term, reject: true))
        default:
            break
        }
    }

    private mutating func receiveFromLeader(_ message: Message) {
        if role == .leader {
            // Election safety (paper, figure 3). Members that a forced new cluster has cut off may not know it yet.
            invariant(
                slot(of: message.from) == nil || message.from == id,
                "two leaders in term \(term): \(id) and \(message.from)")
            return
        }
        invariant(
            leader == .none || leader == message.from || !confState.contains(message.from)
                || !confState.contains(leader),
            "two leaders in term \(term): \(leader) and \(message.from)")
        if role != .follower { becomeFollower(term: term, leader: message.from) }
        leader = message.from
        electionElapsed = 0
        successionIn = nil
        releaseHeld()
        switch message.kind {
        case .append: receiveAppend(message)
        case .heartbeat: receiveHeartbeat(message)
        default: receiveSnapshot(message)
        }
    }

    // MARK: - Sending

    /// Leaves with the next `ready`.
    mutating func send(_ message: Message) {
        outbox.append(message)
    }

    /// Leaves when all that this member has said so far is durable: answers that others will count.
    mutating func sendWhenDurable(_ message: Message) {
        if settings.sabotage.contains(.answersBeforeSync) { return send(message) }
        // One acknowledgement covers those before it.
        if message.kind == .appendResponse, !message.reject, let last = withheldNew.last, last.kind == .appendResponse,
            !last.reject, last.to == message.to, last.term == message.term, last.index <= message.index
        {
            withheldNew[withheldNew.count - 1] = message
            return
        }
        withheldNew.append(message)
    }

    // MARK: - Roles

    /// Everything that belongs to a term or a role starts anew.
    private mutating func reset(term newTerm: Term) {
        invariant(newTerm >= term, "the term falls from \(term) to \(newTerm)")
        if newTerm != term {
            term = newTerm
            vote = .none
        }
        leader = .none
        electionElapsed = 0
        heartbeatElapsed = 0
        successionIn = nil
        drawElectionTimeout()
        votes.removeAll(keepingCapacity: true)
        ownVote = nil
        appendsDue = false
        pendingConfIndex = 0
        leaderTransferee = .none
        uncommittedBytes = 0
        reads = ReadQueue()
    }

    mutating func becomeFollower(term newTerm: Term, leader newLeader: MemberID) {
        reset(term: newTerm)
        role = .follower
        leader = newLeader
    }

    /// Neither term nor vote changes: a pre-candidate only asks.
    mutating func becomePreCandidate() {
        invariant(role != .leader, "a leader does not campaign")
        reset(term: term)
        held = []  // Nobody was heard of for an election timeout: whoever proposed has given up by the time somebody is.
        role = .preCandidate
    }

    mutating func becomeCandidate() {
        invariant(role != .leader, "a leader does not campaign")
        reset(term: term + 1)
        held = []
        role = .candidate
        vote = id
    }

    mutating func becomeLeader() {
        invariant(role == .candidate, "only a candidate becomes leader, not a \(role)")
        invariant(vote == id, "a leader has voted for itself, not for \(vote)")
        invariant(log.stable == log.lastIndex, "a leader's log is durable: \(log.stable) of \(log.lastIndex)")
        reset(term: term)
        role = .leader
        leader = id
        for slot in peers.indices {
            let isSelf = peers[slot].id == id
            peers[slot].reset(match: isSelf ? log.stable : 0, next: log.lastIndex + 1)
        }
        // Changes of earlier leaders may be unapplied: conservative, but cheaper than looking at the entries.
        pendingConfIndex = log.lastIndex
        appendOwn(kind: .normal, data: nil)
    }
}
