// What a server does with peers that break HTTP/2: the connection error or stream error the protocol asks for, and never
// more harm than that.

import Connections
import Foundations
import GRPC
import HTTP2Engine
import Testing

private enum Code {
    static let none: UInt32 = 0, protocolError: UInt32 = 1, flowControl: UInt32 = 3, streamClosed: UInt32 = 5
    static let frameSize: UInt32 = 6, compression: UInt32 = 9, calm: UInt32 = 11, internalError: UInt32 = 2
}

struct BadFrames: Sendable, CustomTestStringConvertible {
    enum Answer: Sendable {
        /// GOAWAY with one of these codes, then the end.
        case goAway([UInt32])
        /// RST_STREAM for a stream; the connection goes on.
        case reset(UInt32, [UInt32])
        /// The connection goes on as if nothing had happened.
        case ignored
    }

    var name: String
    var bytes: [UInt8]
    var answer: Answer
    var testDescription: String { name }

    init(_ name: String, _ frames: [Frame], _ answer: Answer) {
        self.init(name, bytes: frames.flatMap(\.bytes), answer)
    }

    init(_ name: String, bytes: [UInt8], _ answer: Answer) {
        (self.name, self.bytes, self.answer) = (name, bytes, answer)
    }

    private static func fields(_ changes: [(String, String)], without: [String] = []) -> [(String, String)] {
        Frame.grpcFields.filter { !without.contains($0.0) } + changes
    }

    private static func badHead(_ name: String, _ fields: [(String, String)]) -> BadFrames {
        BadFrames(name, [.request(1, fields)], .reset(1, [Code.protocolError]))
    }

    /// Of a call that is not answered.
    private static let hanging = [(":path", "/test.Echo/Never")] + fields([], without: [":path"])

    static let heads: [BadFrames] = [
        badHead("no :path", fields([], without: [":path"])),
        badHead("empty :path", [(":method", "POST"), (":scheme", "http"), (":path", ""), (":authority", "a")]),
        badHead("relative :path", [(":method", "POST"), (":scheme", "http"), (":path", "x"), (":authority", "a")]),
        badHead("no :method", fields([], without: [":method"])),
        badHead("no :scheme", fields([], without: [":scheme"])),
        badHead(":method twice", [(":method", "POST")] + Frame.grpcFields),
        badHead("unknown pseudo-header", [(":what", "x")] + Frame.grpcFields),
        badHead("response pseudo-header", [(":status", "200")] + Frame.grpcFields),
        badHead("pseudo-header after a field", fields([(":path", "/x")], without: [":path"])),
        badHead("upper-case name", fields([("X-Upper", "1")])),
        badHead("name with a blank", fields([("x y", "1")])),
        badHead("empty name", fields([("", "1")])),
        badHead("connection field", fields([("connection", "close")])),
        badHead("transfer-encoding field", fields([("transfer-encoding", "chunked")])),
        badHead("te other than trailers", fields([("te", "gzip")], without: ["te"])),
        badHead("line feed in a value", fields([("x-split", "a\nb")])),
        badHead("NUL in a value", fields([("x-split", "a\0b")])),
        badHead("bad content-length", fields([("content-length", "1x")])),
        BadFrames(
            "body longer than content-length",
            [.request(1, fields([("content-length", "3")])), .message(1, [1, 2, 3])], .reset(1, [Code.protocolError])),
        BadFrames(
            "body shorter than content-length",
            [.request(1, fields([("content-length", "30")])), .message(1, [1, 2, 3])], .reset(1, [Code.protocolError])),
        BadFrames(
            "trailers without end of stream",
            [.request(1), .request(1, [("x", "y")])], .reset(1, [Code.protocolError])),
        BadFrames(
            "pseudo-header in trailers",
            [.request(1), .request(1, [(":path", "/x")], flags: Frame.endHeaders | Frame.endStream)],
            .reset(1, [Code.protocolError])),
        BadFrames(
            "head of 70 kB",
            [
                .request(1, fields([("x", String(repeating: "v", count: 16000))]), flags: 0),
                Frame(.continuation, stream: 1, Frame.block([("x", String(repeating: "v", count: 16000))])),
                Frame(.continuation, stream: 1, Frame.block([("x", String(repeating: "v", count: 16000))])),
                Frame(.continuation, stream: 1, Frame.block([("x", String(repeating: "v", count: 16000))])),
                Frame(.continuation, flags: Frame.endHeaders, stream: 1, Frame.block([("x", String(repeating: "v", count: 16000))])),
            ], .reset(1, [Code.internalError, Code.calm, Code.protocolError])),
    ]

