// A WebSocket at the gateway: `GET /v3/...` with an upgrade stands for a POST to that path whose body and answer go on as
// long as the connection does. Each message of the client is one request object, or several; each line of the answer is a
// text message. For programs that cannot read an HTTP answer while they still write the request, browsers above all.
//
//     handshake -> open --messages--> service, answers --> close 1000
//                    |--- what breaks the protocol ------> close 1002, 1007, 1009
//                    |--- the client leaves -------------> cancelled
//
// Memory: one message of the size a request body may have, and what the connection holds for a peer that does not read.

import Connections
import Foundations
import GRPC
import HTTP1
import JSON
import Wire

final class GatewaySocket: HTTPBodyReceiver, GatewaySink {
    private let gateway: Gateway
    private let api: ClientAPI
    private let call: Call
    private let caller: Caller
    private let deadline: UInt64
    private let method: MethodDescriptor
    private let isStream: Bool
    private var parser: WebSocketParser
    private var stream: GatewayStream?
    private var hasAsked = false
    private var isOver = false

    private init(
        _ gateway: Gateway, _ api: ClientAPI, _ call: Call, _ caller: Caller, _ deadline: UInt64, _ method: MethodDescriptor,
        isStream: Bool
    ) {
        self.gateway = gateway
        self.api = api
        self.call = call
        self.caller = caller
        self.deadline = deadline
        self.method = method
        self.isStream = isStream
        parser = WebSocketParser(messageBytesMax: api.server.limits.bodyBytesMax)
    }

    // MARK: The handshake

    static func isAsked(_ request: HTTPRequest) -> Bool {
        func has(_ name: String, _ token: String) -> Bool { list(request, name).contains { $0.lowercased() == token } }
        return !request.isHTTP10 && has("connection", "upgrade") && has("upgrade", "websocket")
    }

    /// Why the handshake cannot be done; nil when it can.
    static func refusal(_ request: HTTPRequest) -> PlainResponse? {
        func refused(_ status: Int, _ text: String) -> PlainResponse {
            var response = PlainResponse.text(status, text)
            response.headers.append(("Sec-WebSocket-Version", WebSocket.version))
            return response
        }
        guard request.method == "GET" else { return refused(405, "Method Not Allowed\n") }
        guard request.header("sec-websocket-version") == WebSocket.version,
            let key = request.header("sec-websocket-key"), WebSocket.isKey(key), request.body.isEmpty
        else { return refused(400, "Bad Request\n") }
        return nil
    }

    /// A token may come as a subprotocol, because browsers let a page set nothing else: `Bearer, TOKEN`.
    static func withToken(_ request: HTTPRequest) -> HTTPRequest {
        var request = request
        if let token = subprotocolToken(request) {
            request.headers.removeAll { $0.name == "authorization" }
            request.headers.append(("authorization", "Bearer " + token))
        }
        return request
    }

    private static func subprotocolToken(_ request: HTTPRequest) -> String? {
        let offered = list(request, "sec-websocket-protocol")
        return offered.count >= 2 && offered[0] == "Bearer" ? offered[1] : nil
    }

