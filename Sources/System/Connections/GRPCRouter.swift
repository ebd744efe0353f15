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
    private var byPath: [[UInt8]: Int32] = [:]
    private var services: Set<String> = []
    /// Plain HTTP: everything that is not gRPC.
    package var http: HTTP?

    package init() {}

    package func unary(_ path: String, _ handler: @escaping Unary) { add(path, .unary(handler)) }

    package func stream(_ path: String, _ open: @escaping Open) { add(path, .stream(open)) }

    private func add(_ path: String, _ handler: Handler) {
        invariant(byPath[Array(path.utf8)] == nil, "two handlers for \(path)")
        byPath[Array(path.utf8)] = Int32(handlers.count)
        handlers.append((path, handler))
        services.insert(String(path.dropFirst().prefix { $0 != "/" }))
    }

    func find(_ path: [UInt8]) -> Int32? { byPath[path] }

    /// All methods, for metrics.
    package var paths: [String] { handlers.map(\.path) }

    /// What a call to a path without a handler gets.
    func unknown(_ path: [UInt8]) -> GRPCStatus {
        let text = String(decoding: path, as: UTF8.self)
        let parts = text.dropFirst().split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return GRPCStatus(.unimplemented, "malformed method name: \"\(text)\"") }
        return services.contains(String(parts[0]))
            ? GRPCStatus(.unimplemented, "unknown method \(parts[1]) for service \(parts[0])")
            : GRPCStatus(.unimplemented, "unknown service \(parts[0])")
    }
}