    static let connection: [BadFrames] = [
        BadFrames(
            "frame larger than announced", bytes: Frame.header(16385, 0, 0, 1) + [UInt8](repeating: 0, count: 16385),
            .goAway([Code.frameSize])),
        BadFrames("DATA on stream 0", [Frame(.data, [1])], .goAway([Code.protocolError])),
        BadFrames("HEADERS on stream 0", [Frame(.headers, flags: 4, Frame.block(Frame.grpcFields))], .goAway([Code.protocolError])),
        BadFrames("DATA on an idle stream", [Frame(.data, stream: 1, [1])], .goAway([Code.protocolError, Code.streamClosed])),
        BadFrames("even stream number", [.request(2)], .goAway([Code.protocolError])),
        BadFrames("HEADERS inside a header block", [.request(1, flags: 0), .request(3)], .goAway([Code.protocolError])),
        BadFrames(
            "CONTINUATION of another stream", [.request(1, flags: 0), Frame(.continuation, flags: 4, stream: 3)],
            .goAway([Code.protocolError])),
        BadFrames("CONTINUATION of nothing", [Frame(.continuation, flags: 4, stream: 1)], .goAway([Code.protocolError])),
        BadFrames(
            "padding longer than the frame", [.request(1), Frame(.data, flags: Frame.padded, stream: 1, [9, 1, 1])],
            .goAway([Code.protocolError])),
        BadFrames(
            "garbage header block", [Frame(.headers, flags: 5, stream: 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
            .goAway([Code.compression])),
        BadFrames("table index out of range", [Frame(.headers, flags: 5, stream: 1, [0xfe])], .goAway([Code.compression])),
        BadFrames(
            "dynamic table larger than allowed", [Frame(.headers, flags: 5, stream: 1, [0x3f, 0xe1, 0xff, 0x03])],
            .goAway([Code.compression])),
        BadFrames("SETTINGS on a stream", [Frame(.settings, stream: 1)], .goAway([Code.protocolError])),
        BadFrames("SETTINGS of odd length", [Frame(.settings, [0, 1, 0])], .goAway([Code.frameSize])),
        BadFrames("SETTINGS ack with payload", [Frame(.settings, flags: 1, Frame.setting(1, 0))], .goAway([Code.frameSize])),
        BadFrames("ENABLE_PUSH of 2", [Frame(.settings, Frame.setting(2, 2))], .goAway([Code.protocolError])),
        BadFrames("window above 2^31-1", [Frame(.settings, Frame.setting(4, 0x8000_0000))], .goAway([Code.flowControl])),
        BadFrames("frame size below 16384", [Frame(.settings, Frame.setting(5, 16383))], .goAway([Code.protocolError])),
        BadFrames("PING on a stream", [Frame(.ping, stream: 1, [UInt8](repeating: 0, count: 8))], .goAway([Code.protocolError])),
        BadFrames("PING of 7 bytes", [Frame(.ping, [UInt8](repeating: 0, count: 7))], .goAway([Code.frameSize])),
        BadFrames("RST_STREAM on stream 0", [Frame(.reset, Frame.be32(8))], .goAway([Code.protocolError])),
        BadFrames("RST_STREAM of an idle stream", [Frame(.reset, stream: 1, Frame.be32(8))], .goAway([Code.protocolError])),
        BadFrames("RST_STREAM of 3 bytes", [.request(1), Frame(.reset, stream: 1, [0, 0, 8])], .goAway([Code.frameSize])),
        BadFrames("GOAWAY of 7 bytes", [Frame(.goAway, [UInt8](repeating: 0, count: 7))], .goAway([Code.frameSize])),
        BadFrames("GOAWAY on a stream", [Frame(.goAway, stream: 1, [UInt8](repeating: 0, count: 8))], .goAway([Code.protocolError])),
        BadFrames(
            "PUSH_PROMISE from a client", [.request(1), Frame(.pushPromise, flags: 4, stream: 1, Frame.be32(2))],
            .goAway([Code.protocolError])),
        BadFrames("WINDOW_UPDATE of 0", [Frame(.windowUpdate, Frame.be32(0))], .goAway([Code.protocolError])),
        BadFrames("WINDOW_UPDATE beyond 2^31-1", [Frame(.windowUpdate, Frame.be32(0x7fff_ffff))], .goAway([Code.flowControl])),
        BadFrames("WINDOW_UPDATE of an idle stream", [Frame(.windowUpdate, stream: 1, Frame.be32(1))], .goAway([Code.protocolError])),
        BadFrames("WINDOW_UPDATE of 3 bytes", [Frame(.windowUpdate, [0, 0, 1])], .goAway([Code.frameSize])),
        BadFrames("PRIORITY on stream 0", [Frame(.priority, [0, 0, 0, 0, 0])], .goAway([Code.protocolError])),
        BadFrames("PRIORITY of 4 bytes", [Frame(.priority, stream: 1, [0, 0, 0, 0])], .goAway([Code.frameSize])),
        BadFrames("padded DATA of no bytes", [.request(1), Frame(.data, flags: Frame.padded, stream: 1)], .goAway([Code.frameSize])),
        BadFrames("padded HEADERS of no bytes", [Frame(.headers, flags: 0xc, stream: 1)], .goAway([Code.frameSize])),
        BadFrames(
            "HEADERS whose padding is all there is and more", [Frame(.headers, flags: 0xc, stream: 1, [2, 0])],
            .goAway([Code.protocolError])),
        BadFrames(
            "HEADERS too short for its priority", [Frame(.headers, flags: 0x24, stream: 1, [0, 0, 0, 0])], .goAway([Code.frameSize])),
        BadFrames(
            "windows that add up beyond 2^31-1",
            [.request(1), Frame(.windowUpdate, stream: 1, Frame.be32(0x7ffe_0000)), Frame(.settings, Frame.setting(4, 0x7fff_ffff))],
            .goAway([Code.flowControl])),
        BadFrames("too many settings", [Frame(.settings, (0..<33).flatMap { _ in Frame.setting(9, 1) })], .goAway([Code.calm])),
        BadFrames("empty DATA flood", [.request(1)] + [Frame](repeating: Frame(.data, stream: 1), count: 20000), .goAway([Code.calm])),
        BadFrames(
            "bad number in a header block", [Frame(.headers, flags: 5, stream: 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])],
            .goAway([Code.compression])),
        BadFrames("garbage trailers", [.request(1), Frame(.headers, flags: 5, stream: 1, [0x80])], .goAway([Code.compression])),
        BadFrames(
            "CONTINUATION flood", [.request(1, flags: 0)] + [Frame](repeating: Frame(.continuation, stream: 1), count: 20000),
            .goAway([Code.calm, Code.protocolError, Code.internalError])),
        BadFrames(
            "SETTINGS flood", [Frame](repeating: Frame(.settings, Frame.setting(3, 1)), count: 20000),
            .goAway([Code.calm, Code.protocolError])),
        BadFrames("PING flood", [Frame](repeating: Frame(.ping, [UInt8](repeating: 0, count: 8)), count: 20000), .goAway([Code.calm])),
        BadFrames(
            "rapid reset", (0..<60000).flatMap { [Frame.request($0 * 2 + 1), Frame(.reset, stream: $0 * 2 + 1, Frame.be32(8))] },
            .goAway([Code.calm, Code.internalError, Code.protocolError])),
    ]

    static let streams: [BadFrames] = [
        BadFrames(
            "DATA behind the end of a request",
            [.request(1, hanging), .message(1, [1]), Frame(.data, stream: 1, [1])], .reset(1, [Code.streamClosed])),
        BadFrames(
            "trailers behind the end of a request",
            [.request(1, hanging), .message(1, [1]), .request(1, [("x", "y")], flags: 5)], .reset(1, [Code.streamClosed])),
        BadFrames("ENABLE_PUSH of 1", [Frame(.settings, Frame.setting(2, 1))], .ignored),
        BadFrames("empty SETTINGS ack", [Frame(.settings, flags: 1)], .ignored),
        BadFrames(
            "WINDOW_UPDATE of 0 on a stream", [.request(1), Frame(.windowUpdate, stream: 1, Frame.be32(0))],
            .reset(1, [Code.protocolError])),
        // It could be the trailers of a stream that was just reset: nothing is kept of those.
        BadFrames("stream number going back", [.request(5), .request(3)], .ignored),
        BadFrames(
            "stream window beyond 2^31-1", [.request(1), Frame(.windowUpdate, stream: 1, Frame.be32(0x7fff_ffff))],
            .reset(1, [Code.flowControl])),
        BadFrames("unknown frame type", [Frame(type: 0xbe, flags: 0xff, stream: 7, payload: [1, 2, 3])], .ignored),
        BadFrames("unknown setting", [Frame(.settings, Frame.setting(0xabcd, 7))], .ignored),
        BadFrames("PRIORITY for an idle stream", [Frame(.priority, stream: 9, [0, 0, 0, 0, 1])], .ignored),
        BadFrames("reserved bit set", bytes: Frame.header(8, 6, 0, 0x8000_0000) + [UInt8](repeating: 7, count: 8), .ignored),
        BadFrames(
            "padded DATA", [.request(1), Frame(.data, flags: Frame.padded | Frame.endStream, stream: 1, [3, 0, 0, 0, 0, 0, 0, 0, 0])],
            .ignored),
        BadFrames(
            "empty DATA frames", [.request(1)] + [Frame](repeating: Frame(.data, stream: 1), count: 500) + [.message(1, [])], .ignored),
    ]

    static let all = heads + connection + streams
}

/// One server for the table: every case must leave it fit for the next.
private let server = TestServer()

@Suite struct BadFrameTests {
    @Test(arguments: BadFrames.all) func `a peer that breaks the protocol gets the error it deserves`(_ bad: BadFrames) throws {
        let connection = try RawConnection(port: server.port)
        connection.greet()
        // In pieces, so that a server that closes early is noticed.
        var at = 0
        while at < bad.bytes.count, connection.send(Array(bad.bytes[at..<min(at + 65536, bad.bytes.count)])) { at += 65536 }
        switch bad.answer {
        case .goAway(let codes):
            let frame = try connection.next(.goAway)
            #expect(codes.contains(frame.be32(4)), "GOAWAY with \(frame.be32(4))")
            _ = connection.readToEnd()  // ends: the server closes
        case .reset(let stream, let codes):
            let frame = try connection.next(.reset, .goAway)
            #expect(frame.type == Frame.Kind.reset.rawValue && frame.stream == stream, "\(frame)")
            #expect(codes.contains(frame.be32(0)), "RST_STREAM with \(frame.be32(0))")
            try answers(connection)
        case .ignored: try answers(connection)
        }
        let fresh = try RawConnection(port: server.port)
        fresh.greet()
        try answers(fresh)
    }

