// Who votes, who learns. A plain configuration has `voters` and `learners`. A joint one (while a change of several
// members is under way) has the old voters in `votersOutgoing` too, and every decision needs a majority of both.
// All lists are kept sorted: members encode and compare the same bytes.

import Foundations

package struct ConfState: Equatable, Sendable {
    package var voters: [MemberID]
    package var learners: [MemberID]
    package var votersOutgoing: [MemberID]
    /// Still voting in the outgoing half, learners as soon as the joint configuration is left.
    package var learnersNext: [MemberID]
    package var autoLeave: Bool

    package init(
        voters: [MemberID] = [], learners: [MemberID] = [], votersOutgoing: [MemberID] = [],
        learnersNext: [MemberID] = [], autoLeave: Bool = false
    ) {
        self.voters = voters.sorted()
        self.learners = learners.sorted()
        self.votersOutgoing = votersOutgoing.sorted()
        self.learnersNext = learnersNext.sorted()
        self.autoLeave = autoLeave
    }

    package var isJoint: Bool { !votersOutgoing.isEmpty }

    /// Has a vote, in either half.
    package func isVoter(_ id: MemberID) -> Bool { voters.contains(id) || votersOutgoing.contains(id) }

    package func isLearner(_ id: MemberID) -> Bool { learners.contains(id) }

    package func isOnlyVoter(_ id: MemberID) -> Bool { voters.count == 1 && voters[0] == id && !isJoint }

    package func contains(_ id: MemberID) -> Bool { isVoter(id) || isLearner(id) }

    /// Everyone who gets the log, ascending.
    package var members: [MemberID] {
        var all = voters + learners
        for id in votersOutgoing where !all.contains(id) { all.append(id) }
        return all.sorted()
    }
}

// MARK: - Quorums

extension ConfState {
    /// True when a majority (of both halves, if joint) fulfils `condition`.
    package func hasQuorum(_ condition: (MemberID) -> Bool) -> Bool {
        Self.majority(of: voters, condition) && (votersOutgoing.isEmpty || Self.majority(of: votersOutgoing, condition))
    }

    /// The largest index that a majority (of both halves, if joint) has reached, given what each has.
    package func quorumIndex(_ match: (MemberID) -> LogIndex) -> LogIndex {
        let incoming = Self.majorityIndex(of: voters, match)
        return votersOutgoing.isEmpty ? incoming : min(incoming, Self.majorityIndex(of: votersOutgoing, match))
    }

    private static func majority(of set: [MemberID], _ condition: (MemberID) -> Bool) -> Bool {
        var count = 0
        for id in set where condition(id) { count += 1 }
        return count > set.count / 2
    }

    /// Each voter's index is tried: a handful of voters make the square cheaper than sorting, and nothing is allocated.
    private static func majorityIndex(of set: [MemberID], _ match: (MemberID) -> LogIndex) -> LogIndex {
        var best: LogIndex = 0
        for candidate in set {
            let index = match(candidate)
            if index > best && majority(of: set, { match($0) >= index }) { best = index }
        }
        return best
    }
}
