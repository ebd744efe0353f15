// One loop's server: its connections, and the verbs with which handlers answer calls. Belongs to the loop's thread.
//
// Cost of a unary call, cleartext: no allocation once buffers have grown; the request is borrowed from the loop's receive
// buffer, the answer is encoded once into the stream's buffer, copied by nghttp2 into a frame and from there into the
// loop's output buffer; all answers of one turn to one connection leave in one write.

import Foundations
import GRPC
import Glibc
import HTTP1
import HTTP2Engine
import Linux

package final class GRPCServer {
    package struct Limits: Sendable {
        package var messageBytesMax = 2_097_152
        package var maxConcurrentStreams: UInt32 = .max
        package var connectionsMax = 100_000
        /// Clients may ping this often; more is too_many_pings.
        package var pingIntervalMin: UInt64 = 5_000_000_000
        package var keepaliveInterval: UInt64 = 7_200_000_000_000
        package var keepaliveTimeout: UInt64 = 20_000_000_000
        /// For the first bytes, a TLS handshake, a request head.
        package var headTimeout: UInt64 = 30_000_000_000
        /// A connection that takes no output and has this much waiting is not read.
        package var backlogMax = 1 << 20
        package var bodyBytesMax = 8 << 20

        package init() {}
    }

    package let loop: EventLoop
    package let router: GRPCRouter
    package let limits: Limits
    /// Called with each finished or refused call's method index and code, for metrics; -1 for unknown methods.
    package var observeEnd: ((_ method: Int32, _ code: GRPCCode) -> Void)?
    package var observeStart: ((_ method: Int32) -> Void)?

    var connections: [ServerConnection?] = []
    private var freeConnections: [Int32] = []
    private var dirty: [ServerConnection] = []
    private var earliestDeadline: UInt64 = .max
    private var deadlineTimer: TimerID?
    private var drained: (() -> Void)?
    package private(set) var isDraining = false
    package private(set) var connectionCount = 0

    /// Shared by all connections of the loop: one read, one burst of output at a time.
    var input = [UInt8](repeating: 0, count: 65536)
    var output: [UInt8] = []

    package init(loop: EventLoop, router: GRPCRouter, limits: Limits = Limits()) {
        self.loop = loop
        self.router = router
        self.limits = limits
        output.reserveCapacity(256 * 1024)
        loop.atEndOfTurn { [unowned self] in flush() }
        scheduleTick()
    }

    // MARK: Connections

    /// Takes over an accepted socket.
    package func add(
        _ descriptor: Int32, tls: (any TransportSecurity)? = nil, grpcOnly: Bool = false, httpOnly: Bool = false
    ) {
        guard connectionCount < limits.connectionsMax else {
            close(descriptor)
            return
        }
        let index: Int32
        if let reused = freeConnections.popLast() {
            index = reused
        } else {
            index = Int32(connections.count)
            connections.append(nil)
        }
        let connection = ServerConnection(server: self, index: index, descriptor: descriptor, tls: tls)
        connection.allowsGRPC = !httpOnly
        connection.allowsHTTP = !grpcOnly
        do {
            try connection.start()
        } catch {
            close(descriptor)
            freeConnections.append(index)
            return
        }
        connections[Int(index)] = connection
        connectionCount += 1
    }

    func removed(_ connection: ServerConnection) {
        connections[Int(connection.index)] = nil
        freeConnections.append(connection.index)
        connectionCount -= 1
        if isDraining && connectionCount == 0 { finishDrain() }
    }

    func markDirty(_ connection: ServerConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection)
    }

    private func flush() {
        // Flushing may make more: a handler that is told it may write again.
        while !dirty.isEmpty {
            let now = dirty
            dirty.removeAll(keepingCapacity: true)
            for connection in now {
                connection.isDirty = false
                connection.flush()
            }
        }
    }

    // MARK: Answering

    @inline(__always)
    private func current(_ call: Call) -> ServerConnection? {
        guard let connection = connections[Int(call.connection)], connection.isCurrent(call) else { return nil }
        return connection
    }

    package func isOpen(_ call: Call) -> Bool { current(call) != nil }

    /// Answers a unary call: `encode` appends the message.
    package func reply(_ call: Call, _ encode: (inout [UInt8]) -> Void) {
        guard let connection = current(call) else { return }
        connection.send(call) { output in
            encode(&output)
            return true
        }
        connection.finish(call, .ok)
    }

    /// The same for what may fail half-way: then nothing of it is sent, and the call ends with the error.
    package func replyOrFail(_ call: Call, _ encode: (inout [UInt8]) throws(GRPCStatus) -> Void) {
        guard let connection = current(call) else { return }
        var status = GRPCStatus.ok
        connection.send(call) { output in
            let start = output.count
            do throws(GRPCStatus) { try encode(&output) } catch {
                status = error
                output.removeSubrange(start...)
                return false
            }
            return true
        }
        connection.finish(call, status)
    }

    package func reply(_ call: Call, _ message: [UInt8]) { reply(call) { $0.append(contentsOf: message) } }

    /// Ends a call with an error, or a stream with any status.
    package func finish(_ call: Call, _ status: GRPCStatus) {
        current(call)?.finish(call, status)
    }

    /// Sends one message of a stream; what is queued then. Nil when the call is gone.
    @discardableResult
    package func send(_ call: Call, _ encode: (inout [UInt8]) -> Void) -> Int? {
        guard let connection = current(call) else { return nil }
        connection.send(call) { output in
            encode(&output)
            return true
        }
        return connection.queuedBytes(call)
    }

    package func queuedBytes(_ call: Call) -> Int { current(call)?.queuedBytes(call) ?? 0 }

    /// Asks for `StreamHandler.writable` when what is queued for the call has run low.
    package func notifyWritable(_ call: Call) {
        guard let connection = current(call) else { return }
        connection.waitingForRoom.append(call)
        markDirty(connection)
    }

    /// Asks to be told when the call ends without an answer.
    package func observe(_ call: Call, _ observer: any CallObserver) {
        current(call)?.observe(call, observer)
    }

    /// Ends every connection of the server at once.
    package func closeAll() {
        for connection in connections { connection?.close() }
    }

    /// Takes no new calls, lets open ones end, then calls `done`; streams are told at once that it is over.
    package func drain(_ done: @escaping () -> Void) {
        isDraining = true
        drained = done
        for connection in connections { connection?.drain() }
        if connectionCount == 0 { finishDrain() }
    }

    private func finishDrain() {
        let done = drained
        drained = nil
        done?()
    }

    // MARK: Plain HTTP

    package func respond(_ call: Call, status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        guard let connection = connections[Int(call.connection)] else { return }
        connection.respond(call, status: status, headers: headers, body: body)
    }

    /// Starts an answer of unknown length; `sendPiece` follows, then `endPieces`.
    package func startPieces(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        connections[Int(call.connection)]?.startPieces(call, status: status, headers: headers)
    }

    @discardableResult
    package func sendPiece(_ call: Call, _ bytes: [UInt8]) -> Int? {
        connections[Int(call.connection)]?.sendPiece(call, bytes)
    }

    package func endPieces(_ call: Call) { connections[Int(call.connection)]?.endPieces(call) }

    // MARK: Time

    func noteDeadline(_ deadline: UInt64) {
        guard deadline < earliestDeadline else { return }
        earliestDeadline = deadline
        if let deadlineTimer { loop.cancel(deadlineTimer) }
        let now = Clock.monotonic()
        deadlineTimer = loop.schedule(after: deadline > now ? deadline - now : 0) { [weak self] in
            self?.sweepDeadlines()
        }
    }

    /// Deadlines are rarely reached, so they are looked for by a sweep when the earliest that was noted has passed.
    private func sweepDeadlines() {
        earliestDeadline = .max
        deadlineTimer = nil
        let now = Clock.monotonic()
        var next = UInt64.max
        for connection in connections { next = min(next, connection?.expireDeadlines(now) ?? .max) }
        if next != .max { noteDeadline(next) }
    }

    private func scheduleTick() {
        loop.schedule(after: 1_000_000_000) { [weak self] in
            guard let self else { return }
            let now = loop.now
            for connection in connections { connection?.tick(now) }
            scheduleTick()
        }
    }
}

/// TLS as a connection sees it: an engine between the socket and the protocol.
package protocol TransportSecurity: AnyObject {
    /// Ciphertext from the peer; plaintext is appended to `plain`, ciphertext to send to `cipher`. False when it is over.
    func receive(_ bytes: RawSpan, plain: inout [UInt8], cipher: inout [UInt8]) -> Bool
    /// Plaintext to send, as ciphertext appended to `cipher`.
    func seal(_ plain: RawSpan, cipher: inout [UInt8]) -> Bool
    var isEstablished: Bool { get }
    /// Why it failed, for the log.
    var failure: String? { get }
    var negotiatedProtocol: String? { get }
    var peerCommonName: String? { get }
    func shutdown(cipher: inout [UInt8])
}
