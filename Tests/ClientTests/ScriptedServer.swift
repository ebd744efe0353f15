// A gRPC server in this process that does what a test says, so that failures come when they are wanted.

import Connections
import Foundations
import GRPC
import Glibc
import Linux
import Wire

import struct Synchronization.Atomic

/// Moves what belongs to one thread through a `@Sendable` closure that runs on that thread.
private struct OnItsThread<T>: @unchecked Sendable {
    let value: T
}

final class ScriptedServer: Sendable {
    enum Step: Sendable {
        case fail(GRPCStatus)
        /// Takes the request and never answers.
        case silence
        /// Closes the connection instead of answering.
        case hangUp
    }

    /// What to do, and what was seen.
    struct Script: Sendable {
        /// For the next calls of a method; then it answers.
        var steps: [String: [Step]] = [:]
        var calls: [String: Int] = [:]
        var timeouts: [String] = []
        var cancelled = 0
        var isServing = true
        /// The token calls must have; nil: any.
        var token: String?
        var answerBytes = 0
        var streamMessages = 0
        var streamMessageBytes = 0
        var streamed = 0
        var tokensGiven = 0
    }

    /// Shared with the server's thread, and whole before that thread takes the first connection.
    final class Board: Sendable {
        private static let member = Atomic<UInt64>(1)
        let script = Mutex(Script())
        let memberID = Board.member.wrappingAdd(1, ordering: .relaxed).oldValue

        func with<R: Sendable>(_ body: (inout Script) -> R) -> R { script.withLock { body(&$0) } }
    }

    let board: Board
    var memberID: UInt64 { board.memberID }
    let port: Int
    var endpoint: String { "127.0.0.1:\(port)" }
    private let mailbox: Mailbox
    private let server: OnItsThread<GRPCServer>
    private let listener: OnItsThread<Listener>
    private let thread: BackgroundThread

    private struct Started: Sendable {
        var port: Int
        var mailbox: Mailbox
        var server: OnItsThread<GRPCServer>
        var listener: OnItsThread<Listener>
    }

    init(port: Int = 0, path: String? = nil, pingIntervalMin: UInt64 = 0) {
        let queue = BlockingQueue<Started>()
        let board = Board()
        self.board = board
        thread = BackgroundThread(name: "scripted") {
            do {
                let loop = try EventLoop()
                let router = GRPCRouter()
                var limits = GRPCServer.Limits()
                limits.messageBytesMax = 64 << 20
                limits.pingIntervalMin = pingIntervalMin
                let server = GRPCServer(loop: loop, router: router, limits: limits)
                let core = Core(server, board)
                core.register(router)
                let address = try path.map { SocketAddress.unix($0)! } ?? SocketAddress.resolve(host: "127.0.0.1", port: "\(port)")[0]
                let listener = try Listener(address, loop: loop, report: { _ in }) { server.add($0) }
                queue.push(
                    Started(
                        port: path == nil ? listener.address.port : 0, mailbox: loop.mailbox,
                        server: OnItsThread(value: server), listener: OnItsThread(value: listener)))
                loop.run()
                listener.stop()
                server.closeAll()
            } catch {
                fatalError("scripted server: \(error)")
            }
        }
        let started = queue.takeAll()![0]
        self.port = started.port
        mailbox = started.mailbox
        server = started.server
        listener = started.listener
    }

    func with<R: Sendable>(_ body: (inout Script) -> R) -> R { board.with(body) }
    func calls(_ method: MethodDescriptor) -> Int { with { $0.calls[method.path] ?? 0 } }
    func plan(_ method: MethodDescriptor, _ steps: [Step]) { with { $0.steps[method.path] = steps } }

    /// Closes the listener and every connection.
    func stop() {
        mailbox.post { [server] in server.value.loop.stop() }
        thread.join()
    }

    /// Tells clients to go, and waits until they have.
    func drain() async {
        await withCheckedContinuation { done in
            mailbox.post { [server, listener] in
                listener.value.stop()
                server.value.drain(timeout: 60_000_000_000) { done.resume() }
            }
        }
    }

    /// The server's thread does nothing while `body` runs: as a machine that has lost power.
    func frozen<R>(_ body: () async throws -> R) async rethrows -> R {
        let thaw = BlockingQueue<Void>()
        mailbox.post { _ = thaw.takeAll() }
        defer { thaw.push(()) }
        return try await body()
    }
}

private final class Core: CallObserver {
    let server: GRPCServer
    let owner: ScriptedServer.Board

