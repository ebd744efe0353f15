// One connection of the HTTP/1.1 client.
//
//     resolving -> connecting -> (tunnelling ->) handshaking -> busy <-> idle -> closed
//
// Output is written at once; what the socket does not take waits in `backlog`, and a streamed body is asked for more only
// when nothing waits.

import Foundations
import Glibc
import HTTP1
import Linux
import TLSEngine

final class HTTP1ClientConnection: EventHandler {
    private enum State { case resolving, connecting, tunnelling, handshaking, busy, idle, closed }

    private unowned let client: HTTP1Client
    let origin: HTTPOrigin
    /// Whom it connects to: the proxy when there is one.
    private var nextHop: HTTPOrigin { client.proxy ?? origin }
    private var state = State.resolving
    private var call: HTTP1ClientCall?
    private var addresses: [SocketAddress] = []
    /// Of all addresses tried so far.
    private var isRefusedEverywhere = true
    private var descriptor: Int32 = -1
    private var registration: EventLoop.Registration?
    private var tls: TLSSession?
    private var parser: HTTPResponseParser
    private var backlog: [UInt8] = []
    private var backlogStart = 0
    private var plain: [UInt8] = []
    private var source: (any HTTP1BodySource)?
    private var isProducing = false
    private var keepsAlive = false
    private var hasResponse = false
    private var wasIdle = false
    private let startedAt: UInt64
    private var lastActivity: UInt64

    init(_ client: HTTP1Client, _ origin: HTTPOrigin) {
        self.client = client
        self.origin = origin
        startedAt = Clock.monotonic()
        lastActivity = startedAt
        parser = HTTPResponseParser(limits: client.limits.parser)
        parser.limits.bodyBytesMax = .max
    }

    // MARK: Connecting

    func start(_ call: HTTP1ClientCall) {
        self.call = call
        call.connection = self
        // Nothing is reported from inside `send`: failures that show at once are told on the next turn.
        client.loop.schedule(after: 0) { [self] in if state == .resolving { resolve() } }
    }

    private func resolve() {
        if let path = nextHop.path {
            guard let address = SocketAddress.unix(path) else { return fail(.connect("socket path \(path) is too long")) }
            addresses = [address]
            return connect()
        }
        client.resolver.resolve(host: nextHop.host, port: nextHop.port) { [weak self] answer in
            guard let self, state == .resolving else { return }
            switch answer {
            case .success(let addresses):
                self.addresses = addresses
                connect()
            case .failure(let error): fail(.connect("\(error)"))
            }
        }
    }

    /// Tries the next address.
    private func connect(_ last: SystemError? = nil) {
        state = .connecting
        var last = last
        while !addresses.isEmpty {
            let address = addresses.removeFirst()
            do throws(SystemError) {
                descriptor = try Socket.connect(address)
                registration = try client.loop.register(descriptor, readable: false, writable: true, self)
                return
            } catch {
                last = error
                dropSocket()
                noteFailure(error)
            }
        }
        guard let last else { return fail(.connect("\(nextHop) has no address")) }
        fail(isRefusedEverywhere ? .refused("\(last)") : .connect("\(last)"))
    }

    private func noteFailure(_ error: SystemError) {
        if error.code != ECONNREFUSED { isRefusedEverywhere = false }
    }

    private func connected() {
        let code = Socket.pendingError(descriptor)
        if code != 0 {
            let error = SystemError("connect", "\(nextHop)", code: code)
            dropSocket()
            noteFailure(error)
            return connect(error)
        }
        lastActivity = client.loop.now
        guard origin.isTLS else { return begin() }
        if client.proxy == nil { handshake() } else { askForTunnel() }
    }

    /// A proxy passes on bytes it cannot read, once it agreed to.
    private func askForTunnel() {
        state = .tunnelling
        parser.requestMethod = "CONNECT"
        let fields: HTTPFields = [HTTPFields.Field("Host", origin.authority), HTTPFields.Field("User-Agent", "covey")]
        HTTPWriter.append(HTTPRequestHead("CONNECT", origin.authority, fields: fields), to: &plain)
        _ = writePlain()
        updateInterest()
    }

    private func tunnelAnswered(_ bytes: RawSpan) {
        var at = 0
        do throws(HTTPError) {
            while let event = try parser.next(bytes, &at) {
                guard case .head(let head) = event else { continue }
                guard (200..<300).contains(head.status) else {
                    return fail(.connect("\(nextHop) opens no tunnel to \(origin): \(head.status) \(head.reason)"))
                }
                // Nobody behind the proxy has a reason to speak first.
                guard at == bytes.byteCount else { return fail(.connect("\(nextHop) says more than that there is a tunnel")) }
                parser = HTTPResponseParser(limits: parser.limits)
                return handshake()
            }
        } catch { fail(.malformed(error)) }
    }

