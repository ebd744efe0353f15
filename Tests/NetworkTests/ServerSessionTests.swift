// The server's side of HTTP/2 as an engine, without sockets: against nghttp2 as the client, against frames made by hand, and
// against traffic that is cut and damaged at random places.

import CNghttp2
import Foundations
import HTTP2Engine
import Testing

/// Answers each request with its path and body, in the way the path asks for.
private final class Echo: ServerSessionOwner {
    var session: ServerSession!
    var events: [String] = []
    /// By slot.
    private var bodies: [Int: [UInt8]] = [:]
    var consumes = true

    init(_ limits: ServerSession.Limits = ServerSession.Limits()) { session = ServerSession(owner: self, limits: limits) }

    private func name(_ slot: Int) -> String {
        session.withStream(slot) { "\($0.streamID) \(String(decoding: $0.path, as: UTF8.self))" }
    }

    func requestStarted(_ slot: Int) {
        bodies[slot] = []
        events.append("start \(name(slot))")
        if session.withStream(slot, { $0.path.elementsEqual("/early".utf8) }) { answer(slot) }
    }

    func requestBody(_ slot: Int, _ bytes: RawSpan) {
        if consumes { session.consume(slot, bytes.byteCount) }
        bodies[slot]?.append(bytes)
    }

    func requestEnded(_ slot: Int) {
        events.append("end \(name(slot)) \(bodies[slot]?.count ?? -1)")
        answer(slot)
    }

    private func answer(_ slot: Int) {
        let path = session.withStream(slot) { Array($0.path) }
        let body = bodies[slot] ?? []
        switch String(decoding: path, as: UTF8.self) {
        case "/silent": return
        case "/refused": return session.respondHeadOnly(slot, head: .trailersOnly(code: 7, message: "no"))
        case "/plain":
            session.withStream(slot) { stream in
                stream.outbound += path + body
                stream.trailers = ServerStream.Trailers.none
            }
            return session.respond(slot, head: .fields([(":status", "404"), ("x-long", String(repeating: "l", count: 40_000))]))
        case "/fails":
            session.withStream(slot) { stream in
                stream.outbound += path + body
                stream.trailers = .status(code: 13, message: "so it is")
            }
        default:
            session.withStream(slot) { stream in
                stream.outbound += path + body
                stream.trailers = .ok
            }
        }
        session.respondGRPC(slot)
    }

    func streamClosed(_ slot: Int, errorCode: UInt32) {
        events.append("closed \(session.withStream(slot) { $0.streamID }) \(errorCode)")
        bodies[slot] = nil
    }

    func roomAvailable(_ slot: Int) { events.append("room") }
    func pingReceived() { events.append("ping") }
    func pingAcknowledged() { events.append("pong") }

    /// When set, answers leave before the next request is looked at once so many bytes wait; where that was, in the last feed.
    var sendsSoon: Int?
    private(set) var stops: [Int] = []
    private var sent: [UInt8] = []

    func feed(_ bytes: [UInt8]) -> Bool {
        guard let sendsSoon else { return session.receive(bytes.rawSpan) }
        stops = []
        var at = 0
        while at < bytes.count {
            let next = session.receive(bytes.rawSpan, from: at, untilQueued: sendsSoon)
            #expect(next > at && next <= bytes.count)
            at = next
            if at < bytes.count {
                stops.append(at)
                sent += output()
            }
        }
        return !session.isFinished
    }

    /// Feeds frames, returns what the session answers.
    func exchange(_ frames: Frame...) -> [Frame] { exchange(frames) }

    func exchange(_ frames: [Frame]) -> [Frame] {
        _ = feed(frames.flatMap(\.bytes))
        return Frame.parse(output())
    }

    /// What left while the last feed went on.
    func takeSent() -> [UInt8] {
        defer { sent = [] }
        return sent
    }

    func output() -> [UInt8] {
        var all = takeSent()
        while true {
            var piece: [UInt8] = []
            session.send(into: &piece, limit: 50_000)
            if piece.isEmpty { return all }
            all += piece
        }
    }