    /// The items of a field's values, without the blanks around them.
    private static func list(_ request: HTTPRequest, _ name: String) -> [String] {
        let values = request.headers.filter { $0.name == name }.flatMap { $0.value.split(separator: ",") }
        return values.map { value in
            let start = value.drop { $0 == " " || $0 == "\t" }
            return String(start.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
        }
    }

    private static func upgrade(_ request: HTTPRequest) -> [(name: String, value: String)] {
        var headers = [
            (name: "Upgrade", value: "websocket"), (name: "Connection", value: "Upgrade"),
            (name: "Sec-WebSocket-Accept", value: WebSocket.accept(request.header("sec-websocket-key") ?? "")),
        ]
        if subprotocolToken(request) != nil { headers.append(("Sec-WebSocket-Protocol", "Bearer")) }
        return headers
    }

    /// Answers the handshake and stays with the connection. `request` has passed `refusal`.
    static func open(
        _ gateway: Gateway, _ api: ClientAPI, _ request: HTTPRequest, _ call: Call, _ caller: Caller, _ deadline: UInt64,
        _ method: MethodDescriptor, isStream: Bool
    ) {
        let socket = GatewaySocket(gateway, api, call, caller, deadline, method, isStream: isStream)
        api.server.upgrade(call, headers: upgrade(request), socket)
    }

    /// The same for a path that leads nowhere: as etcd does it, the answer comes through the socket.
    static func openNowhere(_ api: ClientAPI, _ request: HTTPRequest, _ call: Call) {
        let nobody = Deaf()
        api.server.upgrade(call, headers: upgrade(request), nobody)
        var bytes: Bytes = []
        WebSocket.append(.text, Bytes("Not Found".utf8), to: &bytes)
        WebSocket.appendClose(1000, "", to: &bytes)
        _ = api.server.sendUpgraded(call, bytes)
        api.server.endUpgraded(call)
    }

    private final class Deaf: HTTPBodyReceiver {
        func received(_ bytes: RawSpan) {}
        func ended() {}
        func failed() {}
    }

    // MARK: What comes

    func received(_ bytes: RawSpan) {
        var at = 0
        do throws(WebSocketError) {
            while !isOver, let event = try parser.next(bytes, &at) {
                switch event {
                case .message(let message, _): take(message)
                case .ping(let payload): send(.pong, payload)
                case .pong: break
                case .close(let code): leave(code ?? 1000, "")
                }
            }
        } catch { leave(error.closeCode, error.description) }
    }

    private func take(_ message: Bytes) {
        guard isStream else {
            // One request is all that a unary method takes; what follows is not looked at.
            if hasAsked { return }
            hasAsked = true
            gateway.unary(message, method, caller, call, deadline) { [weak self] _, _, body in
                guard let self, !isOver else { return }
                _ = line(body)
                leave(1000, "")
            }
            return
        }
        do throws(JSONError) {
            var reader = JSONReader(message.rawSpan)
            while !isOver, let value = try reader.next() { ask(try value.encoded(as: method.request)) }
        } catch {
            if let stream { return stream.finish(GRPCStatus(.invalidArgument, "\(error)")) }
            _ = line(Gateway.errorBody(GRPCStatus(.unknown, "\(error)")))
            leave(1000, "")
        }
    }

    private func ask(_ message: Bytes) {
        if stream == nil {
            let stream = GatewayStream(api, method, call, sink: self)
            self.stream = stream
            stream.open(caller, deadline)
        }
        // The first message is all that a stream in one direction takes.
        if hasAsked && !method.clientStreams { return }
        hasAsked = true
        stream?.receive(message)
        if !method.clientStreams { stream?.halfClosed() }
    }

    // MARK: What goes

    private func send(_ opcode: WebSocket.Opcode, _ payload: Bytes) {
        var bytes: Bytes = []
        WebSocket.append(opcode, payload, to: &bytes)
        _ = api.server.sendUpgraded(call, bytes)
    }

    func start(_ status: Int) {}

    func line(_ line: Bytes) -> Int? {
        guard !isOver else { return nil }
        var bytes: Bytes = []
        bytes.reserveCapacity(line.count + 10)
        WebSocket.append(.text, line, to: &bytes)
        return api.server.sendUpgraded(call, bytes)
    }

    func end() { leave(1000, "") }

    private func leave(_ code: UInt16, _ reason: String) {
        guard !isOver else { return }
        isOver = true
        let stream = stream
        self.stream = nil
        stream?.abandon()
        var bytes: Bytes = []
        WebSocket.appendClose(code, reason, to: &bytes)
        _ = api.server.sendUpgraded(call, bytes)
        api.server.endUpgraded(call)
    }

    // MARK: The end

    /// The server is about to stop.
    func ended() { leave(1001, "the server stops") }

    /// The connection is gone.
    func failed() {
        guard !isOver else { return }
        isOver = true
        let stream = stream
        self.stream = nil
        stream?.abandon()
    }
}