    private func answers(_ connection: RawConnection) throws {
        connection.send(.request(99), .message(99, [1, 2, 3]))
        var data: [UInt8] = []
        while true {
            let frame = try connection.next(.headers, .data, .reset, .goAway)
            guard frame.stream == 99 else { continue }
            if frame.type == Frame.Kind.data.rawValue { data += frame.payload }
            if frame.flags & Frame.endStream != 0 { break }
            try #require(frame.type <= 1, "\(frame)")
        }
        #expect(data == [0, 0, 0, 0, 3, 1, 2, 3])
    }

    @Test func `a bad preface is answered with GOAWAY or HTTP 1 and the end`() throws {
        let almost = try RawConnection(port: server.port)
        almost.send(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8.dropLast()) + [0x58])
        #expect(String(decoding: almost.readToEnd(), as: UTF8.self).hasPrefix("HTTP/1.1 "))
        let noSettings = try RawConnection(port: server.port)
        noSettings.send(RawConnection.preface + Frame(.ping, [UInt8](repeating: 0, count: 8)).bytes)
        #expect(try noSettings.next(.goAway).be32(4) == 1)
    }

    @Test func `the first SETTINGS say what etcd's say`() throws {
        let connection = try RawConnection(port: server.port)
        connection.greet()
        let settings = try connection.next(.settings)
        var values: [UInt32: UInt32] = [:]
        for at in stride(from: 0, to: settings.payload.count, by: 6) {
            values[UInt32(settings.payload[at]) << 8 | UInt32(settings.payload[at + 1])] = settings.be32(at + 2)
        }
        #expect(values[3] == .max)  // MAX_CONCURRENT_STREAMS
        #expect(values[5] ?? 16384 == 16384)  // MAX_FRAME_SIZE
    }

