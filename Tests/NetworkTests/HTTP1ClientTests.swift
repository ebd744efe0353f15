// The HTTP/1.1 client against our server on the same loop, and against servers made of bytes.

import Connections
import Foundations
import Glibc
import HTTP1
import Linux
import Testing

/// What a handler hears.
private final class Answer: HTTP1ResponseHandler {
    var status = 0
    var bytes: Bytes = []
    var isOver = false
    var error: HTTPClientError?
    var onHead: () -> Void = {}

    func head(_ head: HTTPResponseHead) {
        status = head.status
        onHead()
    }
    func body(_ bytes: RawSpan) { self.bytes.append(bytes) }
    func ended() { isOver = true }
    func failed(_ error: HTTPClientError) {
        self.error = error
        isOver = true
    }
    var text: String { String(decoding: bytes, as: UTF8.self) }
}

/// Bodies that come in pieces, some of them late.
private final class Pieces: HTTP1BodySource {
    var rest: Int
    let isEndless: Bool
    var produced = 0
    private let loop: EventLoop
    weak var call: HTTP1ClientCall?
    private var turn = 0

    init(_ rest: Int, isEndless: Bool = false, _ loop: EventLoop) { (self.rest, self.isEndless, self.loop) = (rest, isEndless, loop) }

    func produce(into output: inout Bytes) -> HTTP1BodyProgress {
        turn += 1
        if turn % 3 == 0 {
            loop.schedule(after: 0) { [weak self] in self?.call?.bodyReady() }
            return .wait
        }
        let count = min(100_000, rest)
        output.append(contentsOf: Bytes(repeating: 0x62, count: count))
        produced += count
        if !isEndless { rest -= count }
        return rest == 0 ? .end : .more
    }
}

/// Counts a body, slowly if asked.
private final class Counter: HTTPBodyReceiver {
    let answer: (Int) -> Void
    let pause: (Bool) -> Void
    private let loop: EventLoop
    private var count = 0
    var unread = 0
    var most = 0
    private(set) var hasFailed = false

    init(_ loop: EventLoop, _ answer: @escaping (Int) -> Void, pause: @escaping (Bool) -> Void) {
        (self.loop, self.answer, self.pause) = (loop, answer, pause)
    }

    func received(_ bytes: RawSpan) {
        count += bytes.byteCount
        if unread == 0 { loop.schedule(after: 1_000_000) { self.drain() } }
        unread += bytes.byteCount
        most = max(most, unread)
        if unread > 500_000 { pause(true) }
    }

    private func drain() {
        unread = 0
        pause(false)
    }

    func ended() { answer(count) }
    func failed() { hasFailed = true }
}

/// A server and a client on a loop that the test drives.
private final class Both {
    let loop: EventLoop
    let server: GRPCServer
    let client: HTTP1Client
    var listener: Listener!
    var accepted = 0
    var counters: [Counter] = []
    var endless: Call?
    var origin: HTTPOrigin { HTTPOrigin(isTLS: false, host: "127.0.0.1", port: "\(listener.address.port)") }

