// A server on a thread of its own, with a service that shows every kind of call, for other people's clients to talk to.

import Connections
import Foundations
import GRPC
import Glibc
import Linux
import TestSupport

/// What the server saw, for tests to wait for.
final class Probe: Sendable {
    struct Counts: Sendable {
        var started = 0
        var cancelled = 0
        var queuedMax = 0
        var sent = 0
        var reports: [String] = []
    }

    let counts = Mutex(Counts())

    func wait(_ condition: (Counts) -> Bool) -> Bool {
        eventually { counts.withLock { condition($0) } }
    }
}

/// Moves what belongs to one thread through a `@Sendable` closure that runs on that thread.
struct OnItsThread<T>: @unchecked Sendable {
    let value: T
}

final class TestServer: Sendable {
    let port: Int
    let probe: Probe
    private let mailbox: Mailbox
    private let server: OnItsThread<GRPCServer>
    private let thread: BackgroundThread
    private let drained: BlockingQueue<Void>

    private struct Started: Sendable {
        var port: Int
        var mailbox: Mailbox
        var server: OnItsThread<GRPCServer>
    }

    init(_ limits: GRPCServer.Limits = GRPCServer.Limits(), sendBufferBytes: Int32 = 0, httpToo: Bool = true) {
        let queue = BlockingQueue<Started>()
        let probe = Probe()
        thread = BackgroundThread(name: "test-server") {
            do {
                let loop = try EventLoop()
                let router = GRPCRouter()
                let server = GRPCServer(loop: loop, router: router, limits: limits)
                TestService(server: server, probe: probe).register(in: router)
                if !httpToo { router.http = nil }
                let address = try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0]
                let report: (String) -> Void = { text in probe.counts.withLock { $0.reports.append(text) } }
                let listener = try Listener(address, loop: loop, report: report) { descriptor in
                    if sendBufferBytes > 0 { Socket.set(descriptor, SOL_SOCKET, SO_SNDBUF, sendBufferBytes) }
                    server.add(descriptor)
                }
                queue.push(
                    Started(port: listener.address.port, mailbox: loop.mailbox, server: OnItsThread(value: server)))
                loop.run()
                listener.stop()
                server.closeAll()
            } catch {
                fatalError("test server: \(error)")
            }
        }
        let started = queue.takeAll()![0]
        port = started.port
        mailbox = started.mailbox
        server = started.server
        self.probe = probe
        drained = BlockingQueue()
    }

    /// Starts the drain; `waitForDrain` waits for its end.
    func drain(timeout: UInt64 = 10_000_000_000) {
        mailbox.post { [server, drained] in server.value.drain(timeout: timeout) { drained.push(()) } }
    }

    func waitForDrain() { _ = drained.takeAll() }

    func stop() {
        mailbox.post { [server] in server.value.loop.stop() }
        thread.join()
    }
}

/// Every kind of call.
final class TestService: CallObserver {
    // Kept by the handlers in the router, which the server keeps.
    unowned let server: GRPCServer
    let probe: Probe
    private var held: [Call] = []

    init(server: GRPCServer, probe: Probe) {
        self.server = server
        self.probe = probe
    }