    @Test func `bytes one at a time make the same call`() throws {
        let connection = try RawConnection(port: server.port)
        let all = RawConnection.preface + Frame(.settings).bytes + Frame.request(1).bytes + Frame.message(1, [7, 8]).bytes
        for byte in all { connection.send([byte]) }
        #expect(try connection.next(.headers).stream == 1)
        #expect(try connection.next(.data).payload == [0, 0, 0, 0, 2, 7, 8])
        let trailers = try connection.next(.headers)
        #expect(trailers.flags & Frame.endStream != 0)
    }

    @Test func `pings between the pieces of a large answer are no abuse`() throws {
        let connection = try RawConnection(port: server.port)
        connection.greet()
        let piece = [UInt8](repeating: 7, count: 16_000)
        connection.send(.request(1), Frame(.data, stream: 1, [0] + Frame.be32(160_000)))
        for i in 0..<10 { connection.send(Frame(.data, flags: i == 9 ? Frame.endStream : 0, stream: 1, piece)) }
        var count = 0
        while count < 65_535 { count += try connection.next(.data).payload.count }
        for i in 0..<8 {
            connection.send(Frame(.ping, [UInt8](repeating: 1, count: 8)))
            let answer = try connection.next(.ping, .goAway)
            try #require(answer.type == Frame.Kind.ping.rawValue, "ping \(i)")
            connection.send(Frame(.windowUpdate, Frame.be32(10_000)), Frame(.windowUpdate, stream: 1, Frame.be32(10_000)))
            var more = 0
            while more < 10_000 { more += try connection.next(.data).payload.count }
        }
    }

