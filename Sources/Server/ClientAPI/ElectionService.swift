// Elections (client-semantics 12): candidates are keys under the election's name, in order of creation; the oldest leads.

import Connections
import Foundations
import GRPC
import State
import Wire

extension ClientAPI {
    func addElection() {
        let service = "/v3electionpb.Election/"
        add(service + "Campaign", CampaignRequest.self) { [unowned self] (caller, request, reply) throws(GRPCStatus) in
            touch(request.lease)
            Campaign(self, caller, request, reply).start()
        }
        add(service + "Proclaim", ProclaimRequest.self) { [unowned self] (caller, request, reply) throws(GRPCStatus) in
            guard let leader = request.leader else { throw EtcdError.leaderFieldMissing }
            touch(leader.lease)
            proclaim(leader, request.value, caller) { [unowned self] result in
                member.respond(reply, result.map { ProclaimResponse(header: $0).encoded() })
            }
        }
        add(service + "Leader", LeaderRequest.self) { [unowned self] (caller, request, reply) throws(GRPCStatus) in
            findLeader(request.name, caller) { [unowned self] result in
                member.respond(
                    reply,
                    result.flatMap { found in
                        guard let pair = found.pair else { return .failure(EtcdError.electionNoLeader) }
                        return .success(LeaderResponse(header: found.header, kv: pair).encoded())
                    })
            }
        }
        add(service + "Resign", ResignRequest.self) { [unowned self] (caller, request, reply) throws(GRPCStatus) in
            guard let leader = request.leader else { throw EtcdError.leaderFieldMissing }
            touch(leader.lease)
            var delete = DeleteRangeRequest()
            delete.key = leader.key
            let txn = TxnRequest(
                compare: [isStill(leader)], success: [RequestOp(request: .requestDeleteRange(delete))], failure: [])
            local("/etcdserverpb.KV/Txn", txn, caller, TxnResponse.self) { [unowned self] result in
                member.respond(
                    reply, result.map { ResignResponse(header: $0.header).encoded() }.mapError(ClientAPI.asUnknown))
            }
        }
        add(stream: service + "Observe") { [unowned self] caller, outlet in ObserveStream(self, caller, outlet) }
    }

    /// Errors of these two services have no code of their own.
    static func asUnknown(_ status: GRPCStatus) -> GRPCStatus { GRPCStatus(.unknown, status.message) }

    func isStill(_ leader: LeaderKey) -> Compare {
        var compare = Compare()
        compare.key = leader.key
        compare.target = .create
        compare.result = .equal
        compare.targetUnion = .createRevision(leader.rev)
        return compare
    }

    func proclaim(
        _ leader: LeaderKey, _ value: Bytes, _ caller: Caller, _ done: @escaping (Result<ResponseHeader, GRPCStatus>) -> Void
    ) {
        var put = PutRequest()
        put.key = leader.key
        put.value = value
        put.lease = leader.lease
        let txn = TxnRequest(compare: [isStill(leader)], success: [RequestOp(request: .requestPut(put))], failure: [])
        local("/etcdserverpb.KV/Txn", txn, caller, TxnResponse.self) { result in
            done(
                result.mapError(ClientAPI.asUnknown).flatMap { response in
                    response.succeeded
                        ? .success(response.header ?? ResponseHeader()) : .failure(EtcdError.electionNotLeader)
                })
        }
    }

    func findLeader(
        _ name: Bytes, _ caller: Caller,
        _ done: @escaping (Result<(header: ResponseHeader, pair: KeyValue?), GRPCStatus>) -> Void
    ) {
        let prefix = name + Bytes("/".utf8)
        var range = RangeRequest()
        range.key = prefix
        range.rangeEnd = ClientAPI.prefixEnd(prefix)
        range.sortOrder = .ascend
        range.sortTarget = .create
        range.limit = 1
        local("/etcdserverpb.KV/Range", range, caller, RangeResponse.self) { result in
            done(result.map { ($0.header ?? ResponseHeader(), $0.kvs.first) }.mapError(ClientAPI.asUnknown))
        }
    }
}

