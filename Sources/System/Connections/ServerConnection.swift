// One accepted connection: a socket, TLS in between if wanted, and the protocol the first bytes (or ALPN) choose.
//
//     readable -> [TLS] -> HTTP/2 session -> calls        answers -> session -> [TLS] -> one write per turn
//                       -> HTTP/1.1 parser -> requests
//
// Backpressure: what the socket does not take waits in `backlog`; while it waits the session is not asked for more, and
// while it is long the socket is not read either, so a peer that does not read costs a bounded amount of memory.

import Foundations
import GRPC
import Glibc
import HTTP1
import HTTP2Engine
import Linux

final class ServerConnection: EventHandler {
    enum Wire {
        /// Waiting for the first bytes.
        case unknown
        case http2(ServerSession)
        case http1(HTTP1Exchange)
    }

    // The server owns its connections and closes them before it goes.
    private unowned(unsafe) let owner: GRPCServer
    var server: GRPCServer { unsafe owner }
    /// More than this does not wait for the end of the turn.
    private static let queuedSoonMax = 128 << 10

    let index: Int32
    let descriptor: Int32
    var peer: PeerIdentity
    var allowsGRPC = true
    var allowsHTTP = true
    /// Nothing has come yet, and what comes may be TLS or not.
    var takesCleartext = false
    var isDirty = false

    var wire = Wire.unknown
    private var tls: (any TransportSecurity)?
    private var registration: EventLoop.Registration?
    private var firstBytes: [UInt8] = []
    private var backlog: [UInt8] = []
    private var backlogStart = 0
    private var isClosed = false
    private var closesAfterFlush = false
    private var readsPaused = false
    private var inputEnded = false
    /// All is said; until then the peer may read it. (Closing with unread input makes the kernel send a reset, which can
    /// overtake the last bytes: a GOAWAY, an error page.)
    private var lingersUntil: UInt64 = 0
    /// Asked once TLS stands; while it has not decided, what comes is held.
    var admission: GRPCServer.Admission?
    private var isHeld = false
    private var heldBytes: [UInt8] = []
    /// While output waits that the socket did not take; 0 when there is none, or when it has not been tried: what TLS has to
    /// say is in the backlog from the middle of a turn and is written at its end.
    private var lastWriteProgress: UInt64 = 0
    private let openedAt: UInt64
    private(set) var lastRead: UInt64
    private var pingSentAt: UInt64 = 0
    private var lastPing: UInt64 = 0
    private var pingStrikes = 0
    /// Of the session, at the last ping.
    private var turnsAtPing: UInt64 = 0

    /// Of the last request. Begins where no other connection of the server has been, so that a call that outlives its
    /// connection cannot be taken for one of the connection that got its place.
    private var serial: UInt64

    init(server: GRPCServer, index: Int32, descriptor: Int32, tls: (any TransportSecurity)?) {
        unsafe owner = server
        self.index = index
        self.descriptor = descriptor
        self.tls = tls
        serial = server.nextSerials()
        openedAt = server.loop.now
        lastRead = openedAt
        peer = PeerIdentity(address: Socket.peer(descriptor)?.description ?? "", isTLS: tls != nil)
        if !peer.address.hasPrefix("/") { Socket.prepare(descriptor) }
    }

    func start() throws(SystemError) {
        registration = try server.loop.register(descriptor, self)
    }

    var session: ServerSession? {
        if case .http2(let session) = wire { session } else { nil }
    }

    // MARK: Reading

    func ready(readable: Bool, writable: Bool) {
        if writable && !isClosed { server.markDirty(self) }
        guard readable else { return }
        var turns = 0
        // Level-triggered: what is left after a few turns is reported again, after others had theirs.
        while turns < 4 && !isClosed && !readsPaused && !inputEnded {
            turns += 1
            let count = unsafe server.input.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count > 0 {
                lastRead = server.loop.now
                if lingersUntil == 0 { received(count) }
                if count < server.input.count { break }
            } else if count == 0 {
                endOfInput()
            } else if errno == EINTR {
                continue
            } else {
                if errno != EAGAIN { close() }
                break
            }
        }
    }

