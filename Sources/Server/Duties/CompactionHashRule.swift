// Who is wrong, when the hashes differ that members took at one compaction? Those that differ from what a majority of all
// members has. When no hash has a majority nobody can say who it is, and the whole cluster is suspected.
//
//     A (leader) 7, B 7, C 9           C is corrupt
//     A (leader) 7, B 9, C 9           A, the leader itself, is corrupt
//     A (leader) 7, B 9, C no answer   nobody knows
//
// Only hashes over the same stretch of history can be compared: a member whose compaction before was another one, which
// was restarted since, or which is of a release without the check, is passed over.

import Foundations
import MVCC

package struct CompactionHashRule {
    /// What a member said when asked for its hash at the leader's compacted revision.
    package enum Answer: Equatable, Sendable {
        case hash(UInt32, compactRevision: Int64)
        case none(reason: String)
    }

    package enum Verdict: Equatable, Sendable {
        /// All members have the leader's hash.
        case alike
        /// Those that could be compared do.
        case partly
        /// These differ from the majority; ascending.
        case corrupt([MemberID])
        /// There are several hashes, and none is that of a majority.
        case undecided
    }

    package var verdict: Verdict
    /// Other members whose hash counted.
    package var compared: Int
    /// The others, and why they did not.
    package var skipped: [(member: MemberID, reason: String)]
    /// Every hash that was found and who has it, the leader's first, then in the order of the answers.
    package var holders: [(hash: UInt32, members: [MemberID])]

    /// `answers` holds every other member of the cluster, learners included, whether it answered or not.
    package init(leader: MemberID, _ own: StoreHash, _ answers: [(member: MemberID, answer: Answer)]) {
        var holders = [(hash: own.hash, members: [leader])]
        var skipped: [(member: MemberID, reason: String)] = []
        for (member, answer) in answers {
            switch answer {
            case .none(let reason):
                skipped.append((member, reason))
            case .hash(_, let since) where since != own.compactRevision:
                skipped.append(
                    (member, "the peer's compact revision \(since) does not match the leader's \(own.compactRevision)"))
            case .hash(let hash, _):
                if let known = holders.firstIndex(where: { $0.hash == hash }) {
                    holders[known].members.append(member)
                } else {
                    holders.append((hash, [member]))
                }
            }
        }
        (self.holders, self.skipped) = (holders, skipped)
        compared = answers.count - skipped.count
        let quorum = (answers.count + 1) / 2 + 1
        if holders.count == 1 {
            verdict = skipped.isEmpty ? .alike : .partly
        } else if let majority = holders.firstIndex(where: { $0.members.count >= quorum }) {
            verdict = .corrupt(holders.indices.filter { $0 != majority }.flatMap { holders[$0].members }.sorted())
        } else {
            verdict = .undecided
        }
    }
}
