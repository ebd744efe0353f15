// The JSON gateway: a request's JSON becomes the message of a gRPC method, the same service answers, and the answer
// becomes JSON. Driven by the descriptors of the messages; nothing here knows a particular method.

import Connections
import Foundations
import GRPC
import HTTP1
import JSON
import Linux
import Wire

package final class Gateway {
    private unowned let api: ClientAPI
    private unowned let server: GRPCServer
    private let methods: [String: MethodDescriptor]
    /// Set when client certificates are demanded: a name in one would not be used here.
    package var refusesNamedCertificates = false

    package init(_ api: ClientAPI) {
        self.api = api
        server = api.server
        methods = Dictionary(uniqueKeysWithValues: RPC.all.map { ($0.path, $0) })
    }

    static func isGatewayPath(_ path: String) -> Bool { path.hasPrefix("/v3/") || path.hasPrefix("/v3beta/") }

    /// Serves a request below `/v3/`.
    func serve(_ request: HTTPRequest, _ call: Call, _ peer: PeerIdentity, _ common: [(name: String, value: String)]) {
        let isSocket = GatewaySocket.isAsked(request)
        if isSocket {
            if let refusal = GatewaySocket.refusal(request) { return respond(call, refusal, common) }
            // Browsers ask nobody before they open a socket: where origins are listed, others are kept out here.
            if common.isEmpty, request.header("origin") != nil { return respond(call, .text(403, "Forbidden\n"), common) }
        }
        guard let route = GatewayRoute.find(path: request.path), let method = methods[route.method] else {
            if isSocket { return GatewaySocket.openNowhere(api, request, call) }
            return respond(call, .text(404, "Not Found\n"), common)
        }
        guard isSocket || request.method == "POST" else {
            return respond(call, .text(405, "Method Not Allowed\n"), common)
        }
        if refusesNamedCertificates, let name = peer.commonName, !name.isEmpty, api.state.auth.isEnabled {
            return respond(
                call,
                .text(
                    400,
                    "CommonName of client sending a request against gateway will be ignored and not used as expected\n"),
                common)
        }
        var deadline: UInt64 = 0
        if let timeout = request.header("grpc-timeout") {
            guard let nanoseconds = GRPCTimeout.parse(Array(timeout.utf8)) else {
                return fail(call, GRPCTimeout.malformedAtGateway(timeout), common)
            }
            deadline = UInt64(nanoseconds)
        }
        if isSocket {
            let caller = Caller(GatewaySocket.withToken(request))
            return GatewaySocket.open(self, api, request, call, caller, deadline, method, isStream: route.kind == .stream)
        }
        let caller = Caller(request)
        switch route.kind {
        case .unary:
            unary(request.body, method, caller, call, deadline) { [unowned self] status, headers, body in
                server.respond(call, status: status, headers: common + headers, body: body)
            }
        case .stream:
            let sink = GatewayPieces(server, call, common)
            GatewayStream(api, method, call, sink: sink).start(request.body, caller, deadline) { [unowned self] failure in
                let headers = common + [("Content-Type", "application/json")]
                server.respond(call, status: 500, headers: headers, body: Gateway.errorBody(failure))
            }
        }
    }

    /// Asks a method with one answer; `answer` gets status, headers and body, once or, when the client is gone, not at all.
    func unary(
        _ body: Bytes, _ method: MethodDescriptor, _ caller: Caller, _ call: Call, _ deadline: UInt64,
        _ answer: @escaping (Int, [(name: String, value: String)], Bytes) -> Void
    ) {
        func fail(_ status: GRPCStatus) {
            answer(status.code.httpStatus(), [("Content-Type", "application/json")], Gateway.errorBody(status))
        }
        let message: Bytes
        do throws(JSONError) { message = try Gateway.firstValue(of: body).encoded(as: method.request) } catch {
            return fail(GRPCStatus(.invalidArgument, "\(error)"))
        }
        guard let serve = api.unary[method.path] else { unreachable("no service for \(method.path)") }
        let started = Linux.Clock.monotonic()
        let pending = PendingAnswer()
        let count = GatewayCount(api, method, call)
        count.received(message.count)
        if deadline > 0 {
            pending.timer = api.member.loop.schedule(after: deadline) { [weak self] in
                guard self != nil, !pending.isDone else { return }
                pending.isDone = true
                count.ended(.deadlineExceeded)
                fail(EtcdError.contextDeadlineExceeded)
            }
        }
        serve(
            caller, message.rawSpan,
            .body { [weak self] result in
                guard let self, !pending.isDone else { return }
                pending.isDone = true
                if let timer = pending.timer { api.member.loop.cancel(timer) }
                if deadline > 0, Linux.Clock.monotonic() - started > deadline {
                    count.ended(.deadlineExceeded)
                    return fail(EtcdError.contextDeadlineExceeded)
                }
                switch result {
                case .failure(let status):
                    count.ended(status.code)
                    fail(status)
                case .success(let message):
                    count.sent(message.count)
                    count.ended(.ok)
                    let headers = [
                        (name: "Content-Type", value: "application/json"),
                        (name: "Grpc-Metadata-Content-Type", value: "application/grpc"),
                    ]
                    answer(200, headers, Gateway.json(message, method.response))
                }
            })
    }

    private final class PendingAnswer {
        var isDone = false
        var timer: TimerID?
    }

    static func json(_ message: Bytes, _ descriptor: MessageDescriptor) -> Bytes {
        var writer = JSONWriter(escapesHTML: true)
        do throws(WireError) {
            try writer.message(message.rawSpan, as: descriptor, style: .gateway)
        } catch { unreachable("\(descriptor.name) reads what a service wrote: \(error)") }
        return writer.bytes
    }

    /// The first JSON value of a body; nothing counts as the empty message, and what follows it is not looked at.
    static func firstValue(of body: Bytes) throws(JSONError) -> JSONValue {
        var reader = JSONReader(body.rawSpan)
        return try reader.next() ?? .null
    }

    private func fail(_ call: Call, _ status: GRPCStatus, _ common: [(name: String, value: String)]) {
        var headers = common
        headers.append(("Content-Type", "application/json"))
        server.respond(
            call, status: status.code.httpStatus(), headers: headers, body: Gateway.errorBody(status))
    }

    static func errorBody(_ status: GRPCStatus) -> Bytes {
        var writer = JSONWriter(escapesHTML: true)
        writer.beginObject()
        writer.name("error")
        writer.string(status.message)
        writer.name("code")
        writer.number(status.code.rawValue)
        writer.name("message")
        writer.string(status.message)
        writer.endObject()
        return writer.bytes
    }

    private func respond(_ call: Call, _ response: PlainResponse, _ common: [(name: String, value: String)]) {
        server.respond(
            call, status: response.status, headers: common + response.headers, body: Bytes(response.body.utf8))
    }
}

extension Caller {
    /// Who asks through the gateway.
    init(_ request: HTTPRequest) {
        self.init()
        isGateway = true
        let token = request.header("grpc-metadata-token") ?? request.header("authorization")
        self.token = token.map { Caller.withoutBearer(Bytes($0.utf8)) }
        requiresLeader = request.header("grpc-metadata-hasleader") == "true"
    }
}