    /// The peer sends no more. What has been answered is still written; an HTTP/1.1 request gets its answer, calls on HTTP/2
    /// are over, because their client could not even take part in flow control.
    private func endOfInput() {
        inputEnded = true
        server.markDirty(self)
        switch wire {
        case .http1(let exchange): exchange.endOfInput()
        default: closesAfterFlush = true
        }
    }

    private func received(_ count: Int) {
        server.markDirty(self)
        // The buffer is taken from the server for the time of this call; nobody else reads meanwhile.
        var input: [UInt8] = []
        swap(&input, &server.input)
        defer { swap(&input, &server.input) }
        let bytes = input.rawSpan.extracting(0..<count)
        if takesCleartext {
            takesCleartext = false
            // A TLS handshake record; no HTTP begins with it.
            if bytes[byte: 0] != 0x16 {
                tls = nil
                peer.isTLS = false
            }
        }
        guard let tls else {
            deliver(bytes)
            return
        }
        var plain: [UInt8] = []
        let wasEstablished = tls.isEstablished
        let goesOn = tls.receive(bytes, plain: &plain, cipher: &backlog)
        if !wasEstablished && tls.isEstablished {
            peer.commonName = tls.peerCommonName
            peer.issuer = tls.peerIssuer
            if tls.negotiatedProtocol == "h2" { startHTTP2() }
            if let admission { ask(admission) }
        }
        if isHeld {
            heldBytes.append(plain.rawSpan)
        } else if !plain.isEmpty && !isClosed {
            deliver(plain.rawSpan)
        }
        if !goesOn {
            closesAfterFlush = true
            if !tls.isEstablished && !wasEstablished, let reason = tls.failure {
                server.observeRejection?(peer.address, tls.requestedServerName ?? "", reason)
            }
        }
    }

    private func ask(_ admission: GRPCServer.Admission) {
        isHeld = true
        self.admission = nil
        admission { [weak self] isAdmitted in
            guard let self, !isClosed, isHeld else { return }
            isHeld = false
            server.markDirty(self)
            if !isAdmitted { return close() }
            let bytes = heldBytes
            heldBytes = []
            if !bytes.isEmpty { deliver(bytes.rawSpan) }
        }
    }

    private func deliver(_ bytes: RawSpan) {
        switch wire {
        case .http2(let session): deliver(bytes, to: session)
        case .http1(let exchange): exchange.receive(bytes)
        case .unknown: sniff(bytes)
        }
    }

    /// Large answers leave as soon as they are made, before the next request is looked at: they are in the processor's cache
    /// then, and the room they take is used again.
    private func deliver(_ bytes: RawSpan, to session: ServerSession) {
        var at = 0
        while at < bytes.byteCount && !isClosed && lingersUntil == 0 {
            // What the socket does not take has to wait anyway.
            let isStuck = backlogStart < backlog.count
            at = session.receive(bytes, from: at, untilQueued: isStuck ? .max : ServerConnection.queuedSoonMax)
            if at < bytes.byteCount { flush() }
        }
        if session.isFinished { closesAfterFlush = true }
    }

    /// HTTP/2 with prior knowledge starts with a fixed preface; anything else is HTTP/1.1.
    private func sniff(_ bytes: RawSpan) {
        firstBytes.append(bytes)
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        let count = min(preface.count, firstBytes.count)
        if firstBytes[..<count] == preface[..<count] {
            guard count == preface.count else { return }
            startHTTP2()
        } else if allowsHTTP {
            wire = .http1(HTTP1Exchange(connection: self))
        } else {
            close()
            return
        }
        let all = firstBytes
        firstBytes = []
        deliver(all.rawSpan)
    }

