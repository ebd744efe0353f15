// Campaigns and votes.
//
//     follower --timeout--> preCandidate --majority would--> candidate --majority did--> leader
//         ^                      |                               |                         |
//         +---- majority won't --+------- majority did not ------+--- later term, quorum lost
//
// Vote requests, votes, and a candidate's vote for itself count only when durable: a candidate that crashed and forgot
// could collect, in the same term, votes that were given to a longer log.

import Foundations

enum Campaign { case preVote, election, transfer }

extension RaftNode {
    /// A voter whose configuration is certain: no snapshot to install, no committed change to apply.
    var mayCampaign: Bool {
        role != .leader && confState.isVoter(id) && installing == nil && snapshotToWrite == nil
            && !log.containsConfChange(after: log.applied, through: log.committed)
    }

    /// Campaigns now, as after a timeout. For drivers that know better than the clock, and for tests.
    package mutating func campaign() {
        if mayCampaign { campaign(settings.preVote ? .preVote : .election) }
    }

    mutating func campaign(_ campaign: Campaign) {
        switch campaign {
        case .preVote:
            becomePreCandidate()
            askForVotes(.preVote, term: term + 1, context: [])
            record(vote: true, from: id)
        case .election, .transfer:
            becomeCandidate()
            askForVotes(.vote, term: term, context: campaign == .transfer ? Message.campaignTransfer : [])
            ownVote = (term, nil)
        }
    }

    private mutating func askForVotes(_ kind: Message.Kind, term: Term, context: Bytes) {
        for peer in confState.members where peer != id && confState.isVoter(peer) {
            let request = Message(
                kind, to: peer, from: id, term: term, logTerm: log.lastTerm, index: log.lastIndex, context: context)
            if kind == .vote { sendWhenDurable(request) } else { send(request) }
        }
    }

    /// Called when a batch is durable.
    mutating func countOwnVote(durableThrough ticket: WriteTicket) {
        guard let own = ownVote, let written = own.ticket, written <= ticket else { return }
        ownVote = nil
        if role == .candidate && own.term == term { record(vote: true, from: id) }
    }

    mutating func receiveVoteRequest(_ message: Message) {
        let isPreVote = message.kind == .preVote
        let mayVote =
            vote == message.from || (vote == .none && leader == .none) || (isPreVote && message.term > term)
            || settings.sabotage.contains(.votesTwice)
        let isUpToDate =
            log.isUpToDate(term: message.logTerm, index: message.index)
            || settings.sabotage.contains(.votesForStaleLogs)
        let response: Message.Kind = isPreVote ? .preVoteResponse : .voteResponse
        guard mayVote && isUpToDate else {
            return send(Message(response, to: message.from, from: id, term: term, reject: true))
        }
        let grant = Message(response, to: message.from, from: id, term: message.term)
        if isPreVote { return send(grant) }
        electionElapsed = 0
        vote = message.from
        sendWhenDurable(grant)
    }

    mutating func receiveVote(_ message: Message) {
        switch (role, message.kind) {
        case (.preCandidate, .preVoteResponse):
            // A grant names the term it is for: one for an earlier campaign is no answer to this one.
            guard message.reject || message.term == term + 1 else { return }
        case (.candidate, .voteResponse):
            break
        default:
            return
        }
        record(vote: !message.reject, from: message.from)
    }

    private mutating func record(vote granted: Bool, from voter: MemberID) {
        if !votes.contains(where: { $0.id == voter }) { votes.append((voter, granted)) }
        let votes = votes
        if confState.hasQuorum({ id in votes.contains { $0.id == id && $0.granted } }) {
            if role == .preCandidate { campaign(.election) } else { becomeLeader() }
        } else if !confState.hasQuorum({ id in !votes.contains { $0.id == id && !$0.granted } }) {
            becomeFollower(term: term, leader: .none)
        }
    }

    /// A leader that does not hear from a majority steps down: it could not commit, and others may have been elected.
    mutating func checkQuorum() {
        let isReached = confState.hasQuorum { member in
            member == id || (slot(of: member).map { peers[$0].isRecentlyActive } ?? false)
        }
        for slot in peers.indices { peers[slot].isRecentlyActive = false }
        if !isReached { becomeFollower(term: term, leader: .none) }
    }

    // MARK: - Succession

    /// The driver knows that no process of this member runs: connections to it broke, and new ones are refused. If it led,
    /// there is no lease of it to wait for. Members that know take turns, in an order all of them can tell, so that they do
    /// not ask for each other's votes at once; one that comes to nothing has its election timeout to go on with.
    ///
    /// A report that is wrong does no harm: those that hear from the leader answer no pre-vote, and its next message ends it.
    package mutating func reportGone(_ member: MemberID) {
        guard settings.preVote, role == .follower, member != .none, leader == member else { return }
        leader = .none
        var turn = 0
        for other in confState.members where other < id && other != member && confState.isVoter(other) { turn += 1 }
        successionIn = 1 + turn * RaftNode.successionTicks
    }

    /// Long enough for the one before to be elected.
    private static let successionTicks = 2

    mutating func isOwnTurnToSucceed() -> Bool {
        guard let left = successionIn else { return false }
        successionIn = left > 1 ? left - 1 : nil
        return left <= 1
    }

    // MARK: - Transfer

    /// Asks the leader (this member or another) to hand over to `transferee`.
    package mutating func transferLeader(to transferee: MemberID) {
        receiveTransfer(Message(.transferLeader, to: leader, from: transferee, term: term))
    }

    mutating func receiveTransfer(_ message: Message) {
        guard role == .leader else {
            guard role == .follower, leader != .none else { return }
            return send(Message(.transferLeader, to: leader, from: message.from, term: term))
        }
        let transferee = message.from
        guard transferee != id, transferee != leaderTransferee, let slot = slot(of: transferee),
            confState.isVoter(transferee)
        else { return }
        leaderTransferee = transferee
        electionElapsed = 0
        completeTransferIfCaughtUp(slot)
        peers[slot].owesProbe = true
        appendsDue = true
    }

    /// The transferee must have the whole log, or it could not win.
    mutating func completeTransferIfCaughtUp(_ slot: Int) {
        guard peers[slot].id == leaderTransferee, peers[slot].match == log.lastIndex else { return }
        send(Message(.timeoutNow, to: leaderTransferee, from: id, term: term))
    }

    mutating func receiveTimeoutNow() {
        if role == .follower && mayCampaign { campaign(.transfer) }
    }
}
