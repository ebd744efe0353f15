// Leases. Grant and revoke go through the log; keeping alive and asking do not: the leader, which alone knows how much
// time is left, answers them, and other members pass them on to it.

import Connections
import Foundations
import GRPC
import State
import Wire

extension ClientAPI {
    func addLease() {
        add("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            try spend(QuotaCost.leaseGrant)
            let identity = try identify(caller)
            try state.auth.checkUser(identity)
            var request = request
            if request.id == 0 { request.id = freshLeaseID() }
            member.propose(RequestKind.leaseGrant, request.encoded().rawSpan, identity: identity, reply)
        }
        add("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            let identity = try identify(caller)
            try state.authoriseLeaseRevoke(LeaseID(request.id), identity)
            member.propose(RequestKind.leaseRevoke, request.encoded().rawSpan, identity: identity, reply)
        }
        add("/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            try state.authoriseTimeToLive(LeaseID(request.id), withKeys: request.keys, try identify(caller))
            if member.isLeader { return answer(reply, timeToLive(request)) }
            var internalRequest = LeasePB.LeaseInternalRequest()
            internalRequest.leaseTimeToLiveRequest = request
            forward("/leases/internal", body: internalRequest.encoded()) { [unowned self] result in
                member.respond(
                    reply,
                    result.flatMap { answer in
                        if answer.status == 404 {
                            // No error: a lease that is not there has no time left.
                            return .success(LeaseTimeToLiveResponse(header: header(), id: request.id, ttl: -1).encoded())
                        }
                        guard answer.status == 200,
                            let decoded = try? LeasePB.LeaseInternalResponse(decoding: answer.body),
                            var response = decoded.leaseTimeToLiveResponse
                        else { return .failure(GRPCStatus(.unknown, answer.text)) }
                        response.header = header()
                        return .success(response.encoded())
                    })
            }
        }
        add("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest.self) {
            [unowned self] (caller, _, reply) throws(GRPCStatus) in
            try state.authoriseLeases(try identify(caller))
            member.linearizable { [unowned self] failure in
                if let failure { return member.respond(reply, .failure(failure)) }
                var response = LeaseLeasesResponse()
                response.header = header()
                response.leases = state.lessor.all().map { LeaseStatus(id: $0.rawValue) }
                answer(reply, response)
            }
        }
        add(stream: "/etcdserverpb.Lease/LeaseKeepAlive") { [unowned self] caller, outlet in
            KeepAliveStream(self, caller, outlet)
        }
        member.onLeaseRevoked = { [unowned self] lease in
            for stream in expiring.removeValue(forKey: lease) ?? [] { stream.value?.revoked(lease) }
        }
    }

    func timeToLive(_ request: LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse {
        let id = LeaseID(request.id)
        var response = LeaseTimeToLiveResponse()
        response.header = header()
        response.id = request.id
        if let times = state.lessor.timeToLive(id, now: state.clock.now) {
            response.grantedTTL = times.granted
            response.ttl = times.remaining ?? 0
            if request.keys { response.keys = state.lessor.sortedKeys(of: id) ?? [] }
        } else {
            response.ttl = -1
        }
        return response
    }

    /// One renewal, here or at the leader. The answer's TTL is 0 for a lease that is not there.
    func renew(_ id: LeaseID, _ done: @escaping (Result<Int64, GRPCStatus>) -> Void) {
        forward("/leases", body: LeaseKeepAliveRequest(id: id.rawValue).encoded()) { result in
            done(
                result.flatMap { answer in
                    if answer.status == 404 { return .success(0) }
                    guard answer.status == 200, let response = try? LeaseKeepAliveResponse(decoding: answer.body) else {
                        return .failure(GRPCStatus(.unavailable, answer.text))
                    }
                    return .success(response.ttl)
                })
        }
    }

    /// A positive id that is not in use.
    func freshLeaseID() -> Int64 {
        var random = SystemRandomNumberGenerator()
        while true {
            let id = Int64(random.next() >> 1)
            if id != 0 && !state.lessor.contains(LeaseID(id)) { return id }
        }
    }
}

struct WeakKeepAlive { weak var value: KeepAliveStream? }

/// Each request is answered in order; an expired lease is answered when it is really gone.
final class KeepAliveStream: ServiceStream {
    private let api: ClientAPI
    private let caller: Caller
    private let outlet: any StreamOutlet
    private var waiting: [LeaseID] = []
    private var hasEnded = false
    private var isForwarding = false
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, _ outlet: any StreamOutlet) {
        self.api = api
        self.caller = caller
        self.outlet = outlet
    }

    func message(_ message: RawSpan) {
        guard !isOver else { return }
        do {
            let request = try LeaseKeepAliveRequest(decoding: message)
            let id = LeaseID(request.id)
            if api.state.auth.isEnabled { try api.state.authoriseLeaseRenewal(id, try api.identify(caller)) }
            // Nearly always nothing waits, and the lease lives.
            if waiting.isEmpty, case .renewed(let ttl, _) = api.state.lessor.renew(id, now: api.state.clock.now) {
                return answer(id, ttl)
            }
            waiting.append(id)
            if waiting.count == 1 { step() }
        } catch let error as GRPCStatus { end(error) } catch { end(EtcdError.undecodableRequest("\(error)")) }
    }

    private func step() {
        while let id = waiting.first, !isOver {
            switch api.state.lessor.renew(id, now: api.state.clock.now) {
            case .renewed(let ttl, _): answer(id, ttl)
            case .unknown: answer(id, 0)
            case .notLeader: return askLeader(id)
            case .expiring:
                api.expiring[id, default: []].append(WeakKeepAlive(value: self))
                return
            }
            waiting.removeFirst()
        }
        if hasEnded && waiting.isEmpty { end(.ok) }
    }

    private func askLeader(_ id: LeaseID) {
        guard !isForwarding else { return }
        isForwarding = true
        api.renew(id) { [weak self] result in
            guard let self, !isOver else { return }
            isForwarding = false
            switch result {
            case .failure(let status): return end(status)
            case .success(let ttl): answer(id, ttl)
            }
            waiting.removeFirst()
            step()
        }
    }

    func revoked(_ lease: LeaseID) {
        if waiting.first == lease && !isForwarding { step() }
    }

    private func answer(_ id: LeaseID, _ ttl: Int64) {
        _ = outlet.send { output in
            api.state.appendHeader(to: &output)
            output.appendWire(2, id.rawValue)
            output.appendWire(3, ttl)
        }
    }

    func halfClosed() {
        hasEnded = true
        if waiting.isEmpty { end(.ok) }
    }

    func cancelled() { isOver = true }
    func writable() {}

    private func end(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        outlet.finish(status)
    }
}
