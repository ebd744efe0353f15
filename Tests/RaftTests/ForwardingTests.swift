// What becomes of a proposal that was sent to a leader and finds a member that leads no more.

import Foundations
import Raft
import Testing

struct ForwardingTests {
    private static let (one, two, three) = (MemberID(1), MemberID(2), MemberID(3))
    private static let put = Message(.propose, to: MemberID(1), from: MemberID(3), entries: [Entry(data: Bytes("put".utf8))])

    /// Member 1 of three, that led term 2 and has just been asked for its vote in a transfer to member 2.
    private static func formerLeader() -> RaftNode {
        var restart = RaftNode.Restart()
        restart.hardState = HardState(term: 2, vote: one, commit: 0)
        restart.confState = ConfState(voters: [one, two, three])
        var node = RaftNode(settings: Settings(id: one), seed: 1, restart: restart)
        node.step(Message(.vote, to: Self.one, from: Self.two, term: 3, context: Message.campaignTransfer))
        #expect(node.softState == SoftState(role: .follower, leader: .none))
        return node
    }

    private static func proposals(_ node: inout RaftNode) -> [Message] { sent(by: &node).filter { $0.kind == .propose } }

    @Test func `a proposal for a leader that has just handed over goes on to the next one`() {
        var node = Self.formerLeader()
        node.step(Self.put)
        #expect(Self.proposals(&node).isEmpty)
        node.step(Message(.heartbeat, to: Self.one, from: Self.two, term: 3))
        let forwarded = Self.proposals(&node)
        #expect(forwarded.map(\.to) == [Self.two])
        #expect(forwarded.map(\.from) == [Self.three])
        #expect(forwarded.first?.entries == Self.put.entries)
        node.step(Message(.heartbeat, to: Self.one, from: Self.two, term: 3))
        #expect(Self.proposals(&node).isEmpty, "once")
    }

    @Test func `it goes back to its proposer when that one leads now`() {
        var node = Self.formerLeader()
        node.step(Self.put)
        node.step(Message(.heartbeat, to: Self.one, from: Self.three, term: 3))
        #expect(Self.proposals(&node).map(\.to) == [Self.three])
    }

    @Test func `a proposal is dropped when nobody leads for an election timeout`() {
        var node = Self.formerLeader()
        node.step(Self.put)
        while node.softState.role == .follower { node.tick() }
        _ = sent(by: &node)
        node.step(Message(.heartbeat, to: Self.one, from: Self.two, term: 4))
        #expect(node.softState.leader == Self.two)
        #expect(Self.proposals(&node).isEmpty)
    }
}
