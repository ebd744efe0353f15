import Foundations
import Testing

@testable import MVCC
@testable import Server

@Suite struct CompactionHashRuleTests {
    private static let leader = MemberID(1)
    private static let own = StoreHash(hash: 77, compactRevision: 10, revision: 20)

    /// What members 2, 3... said: a hash, nil for no answer.
    private static func rule(_ hashes: UInt32?...) -> CompactionHashRule {
        CompactionHashRule(
            leader: leader, own,
            hashes.enumerated().map {
                (MemberID(UInt64($0 + 2)), $1.map { .hash($0, compactRevision: 10) } ?? .none(reason: "away"))
            })
    }

    private static func members(_ ids: UInt64...) -> [MemberID] { ids.map { MemberID($0) } }

    static let cases: [(String, CompactionHashRule, CompactionHashRule.Verdict)] = [
        ("two alike", rule(77), .alike),
        ("three alike", rule(77, 77), .alike),
        ("five alike", rule(77, 77, 77, 77), .alike),
        ("one of three is wrong", rule(77, 99), .corrupt(members(3))),
        ("the leader is wrong", rule(99, 99), .corrupt(members(1))),
        ("all three differ", rule(98, 99), .undecided),
        ("one of two is wrong", rule(99), .undecided),
        ("two against two of four", rule(77, 99, 99), .undecided),
        ("one of four is wrong", rule(77, 77, 99), .corrupt(members(4))),
        ("two of five are wrong, each in its own way", rule(77, 98, 77, 99), .corrupt(members(3, 5))),
        ("two of five are wrong alike, the leader is one of them", rule(99, 77, 99, 99), .corrupt(members(1, 3))),
        ("two, two and one of five", rule(77, 98, 98, 99), .undecided),
        ("two of three are alike, one does not answer", rule(77, nil), .partly),
        ("nobody answers", rule(nil, nil), .partly),
        // Those that do not answer count for the quorum: they may be right.
        ("one differs, one does not answer, of three", rule(99, nil), .undecided),
        ("one differs, one does not answer, of five", rule(77, 77, 99, nil), .corrupt(members(4))),
        ("one differs, two do not answer, of five", rule(77, 99, nil, nil), .undecided),
        ("nobody else is there", rule(), .alike),
    ]

    @Test(arguments: CompactionHashRuleTests.cases.indices)
    func `those who differ from a majority of all are corrupt`(index: Int) {
        let (name, rule, verdict) = CompactionHashRuleTests.cases[index]
        #expect(rule.verdict == verdict, "\(name)")
    }

    @Test func `a hash since another compaction says nothing`() {
        let rule = CompactionHashRule(
            leader: Self.leader, Self.own,
            [(MemberID(2), .hash(99, compactRevision: 9)), (MemberID(3), .hash(77, compactRevision: 10))])
        #expect(rule.verdict == .partly)
        #expect(rule.compared == 1)
        #expect(rule.skipped.map(\.member) == Self.members(2))
        #expect(rule.skipped.first?.reason == "the peer's compact revision 9 does not match the leader's 10")
    }

    @Test func `a member that cannot answer is named with its reason`() {
        let text = "mvcc: required revision has been compacted"
        let rule = CompactionHashRule(
            leader: Self.leader, Self.own, [(MemberID(2), .none(reason: text)), (MemberID(3), .hash(99, compactRevision: 10))])
        #expect(rule.verdict == .undecided)
        #expect(rule.skipped.map(\.reason) == [text])
        #expect(rule.holders.map(\.hash) == [77, 99])
        #expect(rule.holders.map(\.members) == [Self.members(1), Self.members(3)])
    }

    @Test(
        arguments: [
            (200, #"{"header":{"revision":12},"hash":77,"compact_revision":10,"hash_revision":11}"#, UInt32(77), Int64(10), nil),
            // 3.5.1 leaves out what is zero.
            (200, #"{"header":{"revision":12}}"#, 0, 0, nil),
            (400, "mvcc: required revision has been compacted\n", 0, 0, "mvcc: required revision has been compacted"),
            (200, "<html>", 0, 0, "the answer is not JSON"),
        ] as [(Int, String, UInt32, Int64, String?)])
    func `what a member answers is a hash or a reason`(
        status: Int, body: String, hash: UInt32, compactRevision: Int64, reason: String?
    ) {
        switch CorruptionCheck.hash(in: PeerResponse(status: status, cluster: nil, body: Bytes(body.utf8))) {
        case .success(let found):
            #expect(reason == nil)
            #expect(found == CorruptionCheck.Hash(hash: hash, revision: 12, compactRevision: compactRevision))
        case .failure(let failure): #expect(failure.description == reason)
        }
    }
}
