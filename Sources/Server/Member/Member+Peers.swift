// What the transport between members asks of this one.

import Foundations
import Raft
import State

extension Member: PeerTransportOwner {
    package func received(_ message: Message) {
        guard !isStopped else { return }
        raft.step(message)
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