    private func handshake() {
        guard let context = client.tls else { return fail(.tls("no certificates are configured for members")) }
        state = .handshaking
        let session = context.makeClientSession(host: origin.host)
        tls = session
        session.start(cipher: &backlog)
        _ = drain()
        updateInterest()
    }

    // MARK: Requests

    /// The next request of a kept connection.
    func take(_ call: HTTP1ClientCall) {
        self.call = call
        call.connection = self
        wasIdle = true
        lastActivity = Clock.monotonic()
        begin()
    }

    private func begin() {
        guard let call else { return close() }
        state = .busy
        hasResponse = false
        parser.requestMethod = call.request.method
        var fields: HTTPFields = [HTTPFields.Field("Host", origin.authority), HTTPFields.Field("User-Agent", "covey")]
        for field in call.request.fields { fields.append(field.name, field.value) }
        var head = HTTPRequestHead(call.request.method, call.request.target, fields: fields)
        switch call.request.body {
        case .none: if head.method != "GET" { head.framing = .length(0) }
        case .bytes(let bytes): head.framing = .length(bytes.count)
        case .source(let source):
            head.framing = .chunked
            self.source = source
        }
        plain.removeAll(keepingCapacity: true)
        HTTPWriter.append(head, to: &plain)
        if case .bytes(let bytes) = call.request.body { plain.append(contentsOf: bytes) }
        _ = writePlain()
        sendBody()
        updateInterest()
    }

    /// Sends what the source of the body has, as far as the socket takes it.
    func sendBody() {
        guard state == .busy, !isProducing, let source else { return }
        isProducing = true
        defer { isProducing = false }
        var rounds = 0
        // Level-triggered: when the socket takes more after this, we are called again.
        while self.source != nil, backlog.count == backlogStart, rounds < 16 {
            rounds += 1
            var progress = HTTP1BodyProgress.wait
            plain.removeAll(keepingCapacity: true)
            HTTPWriter.appendChunk(to: &plain) { progress = source.produce(into: &$0) }
            wantsMore = progress == .more
            if progress == .failed { return fail(.body) }
            if progress == .end {
                HTTPWriter.appendLastChunk(to: &plain)
                self.source = nil
            }
            if !plain.isEmpty, !writePlain() { break }
            if progress == .wait { break }
        }
        updateInterest()
    }

    /// The source has more, and waits only for the socket.
    private var wantsMore = false

    // MARK: Reading

