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
        guard let route = GatewayRoute.find(path: request.path), let method = methods[route.method] else {
            return respond(call, .text(404, "Not Found\n"), common)
        }
        guard request.method == "POST" else {
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
        let caller = Caller(request)
        switch route.kind {
        case .unary: unary(request.body, method, caller, call, deadline, common)
        case .stream:
            let stream = GatewayStream(api, method, call, common)
            stream.start(request.body, caller, deadline)
        }
    }

    private func unary(
        _ body: Bytes, _ method: MethodDescriptor, _ caller: Caller, _ call: Call, _ deadline: UInt64,
        _ common: [(name: String, value: String)]
    ) {
        let message: Bytes
        do throws(JSONError) { message = try Gateway.firstValue(of: body).encoded(as: method.request) } catch {
            return fail(call, GRPCStatus(.invalidArgument, "\(error)"), common)
        }
        guard let serve = api.unary[method.path] else { unreachable("no service for \(method.path)") }
        let started = Linux.Clock.monotonic()
        let pending = PendingAnswer()
        let count = GatewayCount(api, method, call)
        count.received(message.count)
        if deadline > 0 {
            pending.timer = api.member.loop.schedule(after: deadline) { [weak self] in
                guard let self, !pending.isDone else { return }
                pending.isDone = true
                count.ended(.deadlineExceeded)
                fail(call, EtcdError.contextDeadlineExceeded, common)
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
                    return fail(call, EtcdError.contextDeadlineExceeded, common)
                }
                switch result {
                case .failure(let status):
                    count.ended(status.code)
                    fail(call, status, common)
                case .success(let answer):
                    count.sent(answer.count)
                    count.ended(.ok)
                    var headers = common
                    headers.append(("Content-Type", "application/json"))
                    headers.append(("Grpc-Metadata-Content-Type", "application/grpc"))
                    server.respond(call, status: 200, headers: headers, body: Gateway.json(answer, method.response))
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

/// Counts a call through the gateway as what it stands for.
struct GatewayCount {
    private let server: GRPCServer
    private let route: Int32?
    private let serial: UInt64
    private let isStream: Bool

    init(_ api: ClientAPI, _ method: MethodDescriptor, _ call: Call) {
        server = api.server
        serial = call.serial
        isStream = api.streams[method.path] != nil
        route = api.server.countLocalStart(method.path, serial: call.serial)
        api.clientVersions.gateway(isStream: isStream)
    }

    func received(_ bytes: Int) { if let route { server.countLocalMessage(route, isStream: isStream, received: bytes) } }
    func sent(_ bytes: Int) { if let route { server.countLocalMessage(route, isStream: isStream, sent: bytes) } }
    func ended(_ code: GRPCCode) { if let route { server.countLocalEnd(route, serial: serial, code) } }
}

/// A stream method over HTTP: the body's objects are its messages, each answer a line.
final class GatewayStream: StreamOutlet, CallObserver {
    private let api: ClientAPI
    private let method: MethodDescriptor
    private let call: Call
    private let common: [(name: String, value: String)]
    private var stream: (any ServiceStream)?
    private var count: GatewayCount?
    private var hasHead = false
    private var isOver = false

    init(_ api: ClientAPI, _ method: MethodDescriptor, _ call: Call, _ common: [(name: String, value: String)]) {
        self.api = api
        self.method = method
        self.call = call
        self.common = common
    }

    func start(_ body: Bytes, _ caller: Caller, _ deadline: UInt64) {
        guard let open = api.streams[method.path] else { unreachable("no service for \(method.path)") }
        var messages: [Bytes] = []
        do throws(JSONError) {
            var reader = JSONReader(body.rawSpan)
            while let value = try reader.next() { messages.append(try value.encoded(as: method.request)) }
        } catch {
            if messages.isEmpty {
                var headers = common
                headers.append(("Content-Type", "application/json"))
                return api.server.respond(
                    call, status: 500, headers: headers, body: Gateway.errorBody(GRPCStatus(.unknown, "\(error)")))
            }
        }
        api.server.observe(call, self)
        if messages.isEmpty && !method.clientStreams { messages = [[]] }
        let count = GatewayCount(api, method, call)
        self.count = count
        let stream = open(caller, self)
        self.stream = stream
        for message in messages where !isOver {
            count.received(message.count)
            stream.message(message.rawSpan)
        }
        if !isOver { stream.halfClosed() }
        if deadline > 0 && !isOver {
            api.member.loop.schedule(after: deadline) { [weak self] in
                guard let self, !isOver else { return }
                self.stream?.cancelled()
                finish(EtcdError.contextDeadlineExceeded)
            }
        }
    }

    func send(_ encode: (inout Bytes) -> Void) -> Int? {
        guard !isOver else { return nil }
        var message: Bytes = []
        encode(&message)
        var line = Bytes("{\"result\":".utf8)
        line.append(contentsOf: Gateway.json(message, method.response))
        line.append(contentsOf: "}\n".utf8)
        count?.sent(message.count)
        sendHead(200)
        return api.server.sendPiece(call, line)
    }

    private func sendHead(_ status: Int) {
        guard !hasHead else { return }
        hasHead = true
        var headers = common
        headers.append(("Content-Type", "application/json"))
        if status == 200 { headers.append(("Grpc-Metadata-Content-Type", "application/grpc")) }
        api.server.startPieces(call, status: status, headers: headers)
    }

    func finish(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        count?.ended(status.code)
        if !status.isOK {
            sendHead(status.code.httpStatus())
            var writer = JSONWriter(escapesHTML: true)
            writer.beginObject()
            writer.name("error")
            writer.beginObject()
            writer.name("grpc_code")
            writer.number(status.code.rawValue)
            writer.name("http_code")
            writer.number(status.code.httpStatus())
            writer.name("message")
            writer.string(status.message)
            writer.name("http_status")
            writer.string(HTTPStatus.reason(status.code.httpStatus()))
            writer.endObject()
            writer.endObject()
            _ = api.server.sendPiece(call, writer.bytes + [0x0a])
        } else {
            sendHead(200)
        }
        api.server.endPieces(call)
        stream = nil
    }

    /// What waits leaves with the connection's own pace; ask again soon.
    func notifyWritable() {
        api.member.loop.schedule(after: 10_000_000) { [weak self] in
            guard let self, !isOver else { return }
            if api.server.queuedBytes(call) < 256 * 1024 { stream?.writable() } else { notifyWritable() }
        }
    }

    func cancelled(_ call: Call) {
        guard !isOver else { return }
        isOver = true
        count?.ended(.cancelled)
        stream?.cancelled()
        stream = nil
    }
}
