// Which handler serves which method. Filled at wiring time, read-only while serving.
//
//     router.unary("/etcdserverpb.KV/Put") { context, message in ... server.reply(context.call) { answer.append(to: &$0) } }
//     router.stream("/etcdserverpb.Watch/Watch") { context in WatchStream(...) }
//
// A unary handler gets the whole message, borrowed from the receive buffer; it answers at once or later. Server streaming
// and bidirectional streaming are the same thing: a handler object for the life of the call.

import Foundations
import GRPC
import HTTP1

package final class GRPCRouter {
    package typealias Unary = (CallContext, RawSpan) -> Void
    package typealias Open = (CallContext) -> any StreamHandler
    package typealias HTTP = (HTTPRequest, Call, PeerIdentity) -> Void

    enum Handler {
        case unary(Unary)
        case stream(Open)
    }

    private(set) var handlers: [(path: String, handler: Handler)] = []
    private var pathBytes: [[UInt8]] = []
    /// Open addressing: an index into `handlers`, or -1; a power of two of places, half of them empty at least.
    private var places = [Int32](repeating: -1, count: 16)
    private var services: Set<String> = []
    /// Plain HTTP: everything that is not gRPC.
    package var http: HTTP?

    /// Asked first, when the head of an HTTP/1.1 request has come: the receiver gets the body in pieces. Nil to have the
    /// request gathered for `http`. The call may be answered at once: a body is then not read, and the connection ends.
    package var httpBodies: ((HTTPRequest, Call, PeerIdentity) -> (any HTTPBodyReceiver)?)?

    package init() {}

    package func unary(_ path: String, _ handler: @escaping Unary) { add(path, .unary(handler)) }

    package func stream(_ path: String, _ open: @escaping Open) { add(path, .stream(open)) }

    private func add(_ path: String, _ handler: Handler) {
        let bytes = Array(path.utf8)
        invariant(find(bytes.rawSpan) == nil, "two handlers for \(path)")
        handlers.append((path, handler))
        pathBytes.append(bytes)
        services.insert(String(path.dropFirst().prefix { $0 != "/" }))
        if handlers.count * 2 > places.count {
            places = [Int32](repeating: -1, count: places.count * 2)
            for i in handlers.indices { place(Int32(i)) }
        } else {
            place(Int32(handlers.count - 1))
        }
    }

    private func place(_ index: Int32) {
        let path = pathBytes[Int(index)]
        var at = hash(path.rawSpan)
        while places[at] >= 0 { at = (at + 1) & (places.count - 1) }
        places[at] = index
    }

    /// Once a call: a few nanoseconds where a dictionary of byte arrays takes a hundred.
    func find(_ path: RawSpan) -> Int32? {
        var at = hash(path)
        while true {
            let index = places[at]
            if index < 0 { return nil }
            let candidate = pathBytes[Int(index)]
            if candidate.rawSpan.elementsEqual(path) { return index }
            at = (at + 1) & (places.count - 1)
        }
    }

    /// The last sixteen bytes tell methods apart; the paths are ours, so nobody can make them collide.
    private func hash(_ path: RawSpan) -> Int {
        var hash = UInt64(path.byteCount)
        for i in max(0, path.byteCount - 16)..<path.byteCount { hash = hash &* 31 &+ UInt64(path[byte: i]) }
        hash ^= hash >> 17
        return Int(hash & UInt64(places.count - 1))
    }

    /// All methods, for metrics.
    package var paths: [String] { handlers.map(\.path) }

    /// What a call to a path without a handler gets.
    func unknown(_ path: [UInt8]) -> GRPCStatus {
        let text = String(decoding: path, as: UTF8.self)
        let parts = text.dropFirst().split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return GRPCStatus(.unimplemented, "malformed method name: \"\(text)\"") }
        return services.contains(String(parts[0]))
            ? EtcdError.unknownMethod(String(parts[1]), of: String(parts[0]))
            : EtcdError.unknownService(String(parts[0]))
    }
}
