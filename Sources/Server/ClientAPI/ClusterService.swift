// Members: the list, and the changes to it, each checked here, proposed, and checked again by everybody when it is applied.

import Connections
import Foundations
import GRPC
import Raft
import State
import Wire

extension ClientAPI {
    func addCluster() {
        add("/etcdserverpb.Cluster/MemberList", MemberListRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            try requireUser(caller)
            guard request.linearizable else { return answer(reply, memberListResponse()) }
            member.linearizable { [unowned self] failure in
                if let failure { return member.respond(reply, .failure(failure)) }
                answer(reply, memberListResponse())
            }
        }
        add("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            guard let urls = PeerURLs.validated(request.peerURLs) else { throw EtcdError.memberBadURLs }
            let added = State.Member(
                id: .added(peerURLs: urls, unixTime: state.clock.unixTime), peerURLs: urls, isLearner: request.isLearner)
            try propose(.add(added), reply) { [unowned self] in
                var response = MemberAddResponse()
                response.header = header(revision: false)
                response.member = Wire.Member(id: added.id.rawValue, peerURLs: urls, isLearner: added.isLearner)
                response.members = memberList()
                return response.encoded()
            }
        }
        add("/etcdserverpb.Cluster/MemberRemove", MemberRemoveRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            let change = Membership.Change.remove(MemberID(request.id))
            try check(change)
            unseat(change.id) { [unowned self] in
                do throws(GRPCStatus) {
                    try propose(change, reply) { [unowned self] in
                        var response = MemberRemoveResponse()
                        response.header = header(revision: false)
                        response.members = memberList().filter { $0.id != change.id.rawValue }
                        return response.encoded()
                    }
                } catch { member.respond(reply, .failure(error)) }
            }
        }
        add("/etcdserverpb.Cluster/MemberUpdate", MemberUpdateRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            try propose(.update(MemberID(request.id), peerURLs: request.peerURLs), reply) { [unowned self] in
                var response = MemberUpdateResponse()
                response.header = header(revision: false)
                response.members = memberList()
                return response.encoded()
            }
        }
        add("/etcdserverpb.Cluster/MemberPromote", MemberPromoteRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            promote(MemberID(request.id)) { [unowned self] result in
                member.respond(
                    reply,
                    result.map { _ in
                        var response = MemberPromoteResponse()
                        response.header = header(revision: false)
                        response.members = memberList()
                        return response.encoded()
                    })
            }
        }
    }

    private func memberListResponse() -> MemberListResponse {
        var response = MemberListResponse()
        response.header = header(revision: false)
        response.members = memberList()
        return response
    }

    func memberList() -> [Wire.Member] {
        state.membership.members.map { member in
            Wire.Member(
                id: member.id.rawValue, name: member.name, peerURLs: member.peerURLs, clientURLs: member.clientURLs,
                isLearner: member.isLearner)
        }
    }

    /// Only the leader knows how far a learner is; any other member asks it to promote.
    func promote(_ id: MemberID, _ done: @escaping (Result<Bytes, GRPCStatus>) -> Void) {
        guard member.isLeader else {
            return forward("/members/promote/\(id.rawValue)", body: []) { answer in
                switch answer {
                case .success(let answer) where answer.status == 200: done(.success(answer.body))
                case .success(let answer): done(.failure(ClientAPI.promotionFailure(answer)))
                case .failure(let status): done(.failure(status))
                }
            }
        }
        do throws(GRPCStatus) {
            let change = Membership.Change.promote(id)
            try state.membership.check(change)
            guard member.isInSync(id) == true else {
                member.families?.server.learnerPromoteFailures("LearnerNotReady").increment()
                throw EtcdError.learnerNotReady
            }
            let promoted = member.families?.server.learnerPromoteSuccesses
            try propose(
                change,
                .body { result in
                    if case .success = result { promoted?.increment() }
                    done(result)
                }
            ) { [] }
        } catch { done(.failure(error)) }
    }

    /// The leader's answer over HTTP as what it said.
    private static func promotionFailure(_ answer: PeerResponse) -> GRPCStatus {
        let texts: [(String, GRPCStatus)] = [
            ("ID not found", EtcdError.memberNotFound), ("in sync with leader", EtcdError.learnerNotReady),
            ("can only promote a learner member", EtcdError.memberNotLearner),
            ("re-configuration failed", EtcdError.notEnoughStartedMembers), ("unhealthy", EtcdError.unhealthy),
        ]
        return texts.first { answer.text.contains($0.0) }?.1 ?? GRPCStatus(.unknown, answer.text)
    }

    private func check(_ change: Membership.Change) throws(GRPCStatus) {
        try state.membership.check(change)
        if member.settings.strictReconfiguration {
            try state.membership.checkReconfiguration(change) { member.reach($0) }
        }
    }

    /// A leader that is to be removed hands over first. Once removed it is not listened to any more, what others still send
    /// it would be lost, and nobody could write until they have missed it for an election timeout.
    private func unseat(_ id: MemberID, _ then: @escaping () -> Void) {
        guard member.leader == id, let successor = member.successor(of: id) else { return then() }
        member.transferLeadership(to: successor)
        let deadline = member.loop.now + member.settings.electionTimeout
        func look() {
            let isHandedOver = member.leader != id && member.leadershipIsSettled
            guard !isHandedOver, member.loop.now < deadline, !member.isStopped else { return then() }
            member.loop.schedule(after: 5_000_000, look)
        }
        look()
    }

    private func propose(
        _ change: Membership.Change, _ reply: Reply, _ done: @escaping () -> Bytes
    ) throws(GRPCStatus) {
        try check(change)
        let entry = change.entry(isLearner: state.membership[change.id]?.isLearner ?? false)
        var message = RaftPB.ConfChange()
        let removesSelf = change == .remove(member.identity.member)
        message.id = member.registerID(
            .body { [unowned self] result in
                // Others may say that this member is removed before its own log does. What was asked for has come true then.
                let result = removesSelf && member.isExpelled ? .success([]) : result
                member.respond(reply, result.map { _ in done() })
            })
        message.type = .init(rawValue: entry.kind)
        message.nodeId = change.id.rawValue
        message.context = entry.context
        member.proposeEntry(kind: .confChange, message.encoded())
    }

    // MARK: Asking the leader

    /// A request to the leader's peer port, tried again until there is a leader that answers, or the time is over.
    func forward(
        _ path: String, body: Bytes, _ done: @escaping (Result<PeerResponse, GRPCStatus>) -> Void
    ) {
        forward(path, body: body, until: member.loop.now + member.settings.requestTimeout, done)
    }

    private func forward(
        _ path: String, body: Bytes, until deadline: UInt64, _ done: @escaping (Result<PeerResponse, GRPCStatus>) -> Void
    ) {
        guard !member.isStopped else { return done(.failure(EtcdError.stopped)) }
        let now = member.loop.now
        guard now < deadline else {
            return done(.failure(member.hasLeader ? EtcdError.timeout : EtcdError.noLeader))
        }
        func again() {
            member.loop.schedule(after: 50_000_000) { [weak self] in
                self?.forward(path, body: body, until: deadline, done)
            }
        }
        guard let transport = member.transport, let leader = state.membership[member.leader], leader.id != member.identity.member
        else { return again() }
        let request = PeerRequest(
            leader.peerURLs, path, method: "POST", body: body, contentType: "application/protobuf",
            timeout: min(deadline - now, 1_000_000_000))
        transport.fetch(request) { answer in
            switch answer {
            case .failure: again()
            case .success(let response) where response.status == 408 || response.text == "not a primary lessor": again()
            case .success(let response): done(.success(response))
            }
        }
    }
}
