// What the transport between members asks of this one.

import Foundations
import Raft
import State
import Wire

extension Member: PeerTransportOwner {
    package func received(_ message: Message) {
        guard !isStopped else { return }
        if message.kind == .propose, raft.isLeader, message.entries.contains(where: removesSelf),
            let next = successor(of: identity.member, except: message.from)
        {
            // Another program's member just proposes it (see ClientAPI.unseat). Raft holds the proposal while it hands over,
            // and passes it on to the next leader, but not back to the one it came from.
            raft.transferLeader(to: next)
        }
        raft.step(message)
    }

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
