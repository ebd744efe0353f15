// A stream method at the gateway: JSON objects are its messages, each answer is a line. Who carries the lines is a sink: the
// pieces of an HTTP answer, or a WebSocket.

import Connections
import Foundations
import GRPC
import HTTP1
import JSON
import Wire

protocol GatewaySink: AnyObject {
    /// Before the first line; the status is 200 unless all there is to say is why it failed.
    func start(_ status: Int)
    /// One line, without its end; the bytes that wait for the peer then, nil when it is gone.
    func line(_ line: Bytes) -> Int?
    func end()
}

/// Lines as the pieces of one answer.
final class GatewayPieces: GatewaySink {
    private unowned let server: GRPCServer
    private let call: Call
    private let common: [(name: String, value: String)]

    init(_ server: GRPCServer, _ call: Call, _ common: [(name: String, value: String)]) {
        self.server = server
        self.call = call
        self.common = common
    }

    func start(_ status: Int) {
        var headers = common
        headers.append(("Content-Type", "application/json"))
        if status == 200 { headers.append(("Grpc-Metadata-Content-Type", "application/grpc")) }
        server.startPieces(call, status: status, headers: headers)
    }

    func line(_ line: Bytes) -> Int? { server.sendPiece(call, line + [0x0a]) }
    func end() { server.endPieces(call) }
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

final class GatewayStream: StreamOutlet, CallObserver {
    private let api: ClientAPI
    private let method: MethodDescriptor
    private let call: Call
    private let sink: any GatewaySink
    private var stream: (any ServiceStream)?
    private var count: GatewayCount?
    private var hasHead = false
    private var isOver = false

    init(_ api: ClientAPI, _ method: MethodDescriptor, _ call: Call, sink: any GatewaySink) {
        self.api = api
        self.method = method
        self.call = call
        self.sink = sink
    }

    /// A whole body: what of it can be read is asked. `failed`: nothing of it can.
    func start(_ body: Bytes, _ caller: Caller, _ deadline: UInt64, _ failed: (GRPCStatus) -> Void) {
        var messages: [Bytes] = []
        do throws(JSONError) {
            var reader = JSONReader(body.rawSpan)
            while let value = try reader.next() { messages.append(try value.encoded(as: method.request)) }
        } catch {
            if messages.isEmpty { return failed(GRPCStatus(.unknown, "\(error)")) }
        }
        api.server.observe(call, self)
        if messages.isEmpty && !method.clientStreams { messages = [[]] }
        open(caller, deadline)
        for message in messages { receive(message) }
        halfClosed()
    }

    func open(_ caller: Caller, _ deadline: UInt64) {
        guard let open = api.streams[method.path] else { unreachable("no service for \(method.path)") }
        count = GatewayCount(api, method, call)
        stream = open(caller, self)
        guard deadline > 0 && !isOver else { return }
        api.member.loop.schedule(after: deadline) { [weak self] in
            guard let self, !isOver else { return }
            stream?.cancelled()
            finish(EtcdError.contextDeadlineExceeded)
        }
    }

    /// A message from the client.
    func receive(_ message: Bytes) {
        guard !isOver else { return }
        count?.received(message.count)
        stream?.message(message.rawSpan)
    }

    func halfClosed() { if !isOver { stream?.halfClosed() } }

    func send(_ encode: (inout Bytes) -> Void) -> Int? {
        guard !isOver else { return nil }
        var message: Bytes = []
        encode(&message)
        var line = Bytes("{\"result\":".utf8)
        line.append(contentsOf: Gateway.json(message, method.response))
        line.append(UInt8(ascii: "}"))
        count?.sent(message.count)
        sendHead(200)
        return sink.line(line)
    }

    private func sendHead(_ status: Int) {
        guard !hasHead else { return }
        hasHead = true
        sink.start(status)
    }

    func finish(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        count?.ended(status.code)
        sendHead(status.isOK ? 200 : status.code.httpStatus())
        if !status.isOK { _ = sink.line(GatewayStream.errorLine(status)) }
        sink.end()
        stream = nil
    }

    private static func errorLine(_ status: GRPCStatus) -> Bytes {
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
        return writer.bytes
    }

    /// What waits leaves with the connection's own pace; ask again soon.
    func notifyWritable() {
        api.member.loop.schedule(after: 10_000_000) { [weak self] in
            guard let self, !isOver else { return }
            if api.server.queuedBytes(call) < 256 * 1024 { stream?.writable() } else { notifyWritable() }
        }
    }

    func cancelled(_ call: Call) { abandon() }

    /// Nobody listens any more.
    func abandon() {
        guard !isOver else { return }
        isOver = true
        count?.ended(.cancelled)
        stream?.cancelled()
        stream = nil
    }
}
