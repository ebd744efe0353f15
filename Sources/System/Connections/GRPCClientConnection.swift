// One dialled connection: a socket, TLS in between if wanted, an HTTP/2 session with its calls.
//
//   connecting -> securing -> greeting -> ready -> draining -> closed
//        |            |           |         |          |          ^
//        +------------+-----------+---------+----------+----------+
//
// `greeting` ends with the server's SETTINGS: a port that accepts and says nothing, or speaks something else, never
// becomes ready. Texts of failures are those Go's gRPC clients print, because operators search for them.
//
// The end always happens in `flush`, never inside a callback of the session, which must outlive the bytes it works on.

import Foundations
import GRPC
import Glibc
import HTTP2Engine
import Linux
import TLSEngine

package final class GRPCClientConnection: EventHandler {
    package enum State: Sendable { case connecting, securing, greeting, ready, draining, closed }

    package private(set) var state = State.connecting
    package let address: SocketAddress
    let settings: GRPCDialler.Settings
    let dialler: GRPCDialler
    weak var owner: (any GRPCClientConnectionOwner)?
    var isDirty = false
    private(set) var session: ClientSession!

    private let descriptor: Int32
    private let tls: TLSSession?
    private var registration: EventLoop.Registration?
    private var backlog: [UInt8] = []
    private var backlogStart = 0
    /// Set once: what the calls and the owner are told at the next flush.
    private var closing: GRPCStatus?
    private var goAwayText = ""
    private var timer: TimerID?
    private var lastRead: UInt64 = 0
    private var pingSentAt: UInt64 = 0

    init(
        dialler: GRPCDialler, address: SocketAddress, settings: GRPCDialler.Settings, tls: TLSSession?,
        owner: any GRPCClientConnectionOwner
    ) throws(SystemError) {
        self.dialler = dialler
        self.address = address
        self.settings = settings
        self.tls = tls
        self.owner = owner
        descriptor = try Socket.connect(address)
        do {
            registration = try dialler.loop.register(descriptor, readable: false, writable: true, self)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        session = ClientSession(owner: self)
        guard settings.connectTimeout > 0 else { return }
        timer = dialler.loop.schedule(after: settings.connectTimeout) { [weak self] in self?.connectTimedOut() }
    }

    var scheme: String { tls == nil ? "http" : "https" }

    /// May shorten the next handshake with this server.
    package var ticket: TLSTicket? { tls?.ticket }

    package var openCalls: Int { state == .closed ? 0 : session.openStreams }

    // MARK: Connecting

    private func connected() {
        let error = Socket.pendingError(descriptor)
        guard error == 0 else { return fail(Self.dialError(address, SystemError("connect", code: error))) }
        lastRead = dialler.loop.now
        if let tls {
            state = .securing
            tls.start(cipher: &backlog)
        } else {
            state = .greeting
        }
        if let registration { dialler.loop.change(registration, readable: true, writable: false) }
        dialler.markDirty(self)
    }

    private func secured(_ tls: TLSSession) {
        if let chosen = tls.negotiatedProtocol, chosen != "h2" {
            return fail(Self.handshakeError("the server chose the protocol \"\(chosen)\" instead of h2"))
        }
        state = .greeting
    }

    private func connectTimedOut() {
        timer = nil
        switch state {
        case .connecting: fail(Self.dialError(address, reason: "i/o timeout"))
        case .securing: fail(Self.handshakeError("context deadline exceeded"))
        case .greeting:
            fail(Self.connectionError("timed out waiting for the server's HTTP/2 preface"))
        default: break
        }
    }

    package static func dialError(_ address: SocketAddress, _ error: SystemError) -> GRPCStatus {
        let reason = error.reason
        return dialError(address, reason: "\(error.call): \(reason.prefix(1).lowercased())\(reason.dropFirst())")
    }

    private static func dialError(_ address: SocketAddress, reason: String) -> GRPCStatus {
        dialError("\(address.isUnix ? "unix" : "tcp") \(address)", reason)
    }

    /// `target`: "tcp 127.0.0.1:2379", or "tcp" alone when the name could not be resolved.
    package static func dialError(_ target: String, _ reason: String) -> GRPCStatus {
        connectionError("transport: Error while dialing: dial \(target): \(reason)")
    }

    private static func handshakeError(_ reason: String) -> GRPCStatus {
        connectionError("transport: authentication handshake failed: \(reason)")
    }

    private static func connectionError(_ text: String) -> GRPCStatus {
        GRPCStatus(.unavailable, "connection error: desc = \"\(text)\"")
    }

    // MARK: Reading

    package func ready(readable: Bool, writable: Bool) {
        guard state != .closed, closing == nil else { return }
        if state == .connecting {
            if writable { connected() }
            return
        }
        if writable { dialler.markDirty(self) }
        guard readable else { return }
        dialler.markDirty(self)
        var turns = 0
        // Level-triggered: what is left after a few turns is reported again, after others had theirs.
        while turns < 4 && closing == nil {
            turns += 1
            let count = unsafe dialler.input.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count > 0 {
                lastRead = dialler.loop.now
                received(count)
                if count < dialler.input.count { break }
            } else if count == 0 {
                tls?.ended()
                lost("EOF")
            } else if errno == EINTR {
                continue
            } else {
                if errno != EAGAIN { lost("read: \(SystemError("read").reason.lowercased())") }
                break
            }
        }
    }

    private func received(_ count: Int) {
        // The buffer is taken from the dialler for the time of this call; nobody else reads meanwhile.
        var input: [UInt8] = []
        swap(&input, &dialler.input)
        defer { swap(&input, &dialler.input) }
        let bytes = input.rawSpan.extracting(0..<count)
        guard let tls else { return deliver(bytes) }
        var plain: [UInt8] = []
        let goesOn = tls.receive(bytes, plain: &plain, cipher: &backlog)
        if state == .securing && tls.isEstablished { secured(tls) }
        if !plain.isEmpty && closing == nil { deliver(plain.rawSpan) }
        if !goesOn {
            if state == .securing { fail(Self.handshakeError(tls.failure ?? "EOF")) } else { lost("EOF") }
        }
    }

    private func deliver(_ bytes: RawSpan) {
        if !session.receive(bytes) { lost("the server broke the HTTP/2 protocol") }
    }

    /// What the peer's end means depends on how far we had come.
    private func lost(_ reason: String) {
        switch state {
        case .connecting, .closed: break
        case .securing: fail(Self.handshakeError(reason))
        case .greeting: fail(Self.connectionError("error reading server preface: \(reason)"))
        case .ready, .draining:
            let what = "error reading from server: \(reason)"
            fail(GRPCStatus(.unavailable, goAwayText.isEmpty ? what : "closing transport due to: \(what), \(goAwayText)"))
        }
    }

    // MARK: Writing

    /// Sends what the session has to say; called at the end of a turn.
    func flush() {
        guard state != .closed, state != .connecting || closing != nil else { return }
        if closing == nil || state != .connecting { writeOut() }
        if closing == nil && session.isFinished { lost("the HTTP/2 session ended") }
        if closing == nil && session.isOver { fail(GRPCStatus(.unavailable, "the connection is draining")) }
        if let closing { return finish(closing) }
        updateInterest()
    }

    private func writeOut() {
        guard drainBacklog(), state != .securing else { return }
        // The dialler's buffer is taken for the time of this call: a span of it cannot outlive a borrowed property.
        var output: [UInt8] = []
        swap(&output, &dialler.output)
        while closing == nil {
            output.removeAll(keepingCapacity: true)
            session.send(into: &output, limit: 192 * 1024)
            if output.isEmpty || !write(output.rawSpan) { break }
        }
        swap(&output, &dialler.output)
    }

    /// Writes, or keeps what the socket does not take. True when all of it went.
    private func write(_ plain: RawSpan) -> Bool {
        if let tls {
            guard tls.seal(plain, cipher: &backlog) else {
                lost(tls.failure ?? "EOF")
                return false
            }
            return drainBacklog()
        }
        let sent = unsafe plain.withUnsafeBytes { bytes in unsafe writeSome(bytes) }
        if sent == plain.byteCount { return true }
        if sent >= 0 { backlog.append(plain.extracting(sent..<plain.byteCount)) }
        return false
    }

    /// True when nothing waits any more.
    private func drainBacklog() -> Bool {
        guard backlogStart < backlog.count else { return true }
        let sent = unsafe backlog.withUnsafeBytes { bytes in
            unsafe writeSome(UnsafeRawBufferPointer(rebasing: bytes[backlogStart...]))
        }
        if sent < 0 { return false }
        backlogStart += sent
        guard backlogStart == backlog.count else { return false }
        backlog.removeAll(keepingCapacity: backlog.capacity <= 65536)
        backlogStart = 0
        return true
    }

    /// Bytes the socket took; -1 when the connection is gone.
    private func writeSome(_ bytes: UnsafeRawBufferPointer) -> Int {
        var done = 0
        while done < bytes.count {
            let count = unsafe Glibc.send(descriptor, bytes.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            if count > 0 {
                done += count
            } else if errno == EINTR {
                continue
            } else if errno == EAGAIN {
                break
            } else {
                lost("write: \(SystemError("write").reason.lowercased())")
                return -1
            }
        }
        return done
    }

    private func updateInterest() {
        guard let registration else { return }
        dialler.loop.change(registration, readable: true, writable: backlogStart < backlog.count)
    }

    // MARK: Keep-alive

    private func scheduleKeepalive() {
        guard settings.keepaliveTime > 0 else { return }
        let now = Clock.monotonic()
        let due = pingSentAt != 0 ? pingSentAt + settings.keepaliveTimeout : max(lastRead + settings.keepaliveTime, now + 1_000_000)
        timer = dialler.loop.schedule(after: due > now ? due - now : 0) { [weak self] in self?.keepAlive() }
    }

    private func keepAlive() {
        timer = nil
        guard state == .ready || state == .draining, closing == nil else { return }
        let now = dialler.loop.now
        if pingSentAt != 0 && lastRead > pingSentAt { pingSentAt = 0 }
        if pingSentAt != 0 && now >= pingSentAt + settings.keepaliveTimeout {
            return fail(GRPCStatus(.unavailable, "keepalive ping failed to receive ACK within timeout"))
        }
        if pingSentAt == 0 && now >= lastRead + settings.keepaliveTime {
            if session.openStreams > 0 || settings.keepaliveWithoutCalls {
                pingSentAt = now
                session.ping()
                dialler.markDirty(self)
            } else {
                // Nothing to watch over: as if something had been heard.
                lastRead = now
            }
        }
        scheduleKeepalive()
    }

    func probeAnswered() {
        guard pingSentAt != 0 else { return }
        pingSentAt = 0
        if let timer { dialler.loop.cancel(timer) }
        scheduleKeepalive()
    }

    // MARK: The end

    /// Ends the connection at the end of this turn; calls in flight end with `reason`.
    package func close(_ reason: GRPCStatus) { fail(reason) }

    private func fail(_ reason: GRPCStatus) {
        guard closing == nil, state != .closed else { return }
        closing = reason
        dialler.markDirty(self)
    }

    private func finish(_ reason: GRPCStatus) {
        if let tls, tls.isEstablished {
            tls.shutdown(cipher: &backlog)
            _ = drainBacklog()
        }
        state = .closed
        if let timer { dialler.loop.cancel(timer) }
        timer = nil
        if let registration { dialler.loop.deregister(registration) }
        registration = nil
        Glibc.close(descriptor)
        session.closeAll(errorCode: 0)
        dialler.removed(self)
        owner?.connectionClosed(self, reason: reason)
    }

    /// Why calls that are still open at the end end.
    var closeReason: GRPCStatus? { closing }

    // MARK: What the session tells of the connection

    func greeted() {
        guard state == .greeting else { return }
        state = .ready
        if let timer { dialler.loop.cancel(timer) }
        timer = nil
        scheduleKeepalive()
        owner?.connectionReady(self)
    }

    func awayWasSaid(errorCode: UInt32, text: String) {
        let name = HTTP2ErrorName.of(errorCode)
        goAwayText = "received prior goaway: code: \(name), debug data: \"\(text)\""
        guard state == .ready else {
            if state == .greeting { fail(Self.connectionError(goAwayText)) }
            return
        }
        state = .draining
        owner?.connectionDraining(self, tooManyPings: errorCode == 0xb && text == "too_many_pings")
    }
}

/// Names of HTTP/2 error codes, for texts.
enum HTTP2ErrorName {
    private static let names = [
        "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
        "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
    ]

    static func of(_ code: UInt32) -> String { code < names.count ? names[Int(code)] : "0x\(String(code, radix: 16))" }
}
