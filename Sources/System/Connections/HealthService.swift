// grpc.health.v1: whether the server, or one of its services, is fit to be used. Watch tells changes as they happen.
// The two messages have one field each, so they are read and written here without the generated code.

import Foundations
import GRPC

package final class HealthService {
    package enum Status: UInt8, Sendable {
        case unknown = 0
        case serving = 1
        case notServing = 2
        /// Only for Watch, of a service that is not registered.
        case serviceUnknown = 3
    }

    private let server: GRPCServer
    private var statuses: [String: Status] = ["": .serving]
    private var watchers: [Watcher] = []

    package init(server: GRPCServer) { self.server = server }

    package func register(in router: GRPCRouter) {
        router.unary("/grpc.health.v1.Health/Check") { [self] context, message in check(context.call, message) }
        router.stream("/grpc.health.v1.Health/Watch") { [self] in Watcher(self, $0.call) }
    }

    /// Of the whole server with the empty name. On the server's loop.
    package func set(_ status: Status, for service: String = "") {
        statuses[service] = status
        for watcher in watchers where watcher.service == service { watcher.tell(status) }
    }

    private func check(_ call: Call, _ message: RawSpan) {
        do throws(GRPCStatus) {
            guard let status = statuses[try serviceName(message)] else { throw EtcdError.unknownHealthService }
            server.reply(call) { HealthService.append(status, to: &$0) }
        } catch {
            server.finish(call, error)
        }
    }

    fileprivate static func append(_ status: Status, to output: inout [UInt8]) {
        if status != .unknown { output.append(contentsOf: [0x08, status.rawValue]) }
    }

    /// HealthCheckRequest: field 1 is the service's name. Other fields are skipped as far as they are understood.
    fileprivate func serviceName(_ message: RawSpan) throws(GRPCStatus) -> String {
        var name = ""
        var at = 0
        func varint() throws(GRPCStatus) -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 7) {
                guard at < message.byteCount else { break }
                let byte = message[byte: at]
                at += 1
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
            }
            throw EtcdError.undecodableRequest("malformed HealthCheckRequest")
        }
        while at < message.byteCount {
            let tag = try varint()
            switch tag & 7 {
            case 0: _ = try varint()
            case 1: at += 8
            case 5: at += 4
            case 2:
                let length = try varint()
                guard length <= UInt64(message.byteCount - at) else {
                    throw EtcdError.undecodableRequest("malformed HealthCheckRequest")
                }
                let bytes = [UInt8](message.extracting(at..<at + Int(length)))
                at += Int(length)
                if tag >> 3 == 1 { name = String(decoding: bytes, as: UTF8.self) }
            default: throw EtcdError.undecodableRequest("malformed HealthCheckRequest")
            }
        }
        guard at == message.byteCount else { throw EtcdError.undecodableRequest("malformed HealthCheckRequest") }
        return name
    }

    private final class Watcher: StreamHandler {
        private let health: HealthService
        private let call: Call
        private(set) var service: String?

        init(_ health: HealthService, _ call: Call) { (self.health, self.call) = (health, call) }

        func message(_ message: RawSpan) {
            guard service == nil else { return }
            do throws(GRPCStatus) {
                let name = try health.serviceName(message)
                service = name
                health.watchers.append(self)
                tell(health.statuses[name] ?? .serviceUnknown)
            } catch {
                health.server.finish(call, error)
            }
        }

        func tell(_ status: Status) { health.server.send(call) { HealthService.append(status, to: &$0) } }

        // A watch goes on when its request has ended; it is the client that stops it.
        func halfClosed() {}
        func writable() {}
        func cancelled() { health.watchers.removeAll { $0 === self } }
    }
}