    func register(in router: GRPCRouter) {
        router.unary("/test.Echo/Unary") { [self] context, message in server.reply(context.call) { $0.append(message) } }
        router.unary("/test.Echo/Metadata") { [self] context, _ in
            let lines = context.allMetadata.map { "\($0.name)=\(String(decoding: $0.value, as: UTF8.self))\n" }.joined()
            server.reply(context.call, Array(lines.utf8))
        }
        router.unary("/test.Echo/Fail") { [self] context, message in
            server.finish(
                context.call,
                GRPCStatus(GRPCCode(rawValue: UInt32(message[byte: 0])), "gräßlich: 100 % \"\(message.byteCount)\"\n"))
        }
        router.unary("/test.Echo/Never") { [self] context, _ in
            started()
            server.observe(context.call, self)
        }
        router.unary("/test.Echo/Hold") { [self] context, _ in
            started()
            held.append(context.call)
        }
        router.unary("/test.Echo/Started") { [self] context, _ in
            let count = probe.counts.withLock { $0.started }
            server.reply(context.call, Array("\(count)".utf8))
        }
        router.unary("/test.Echo/Release") { [self] context, message in
            // Twice on purpose: the second answer finds nobody and must do no harm.
            for call in held + held { server.reply(call, Array(message)) }
            server.reply(context.call, Array("\(held.count)".utf8))
            held = []
        }
        router.unary("/test.Echo/Cancelled") { [self] context, _ in
            let count = probe.counts.withLock { $0.cancelled }
            server.reply(context.call, Array("\(count)".utf8))
        }
        router.unary("/test.Echo/Queued") { [self] context, _ in
            let counts = probe.counts.withLock { $0 }
            server.reply(context.call, Array("\(counts.queuedMax) \(counts.sent)".utf8))
        }
        router.stream("/test.Echo/Expand") { [self] in Expander(self, $0.call) }
        router.stream("/test.Echo/Sum") { [self] in Summer(self, $0.call) }
        router.stream("/test.Echo/Chat") { [self] context in
            started()
            return Chatter(self, context.call)
        }
        router.http = { [self] request, call, peer in http(request, call) }
        HealthService(server: server).register(in: router)
    }

    private func started() { probe.counts.withLock { $0.started += 1 } }

    func cancelled(_ call: Call) { probe.counts.withLock { $0.cancelled += 1 } }
}

/// Sends as many messages of a size as asked for (eight digits, comma, eight digits), never more than is drained.
private final class Expander: StreamHandler {
    private let service: TestService
    private let call: Call
    private var count = 0
    private var size = 0

    init(_ service: TestService, _ call: Call) { (self.service, self.call) = (service, call) }

    func message(_ message: RawSpan) {
        let parts = String(decoding: [UInt8](message), as: UTF8.self).split(separator: ",").compactMap { Int($0) }
        (count, size) = (parts[0], parts[1])
        produce()
    }

    func halfClosed() {}
    func writable() { produce() }
    func cancelled() { service.cancelled(call) }

    private func produce() {
        let piece = [UInt8](repeating: 0x78, count: size)
        while count > 0 {
            count -= 1
            guard let queued = service.server.send(call, { $0.append(contentsOf: piece) }) else { return }
            service.probe.counts.withLock {
                $0.queuedMax = max($0.queuedMax, queued)
                $0.sent += 1
            }
            if queued > service.server.limits.highWater { return }
        }
        service.server.finish(call, .ok)
    }
}

/// Counts the bytes of a client's stream; stops it early at a message "stop".
private final class Summer: StreamHandler {
    private let service: TestService
    private let call: Call
    private var bytes = 0

    init(_ service: TestService, _ call: Call) { (self.service, self.call) = (service, call) }

    func message(_ message: RawSpan) {
        bytes += message.byteCount
        if message.elementsEqual(Array("stop".utf8).rawSpan) {
            service.server.finish(call, GRPCStatus(.failedPrecondition, "stopped"))
        }
    }

    func halfClosed() {
        service.server.send(call) { $0.append(contentsOf: String(bytes).utf8) }
        service.server.finish(call, .ok)
    }

    func writable() {}
    func cancelled() { service.cancelled(call) }
}

/// Answers each message with itself.
private final class Chatter: StreamHandler {
    private let service: TestService
    private let call: Call

    init(_ service: TestService, _ call: Call) { (self.service, self.call) = (service, call) }

    func message(_ message: RawSpan) { service.server.send(call) { $0.append(message) } }
    func halfClosed() { service.server.finish(call, .ok) }
    func writable() {}
    func cancelled() { service.cancelled(call) }
}