    private func startHTTP2() {
        var limits = ServerSession.Limits()
        limits.maxConcurrentStreams = server.limits.maxConcurrentStreams
        let session = ServerSession(owner: self, limits: limits, firstSerial: serial + 1, spares: server.spares)
        wire = .http2(session)
        if server.isDraining { session.goAway(0) }
    }

    // MARK: Writing

    /// Sends what the protocol has to say; called at the end of a turn.
    func flush() {
        guard !isClosed, lingersUntil == 0 else { return }
        guard drainBacklog() else { return updateInterest() }
        if case .http2(let session) = wire {
            // The server's buffer is taken for the time of this call: a span of it cannot outlive a borrowed property.
            var output: [UInt8] = []
            swap(&output, &server.output)
            while true {
                output.removeAll(keepingCapacity: true)
                session.send(into: &output, limit: 192 * 1024)
                if output.isEmpty { break }
                if !write(output.rawSpan) { break }
            }
            swap(&output, &server.output)
            if session.isFinished || session.isOver { closesAfterFlush = true }
        } else if case .http1(let exchange) = wire {
            var output: [UInt8] = []
            while !exchange.output.isEmpty {
                output.removeAll(keepingCapacity: true)
                swap(&output, &exchange.output)
                if !write(output.rawSpan) { break }
                exchange.goOn()
            }
            // The buffer is kept for the next turn, unless it is a large one or the next answer has begun.
            if exchange.output.isEmpty && output.capacity <= 1 << 20 {
                output.removeAll(keepingCapacity: true)
                swap(&output, &exchange.output)
            }
            if exchange.isOver && exchange.output.isEmpty { closesAfterFlush = true }
        }
        if closesAfterFlush && backlogStart == backlog.count { return linger() }
        updateInterest()
    }

    /// Writes, or keeps what the socket does not take. True when all of it went.
    private func write(_ plain: RawSpan) -> Bool {
        if let tls {
            guard tls.seal(plain, cipher: &backlog) else {
                close()
                return false
            }
            return drainBacklog()
        }
        let sent = unsafe plain.withUnsafeBytes { bytes in unsafe writeSome(bytes) }
        if sent < 0 { return false }
        if sent < plain.byteCount {
            lastWriteProgress = server.loop.now
            backlog.append(plain.extracting(sent..<plain.byteCount))
            return false
        }
        return true
    }

    /// True when nothing waits any more.
    private func drainBacklog() -> Bool {
        guard backlogStart < backlog.count else { return true }
        let sent = unsafe backlog.withUnsafeBytes { bytes in
            unsafe writeSome(UnsafeRawBufferPointer(rebasing: bytes[backlogStart...]))
        }
        if sent < 0 { return false }
        if sent > 0 || lastWriteProgress == 0 { lastWriteProgress = server.loop.now }
        backlogStart += sent
        if backlogStart == backlog.count {
            backlog.removeAll(keepingCapacity: backlog.capacity <= 65536)
            backlogStart = 0
            lastWriteProgress = 0
            return true
        }
        if backlogStart > 1 << 20 && backlogStart > backlog.count / 2 {
            backlog.removeSubrange(..<backlogStart)
            backlogStart = 0
        }
        return false
    }