    /// Long enough for a machine that does other things too, where time is not the matter.
    init(connectTimeout: UInt64 = 60_000_000_000, writeTimeout: UInt64 = 60_000_000_000) throws {
        loop = try EventLoop()
        var limits = GRPCServer.Limits()
        limits.writeTimeout = writeTimeout
        server = GRPCServer(loop: loop, router: GRPCRouter(), limits: limits)
        var clientLimits = HTTP1Client.Limits()
        clientLimits.connectTimeout = connectTimeout
        client = HTTP1Client(loop: loop, tls: nil, resolver: Resolver(loop), limits: clientLimits)
        listener = try Listener(try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0], loop: loop) { [unowned self] in
            accepted += 1
            server.add($0)
        }
        server.router.httpBodies = { [unowned self] request, call, _ in open(request, call) }
        server.router.http = { [unowned self] request, call, _ in
            server.respond(call, status: 200, headers: [], body: Bytes("\(request.method) ".utf8) + request.body)
        }
    }

    deinit {
        client.stop()
        listener.stop()
        server.closeAll()
    }

    private func open(_ request: HTTPRequest, _ call: Call) -> (any HTTPBodyReceiver)? {
        switch request.path {
        case "/refuse":
            server.respond(call, status: 412, headers: [], body: Bytes("no\n".utf8))
        case "/endless":
            server.startEndless(call, status: 200, headers: [])
            endless = call
        case "/count":
            let counter = Counter(
                loop,
                { [unowned self] in
                    server.respond(call, status: 200, headers: [], body: Bytes("\($0)".utf8))
                }, pause: { [unowned self] in server.pauseBody(call, $0) })
            counters.append(counter)
            return counter
        default: break
        }
        return nil
    }

    func run(_ condition: @escaping () -> Bool) -> Bool {
        var holds = false
        func look() {
            holds = condition()
            if holds { return loop.stop() }
            loop.schedule(after: 1_000_000) { look() }
        }
        look()
        let timer = loop.schedule(after: 240_000_000_000) { [loop] in loop.stop() }
        if !holds { loop.run() }
        loop.cancel(timer)
        return holds
    }

    func get(_ request: HTTP1ClientRequest, _ origin: HTTPOrigin? = nil) -> Answer {
        let answer = Answer()
        let call = client.send(request, to: origin ?? self.origin, answer)
        if case .source(let source) = request.body { (source as? Pieces)?.call = call }
        #expect(run { answer.isOver })
        return answer
    }
}

/// Accepts, reads, and answers with bytes.
private final class Scripted: EventHandler {
    let loop: EventLoop
    var listener: Listener!
    var answers: [String]
    var accepted = 0
    private var descriptor: Int32 = -1
    private var registration: EventLoop.Registration?

    /// One answer a connection; the connection is closed after it. An answer that begins with "keep" is given, and the
    /// connection closed when the next request comes.
    init(_ loop: EventLoop, _ answers: [String]) throws {
        self.loop = loop
        self.answers = answers
        listener = try Listener(try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0], loop: loop) { [unowned self] in
            accepted += 1
            descriptor = $0
            registration = try? loop.register($0, self)
        }
    }

    private var keeps = false

    func ready(readable: Bool, writable: Bool) {
        var room = Bytes(repeating: 0, count: 65536)
        let count = read(descriptor, &room, room.count)
        if count > 0 && !keeps && !answers.isEmpty {
            var answer = answers.removeFirst()
            keeps = answer.hasPrefix("keep")
            if keeps { answer.removeFirst(4) }
            _ = send(descriptor, answer, answer.utf8.count, Int32(MSG_NOSIGNAL))
            if keeps { return }
        }
        keeps = false
        if let registration { loop.deregister(registration) }
        close(descriptor)
    }

    var origin: HTTPOrigin { HTTPOrigin(isTLS: false, host: "127.0.0.1", port: "\(listener.address.port)") }
}

@Suite struct HTTP1ClientTests {
    @Test func `requests share a connection, one after the other`() throws {
        let both = try Both()
        for i in 0..<5 {
            let answer = both.get(HTTP1ClientRequest("POST", "/echo", body: .bytes(Bytes("\(i)".utf8))))
            #expect(answer.status == 200 && answer.text == "POST \(i)")
        }
        #expect(both.accepted == 1)
        var fresh = HTTP1ClientRequest("GET", "/echo")
        fresh.usesPool = false
        #expect(both.get(fresh).text == "GET ")
        #expect(both.accepted == 2)
        #expect(both.client.connectionCount == 1)
    }

    @Test func `bodies in pieces both ways, with a receiver that is slower`() throws {
        let both = try Both()
        let answer = both.get(HTTP1ClientRequest("POST", "/count", body: .source(Pieces(30_000_000, both.loop))))
        #expect(answer.text == "30000000")
        let most = try #require(both.counters.first).most
        #expect(most > 500_000 && most < 1_000_000)
        // The connection has seen a whole request and a whole answer: it is kept.
        #expect(both.get(HTTP1ClientRequest("GET", "/echo")).text == "GET ")
        #expect(both.accepted == 1)
    }

    @Test func `an answer before the body's end stops the body`() throws {
        let both = try Both()
        let source = Pieces(100_000, isEndless: true, both.loop)
        let answer = both.get(HTTP1ClientRequest("POST", "/refuse", body: .source(source)))
        #expect(answer.status == 412 && answer.text == "no\n")
        #expect(both.client.connectionCount == 0)
    }

