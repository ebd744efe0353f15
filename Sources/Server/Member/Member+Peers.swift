// What the transport between members asks of this one.

import Foundations
import Raft
import State
import Wire

extension Member: PeerTransportOwner {
    package func received(_ message: Message) {
        guard !isStopped else { return }
        var message = message
        if message.kind == .propose, raft.isLeader { holdOwnRemoval(&message) }
        raft.step(message)
    }

    /// Another program's member just proposes that its leader be removed (see ClientAPI.unseat). Nobody listens to a removed
    /// member: what the others still send it would be lost, and their clients would wait for their whole time-out. So the
    /// leader hands over first, to the proposer if there is nobody else, and proposes its removal once the others know the
    /// next one and what they sent before has been passed on.
    private func holdOwnRemoval(_ message: inout Message) {
        guard heldRemovals.count < Member.heldRemovalsMax, message.entries.contains(where: removesSelf),
            let next = successor(of: identity.member, except: message.from) ?? successor(of: identity.member)
        else { return }
        for entry in message.entries where removesSelf(entry) {
            heldRemovals.append(Proposal(kind: entry.kind, data: entry.data ?? [], started: loop.now))
        }
        message.entries.removeAll(where: removesSelf)
        raft.transferLeader(to: next)
    }

    private static let heldRemovalsMax = 16

    /// Every heartbeat. What cannot be handed over in half the time that the proposer waits is removed while it leads.
    func releaseRemovals() {
        guard let first = heldRemovals.first else { return }
        let isHandedOver = !raft.isLeader && leadershipIsSettled
        if !isHandedOver, loop.now &- first.started < settings.requestTimeout / 2 {
            // A transfer is given up after an election timeout: the other was slow.
            if raft.isLeader, raft.leaderTransferee == .none, let next = successor(of: identity.member) {
                raft.transferLeader(to: next)
            }
            return
        }
        proposals.append(contentsOf: heldRemovals)
        heldRemovals = []
    }

    /// The leader has been heard of for so long that others have, too.
    package var leadershipIsSettled: Bool { hasLeader && loop.now &- leaderSince >= settings.heartbeat }

    private func removesSelf(_ entry: Entry) -> Bool {
        guard entry.kind == .confChange, let data = entry.data else { return false }
        // What does not decode is found out by everybody when it is applied.
        guard let change = try? RaftPB.ConfChange(decoding: data.rawSpan) else { return false }
        return change.type == .confChangeRemoveNode && change.nodeId == identity.member.rawValue
    }

    package func unreachable(_ id: MemberID) {
        guard !isStopped else { return }
        raft.reportUnreachable(id)
    }

    package func gone(_ id: MemberID) {
        guard !isStopped else { return }
        raft.reportGone(id)
    }

    package func isRemoved(_ id: MemberID) -> Bool { state.membership.removed.contains(id) }

    package func selfRemoved(_ reason: String) {
        expel()
        onRemoved(reason)
    }

    package func page(_ page: PeerPage, _ answer: @escaping (PeerPageAnswer) -> Void) {
        guard !isStopped else { return answer(.error(503, "server stopped")) }
        servePage(page, answer)
    }

    /// What membership changes count on.
    package func reach(_ id: MemberID) -> Membership.Reach {
        if id == identity.member { return .steady }
        guard let since = transport?.activeSince(id) else { return .away }
        return loop.now &- since >= 5_000_000_000 ? .steady : .recent
    }

    /// Whether this learner may become a voter: it has nearly all that the leader has. Nil: it is not known here.
    package func isInSync(_ learner: MemberID) -> Bool? {
        let status = raft.peerStatus
        guard let own = status.first(where: { $0.id == identity.member }), let other = status.first(where: { $0.id == learner })
        else { return nil }
        return Double(other.match) >= Double(own.match) * 0.9
    }
}