    /// Bytes the socket took; -1 when the connection is gone.
    private func writeSome(_ bytes: UnsafeRawBufferPointer) -> Int {
        var done = 0
        while done < bytes.count {
            let count = unsafe Glibc.send(
                descriptor, bytes.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            if count > 0 {
                done += count
            } else if errno == EINTR {
                continue
            } else if errno == EAGAIN {
                break
            } else {
                close()
                return -1
            }
        }
        return done
    }

    private func updateInterest() {
        guard let registration, !isClosed else { return }
        let waiting = backlog.count - backlogStart
        readsPaused = closesAfterFlush || waiting > 0 && waiting + protocolQueue > server.limits.backlogMax
        if case .http1(let exchange) = wire, exchange.isFull { readsPaused = true }
        if isHeld { readsPaused = true }
        server.loop.change(registration, readable: !readsPaused && !inputEnded, writable: waiting > 0)
    }

    // MARK: The end

    private func linger() {
        if inputEnded || lingersUntil != 0 { return close() }
        lingersUntil = server.loop.now + 1_000_000_000
        if case .http2(let session) = wire { abandonStreams(session) }
        if let tls {
            tls.shutdown(cipher: &backlog)
            if !drainBacklog() && isClosed { return }
        }
        shutdown(descriptor, Int32(SHUT_WR))
        readsPaused = false
        if let registration { server.loop.change(registration, readable: true, writable: false) }
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        if case .http2(let session) = wire { abandonStreams(session) }
        if case .http1(let exchange) = wire { exchange.abandon() }
        if let registration { server.loop.deregister(registration) }
        Glibc.close(descriptor)
        server.removed(self)
    }

    /// The end is near: say so, end streams, serve what still comes.
    func announceDrain(_ status: GRPCStatus) {
        switch wire {
        case .http2(let session):
            session.startDrain()
            finishStreams(session, status)
            server.markDirty(self)
        case .http1(let exchange): exchange.drain()
        case .unknown: if tls == nil { close() }
        }
    }

    /// No more calls; the connection ends with its last one.
    func drain(_ status: GRPCStatus) {
        switch wire {
        case .http2(let session):
            session.goAway(0)
            finishStreams(session, status)
            server.markDirty(self)
        case .http1: break
        case .unknown: close()
        }
    }

    func tick(_ now: UInt64) {
        let limits = server.limits
        if lingersUntil != 0 {
            if now > lingersUntil { close() }
            return
        }
        if limits.writeTimeout > 0, lastWriteProgress > 0, now > lastWriteProgress + limits.writeTimeout { return close() }
        switch wire {
        case .unknown:
            if now > openedAt + limits.headTimeout { close() }
        case .http1(let exchange):
            if exchange.isLate(now, lastRead: lastRead, limits.headTimeout) { return close() }
            if limits.idleTimeout > 0, exchange.isIdle, now > lastRead + limits.idleTimeout { close() }
        case .http2(let session):
            if pingSentAt != 0 {
                if lastRead > pingSentAt {
                    pingSentAt = 0
                } else if now > pingSentAt + limits.keepaliveTimeout {
                    close()
                }
            } else if limits.keepaliveInterval > 0 && now > lastRead + limits.keepaliveInterval {
                pingSentAt = now
                session.ping()
                server.markDirty(self)
            }
        }
    }

    func notePing(_ session: ServerSession) {
        // A client that is being sent a large answer pings all the time to learn how much is on its way: those are welcome.
        if session.turnsTaken != turnsAtPing {
            turnsAtPing = session.turnsTaken
            forgivePings()
        }
        let now = server.loop.now
        // Without a call in flight there is nothing to keep alive: two hours, as gRPC servers have it.
        let interval = session.openStreams > 0 ? server.limits.pingIntervalMin : 7_200_000_000_000
        if lastPing != 0 && now < lastPing + interval {
            pingStrikes += 1
            if pingStrikes > 2 {
                session.goAway(11, "too_many_pings")
                closesAfterFlush = true
            }
        }
        lastPing = now
    }

    /// Sending shows the connection is in use: pings are welcome again.
    func forgivePings() {
        pingStrikes = 0
        lastPing = 0
    }

    /// Output that waits inside the protocol.
    private var protocolQueue: Int {
        switch wire {
        case .http2(let session): session.queuedBytes
        case .http1(let exchange): exchange.output.count
        case .unknown: 0
        }
    }

    /// Output the socket has not taken.
    var backlogBytes: Int { backlog.count - backlogStart }

    func endAfterFlush() {
        closesAfterFlush = true
        server.markDirty(self)
    }

    /// We did not listen; the peer was not silent.
    func forgiveSilence() { lastRead = server.loop.now }

    func nextSerial() -> UInt64 {
        serial += 1
        return serial
    }
}
