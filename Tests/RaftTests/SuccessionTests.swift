// A leader whose process is gone, as its host says, is not waited for as one that is only silent.

import Foundations
import Raft
import Testing

struct SuccessionTests {
    private static let ids = [MemberID(1), MemberID(2), MemberID(3)]
    private static let (one, two, three) = (ids[0], ids[1], ids[2])

    /// A member of three that follows `leader` in term 2.
    private static func follower(_ id: MemberID, of leader: MemberID, preVote: Bool = true) -> RaftNode {
        var restart = RaftNode.Restart()
        restart.hardState = HardState(term: 2, vote: leader, commit: 0)
        restart.confState = ConfState(voters: ids)
        var settings = Settings(id: id)
        settings.preVote = preVote
        var node = RaftNode(settings: settings, seed: 1, restart: restart)
        node.step(Message(.heartbeat, to: id, from: leader, term: 2))
        #expect(node.softState == SoftState(role: .follower, leader: leader))
        return node
    }

    private static func ticksToCampaign(_ node: inout RaftNode) -> Int {
        var ticks = 0
        while node.softState.role == .follower {
            node.tick()
            ticks += 1
        }
        return ticks
    }

    @Test func `those who know take turns, long before an election timeout`() {
        var first = Self.follower(Self.one, of: Self.two)
        var second = Self.follower(Self.three, of: Self.two)
        first.reportGone(Self.two)
        second.reportGone(Self.two)
        #expect(Self.ticksToCampaign(&first) == 1)
        #expect(Self.ticksToCampaign(&second) == 3)
        let asked = sent(by: &first).filter { $0.kind == .preVote }
        #expect(asked.map(\.to) == [Self.two, Self.three])
    }

    @Test func `one that knows votes for another`() {
        var node = Self.follower(Self.three, of: Self.two)
        let request = Message(.preVote, to: Self.three, from: Self.one, term: 3)
        node.step(request)
        #expect(!sent(by: &node).contains { $0.kind == .preVoteResponse }, "it hears from its leader")
        node.reportGone(Self.two)
        node.step(request)
        #expect(sent(by: &node).contains { $0.kind == .preVoteResponse && !$0.reject && $0.term == 3 })
    }

    @Test func `a leader that is heard of again is followed on`() {
        var node = Self.follower(Self.one, of: Self.two)
        node.reportGone(Self.two)
        #expect(node.softState.leader == .none)
        node.step(Message(.heartbeat, to: Self.one, from: Self.two, term: 2))
        #expect(node.softState == SoftState(role: .follower, leader: Self.two))
        #expect(Self.ticksToCampaign(&node) >= 10)
    }

    @Test func `what is said of another than the leader changes nothing`() {
        var node = Self.follower(Self.one, of: Self.two)
        node.reportGone(Self.three)
        node.reportGone(.none)
        #expect(node.softState.leader == Self.two)
        #expect(Self.ticksToCampaign(&node) >= 10)
    }

    @Test func `without pre-vote a wrong report would depose a leader: it is not believed`() {
        var node = Self.follower(Self.one, of: Self.two, preVote: false)
        node.reportGone(Self.two)
        #expect(node.softState.leader == Self.two)
        #expect(Self.ticksToCampaign(&node) >= 10)
    }
}