    init(_ server: GRPCServer, _ owner: ScriptedServer.Board) { (self.server, self.owner) = (server, owner) }

    func register(_ router: GRPCRouter) {
        unary(router, RPC.KV.range) { [self] _ in
            let bytes = owner.with { $0.answerBytes }
            let kvs = bytes > 0 ? [Wire.KeyValue(key: [1], value: [UInt8](repeating: 5, count: bytes))] : []
            return RangeResponse(header: header, kvs: kvs).encoded()
        }
        unary(router, RPC.KV.put) { [self] _ in PutResponse(header: header).encoded() }
        unary(router, RPC.KV.txn) { [self] _ in TxnResponse(header: header).encoded() }
        unary(router, RPC.Maintenance.status) { [self] _ in StatusResponse(header: header).encoded() }
        unary(router, RPC.Auth.authenticate, needsToken: false) { [self] _ in
            let token = owner.with { script in
                script.tokensGiven += 1
                script.token = "token-\(script.tokensGiven)"
                return script.token!
            }
            return AuthenticateResponse(token: token).encoded()
        }
        router.stream(RPC.Maintenance.snapshot.path) { [self] in Pieces(self, $0.call) }
        router.stream(RPC.Watch.watch.path) { [self] in Echo(self, $0.call) }
        router.stream(RPC.Health.watch.path) { [self] in Health(self, $0.call) }
    }

    private var header: ResponseHeader { ResponseHeader(memberId: owner.memberID, revision: 1) }

    private func unary(
        _ router: GRPCRouter, _ method: MethodDescriptor, needsToken: Bool = true, _ answer: @escaping (RawSpan) -> [UInt8]
    ) {
        router.unary(method.path) { [self] context, message in
            let token = context.metadataText("token")
            let (step, wanted) = owner.with { script -> (ScriptedServer.Step?, String?) in
                script.calls[method.path, default: 0] += 1
                if context.deadline != 0 { script.timeouts.append(method.path) }
                let step = script.steps[method.path]?.first
                if step != nil { script.steps[method.path]!.removeFirst() }
                return (step, script.token)
            }
            switch step {
            case .fail(let status): server.finish(context.call, status)
            case .silence: server.observe(context.call, self)
            case .hangUp: server.closeAll()
            case nil:
                if needsToken, let wanted, wanted != token { return server.finish(context.call, EtcdError.invalidAuthToken) }
                server.reply(context.call, answer(message))
            }
        }
    }

    func cancelled(_ call: Call) { owner.with { $0.cancelled += 1 } }
}

/// As many messages as the script says, never more than is drained.
private final class Pieces: StreamHandler {
    private let core: Core
    private let call: Call
    private var left = 0

    init(_ core: Core, _ call: Call) { (self.core, self.call) = (core, call) }

    func message(_ message: RawSpan) {
        left = core.owner.with { $0.streamMessages }
        produce()
    }

    func halfClosed() {}
    func writable() { produce() }
    func cancelled() { core.cancelled(call) }

    private func produce() {
        let piece = SnapshotResponse(blob: [UInt8](repeating: 9, count: core.owner.with { $0.streamMessageBytes })).encoded()
        while left > 0 {
            left -= 1
            guard let queued = core.server.send(call, { $0.append(contentsOf: piece) }) else { return }
            core.owner.with { $0.streamed += 1 }
            if queued > core.server.limits.highWater { return }
        }
        core.server.finish(call, .ok)
    }
}

/// Answers each message with its size as a watch id.
private final class Echo: StreamHandler {
    private let core: Core
    private let call: Call

    init(_ core: Core, _ call: Call) { (self.core, self.call) = (core, call) }

    func message(_ message: RawSpan) {
        let answer = WatchResponse(watchId: Int64(message.byteCount))
        core.server.send(call) { answer.append(to: &$0) }
    }
    func halfClosed() { core.server.finish(call, .ok) }
    func writable() {}
    func cancelled() { core.cancelled(call) }
}

private final class Health: StreamHandler {
    private let core: Core
    private let call: Call

    init(_ core: Core, _ call: Call) { (self.core, self.call) = (core, call) }

    func message(_ message: RawSpan) {
        let isServing = core.owner.with { script in
            script.calls[RPC.Health.watch.path, default: 0] += 1
            return script.isServing
        }
        let answer = HealthPB.HealthCheckResponse(status: isServing ? .serving : .notServing)
        core.server.send(call) { answer.append(to: &$0) }
    }
    func halfClosed() {}
    func writable() {}
    func cancelled() {}
}
