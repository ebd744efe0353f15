// One loop's server: its connections, and the verbs with which handlers answer calls. Belongs to the loop's thread.
//
// Cost of a unary call, cleartext: no allocation once buffers have grown; the request is borrowed from the loop's receive
// buffer, the answer is encoded once into the stream's buffer and copied once, between its frames, into the loop's output
// buffer; all answers of one turn to one connection leave in one write.

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
        /// Bytes of messages and bodies that have not arrived whole, over all connections of the loop.
        package var unfinishedBytesMax = 256 << 20
        /// A stream with more than this queued is told when the queue is short again (`StreamHandler.writable`).
        package var highWater = 64 * 1024
        /// HTTP/1.1 connections between two requests are kept this long; zero for ever.
        package var idleTimeout: UInt64 = 0
        /// A peer that takes nothing of what waits for it for this long is cut; zero never.
        package var writeTimeout: UInt64 = 0

        package init() {}
    }

    package let loop: EventLoop
    package let router: GRPCRouter
    package let limits: Limits
    /// For metrics, by method: what every call costs is two increments.
    package struct CallCounts: Sendable {
        package var started: UInt64 = 0
        package var succeeded: UInt64 = 0
        /// Messages of streams; a unary call has one each way.
        package var streamReceived: UInt64 = 0
        package var streamSent: UInt64 = 0
    }
    package internal(set) var callCounts: [CallCounts] = []
    /// Of gRPC messages, without their framing.
    package internal(set) var receivedBytes: UInt64 = 0
    package internal(set) var sentBytes: UInt64 = 0
    /// When each open call began, kept only while somebody asks how long calls take.
    private var starts: [UInt64: UInt64] = [:]
    /// Called with the method and the nanoseconds of each call when it ends.
    package var observeDuration: ((_ method: Int32, _ nanoseconds: UInt64) -> Void)?
    /// A TLS handshake that failed: who it was, the name it asked for, why.
    package var observeRejection: ((_ address: String, _ serverName: String, _ reason: String) -> Void)?
    /// Called with the method and the code of each call that ended otherwise.
    package var observeFailure: ((_ method: Int32, _ code: GRPCCode) -> Void)?

    var connections: [ServerConnection?] = []
    private var freeConnections: [Int32] = []
    private var dirty: [ServerConnection] = []
    /// The last turn whose end we have seen.
    private var flushedTurn: UInt64 = .max
    private var earliestDeadline: UInt64 = .max
    private var deadlineTimer: TimerID?
    private var drained: (() -> Void)?
    private var drainTimers: [TimerID] = []
    private var ticker: TimerID?
    private var unfinishedBytes = 0
    private var connectionsSeen: UInt64 = 0
    private var dateSecond = -1
    private var dateText = ""
    package private(set) var isDraining = false
    package private(set) var connectionCount = 0

    private final class Hook {
        unowned(unsafe) var server: GRPCServer?
    }

    private let hook = Hook()

    deinit { unsafe hook.server = nil }

    /// Shared by all connections of the loop: one read, one burst of output at a time.
    var input = [UInt8](repeating: 0, count: 65536)
    var output: [UInt8] = []
    let spares = SpareBuffers()

    package init(loop: EventLoop, router: GRPCRouter, limits: Limits = Limits()) {
        self.loop = loop
        self.router = router
        self.limits = limits
        output.reserveCapacity(256 * 1024)
        // Nothing here is weak: a weak reference would make every retain and release of the server on the way of a call ten
        // times as dear. The hook outlives the server, which takes itself out of it when it goes.
        unsafe hook.server = self
        loop.atEndOfTurn { [hook] in unsafe hook.server?.endTurn() }
        scheduleTick()
    }

    @inline(__always)
    func countStart(_ method: Int32) {
        if Int(method) >= callCounts.count { growCounts(Int(method)) }
        callCounts[Int(method)].started &+= 1
    }

    /// A call that has started.
    @inline(__always)
    func countSuccess(_ method: Int32) { callCounts[Int(method)].succeeded &+= 1 }

    @inline(__always)
    func noteStart(_ serial: @autoclosure () -> UInt64) {
        if observeDuration != nil { starts[serial()] = Clock.monotonic() }
    }

    @inline(__always)
    func noteEnd(_ method: Int32, _ serial: UInt64) {
        guard let observeDuration, let start = starts.removeValue(forKey: serial) else { return }
        observeDuration(method, Clock.monotonic() - start)
    }

    // MARK: Calls that come another way

    /// Counts a call that did not come over gRPC but is served as one. Nil for a method that is not there.
    package func countLocalStart(_ method: String, serial: UInt64) -> Int32? {
        guard let route = router.find(Array(method.utf8).rawSpan) else { return nil }
        countStart(route)
        noteStart(serial)
        return route
    }

    package func countLocalMessage(_ method: Int32, isStream: Bool, received bytes: Int) {
        receivedBytes &+= UInt64(bytes)
        if isStream { callCounts[Int(method)].streamReceived &+= 1 }
    }

    package func countLocalMessage(_ method: Int32, isStream: Bool, sent bytes: Int) {
        sentBytes &+= UInt64(bytes)
        if isStream { callCounts[Int(method)].streamSent &+= 1 }
    }

    package func countLocalEnd(_ method: Int32, serial: UInt64, _ code: GRPCCode) {
        if code == .ok { countSuccess(method) } else { observeFailure?(method, code) }
        noteEnd(method, serial)
    }

    private func growCounts(_ method: Int) {
        callCounts.append(contentsOf: repeatElement(CallCounts(), count: max(method + 1, router.handlers.count) - callCounts.count))
    }

    // MARK: Connections

    /// Judges a peer after the TLS handshake, now or later; until then nothing it says is looked at.
    package typealias Admission = (_ decide: @escaping (Bool) -> Void) -> Void

    /// Takes over an accepted socket. `takesCleartext`: with TLS or without, as the first byte says.
    package func add(
        _ descriptor: Int32, tls: (any TransportSecurity)? = nil, takesCleartext: Bool = false, grpcOnly: Bool = false,
        httpOnly: Bool = false, admission: Admission? = nil
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
        connection.takesCleartext = takesCleartext
        connection.allowsGRPC = !httpOnly
        connection.allowsHTTP = !grpcOnly
        connection.admission = admission
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

    /// Room for the serials of one connection.
    func nextSerials() -> UInt64 {
        connectionsSeen += 1
        return connectionsSeen << 32
    }

    func markDirty(_ connection: ServerConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection)
        // Somebody else's end of the turn came after ours: what it had to say must not wait for an event.
        if dirty.count == 1 && flushedTurn == loop.turns { loop.turnAgain() }
    }

    private func endTurn() {
        flush()
        flushedTurn = loop.turns
    }

    /// Writes what is there. Done at the end of each turn anyway.
    package func flush() {
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
        current(call)?.reply(call, encode)
    }

    /// The same for what may fail half-way: then nothing of it is sent, and the call ends with the error. `isLarge`: the
    /// message is likely to be many kilobytes.
    package func replyOrFail(
        _ call: Call, isLarge: Bool = false, _ encode: (inout [UInt8]) throws(GRPCStatus) -> Void
    ) {
        guard let connection = current(call) else { return }
        if isLarge { connection.session?.expectLargeAnswer(Int(call.slot)) }
        connection.replyOrFail(call, encode)
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
        connection.send(call, encode)
        return connection.queuedBytes(call)
    }

    package func queuedBytes(_ call: Call) -> Int { current(call)?.queuedBytes(call) ?? 0 }

    /// Asks for `StreamHandler.writable` when what is queued for the call is short: at the end of this turn if it is now.
    package func notifyWritable(_ call: Call) {
        guard let connection = current(call) else { return }
        connection.session?.askForRoom(Int(call.slot))
        markDirty(connection)
    }

    /// Asks to be told when the call ends without an answer.
    package func observe(_ call: Call, _ observer: any CallObserver) {
        current(call)?.observe(call, observer)
    }

    /// Ends every connection of the server at once, and its timers.
    package func closeAll() {
        for connection in connections { connection?.close() }
        if let ticker { loop.cancel(ticker) }
        if let deadlineTimer { loop.cancel(deadlineTimer) }
        ticker = nil
        deadlineTimer = nil
    }

    /// Takes no new calls, lets unary ones end, ends streams with `status`; calls `done` when the last connection is closed.
    /// Connections are told first that the end is near, and what they send until then is still served; what is left after
    /// `timeout` is cut.
    package func drain(
        status: GRPCStatus = EtcdError.stopped, timeout: UInt64 = 10_000_000_000, _ done: @escaping () -> Void
    ) {
        invariant(!isDraining, "a server drains once")
        isDraining = true
        drained = done
        for connection in connections { connection?.announceDrain(status) }
        // Time for what is on its way to arrive; a client that saw the notice sends nothing new on this connection.
        drainTimers = [
            loop.schedule(after: min(200_000_000, timeout / 2)) { for connection in self.connections { connection?.drain(status) } },
            loop.schedule(after: timeout) { for connection in self.connections { connection?.close() } },
        ]
        if connectionCount == 0 { finishDrain() }
    }

    private func finishDrain() {
        for timer in drainTimers { loop.cancel(timer) }
        drainTimers = []
        let done = drained
        drained = nil
        done?()
    }

    /// Accounts for bytes that wait for the rest of their message; false when there are too many.
    func reserve(_ count: Int) -> Bool {
        guard unfinishedBytes + count <= limits.unfinishedBytesMax else { return false }
        unfinishedBytes += count
        return true
    }

    func release(_ count: Int) {
        unfinishedBytes -= count
        invariant(unfinishedBytes >= 0, "unfinished bytes \(unfinishedBytes)")
    }

    // MARK: Plain HTTP

    /// For the Date field: made once a second.
    var date: String {
        let second = Int(Clock.wall() / 1_000_000_000)
        if second != dateSecond {
            dateSecond = second
            dateText = HTTPDate.text(second)
        }
        return dateText
    }

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

    /// A piece of an HTTP/1.1 answer, made in place; what is queued then, nil when the call is gone.
    @discardableResult
    package func sendPiece(_ call: Call, _ make: (inout [UInt8]) -> Void) -> Int? {
        connections[Int(call.connection)]?.sendPiece(call, make)
    }

    /// Starts an answer that never ends by itself, over HTTP/1.1. When the client goes the call is over, see `observe`.
    package func startEndless(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        connections[Int(call.connection)]?.startEndless(call, status: status, headers: headers)
    }

    /// Ends HTTP on the connection of an HTTP/1.1 call: what comes from here on goes to `receiver`, who answers with
    /// `sendUpgraded`. `ended` tells it that the server stops, `failed` that the connection is gone.
    package func upgrade(_ call: Call, headers: [(name: String, value: String)], _ receiver: any HTTPBodyReceiver) {
        current(call)?.upgrade(call, headers: headers, receiver)
    }

    /// What is queued then; nil when the connection is gone.
    @discardableResult
    package func sendUpgraded(_ call: Call, _ bytes: [UInt8]) -> Int? { current(call)?.sendUpgraded(call, bytes) }

    /// Closes the connection behind what is queued.
    package func endUpgraded(_ call: Call) { current(call)?.endUpgraded(call) }

    /// Stops and goes on with reading the body of an HTTP/1.1 request: what has been read is at most 256 KiB more.
    package func pauseBody(_ call: Call, _ paused: Bool) { current(call)?.pauseBody(paused) }

    /// Cuts the connection of a call.
    package func abort(_ call: Call) { current(call)?.close() }

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
        ticker = loop.schedule(after: 1_000_000_000) { [self] in
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
    var peerIssuer: String? { get }
    /// What the client asked for by SNI.
    var requestedServerName: String? { get }
    func shutdown(cipher: inout [UInt8])
}