    @Test func `an answer before the end of the request closes the stream`() throws {
        let connection = try RawConnection(port: server.port)
        connection.greet()
        connection.send(.request(1), .message(1, [1], flags: 0))
        #expect(try connection.next(.data).stream == 1)
        let reset = try connection.next(.reset)
        #expect(reset.stream == 1 && reset.be32(0) == 0)
        try answers(connection)
    }

    @Test func `a body that ends inside a message is an error`() throws {
        let connection = try RawConnection(port: server.port)
        connection.greet()
        connection.send(.request(1), Frame(.data, flags: Frame.endStream, stream: 1, [0, 0, 0, 0, 9, 1]))
        let head = try connection.next(.headers)
        #expect(String(decoding: head.payload, as: UTF8.self).isEmpty == false && head.flags & Frame.endStream != 0)
        try answers(connection)
    }

    @Test func `random bytes never hurt the server`() throws {
        var random = SeededRandom(seed: 2026)
        for round in 0..<200 {
            let connection = try RawConnection(port: server.port)
            if round % 2 == 0 { connection.greet() }
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...30, using: &random) {
                let length = Int.random(in: 0...60, using: &random)
                let type = UInt8.random(in: 0...10, using: &random)
                let stream = UInt32.random(in: 0...7, using: &random)
                bytes += Frame.header(length, type, UInt8.random(in: 0...255, using: &random), stream)
                bytes += (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
            connection.send(bytes)
            connection.finishSending()
            _ = connection.readToEnd()
        }
        let fresh = try RawConnection(port: server.port)
        fresh.greet()
        try answers(fresh)
    }
}
