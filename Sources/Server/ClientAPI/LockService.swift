// Locks (client-semantics 13): a key per waiter under the lock's name; the oldest holds the lock.

import Connections
import Foundations
import GRPC
import State
import Wire

extension ClientAPI {
    func addLock() {
        add("/v3lockpb.Lock/Lock", LockRequest.self) { [unowned self] (caller, request, reply) throws(GRPCStatus) in
            touch(request.lease)
            LockWaiter(self, caller, request, reply).start()
        }
        add("/v3lockpb.Lock/Unlock", UnlockRequest.self) { [unowned self] (caller, request, reply) throws(GRPCStatus) in
            guard !request.key.isEmpty else { throw EtcdError.lockEmptyKey }
            var delete = DeleteRangeRequest()
            delete.key = request.key
            local("/etcdserverpb.KV/DeleteRange", delete, caller, DeleteRangeResponse.self) { [unowned self] result in
                member.respond(
                    reply, result.map { UnlockResponse(header: $0.header).encoded() }.mapError(ClientAPI.asUnknown))
            }
        }
    }
}

final class LockWaiter: CallObserver {
    private let api: ClientAPI
    private let caller: Caller
    private let request: LockRequest
    private let reply: Reply
    private var position: QueuePosition?
    private var key: Bytes = []
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, _ request: LockRequest, _ reply: Reply) {
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
        api.putOwned(key, [], lease: lease, caller) { [self] result in
            switch result {
            case .failure(let status): end(.failure(ClientAPI.asUnknown(status)))
            case .success(let (header, existing)):
                self.key = key
                if isOver { return withdraw() }
                let revision = existing?.createRevision ?? header.revision
                position = QueuePosition(
                    api, caller, prefix: request.name + Bytes("/".utf8), revision: revision
                ) { [self] failure in
                    position = nil
                    if let failure { return end(.failure(ClientAPI.asUnknown(failure))) }
                    confirm(header, revision)
                }
            }
        }
    }

    /// The key may have gone with its lease while we waited: then there is no lock to hold.
    private func confirm(_ header: ResponseHeader, _ revision: Int64) {
        var range = RangeRequest()
        range.key = key
        api.local("/etcdserverpb.KV/Range", range, caller, RangeResponse.self) { [self] result in
            switch result {
            case .failure(let status): end(.failure(ClientAPI.asUnknown(status)))
            case .success(let response):
                guard response.kvs.first?.createRevision == revision else { return end(.failure(EtcdError.sessionExpired)) }
                end(.success(LockResponse(header: header, key: key).encoded()))
            }
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
        if !key.isEmpty { withdraw() }
    }

    private func withdraw() {
        var delete = DeleteRangeRequest()
        delete.key = key
        api.local("/etcdserverpb.KV/DeleteRange", delete, caller, DeleteRangeResponse.self) { _ in }
    }
}
