// One address in front of a cluster that speaks gRPC itself, unlike the gateway, which copies bytes: calls of many clients
// share a few connections to the members, go round robin over those that serve, and are repeated elsewhere where that is
// harmless. Answers to MemberList name the proxies, so that clients that ask for the members stay with them.
//
// One loop does both sides: a call that comes in is handed to the pool and its answer to the connection it came from, without
// a thread between. Belongs to the loop's thread.

import Connections
import CoveyClient
import Foundations
import GRPC
import Linux
import Wire

final class GRPCProxy {
    let server: GRPCServer
    let pool: ConnectionPool
    let namespace: ProxyNamespace?
    private var lastID: UInt64 = 0

    init(_ server: GRPCServer, _ pool: ConnectionPool, namespace: ProxyNamespace?) {
        self.server = server
        self.pool = pool
        self.namespace = namespace
    }

    func nextID() -> UInt64 {
        lastID += 1
        return lastID
    }

    /// Every method of the services that clients use. `members`: who answers MemberList, if not a member.
    func register(_ router: GRPCRouter, members: ((_ call: Call) -> Void)?) {
        for method in RPC.all where !method.path.hasPrefix("/covey.") {
            if method.path == RPC.Cluster.memberList.path, let members {
                router.unary(method.path) { context, _ in members(context.call) }
            } else if method.clientStreams || method.serverStreams {
                router.stream(method.path) { [unowned self] context in StreamPassage(self, context, method) }
            } else {
                router.unary(method.path) { [unowned self] context, message in
                    pass(context, message, method)
                }
            }
        }
    }

    private func pass(_ context: CallContext, _ message: RawSpan, _ method: MethodDescriptor) {
        do throws(WireError) {
            let rewritten = try namespace?.request(method.path, message)
            var request = request(context, method)
            request.message = Self.framed(message, instead: rewritten)
            UnaryPassage(self, context.call, method, request, isSafe: Self.isSafe(method, message)).begin()
        } catch {
            server.finish(context.call, GRPCStatus(.internal, "grpc: error unmarshalling request: \(error)"))
        }
    }

    /// What the proxy itself asks of a member; `done` is told once.
    func ask(
        _ method: MethodDescriptor, _ message: some WireMessage, seconds: Int, _ done: @escaping (Result<[UInt8], GRPCStatus>) -> Void
    ) {
        var request = CallRequest(path: method.path, message: Self.framed(message))
        request.deadline = .after(.seconds(seconds))
        pool.submit(nextID(), request, Question(done))
    }

    func request(_ context: CallContext, _ method: MethodDescriptor) -> CallRequest {
        var request = CallRequest(path: method.path)
        if context.deadline != 0 { request.deadline = Deadline(nanoseconds: context.deadline) }
        if !context.hasNoMetadata {
            // What belongs to the connection it came by is said anew for the one it leaves by.
            request.metadata = context.allMetadata.filter { field in
                !field.name.hasPrefix("grpc-") && !["content-type", "te", "user-agent", "host", "connection"].contains(field.name)
            }
        }
        return request
    }

    static func framed(_ message: some WireMessage) -> [UInt8] {
        let bytes = message.encoded()
        return framed(bytes.rawSpan)
    }

    /// `instead`: what the namespace made of it.
    static func framed(_ message: RawSpan, instead: [UInt8]? = nil) -> [UInt8] {
        if let instead { return framed(instead.rawSpan) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(message.byteCount + GRPCFraming.headerSize)
        let start = GRPCFraming.reserveHeader(in: &bytes)
        bytes.append(message)
        GRPCFraming.setLength(headerAt: start, in: &bytes)
        return bytes
    }

    /// What cannot be read is not repeated; the member says what is wrong with it.
    private static func isSafe(_ method: MethodDescriptor, _ message: RawSpan) -> Bool {
        switch method.path {
        case RPC.KV.txn.path: (try? TxnRequest(decoding: message)).map { RetryRules.isSafe(method, $0) } ?? false
        case RPC.Maintenance.alarm.path: (try? AlarmRequest(decoding: message)).map { RetryRules.isSafe(method, $0) } ?? false
        default: RetryRules.isSafe(method, RangeRequest())
        }
    }
}

private final class Question: CallSink {
    private let done: (Result<[UInt8], GRPCStatus>) -> Void
    private var answer: [UInt8]?

    init(_ done: @escaping (Result<[UInt8], GRPCStatus>) -> Void) { self.done = done }

    func message(_ bytes: RawSpan, of call: PendingCall) { answer = [UInt8](bytes) }
    func sendQueue(_ bytes: Int) {}

    func ended(_ result: CallResult) {
        guard result.status.isOK else { return done(.failure(result.status)) }
        done(answer.map { .success($0) } ?? .failure(GRPCStatus(.internal, "no answer")))
    }
}
