// --namespace: clients of the proxy see only the keys behind a prefix, as if those were all there are. The prefix is put
// before the keys of requests and taken from those of answers. Locks and elections keep their own names, as with etcd's proxy.

import Foundations
import Wire

struct ProxyNamespace {
    let prefix: [UInt8]

    /// Nil without a prefix: nothing is rewritten then, nor looked into.
    init?(_ text: String) {
        if text.isEmpty { return nil }
        prefix = Array(text.utf8)
    }

    /// What the member gets instead; nil when the method carries no keys.
    func request(_ path: String, _ message: RawSpan) throws(WireError) -> [UInt8]? {
        switch path {
        case RPC.KV.range.path, RPC.KV.rangeStream.path: inside(try RangeRequest(decoding: message)).encoded()
        case RPC.KV.put.path: inside(try PutRequest(decoding: message)).encoded()
        case RPC.KV.deleteRange.path: inside(try DeleteRangeRequest(decoding: message)).encoded()
        case RPC.KV.txn.path: inside(try TxnRequest(decoding: message)).encoded()
        case RPC.Watch.watch.path: inside(try WatchRequest(decoding: message)).encoded()
        default: nil
        }
    }

    /// What the client gets instead.
    func response(_ path: String, _ message: RawSpan) throws(WireError) -> [UInt8]? {
        switch path {
        case RPC.KV.range.path: return outside(try RangeResponse(decoding: message)).encoded()
        case RPC.KV.rangeStream.path:
            var answer = try RangeStreamResponse(decoding: message)
            answer.rangeResponse = answer.rangeResponse.map(outside)
            return answer.encoded()
        case RPC.KV.put.path: return outside(try PutResponse(decoding: message)).encoded()
        case RPC.KV.deleteRange.path: return outside(try DeleteRangeResponse(decoding: message)).encoded()
        case RPC.KV.txn.path: return outside(try TxnResponse(decoding: message)).encoded()
        case RPC.Watch.watch.path:
            var answer = try WatchResponse(decoding: message)
            for i in answer.events.indices {
                answer.events[i].kv = answer.events[i].kv.map(outside)
                answer.events[i].prevKv = answer.events[i].prevKv.map(outside)
            }
            return answer.encoded()
        case RPC.Lease.leaseTimeToLive.path:
            var answer = try LeaseTimeToLiveResponse(decoding: message)
            answer.keys = answer.keys.filter { $0.starts(with: prefix) }.map { Array($0.dropFirst(prefix.count)) }
            return answer.encoded()
        default: return nil
        }
    }

    // MARK: Inside

    /// A key alone that is empty stays so, for the member to refuse.
    private func inside(_ key: [UInt8], _ end: [UInt8]) -> (key: [UInt8], end: [UInt8]) {
        if key.isEmpty && end.isEmpty { return (key, end) }
        if end.isEmpty { return (prefix + key, end) }
        return (prefix + key, end == [0] ? behindAll : prefix + end)
    }

    /// The first key that does not begin with the prefix and lies behind it; "\0", everything, when there is none.
    private var behindAll: [UInt8] {
        var end = prefix
        while let last = end.popLast() {
            if last < 0xff { return end + [last + 1] }
        }
        return [0]
    }

    private func inside(_ range: RangeRequest) -> RangeRequest {
        var range = range
        (range.key, range.rangeEnd) = inside(range.key, range.rangeEnd)
        return range
    }

    private func inside(_ put: PutRequest) -> PutRequest {
        var put = put
        if !put.key.isEmpty { put.key = prefix + put.key }
        return put
    }

    private func inside(_ delete: DeleteRangeRequest) -> DeleteRangeRequest {
        var delete = delete
        (delete.key, delete.rangeEnd) = inside(delete.key, delete.rangeEnd)
        return delete
    }

    private func inside(_ txn: TxnRequest) -> TxnRequest {
        var txn = txn
        for i in txn.compare.indices {
            (txn.compare[i].key, txn.compare[i].rangeEnd) = inside(txn.compare[i].key, txn.compare[i].rangeEnd)
        }
        txn.success = txn.success.map(inside)
        txn.failure = txn.failure.map(inside)
        return txn
    }

    private func inside(_ operation: RequestOp) -> RequestOp {
        switch operation.request {
        case .requestRange(let range): RequestOp(request: .requestRange(inside(range)))
        case .requestPut(let put): RequestOp(request: .requestPut(inside(put)))
        case .requestDeleteRange(let delete): RequestOp(request: .requestDeleteRange(inside(delete)))
        case .requestTxn(let txn): RequestOp(request: .requestTxn(inside(txn)))
        case nil: operation
        }
    }

    private func inside(_ watch: WatchRequest) -> WatchRequest {
        guard case .createRequest(var create) = watch.requestUnion else { return watch }
        // An empty key is "from the first one" here.
        create.key = prefix + create.key
        if !create.rangeEnd.isEmpty { create.rangeEnd = create.rangeEnd == [0] ? behindAll : prefix + create.rangeEnd }
        return WatchRequest(requestUnion: .createRequest(create))
    }

    // MARK: Outside

    private func outside(_ pair: Wire.KeyValue) -> Wire.KeyValue {
        var pair = pair
        if pair.key.starts(with: prefix) { pair.key.removeFirst(prefix.count) }
        return pair
    }

    private func outside(_ answer: RangeResponse) -> RangeResponse {
        var answer = answer
        answer.kvs = answer.kvs.map(outside)
        return answer
    }

    private func outside(_ answer: PutResponse) -> PutResponse {
        var answer = answer
        answer.prevKv = answer.prevKv.map(outside)
        return answer
    }

    private func outside(_ answer: DeleteRangeResponse) -> DeleteRangeResponse {
        var answer = answer
        answer.prevKvs = answer.prevKvs.map(outside)
        return answer
    }

    private func outside(_ answer: TxnResponse) -> TxnResponse {
        var answer = answer
        answer.responses = answer.responses.map { operation in
            switch operation.response {
            case .responseRange(let range): ResponseOp(response: .responseRange(outside(range)))
            case .responsePut(let put): ResponseOp(response: .responsePut(outside(put)))
            case .responseDeleteRange(let delete): ResponseOp(response: .responseDeleteRange(outside(delete)))
            case .responseTxn(let txn): ResponseOp(response: .responseTxn(outside(txn)))
            case nil: operation
            }
        }
        return answer
    }
}
