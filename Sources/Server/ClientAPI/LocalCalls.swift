// Elections and locks are made of the same requests that clients send: this is how they send them, from inside.

import Foundations
import GRPC
import MVCC
import State
import Wire

extension ClientAPI {
    /// Calls a unary method as `caller`; the decoded answer or the error.
    func local<Request: WireMessage, Response: WireMessage>(
        _ method: String, _ request: Request, _ caller: Caller, _ type: Response.Type,
        _ done: @escaping (Result<Response, GRPCStatus>) -> Void
    ) {
        guard let serve = unary[method] else { unreachable("no method \(method)") }
        let bytes = request.encoded()
        serve(
            caller, bytes.rawSpan,
            .body { result in
                switch result {
                case .failure(let status): done(.failure(status))
                case .success(let answer):
                    guard let response = try? Response(decoding: answer) else { unreachable("\(method) answers as declared") }
                    done(.success(response))
                }
            })
    }

    /// A key that belongs to one lease, made by a compare-and-put: what candidates and lock waiters hold.
    func putOwned(
        _ key: Bytes, _ value: Bytes, lease: Int64, _ caller: Caller,
        _ done: @escaping (Result<(header: ResponseHeader, existing: KeyValue?), GRPCStatus>) -> Void
    ) {
        var compare = Compare()
        compare.key = key
        compare.target = .create
        compare.result = .equal
        compare.targetUnion = .createRevision(0)
        var put = PutRequest()
        put.key = key
        put.value = value
        put.lease = lease
        var get = RangeRequest()
        get.key = key
        let txn = TxnRequest(
            compare: [compare], success: [RequestOp(request: .requestPut(put))],
            failure: [RequestOp(request: .requestRange(get))])
        local("/etcdserverpb.KV/Txn", txn, caller, TxnResponse.self) { result in
            done(
                result.map { response in
                    var existing: KeyValue?
                    if !response.succeeded, case .responseRange(let range)? = response.responses.first?.response {
                        existing = range.kvs.first
                    }
                    return (response.header ?? ResponseHeader(), existing)
                })
        }
    }

    /// One keep-alive for the lease, as every call that names one begins with.
    func touch(_ lease: Int64) {
        guard lease != 0 else { return }
        if case .notLeader = state.lessor.renew(LeaseID(lease), now: state.clock.now) { renew(LeaseID(lease)) { _ in } }
    }

    /// The lease that was named, or a fresh one of 60 seconds.
    func leaseOrNew(_ lease: Int64, _ caller: Caller, _ done: @escaping (Result<Int64, GRPCStatus>) -> Void) {
        guard lease == 0 else { return done(.success(lease)) }
        var grant = LeaseGrantRequest()
        grant.ttl = 60
        local("/etcdserverpb.Lease/LeaseGrant", grant, caller, LeaseGrantResponse.self) { done($0.map(\.id)) }
    }

    static func ownedKey(prefix: Bytes, lease: Int64) -> Bytes {
        prefix + Bytes("/".utf8)
            + Bytes((lease < 0 ? "-" + String(lease.magnitude, radix: 16) : String(lease, radix: 16)).utf8)
    }

    /// The end of the range of keys under a prefix.
    static func prefixEnd(_ prefix: Bytes) -> Bytes {
        var end = prefix
        while let last = end.popLast() {
            if last < 0xff {
                end.append(last + 1)
                return end
            }
        }
        return [0]
    }
}

/// Waits until no key under a prefix is older than one's own: the queue that elections and locks stand in.
final class QueuePosition {
    private let api: ClientAPI
    private let caller: Caller
    private let prefix: Bytes
    private let revision: Int64
    private let done: (GRPCStatus?) -> Void
    private var watch: DeletionWatch?
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, prefix: Bytes, revision: Int64, _ done: @escaping (GRPCStatus?) -> Void) {
        self.api = api
        self.caller = caller
        self.prefix = prefix
        self.revision = revision
        self.done = done
        look()
    }

    func cancel() {
        isOver = true
        watch?.close()
    }

    /// The newest key that is older than ours: when it is gone, look again.
    private func look() {
        var range = RangeRequest()
        range.key = prefix
        range.rangeEnd = ClientAPI.prefixEnd(prefix)
        range.sortOrder = .descend
        range.sortTarget = .create
        range.maxCreateRevision = revision - 1
        range.limit = 1
        api.local("/etcdserverpb.KV/Range", range, caller, RangeResponse.self) { [self] result in
            guard !isOver else { return }
            switch result {
            case .failure(let status): end(status)
            case .success(let response):
                guard let older = response.kvs.first else { return end(nil) }
                watch = DeletionWatch(api, key: older.key, from: (response.header?.revision ?? 0) + 1) { [self] in
                    watch = nil
                    if !isOver { look() }
                }
            }
        }
    }

    private func end(_ status: GRPCStatus?) {
        guard !isOver else { return }
        isOver = true
        done(status)
    }
}

/// An outlet for watch streams inside the server: messages are decoded and handed over on the next turn.
final class LocalWatch: StreamOutlet {
    private let api: ClientAPI
    private var stream: WatchStream?
    private let take: (WatchResponse) -> Void
    private(set) var isClosed = false

    init(_ api: ClientAPI, _ create: WatchCreateRequest, _ take: @escaping (WatchResponse) -> Void) {
        self.api = api
        self.take = take
        let stream = WatchStream(api, .inner, self)
        self.stream = stream
        stream.message(WatchRequest(requestUnion: .createRequest(create)).encoded().rawSpan)
    }

    func send(_ encode: (inout Bytes) -> Void) -> Int? {
        var bytes: Bytes = []
        encode(&bytes)
        guard let response = try? WatchResponse(decoding: bytes) else { unreachable("a watch answers as declared") }
        // Not at once: the hub is in the middle of its work.
        api.member.loop.schedule(after: 0) { [weak self] in
            if let self, !isClosed { take(response) }
        }
        return 0
    }

    func finish(_ status: GRPCStatus) {}
    func notifyWritable() {}

    func close() {
        guard !isClosed else { return }
        isClosed = true
        stream?.cancelled()
        stream = nil
    }
}

/// Calls once, when a key is deleted.
final class DeletionWatch {
    private var watch: LocalWatch?

    init(_ api: ClientAPI, key: Bytes, from revision: Int64, _ deleted: @escaping () -> Void) {
        var create = WatchCreateRequest()
        create.key = key
        create.startRevision = revision
        create.filters = [.noput]
        watch = LocalWatch(api, create) { [weak self] response in
            guard let self, watch != nil, !response.events.isEmpty || (response.canceled && response.compactRevision != 0) else { return }
            close()
            deleted()
        }
    }

    func close() {
        watch?.close()
        watch = nil
    }
}