    @Test func `an endless answer ends with its client, and with its server`() throws {
        let both = try Both()
        let answer = Answer()
        let call = both.client.send(HTTP1ClientRequest("GET", "/endless"), to: both.origin, answer)
        #expect(both.run { answer.status == 200 })
        let stream = try #require(both.endless)
        for size in [1, 15, 16, 70_000] {
            both.server.sendPiece(stream) { $0.append(contentsOf: Bytes(repeating: 0x2e, count: size)) }
        }
        both.server.sendPiece(stream) { _ in }
        #expect(both.run { answer.bytes.count == 70_032 })
        #expect(both.server.isOpen(stream))
        call.cancel()
        #expect(both.run { !both.server.isOpen(stream) })
        #expect(!answer.isOver)
        let second = Answer()
        _ = both.client.send(HTTP1ClientRequest("GET", "/endless"), to: both.origin, second)
        #expect(both.run { second.status == 200 })
        both.server.abort(try #require(both.endless))
        #expect(both.run { second.isOver })
        #expect(second.error == .closed)
    }

    @Test func `a server that closed a kept connection is asked again`() throws {
        let both = try Both()
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        let scripted = try Scripted(both.loop, ["keep" + good, good])
        defer { scripted.listener.stop() }
        #expect(both.get(HTTP1ClientRequest("GET", "/"), scripted.origin).text == "ok")
        #expect(both.get(HTTP1ClientRequest("POST", "/", body: .bytes([1])), scripted.origin).text == "ok")
        #expect(scripted.accepted == 2)
    }

    @Test(arguments: [
        ("", HTTPClientError.closed), ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", .closed),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", .malformed(.chunk)),
        ("nonsense\r\n\r\n", .malformed(.statusLine)),
    ]) func `broken answers are failures`(_ bytes: String, _ error: HTTPClientError) throws {
        let both = try Both()
        let scripted = try Scripted(both.loop, bytes.isEmpty ? [] : [bytes])
        defer { scripted.listener.stop() }
        let answer = both.get(HTTP1ClientRequest("GET", "/"), scripted.origin)
        #expect(answer.error == error)
    }

    @Test func `answers that end with the connection`() throws {
        let both = try Both()
        let scripted = try Scripted(both.loop, ["HTTP/1.0 200 OK\r\n\r\nall of it"])
        defer { scripted.listener.stop() }
        let answer = both.get(HTTP1ClientRequest("GET", "/"), scripted.origin)
        #expect(answer.error == nil && answer.text == "all of it")
    }