    func ready(readable: Bool, writable: Bool) {
        if state == .connecting { return connected() }
        if writable {
            if drain() { sendBody() }
            updateInterest()
        }
        guard readable else { return }
        var turns = 0
        while turns < 4 && state != .closed {
            turns += 1
            let room = client.input.count
            let count = unsafe client.input.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                lastActivity = client.loop.now
                received(count)
                if count < room { return }
            } else if count == 0 {
                return endOfInput()
            } else if errno == EINTR {
                continue
            } else {
                if errno != EAGAIN { lost(.closed) }
                return
            }
        }
    }

    private func received(_ count: Int) {
        var input: [UInt8] = []
        swap(&input, &client.input)
        defer { swap(&input, &client.input) }
        let bytes = input.rawSpan.extracting(0..<count)
        if state == .tunnelling { return tunnelAnswered(bytes) }
        guard let tls else { return deliver(bytes) }
        var plain: [UInt8] = []
        let goesOn = tls.receive(bytes, plain: &plain, cipher: &backlog)
        _ = drain()
        if state == .handshaking && tls.isEstablished { begin() }
        if !plain.isEmpty { deliver(plain.rawSpan) }
        guard state != .closed else { return }
        if !goesOn { return tls.state == .failed ? fail(.tls(tls.failure ?? "failed")) : endOfInput() }
        updateInterest()
    }

    private func deliver(_ bytes: RawSpan) {
        // A server has nothing to say unasked (some say 408 when they close).
        guard state == .busy else { return close() }
        var at = 0
        do throws(HTTPError) {
            while state == .busy, let event = try parser.next(bytes, &at) {
                hasResponse = true
                switch event {
                case .informational: break
                case .head(let head):
                    keepsAlive = head.keepsAlive
                    call?.handler?.head(head)
                case .body(let range): call?.handler?.body(bytes.extracting(range))
                case .end: responded()
                }
            }
        } catch { fail(.malformed(error)) }
        if state == .idle && at < bytes.byteCount { close() }
    }

    private func endOfInput() {
        if state == .tunnelling { return fail(.connect("\(nextHop) closed instead of opening a tunnel to \(origin)")) }
        if state == .handshaking {
            tls?.ended()
            return fail(.tls(tls?.failure ?? "connection closed"))
        }
        guard state == .busy else { return close() }
        do throws(HTTPError) {
            if case .end? = try parser.finish() {
                keepsAlive = false
                responded()
            } else {
                lost(.closed)
            }
        } catch { lost(.closed) }
    }

    /// The answer is complete.
    private func responded() {
        guard let call else { return }
        self.call = nil
        call.connection = nil
        if keepsAlive && source == nil && call.request.usesPool {
            state = .idle
            client.park(self)
        } else {
            close()
        }
        call.finish()
    }

    /// The connection broke. One that had been kept may just have been closed before the request arrived.
    private func lost(_ error: HTTPClientError) {
        guard state == .busy, wasIdle, !hasResponse, let call, call.handler != nil else { return fail(error) }
        if case .source = call.request.body { return fail(error) }
        self.call = nil
        close()
        client.again(call)
    }

    private func fail(_ error: HTTPClientError) {
        let call = call
        self.call = nil
        close()
        call?.fail(error)
    }

    // MARK: Writing

    /// False when some of it waits, or the connection is gone.
    private func writePlain() -> Bool {
        let plain = plain
        if let tls {
            guard tls.seal(plain.rawSpan, cipher: &backlog) else {
                fail(.tls(tls.failure ?? "failed"))
                return false
            }
            return drain()
        }
        guard backlogStart == backlog.count else {
            backlog.append(contentsOf: plain)
            return false
        }
        guard let sent = unsafe plain.withUnsafeBytes({ unsafe writeSome($0) }) else { return false }
        if sent < plain.count { backlog.append(plain.rawSpan.extracting(sent..<plain.count)) }
        return sent == plain.count
    }

    /// True when nothing waits.
    private func drain() -> Bool {
        guard backlogStart < backlog.count else { return state != .closed }
        let sent = unsafe backlog.withUnsafeBytes { bytes in
            unsafe writeSome(UnsafeRawBufferPointer(rebasing: bytes[backlogStart...]))
        }
        guard let sent else { return false }
        backlogStart += sent
        guard backlogStart == backlog.count else { return false }
        backlog.removeAll(keepingCapacity: backlog.capacity <= 1 << 20)
        backlogStart = 0
        return true
    }

    /// Nil when the connection is gone.
    private func writeSome(_ bytes: UnsafeRawBufferPointer) -> Int? {
        guard state != .closed else { return nil }
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
                // An answer that says why may be there to be read; the end of the input follows it.
                source = nil
                wantsMore = false
                return bytes.count
            }
        }
        if done > 0 { lastActivity = client.loop.now }
        return done
    }

    private func updateInterest() {
        guard let registration, state != .closed else { return }
        let waits = backlogStart < backlog.count || (source != nil && wantsMore)
        client.loop.change(registration, readable: true, writable: waits)
    }

    // MARK: Time and the end

    func tick(_ now: UInt64) {
        switch state {
        case .closed: break
        case .resolving, .connecting, .tunnelling, .handshaking:
            if now > min(startedAt + client.limits.connectTimeout, call?.deadline ?? 0) { fail(.timeout("connecting to \(nextHop)")) }
        case .idle:
            if now > lastActivity + client.limits.idleTimeout { close() }
        case .busy:
            guard let call else { return }
            let silence = call.request.silenceTimeout
            if silence > 0 && now > lastActivity + silence { return fail(.timeout("no word from \(origin)")) }
            if now > call.deadline { fail(.timeout("no answer from \(origin)")) }
        }
    }

    /// Without a word to the handler.
    func cut() {
        call?.handler = nil
        close()
    }

    func close() {
        guard state != .closed else { return }
        if let tls, tls.isEstablished, descriptor >= 0 {
            tls.shutdown(cipher: &backlog)
            _ = drain()
        }
        state = .closed
        source = nil
        call = nil
        dropSocket()
        client.removed(self)
    }

    private func dropSocket() {
        if let registration { client.loop.deregister(registration) }
        registration = nil
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }
}
