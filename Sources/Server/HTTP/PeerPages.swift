// What other members ask over plain HTTP on the peer port: the member list, versions, hashes, and what only a leader can
// answer for them.

import Foundations
import GRPC
import JSON
import Linux
import State
import Wire

extension ClientAPI {
    package func servePeer(_ page: PeerPage, _ answer: @escaping (PeerPageAnswer) -> Void) {
        switch page {
        case .members: answer(members())
        case .version:
            let cluster = state.membership.version.map { "\($0)" } ?? "not_decided"
            answer(.json("{\"etcdserver\":\"\(member.settings.serverVersion)\",\"etcdcluster\":\"\(cluster)\"}"))
        case .downgradeEnabled:
            member.linearizable { [unowned self] failure in
                if let failure { return answer(.error(500, failure.message)) }
                let text = state.membership.downgrade.isEnabled ? "true" : "false"
                answer(PeerPageAnswer(contentType: "text/plain", body: Bytes(text.utf8)))
            }
        case .promote(let id):
            promote(id) { [unowned self] result in
                switch result {
                case .success: answer(members())
                case .failure(let status): answer(ClientAPI.promotionAnswer(status))
                }
            }
        case .hashKV(let body): hashKV(body, answer)
        case .leaseKeepAlive(let body): keepAlive(body, answer)
        case .leaseTimeToLive(let body): timeToLive(body, answer)
        }
    }

    private func members() -> PeerPageAnswer {
        PeerPageAnswer(contentType: "application/json", body: state.membership.membersJSON + [0x0a])
    }

    private static func promotionAnswer(_ status: GRPCStatus) -> PeerPageAnswer {
        switch status {
        case EtcdError.memberNotFound: .error(404, "membership: ID not found")
        case EtcdError.memberNotLearner: .error(412, "membership: can only promote a learner member")
        case EtcdError.learnerNotReady: .error(412, status.message)
        case EtcdError.timeout, EtcdError.timeoutDueToLeaderFail, EtcdError.timeoutDueToConnectionLost: .error(408, status.message)
        case EtcdError.notLeader, EtcdError.noLeader, EtcdError.unhealthy: .error(503, status.message)
        default: .error(500, status.message)
        }
    }

    private func hashKV(_ body: Bytes, _ answer: @escaping (PeerPageAnswer) -> Void) {
        guard let object = try? JSONValue(parsing: body), let revision = object["revision"] == nil ? 0 : object["revision"]?.int64
        else { return answer(.error(400, "error unmarshalling request")) }
        let began = Linux.Clock.monotonic()
        hash(revision) { [unowned self] result in
            member.families?.mvcc.hashRevDurationSeconds.observe(nanoseconds: Linux.Clock.monotonic() - began)
            switch result {
            case .failure(let status):
                let text = status.message.hasPrefix("etcdserver: ") ? String(status.message.dropFirst(12)) : status.message
                answer(.error(400, text))
            case .success(let hash):
                var text = "{\"header\":{\"revision\":\(state.kv.currentRevision)}"
                if hash.hash != 0 { text += ",\"hash\":\(hash.hash)" }
                if hash.compactRevision != 0 { text += ",\"compact_revision\":\(hash.compactRevision)" }
                if hash.revision != 0 { text += ",\"hash_revision\":\(hash.revision)" }
                answer(.json(text + "}"))
            }
        }
    }

    // MARK: Leases

    /// What was committed before the question may hold the lease: applied first.
    private func caughtUp(_ answer: @escaping (PeerPageAnswer) -> Void, _ body: @escaping () -> Void) {
        let needed = member.committed
        let deadline = member.loop.now + 1_000_000_000
        func look() {
            if state.appliedIndex >= needed { return body() }
            guard member.loop.now < deadline, !member.isStopped else {
                return answer(.error(408, "waiting for node to catch up its applied index has timed out"))
            }
            member.loop.schedule(after: 5_000_000, look)
        }
        look()
    }

    private func keepAlive(_ body: Bytes, _ answer: @escaping (PeerPageAnswer) -> Void) {
        guard let request = try? LeaseKeepAliveRequest(decoding: body) else {
            return answer(.error(400, "error unmarshalling request"))
        }
        caughtUp(answer) { [unowned self] in
            func renewed(_ ttl: Int64) {
                var response = LeaseKeepAliveResponse()
                response.id = request.id
                response.ttl = ttl
                answer(PeerPageAnswer(contentType: "application/protobuf", body: response.encoded()))
            }
            switch state.lessor.renew(LeaseID(request.id), now: state.clock.now) {
            case .renewed(let ttl, _): renewed(ttl)
            case .unknown: answer(.error(404, "lease not found"))
            case .notLeader: answer(.error(400, "not a primary lessor"))
            case .expiring: answer(.error(408, "the lease is being revoked"))
            }
        }
    }

    private func timeToLive(_ body: Bytes, _ answer: @escaping (PeerPageAnswer) -> Void) {
        guard let request = try? LeasePB.LeaseInternalRequest(decoding: body), let inner = request.leaseTimeToLiveRequest else {
            return answer(.error(400, "error unmarshalling request"))
        }
        caughtUp(answer) { [unowned self] in
            var response = LeasePB.LeaseInternalResponse()
            var found = timeToLive(inner)
            guard found.ttl >= 0 else { return answer(.error(404, "lease not found")) }
            found.header = ResponseHeader()
            response.leaseTimeToLiveResponse = found
            answer(PeerPageAnswer(contentType: "application/protobuf", body: response.encoded()))
        }
    }
}