/// One candidate, from its key to its victory. Its key goes when the call ends before that.
final class Campaign: CallObserver {
    private let api: ClientAPI
    private let caller: Caller
    private let request: CampaignRequest
    private let reply: Reply
    private var position: QueuePosition?
    private var leader = LeaderKey()
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, _ request: CampaignRequest, _ reply: Reply) {
        self.api = api
        self.caller = caller
        self.request = request
        self.reply = reply
    }

    func start() {
        if case .call(let call) = reply { api.server.observe(call, self) }
        api.leaseOrNew(request.lease, caller) { [self] result in
            switch result {
            case .failure(let status): end(.failure(ClientAPI.asUnknown(status)))
            case .success(let lease): enter(lease)
            }
        }
    }

    private func enter(_ lease: Int64) {
        let key = ClientAPI.ownedKey(prefix: request.name, lease: lease)
        api.putOwned(key, request.value, lease: lease, caller) { [self] result in
            switch result {
            case .failure(let status): end(.failure(ClientAPI.asUnknown(status)))
            case .success(let (header, existing)):
                leader = LeaderKey(
                    name: request.name, key: key, rev: existing?.createRevision ?? header.revision, lease: lease)
                if isOver { return withdraw() }
                if let existing, existing.value != request.value {
                    api.proclaim(leader, request.value, caller) { [self] result in
                        if case .failure(let status) = result { return end(.failure(status)) }
                        wait(header)
                    }
                } else {
                    wait(header)
                }
            }
        }
    }

    private func wait(_ header: ResponseHeader) {
        if isOver { return withdraw() }
        position = QueuePosition(api, caller, prefix: request.name + Bytes("/".utf8), revision: leader.rev) { [self] failure in
            position = nil
            if let failure { return end(.failure(ClientAPI.asUnknown(failure))) }
            end(.success(CampaignResponse(header: header, leader: leader).encoded()))
        }
    }

    private func end(_ result: Result<Bytes, GRPCStatus>) {
        guard !isOver else { return }
        isOver = true
        api.member.respond(reply, result)
    }

    func cancelled(_ call: Call) {
        guard !isOver else { return }
        isOver = true
        position?.cancel()
        position = nil
        if !leader.key.isEmpty { withdraw() }
    }

    private func withdraw() {
        var delete = DeleteRangeRequest()
        delete.key = leader.key
        let txn = TxnRequest(
            compare: [api.isStill(leader)], success: [RequestOp(request: .requestDeleteRange(delete))], failure: [])
        api.local("/etcdserverpb.KV/Txn", txn, caller, TxnResponse.self) { _ in }
    }
}

/// The leader and each one after it, with each value it proclaims.
final class ObserveStream: ServiceStream {
    private let api: ClientAPI
    private let caller: Caller
    private let outlet: any StreamOutlet
    private var watch: LocalWatch?
    private var prefix: Bytes = []
    private var leaderKey: Bytes?
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, _ outlet: any StreamOutlet) {
        self.api = api
        self.caller = caller
        self.outlet = outlet
    }

    func message(_ message: RawSpan) {
        guard let request = try? LeaderRequest(decoding: message), prefix.isEmpty else {
            return outlet.finish(EtcdError.undecodableRequest("LeaderRequest"))
        }
        prefix = request.name + Bytes("/".utf8)
        look()
    }

    private func look() {
        api.findLeader(Bytes(prefix.dropLast()), caller) { [self] result in
            guard !isOver else { return }
            switch result {
            case .failure(let status):
                isOver = true
                outlet.finish(status)
            case .success(let found):
                if let pair = found.pair { tell(found.header, pair) }
                leaderKey = found.pair?.key
                follow(from: found.header.revision + 1)
            }
        }
    }

    /// With a leader: its values, until its key goes. Without: the first key that comes.
    private func follow(from revision: Int64) {
        watch?.close()
        var create = WatchCreateRequest()
        create.key = leaderKey ?? prefix
        create.rangeEnd = leaderKey == nil ? ClientAPI.prefixEnd(prefix) : []
        create.startRevision = revision
        watch = LocalWatch(api, create) { [weak self] response in self?.take(response) }
    }

    private func take(_ response: WatchResponse) {
        guard !isOver else { return }
        if response.canceled { return look() }
        for event in response.events {
            guard let pair = event.kv else { continue }
            if event.type == .delete || leaderKey == nil {
                watch?.close()
                watch = nil
                return look()
            }
            tell(response.header ?? ResponseHeader(), pair)
        }
    }

    private func tell(_ header: ResponseHeader, _ pair: KeyValue) {
        let response = LeaderResponse(header: header, kv: pair)
        _ = outlet.send { response.append(to: &$0) }
    }

    func halfClosed() {}
    func writable() {}

    func cancelled() {
        isOver = true
        watch?.close()
        watch = nil
    }
}
