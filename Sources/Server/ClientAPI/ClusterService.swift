// Members. This release serves clusters of one member: the list and the checks are complete, but a change that would
// need a second member is refused, because nothing could replicate to it.

import Connections
import Foundations
import GRPC
import State
import Wire

extension ClientAPI {
    static let oneMemberOnly = GRPCStatus(
        .unimplemented, "covey: this release serves clusters of one member; members cannot be added yet")

    func addCluster() {
        add("/etcdserverpb.Cluster/MemberList", MemberListRequest.self) {
            [unowned self] (caller, _, reply) throws(GRPCStatus) in
            try requireUser(caller)
            var response = MemberListResponse()
            response.header = header(revision: false)
            response.members = memberList()
            answer(reply, response)
        }
        add("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            guard let urls = PeerURLs.validated(request.peerURLs) else { throw EtcdError.memberBadURLs }
            let member = State.Member(
                id: .added(peerURLs: urls, unixTime: state.clock.unixTime), peerURLs: urls, isLearner: request.isLearner)
            try state.membership.check(.add(member))
            throw ClientAPI.oneMemberOnly
        }
        add("/etcdserverpb.Cluster/MemberRemove", MemberRemoveRequest.self) {
            [unowned self] (caller, request, _) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            let change = Membership.Change.remove(MemberID(request.id))
            try state.membership.check(change)
            try state.membership.checkReconfiguration(change) { _ in true }
            throw ClientAPI.oneMemberOnly
        }
        add("/etcdserverpb.Cluster/MemberUpdate", MemberUpdateRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            let change = Membership.Change.update(MemberID(request.id), peerURLs: request.peerURLs)
            try state.membership.check(change)
            propose(change, reply) { [unowned self] in
                var response = MemberUpdateResponse()
                response.header = header(revision: false)
                response.members = memberList()
                return response.encoded()
            }
        }
        add("/etcdserverpb.Cluster/MemberPromote", MemberPromoteRequest.self) {
            [unowned self] (caller, request, _) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            try state.membership.check(.promote(MemberID(request.id)))
            throw EtcdError.learnerNotReady
        }
    }

    func memberList() -> [Wire.Member] {
        state.membership.members.map { member in
            Wire.Member(
                id: member.id.rawValue, name: member.name, peerURLs: member.peerURLs, clientURLs: member.clientURLs,
                isLearner: member.isLearner)
        }
    }

    private func propose(_ change: Membership.Change, _ reply: Reply, _ done: @escaping () -> Bytes) {
        let entry = change.entry(isLearner: state.membership[change.id]?.isLearner ?? false)
        var message = RaftPB.ConfChange()
        message.id = member.registerID(
            .body { [unowned self] result in member.respond(reply, result.map { _ in done() }) })
        message.type = .init(rawValue: entry.kind)
        message.nodeId = change.id.rawValue
        message.context = entry.context
        member.proposeEntry(kind: 1, message.encoded())
    }

    /// Tells the cluster this member's name and client URLs, once it serves.
    package func publish(name: String, clientURLs: [String]) {
        guard var own = state.membership[member.identity.member] else { return }
        if own.name == name && own.clientURLs == clientURLs { return }
        own.name = name
        own.clientURLs = clientURLs
        member.proposeEntry(kind: 0, LegacyEntry.publish(requestID: member.registerID(.body { _ in }), own))
    }

    /// The cluster's version follows its only member's.
    package func decideVersion() {
        let own = state.settings.serverVersion.release
        guard
            let version = ClusterVersion.decide(
                current: state.membership.version, members: [own], downgradeTarget: nil)
        else { return }
        member.proposeEntry(
            kind: 0, LegacyEntry.clusterVersion(requestID: member.registerID(.body { _ in }), version))
    }
}