    @Test func `time runs out for silent servers`() throws {
        let both = try Both(connectTimeout: 300_000_000)
        let deaf = try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0]
        let listener = try Socket.listen(deaf)
        defer { close(listener) }
        let origin = HTTPOrigin(isTLS: false, host: "127.0.0.1", port: "\(try #require(Socket.local(listener)).port)")
        var request = HTTP1ClientRequest("GET", "/")
        request.timeout = 300_000_000
        guard case .timeout? = both.get(request, origin).error else { throw Missing() }
        request.timeout = 0
        request.silenceTimeout = 300_000_000
        guard case .timeout? = both.get(request, origin).error else { throw Missing() }
        // A body the server does not read.
        var post = HTTP1ClientRequest("POST", "/", body: .source(Pieces(100_000, isEndless: true, both.loop)))
        post.silenceTimeout = 300_000_000
        guard case .timeout? = both.get(post, origin).error else { throw Missing() }
    }

    @Test(arguments: [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "opens no tunnel to https://nowhere.invalid:443: 403 Forbidden"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "says more than that there is a tunnel"),
        ("", "closed instead of opening a tunnel to https://nowhere.invalid:443"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "closed instead of opening a tunnel to https://nowhere.invalid:443"),
        ("SSH-2.0\r\n\r\n", "\(HTTPError.statusLine)"),
        // As far as it goes without certificates.
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Established\r\n\r\n", "TLS: no certificates are configured for members"),
    ]) func `a proxy is asked for a tunnel, and may refuse`(_ bytes: String, _ reason: String) throws {
        let both = try Both()
        let scripted = try Scripted(both.loop, bytes.isEmpty ? [] : [bytes])
        let client = HTTP1Client(loop: both.loop, tls: nil, resolver: Resolver(both.loop), proxy: scripted.origin)
        defer { client.stop() }
        let answer = Answer()
        _ = client.send(HTTP1ClientRequest("GET", "/"), to: HTTPOrigin(isTLS: true, host: "nowhere.invalid", port: "443"), answer)
        #expect(both.run { answer.isOver })
        #expect("\(answer.error, default: "no error")".hasSuffix(reason))
    }

    @Test func `cleartext goes to the proxy, whose business names are`() throws {
        let both = try Both()
        let scripted = try Scripted(both.loop, ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
        let client = HTTP1Client(loop: both.loop, tls: nil, resolver: Resolver(both.loop), proxy: scripted.origin)
        defer { client.stop() }
        let answer = Answer()
        let target = "http://nowhere.invalid:80/"
        _ = client.send(HTTP1ClientRequest("GET", target), to: HTTPOrigin(isTLS: false, host: "nowhere.invalid", port: "80"), answer)
        #expect(both.run { answer.isOver })
        #expect(answer.text == "ok")
    }

    @Test func `who cannot be reached is told of, names included`() throws {
        let both = try Both()
        let port = both.origin.port
        #expect(both.get(HTTP1ClientRequest("GET", "/echo"), HTTPOrigin(isTLS: false, host: "localhost", port: port)).status == 200)
        guard
            case .connect? = both.get(
                HTTP1ClientRequest("GET", "/"), HTTPOrigin(isTLS: false, host: "nowhere.invalid", port: port)
            ).error
        else { throw Missing() }
        guard
            case .refused? = both.get(
                HTTP1ClientRequest("GET", "/"), HTTPOrigin(isTLS: false, host: "127.0.0.1", port: "1")
            ).error
        else { throw Missing() }
        guard
            case .tls? = both.get(
                HTTP1ClientRequest("GET", "/"), HTTPOrigin(isTLS: true, host: "127.0.0.1", port: port)
            ).error
        else { throw Missing() }
    }

    @Test func `a client that reads nothing of an endless answer is cut`() throws {
        let both = try Both(writeTimeout: 1_000_000_000)
        let descriptor = try Socket.connect(both.listener.address)
        defer { close(descriptor) }
        let request = Bytes("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        #expect(both.run { send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count })
        #expect(both.run { both.endless != nil })
        let stream = try #require(both.endless)
        both.server.sendPiece(stream) { $0.append(contentsOf: Bytes(repeating: 1, count: 32 << 20)) }
        #expect(both.run { !both.server.isOpen(stream) })
    }

    @Test func `what is answered at the end of a turn, after the server's own, does not wait for an event`() throws {
        let loop = try EventLoop()
        let server = GRPCServer(loop: loop, router: GRPCRouter())
        defer { server.closeAll() }
        var asked: Call?
        server.router.http = { _, call, _ in asked = call }
        let listener = try Listener(try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0], loop: loop) { server.add($0) }
        defer { listener.stop() }
        let descriptor = try Socket.connect(listener.address)
        defer { close(descriptor) }
        var order: [String] = []
        // Later than the server's own. Nothing else happens before the marker.
        loop.atEndOfTurn {
            if let call = asked {
                asked = nil
                server.respond(call, status: 200, headers: [], body: [])
                loop.schedule(after: 400_000_000) { order.append("marker") }
            }
            var room = Bytes(repeating: 0, count: 1000)
            if read(descriptor, &room, room.count) > 0 { order.append("answer") }
            if order.count == 2 { loop.stop() }
        }
        let request = Bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        loop.schedule(after: 1_000_000) { _ = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) }
        loop.schedule(after: 20_000_000_000) { loop.stop() }
        loop.run()
        #expect(order == ["answer", "marker"])
    }

    @Test func `a body that breaks off is a failure for its receiver`() throws {
        let both = try Both()
        let answer = Answer()
        let source = Pieces(100_000, isEndless: true, both.loop)
        let call = both.client.send(HTTP1ClientRequest("POST", "/count", body: .source(source)), to: both.origin, answer)
        source.call = call
        #expect(both.run { (both.counters.first?.most ?? 0) > 0 })
        call.cancel()
        #expect(both.run { both.counters[0].hasFailed })
    }

    struct Missing: Error {}
}