    /// Past the greeting.
    static func greeted(_ limits: ServerSession.Limits = ServerSession.Limits(), _ settings: [UInt8] = []) -> Echo {
        let echo = Echo(limits)
        #expect(echo.feed(RawConnection.preface + Frame(.settings, settings).bytes))
        let greeting = Frame.parse(echo.output())
        #expect(greeting.map(\.type) == [4, 8, 4])
        return echo
    }
}

extension Frame {
    fileprivate static func parse(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var at = 0
        while at + 9 <= bytes.count {
            let length = Int(bytes[at]) << 16 | Int(bytes[at + 1]) << 8 | Int(bytes[at + 2])
            let stream = bytes[at + 5..<at + 9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            frames.append(Frame(type: bytes[at + 3], flags: bytes[at + 4], stream: stream, payload: Array(bytes[at + 9..<at + 9 + length])))
            at += 9 + length
        }
        #expect(at == bytes.count)
        return frames
    }

    fileprivate static func call(_ stream: UInt32, _ path: String = "/x", flags: UInt8 = endHeaders) -> Frame {
        .request(stream, [(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")], flags: flags)
    }

    /// Of a stream's bodies in these frames.
    fileprivate static func bodyBytes(_ frames: [Frame], _ stream: UInt32) -> Int {
        var sum = 0
        for frame in frames where frame.type == 0 && frame.stream == stream { sum += frame.payload.count }
        return sum
    }

    fileprivate var short: String { "\(type)/\(flags)/\(stream)/\(payload.count)" }
}

/// nghttp2 as the client: what it sent and what came back.
private final class Client: ClientSessionOwner {
    struct Answer {
        var path: String
        var sent: [UInt8]
        var body: [UInt8] = []
        var head = 0
        var status = ""
        var isEnded = false
        var closed: UInt32?
    }

    var session: ClientSession!
    var answers: [Answer] = []
    var calls: [Int: Int] = [:]
    var consumesAtOnce = true
    var owed: [(slot: Int, serial: UInt64, count: Int)] = []

    init(_ limits: ClientSession.Limits) { session = ClientSession(owner: self, limits: limits) }

    func feed(_ bytes: [UInt8]) -> Bool { session.receive(bytes.rawSpan) }

    func responseStarted(_ slot: Int) { answers[calls[slot]!].head = session.withStream(slot) { $0.httpStatus } }

    func responseBody(_ slot: Int, _ bytes: RawSpan) {
        answers[calls[slot]!].body.append(bytes)
        owed.append((slot, session.withStream(slot) { $0.serial }, bytes.byteCount))
    }

    func responseEnded(_ slot: Int) {
        answers[calls[slot]!].status = session.withStream(slot) { String(decoding: $0.grpcStatus, as: UTF8.self) }
        answers[calls[slot]!].isEnded = true
    }

    func streamClosed(_ slot: Int, errorCode: UInt32, refused: Bool) {
        answers[calls.removeValue(forKey: slot)!].closed = errorCode
    }
    func settingsReceived() {}
    func goAwayReceived(errorCode: UInt32, text: String) { Issue.record("GOAWAY \(errorCode) \(text)") }
    func pingAcknowledged() {}
    func bodyTaken(_ slot: Int) {}
}

@Suite struct ServerSessionTests {
    @Test func `large answers may leave before the next request is looked at, never within one`() {
        var frames: [Frame] = []
        for stream in stride(from: UInt32(1), to: 17, by: 2) {
            frames.append(.call(stream))
            // The end of the stream in a frame of its own, as some clients send it: to answer before it would reset the stream.
            frames.append(.message(stream, [UInt8](repeating: 1, count: 3000), flags: stream % 4 == 1 ? 0 : Frame.endStream))
            if stream % 4 == 1 { frames.append(Frame(.data, flags: Frame.endStream, stream: stream)) }
        }
        let whole = Echo.greeted()
        let soon = Echo.greeted()
        soon.sendsSoon = 4000
        // What a window or a closed stream is told may come at another time.
        let answers = [soon, whole].map { $0.exchange(frames).filter { $0.type != Frame.Kind.windowUpdate.rawValue }.map(\.short) }
        #expect(answers[0] == answers[1] && answers[0].count == 8 * 3)
        let events = [soon, whole].map { $0.events.filter { !$0.hasPrefix("closed") } }
        #expect(events[0] == events[1] && soon.events.count == whole.events.count)
        // Two answers are more than 4,000 bytes; every other request begins with none waiting.
        var starts: [Int] = []
        var at = 0
        for frame in frames {
            if frame.type == Frame.Kind.headers.rawValue && frame.stream % 4 == 1 && frame.stream > 1 { starts.append(at) }
            at += frame.bytes.count
        }
        #expect(soon.stops == starts)
    }

    @Test(arguments: 0..<8) func `random calls of nghttp2's client come back whole`(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var serverLimits = ServerSession.Limits()
        var clientLimits = ClientSession.Limits()
        if seed % 2 == 1 {
            (clientLimits.streamWindow, clientLimits.connectionWindow) = (Int32.random(in: 10...5000, using: &random), 70_000)
            (serverLimits.streamWindow, serverLimits.connectionWindow) = (70_000, 80_000)
        }
        let server = Echo(serverLimits)
        if seed % 4 > 1 { server.sendsSoon = 10_000 }
        let client = Client(clientLimits)
        var left = 60
        var reset: Set<Int> = []
        var quiet = 0
        while quiet < 3 {
            quiet += 1
            for _ in 0..<min(left, Int.random(in: 0...10, using: &random)) {
                let own = "/y/\(Int.random(in: 0..<50, using: &random))"
                let path = ["/x", "/plain", "/fails", "/refused", own].randomElement(using: &random)!
                let size = Int.random(in: 0...(Bool.random(using: &random) ? 200 : 60_000), using: &random)
                let body = [UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: size) + Array("\(left)".utf8)
                let metadata = Bool.random(using: &random) ? [("x-m-\(left % 7)", Array("\(left)".utf8))] : []
                let head = RequestHead.grpc(path: path, authority: "a", scheme: "http", userAgent: "t", metadata: metadata)
                guard let slot = client.session.request(head) else { break }
                client.calls[slot] = client.answers.count
                client.answers.append(Client.Answer(path: path, sent: body))
                client.session.write(slot) { $0 += body }
                client.session.endBody(slot)
                left -= 1
            }
            var bytes: [UInt8] = []
            // Some are given up before they have been sent.
            if Bool.random(using: &random) { client.session.send(into: &bytes, limit: 100_000) }
            if Int.random(in: 0..<4, using: &random) == 0, let (slot, call) = client.calls.min(by: { $0.value < $1.value }) {
                if client.answers[call].closed == nil {
                    reset.insert(call)
                    client.session.reset(slot)
                }
            }
            client.session.send(into: &bytes, limit: 100_000)
            var at = 0
            while at < bytes.count {
                let end = min(bytes.count, at + Int.random(in: 1...(Bool.random(using: &random) ? 20 : 30_000), using: &random))
                #expect(server.feed(Array(bytes[at..<end])), "seed \(seed)")
                at = end
            }
            var answer = server.takeSent()
            server.session.send(into: &answer, limit: answer.count + Int.random(in: 1...200_000, using: &random))
            let isTaken = client.feed(answer)
            #expect(isTaken)
            if !bytes.isEmpty || !answer.isEmpty || left > 0 { quiet = 0 }
            if Bool.random(using: &random) {
                for (slot, serial, count) in client.owed {
                    if client.session.isCurrent(slot, serial) {
                        client.session.consume(slot, count)
                    } else {
                        client.session.consumeOfConnection(count)
                    }
                }
                client.owed = []
                if quiet > 0 { quiet = 1 }
            } else if !client.owed.isEmpty {
                quiet = 0
            }
        }
        for (i, answer) in client.answers.enumerated() where !reset.contains(i) {
            #expect(answer.isEnded && answer.closed == 0, "seed \(seed) call \(i) \(answer.path) \(answer.sent.count)")
            #expect(answer.head == (answer.path == "/plain" ? 404 : 200))
            let status = ["/plain": "", "/refused": "7", "/fails": "13"][answer.path] ?? "0"
            #expect(answer.status == status, "seed \(seed) call \(i) \(answer.path)")
            #expect(answer.body == (answer.path == "/refused" ? [] : Array(answer.path.utf8) + answer.sent))
        }
        #expect(client.answers.count == 60)
        #expect(server.session.openStreams == 0 && server.session.queuedBytes == 0 && !server.session.wantsToSend, "seed \(seed)")
    }

    // MARK: Cut and damaged

    /// Good traffic of every kind, as a client may send it.
    private func traffic(_ random: inout SeededRandom) -> [UInt8] {
        var bytes = RawConnection.preface + Frame(.settings, Frame.setting(4, 30_000)).bytes
        var stream: UInt32 = 1
        for _ in 0..<Int.random(in: 1...25, using: &random) {
            let path = ["/x", "/x", "/plain", "/fails", "/refused", "/early", "/silent"].randomElement(using: &random)!
            let body = [UInt8](repeating: 7, count: Int.random(in: 0...300, using: &random))
            switch Int.random(in: 0..<9, using: &random) {
            case 0: bytes += Frame(.ping, [UInt8](repeating: 1, count: 8)).bytes
            case 1: bytes += Frame(.windowUpdate, stream: Bool.random(using: &random) ? 0 : stream, Frame.be32(1000)).bytes
            case 2: bytes += Frame(.reset, stream: stream, Frame.be32(8)).bytes
            case 3: bytes += Frame(.settings, Frame.setting(4, UInt32.random(in: 0...70_000, using: &random)) + Frame.setting(1, 0)).bytes
            case 4: bytes += Frame(type: 0xfa, flags: 3, stream: 5, payload: body).bytes
            case 5: bytes += Frame(.priority, stream: 3, [0, 0, 0, 0, 9]).bytes
            default:
                stream += 2
                let head = Frame.call(stream, path, flags: 0)
                let cut = Int.random(in: 0...head.payload.count, using: &random)
                bytes += Frame(.headers, stream: stream, Array(head.payload[..<cut])).bytes
                bytes += Frame(.continuation, flags: Frame.endHeaders, stream: stream, Array(head.payload[cut...])).bytes
                let padding = Bool.random(using: &random) ? [UInt8](repeating: 0, count: 20) : []
                bytes +=
                    padding.isEmpty
                    ? Frame(.data, stream: stream, body).bytes
                    : Frame(.data, flags: Frame.padded, stream: stream, [20] + body + padding).bytes
                bytes += Frame(.data, flags: Frame.endStream, stream: stream, body).bytes
            }
        }
        return bytes
    }

    private func outcome(_ bytes: [UInt8], _ cuts: () -> Int) -> (events: [String], output: [UInt8], goesOn: Bool) {
        let server = Echo()
        var at = 0
        var goesOn = true
        while at < bytes.count && goesOn {
            let end = min(bytes.count, at + max(1, cuts()))
            goesOn = server.feed(Array(bytes[at..<end]))
            at = end
        }
        let output = server.output()
        _ = Frame.parse(output)
        return (server.events, output, goesOn)
    }

    @Test(arguments: 0..<8) func `however traffic is cut and damaged, the same comes of it and nothing breaks`(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for round in 0..<6 {
            var bytes = traffic(&random)
            if round > 2 {
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let at = Int.random(in: 24..<bytes.count, using: &random)
                    switch Int.random(in: 0..<3, using: &random) {
                    case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                    case 1: bytes[at] ^= 1 << UInt8.random(in: 0...7, using: &random)
                    default: bytes.remove(at: at)
                    }
                }
            }
            let whole = outcome(bytes) { bytes.count }
            for step in [1, 5, 0] {
                let cut = outcome(bytes) { step == 0 ? Int.random(in: 1...200, using: &random) : step }
                #expect(cut.goesOn == whole.goesOn && cut.output == whole.output, "seed \(seed) round \(round)")
                #expect(cut.events == whole.events, "seed \(seed) round \(round)")
            }
        }
    }

    // MARK: What is said in answer

    @Test func `a unary answer is three frames, short ones once the peer knows the fields`() {
        let echo = Echo.greeted()
        let first = echo.exchange(.call(1), .message(1, [1, 2, 3]))
        #expect(first.map(\.type) == [1, 0, 1] && first.map(\.flags) == [4, 0, 5])
        let second = echo.exchange(.call(3), .message(3, [1, 2, 3]))
        #expect(second.map(\.payload) == [[0x88, 0xbf], Array("/x".utf8) + [0, 0, 0, 0, 3, 1, 2, 3], [0xbe]])
        var inflater = Inflater()
        for frames in [first, second] {
            #expect(inflater.fields(frames[0].payload) == [":status: 200", "content-type: application/grpc"])
            #expect(inflater.fields(frames[2].payload) == ["grpc-status: 0"])
        }
    }

    @Test func `a peer that makes its table smaller is told that none is used`() {
        let echo = Echo.greeted()
        var inflater = Inflater()
        func answer(_ stream: UInt32, _ path: String = "/x") -> [String] {
            echo.exchange(.call(stream, path), .message(stream, [])).filter { $0.type == 1 }.flatMap { inflater.fields($0.payload) }
        }
        let usual = [":status: 200", "content-type: application/grpc", "grpc-status: 0"]
        #expect(answer(1) == usual)
        _ = echo.exchange(Frame(.settings, Frame.setting(1, 0)), Frame(.settings, Frame.setting(1, 4096)))
        nghttp2_hd_inflate_change_table_size(inflater.pointer, 0)
        #expect(answer(3, "/refused") == usual.dropLast() + ["grpc-status: 7", "grpc-message: no"])
        #expect(answer(5) == usual)
        #expect(answer(7, "/fails") == usual.dropLast() + ["grpc-status: 13", "grpc-message: so it is"])
        #expect(answer(9) == usual)
    }

    @Test func `streams take turns and keep to the windows`() {
        let echo = Echo.greeted(ServerSession.Limits(), Frame.setting(4, 40_000))
        let body = [UInt8](repeating: 1, count: 16_384)
        func call(_ stream: UInt32) -> [Frame] {
            [.call(stream)] + [Frame](repeating: Frame(.data, stream: stream, body), count: 3) + [
                Frame(.data, flags: 1, stream: stream, [2])
            ]
        }
        let frames = echo.exchange(call(1) + call(3)).filter { $0.type <= 1 }
        // 65 535 bytes of the connection, 40 000 of each stream; a frame each in turn.
        #expect(
            frames.map(\.short) == [
                "1/4/1/\(frames[0].payload.count)", "0/0/1/16384", "1/4/3/2", "0/0/3/16384", "0/0/1/16384", "0/0/3/16383",
            ])
        #expect(echo.session.queuedBytes == 2 * (49_153 + 2) - 65_535)
        // The stream has 7232 left, and the connection nothing.
        #expect(echo.exchange(Frame(.windowUpdate, stream: 3, Frame.be32(100_000))).isEmpty)
        let more = echo.exchange(Frame(.windowUpdate, Frame.be32(100_000)))
        #expect(Frame.bodyBytes(more, 1) == 7232)
        #expect(Frame.bodyBytes(more, 3) == 49_155 - 16_384 - 16_383)
        #expect(more.last { $0.stream == 3 }?.flags == 5)
        // Smaller windows make what is left negative; it has to be made good first.
        #expect(echo.exchange(Frame(.settings, Frame.setting(4, 10_000))).filter { $0.type == 0 }.isEmpty)
        #expect(echo.exchange(Frame(.windowUpdate, stream: 1, Frame.be32(30_000))).isEmpty)
        let rest = echo.exchange(Frame(.settings, Frame.setting(4, 20_000))).filter { $0.type <= 1 }
        #expect(Frame.bodyBytes(rest, 1) == 49_155 - 40_000 && rest.last?.flags == 5)
        #expect(echo.session.queuedBytes == 0 && echo.session.openStreams == 0)
    }

    @Test func `what is for streams that are gone changes the table and the window, and nothing else`() {
        var limits = ServerSession.Limits()
        limits.connectionWindow = 65_535
        let echo = Echo(limits)
        #expect(echo.feed(RawConnection.preface + Frame(.settings).bytes))
        _ = echo.output()
        #expect(echo.exchange(.call(1, "/early")).map(\.short).last == "3/0/1/4")
        // Trailers that put a field into the table, for the stream that has just been reset.
        #expect(echo.exchange(Frame(.headers, flags: 5, stream: 1, [0x40, 1, 0x61, 1, 0x62])).isEmpty)
        #expect(echo.exchange(Frame(.headers, flags: 4, stream: 3, Frame.block(Frame.grpcFields) + [0xbe])).isEmpty)
        #expect(echo.events.last == "start 3 /test.Echo/Unary")
        let data = Frame(.data, flags: Frame.padded, stream: 1, [99] + [UInt8](repeating: 0, count: 16_000))
        #expect(echo.exchange(data, data).isEmpty)
        let back = echo.exchange(data)
        #expect(back.count == 1 && back[0].type == 8 && back[0].stream == 0 && back[0].number > 32_000)
        #expect(echo.exchange(Frame(.windowUpdate, stream: 1, Frame.be32(9)), Frame(.reset, stream: 1, Frame.be32(8))).isEmpty)
    }

    @Test func `windows are given back for what was dealt with, padding included`() {
        let echo = Echo.greeted()
        echo.consumes = false
        let data = Frame(.data, flags: Frame.padded, stream: 1, [200] + [UInt8](repeating: 0, count: 16_000))
        #expect(echo.exchange([.call(1)] + [Frame](repeating: data, count: 65)).isEmpty)
        let over = echo.exchange(data)
        #expect(over.map(\.short) == ["3/0/1/4"] && over[0].number == 3)
        #expect(echo.events.last == "closed 1 3")
        echo.consumes = true
        // The connection has all of it back but what waits to be told.
        let full = Frame(.data, stream: 3, [UInt8](repeating: 0, count: 16_384))
        let updates = echo.exchange([.call(3)] + [Frame](repeating: full, count: 600))
        var given = 0
        for frame in updates where frame.type == 8 && frame.stream == 0 { given += Int(frame.number) }
        let sent = 600 * 16_384 + 66 * 16_001
        #expect(given <= sent && given > sent - (1 << 23))
        #expect(updates.contains { $0.stream == 3 && $0.number >= 1 << 19 })
    }

    @Test func `a connection error names the last stream that was taken`() {
        let echo = Echo.greeted()
        let frames = echo.exchange(.call(1), .call(5), Frame(.data, stream: 0, [1]), .call(7))
        #expect(frames.map(\.type) == [7] && frames[0].be32(0) == 5 && frames[0].be32(4) == 1)
        #expect(echo.session.isFinished && echo.session.isOver && !echo.events.contains("start 7 /x"))
        #expect(!echo.feed(Frame(.ping, [UInt8](repeating: 0, count: 8)).bytes))
    }

    @Test func `after GOAWAY open streams end and new ones are not taken`() {
        let echo = Echo.greeted()
        _ = echo.exchange(.call(1))
        echo.session.startDrain()
        #expect(echo.exchange(.call(3)).map { $0.be32(0) } == [0x7fff_ffff])
        echo.session.goAway(0, "bye")
        let away = echo.exchange(.call(5), .message(5, [1]))
        #expect(away.map(\.type) == [7] && away[0].be32(0) == 3 && away[0].payload.suffix(3) == Array("bye".utf8)[...])
        #expect(!echo.session.isOver)
        let answers = echo.exchange(.message(1, []), .message(3, []))
        #expect(answers.map(\.stream) == [1, 1, 1, 3, 3, 3] && echo.session.isOver)
    }

    @Test func `a peer's GOAWAY ends the connection behind the last answer`() {
        let echo = Echo.greeted()
        _ = echo.exchange(.call(1), Frame(.goAway, [UInt8](repeating: 0, count: 8)))
        #expect(!echo.session.isOver)
        #expect(echo.exchange(.message(1, [])).count == 3 && echo.session.isOver)
    }

    // MARK: Bounds

    @Test func `more streams than allowed are refused`() {
        var limits = ServerSession.Limits()
        limits.maxConcurrentStreams = 2
        let echo = Echo.greeted(limits)
        let frames = echo.exchange(.call(1), .call(3), .call(5))
        #expect(frames.map(\.short) == ["3/0/5/4"] && frames[0].number == 7)
        #expect(echo.exchange(.message(1, [])).count == 3)
        #expect(echo.exchange(.call(7)).isEmpty && echo.events.last == "start 7 /x")
    }

    @Test func `while too much waits new requests are refused`() {
        var limits = ServerSession.Limits()
        limits.queuedBytesMax = 1000
        let echo = Echo.greeted(limits, Frame.setting(4, 0))
        _ = echo.exchange(.call(1), .message(1, [UInt8](repeating: 0, count: 1200)))
        #expect(echo.exchange(.call(3)).map(\.number) == [7])
        _ = echo.exchange(Frame(.windowUpdate, stream: 1, Frame.be32(5000)))
        #expect(echo.exchange(.call(5)).isEmpty && echo.events.last == "start 5 /x")
    }

    @Test func `resets are counted, also those that the peer provokes`() {
        var limits = ServerSession.Limits()
        (limits.resetBurst, limits.resetsPerSecond) = (10, 0)
        for provoked in [false, true] {
            let echo = Echo.greeted(limits)
            for i in 0..<UInt32(11) {
                let stream = 2 * i + 1
                let kind: Frame.Kind = provoked ? .windowUpdate : .reset
                let bad = Frame(kind, stream: stream, Frame.be32(0))
                let frames = echo.exchange(.call(stream), bad)
                #expect(frames.map(\.type) == (i == 10 ? [7] : provoked ? [3] : []), "\(i)")
                if i == 10 { #expect(frames[0].be32(4) == 11) }
            }
        }
    }

    @Test func `a thousand acknowledgements may wait, not one more`() {
        let ping = Frame(.ping, [1, 2, 3, 4, 5, 6, 7, 8])
        for count in [1000, 1001] {
            let echo = Echo.greeted()
            let frames = echo.exchange([Frame](repeating: ping, count: count))
            #expect(frames.filter { $0.type == 6 && $0.flags == 1 && $0.payload == ping.payload }.count == 1000)
            #expect(echo.session.isFinished == (count > 1000))
        }
    }

    @Test func `header blocks and empty frames have their bounds`() {
        for count in [8, 9] {
            let echo = Echo.greeted()
            var frames = [Frame.call(1, flags: 0)] + [Frame](repeating: Frame(.continuation, stream: 1), count: count - 1)
            frames.append(Frame(.continuation, flags: Frame.endHeaders, stream: 1))
            #expect(echo.exchange(frames).map(\.type) == (count == 8 ? [] : [7]))
        }
        var limits = ServerSession.Limits()
        limits.emptyFramesMax = 20
        let echo = Echo.greeted(limits)
        let empty = Frame(.data, stream: 1)
        #expect(echo.exchange([.call(1)] + [Frame](repeating: empty, count: 20) + [Frame(.data, stream: 1, [1])]).isEmpty)
        #expect(echo.exchange([Frame](repeating: empty, count: 21)).map { $0.be32(4) } == [11])
        // A head of many small fields counts 32 bytes for each.
        let long = Echo.greeted()
        let fields = (0..<1800).map { ("x\($0)", "1") }
        let frames = long.exchange([.request(1, Frame.grpcFields + fields)])
        #expect(frames.map(\.short) == ["3/0/1/4"])
        #expect(long.exchange(.call(3), .message(3, [])).count == 3)
    }
}

private struct Inflater {
    let pointer: OpaquePointer?

    init() {
        var made: OpaquePointer?
        nghttp2_hd_inflate_new(&made)
        pointer = made
    }

    mutating func fields(_ block: [UInt8]) -> [String] {
        var fields: [String] = []
        var at = 0
        while true {
            var value = nghttp2_nv()
            var flags: Int32 = 0
            let count = block.withUnsafeBufferPointer {
                nghttp2_hd_inflate_hd2(pointer, &value, &flags, $0.baseAddress! + at, block.count - at, 1)
            }
            guard count >= 0 else { return fields + ["error \(count)"] }
            at += Int(count)
            if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
                let name = String(decoding: UnsafeBufferPointer(start: value.name, count: value.namelen), as: UTF8.self)
                fields.append(name + ": " + String(decoding: UnsafeBufferPointer(start: value.value, count: value.valuelen), as: UTF8.self))
            }
            if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 { break }
        }
        nghttp2_hd_inflate_end_headers(pointer)
        return fields
    }
}
