// The frames of WebSocket: what is joined, what is refused, and that nothing a peer sends is kept beyond the limit.

import Foundations
import HTTP1
import TestSupport
import Testing

@Suite struct WebSocketTests {
    private static func frame(
        _ opcode: UInt8, _ payload: [UInt8], final: Bool = true, mask: [UInt8]? = [1, 2, 3, 4], length: [UInt8]? = nil
    ) -> [UInt8] {
        var bytes = [(final ? 0x80 : 0) | opcode]
        let bit: UInt8 = mask == nil ? 0 : 0x80
        if let length {
            bytes.append(length[0] | bit)
            bytes += length.dropFirst()
        } else if payload.count < 126 {
            bytes.append(bit | UInt8(payload.count))
        } else if payload.count <= 0xffff {
            bytes += [bit | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xff)]
        } else {
            bytes.append(bit | 127)
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: payload.count >> shift)) }
        }
        guard let mask else { return bytes + payload }
        bytes += mask
        for (i, byte) in payload.enumerated() { bytes.append(byte ^ mask[i % 4]) }
        return bytes
    }

    private static func text(_ text: String, final: Bool = true) -> [UInt8] { frame(1, Array(text.utf8), final: final) }

    /// What came of the bytes, in pieces of `step`.
    private static func events(_ bytes: [UInt8], step: Int, limit: Int = 1 << 20) -> String {
        var parser = WebSocketParser(messageBytesMax: limit)
        var result: [String] = []
        var start = 0
        while start < bytes.count {
            let piece = Array(bytes[start..<min(start + step, bytes.count)])
            var at = 0
            do {
                while let event = try parser.next(piece.rawSpan, &at) {
                    switch event {
                    case .message(let bytes, let isText):
                        let shown = bytes.count > 40 ? "\(bytes.count) bytes" : String(decoding: bytes, as: UTF8.self)
                        result.append((isText ? "text " : "binary ") + shown)
                    case .ping(let bytes): result.append("ping " + String(decoding: bytes, as: UTF8.self))
                    case .pong: result.append("pong")
                    case .close(let code): result.append("close \(code.map { "\($0)" } ?? "-")")
                    }
                }
            } catch {
                result.append("error \(error.closeCode)")
                break
            }
            start += step
        }
        return result.joined(separator: ", ")
    }

    private static let cases: [([[UInt8]], String)] = [
        ([text("hi")], "text hi"), ([text(""), text("b")], "text , text b"), ([frame(2, [65])], "binary A"),
        ([text("a", final: false), frame(0, [66], final: false), frame(0, [67])], "text aBC"),
        ([text("a", final: false), frame(9, [66]), frame(10, []), frame(0, [67])], "ping B, pong, text aC"),
        ([frame(2, [UInt8](repeating: 7, count: 126))], "binary 126 bytes"),
        ([frame(2, [UInt8](repeating: 7, count: 70_000))], "binary 70000 bytes"),
        ([frame(8, []), text("never")], "close -"), ([frame(8, [3, 232])], "close 1000"),
        ([frame(8, [15, 160, 98, 121, 101])], "close 4000"), ([frame(9, [UInt8](repeating: 65, count: 3))], "ping AAA"),
        ([text("grüß")], "text grüß"),
        // Refused
        ([frame(1, [65], mask: nil)], "error 1002"), ([[0xc1, 0x80, 0, 0, 0, 0]], "error 1002"), ([[0x83, 0x80]], "error 1002"),
        ([[0x8b, 0x80]], "error 1002"), ([frame(0, [65])], "error 1002"), ([text("a", final: false), text("b")], "error 1002"),
        ([frame(9, [], final: false)], "error 1002"), ([frame(9, [UInt8](repeating: 0, count: 126))], "error 1002"),
        ([frame(1, [65], length: [126, 0, 1])], "error 1002"),
        ([frame(1, [65], length: [127, 0, 0, 0, 0, 0, 0, 0, 1])], "error 1002"),
        ([[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], "error 1002"), ([frame(8, [3])], "error 1002"),
        ([frame(8, [3, 237])], "error 1002"), ([frame(8, [0, 0])], "error 1002"), ([frame(1, [0xc3])], "error 1007"),
        ([frame(1, [0xed, 0xa0, 0x80])], "error 1007"), ([frame(8, [3, 232, 0xff])], "error 1007"),
        // The length alone is enough, nothing of the payload has come.
        ([[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]], "error 1009"),
        ([[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]], "error 1009"),
    ]

    @Test(arguments: cases)
    func `frames become messages or are refused, however they are cut`(frames: [[UInt8]], expected: String) {
        let bytes = Array(frames.joined())
        for step in [bytes.count, 1, 2, 3, 7] { #expect(Self.events(bytes, step: max(step, 1)) == expected, "pieces of \(step)") }
    }

    @Test func `a message may be as long as the limit, in however many frames`() {
        let half = [UInt8](repeating: 65, count: 50)
        let two = Array([Self.frame(1, half, final: false), Self.frame(0, half)].joined())
        #expect(Self.events(two, step: 9, limit: 100) == "text 100 bytes")
        #expect(Self.events(two, step: 9, limit: 99) == "error 1009")
        var many = Self.text("", final: false)
        for _ in 0..<200 { many += Self.frame(0, [65], final: false) }
        #expect(Self.events(many, step: 64, limit: 99) == "error 1009")
    }

    @Test func `what is no protocol at all is refused or waits, and never more than the limit is kept`() {
        var random = SeededRandom(seed: UInt64(RealTools.seed) ?? 1)
        for _ in 0..<3_000 {
            var bytes = (0..<Int(random.next() % 200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            // Some begin well.
            if random.next() % 2 == 0 { bytes = Self.text("ok", final: random.next() % 2 == 0) + bytes }
            let step = Int(random.next() % 20) + 1
            #expect(Self.events(bytes, step: step, limit: 64) == Self.events(bytes, step: 1, limit: 64), "\(bytes)")
        }
    }

    @Test func `what the server writes is what a client reads`() throws {
        for count in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = [UInt8](repeating: 66, count: count)
            var bytes: [UInt8] = []
            WebSocket.append(.binary, payload, to: &bytes)
            // As a client's frame: the mask bit, and a mask of zeros.
            let head = bytes.count - count
            bytes[1] |= 0x80
            bytes.insert(contentsOf: [0, 0, 0, 0], at: head)
            var parser = WebSocketParser(messageBytesMax: 1 << 20)
            var at = 0
            let event = try parser.next(bytes.rawSpan, &at)
            #expect(event == .message(payload, isText: false))
        }
        var bytes: [UInt8] = []
        WebSocket.appendClose(1002, String(repeating: "ü", count: 100), to: &bytes)
        #expect(bytes.count <= 2 + 125 && String(validating: bytes[4...], as: UTF8.self) != nil)
    }

    /// The example of RFC 6455, 1.3.
    @Test func `the answer to a key`() {
        #expect(WebSocket.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(WebSocket.isKey("dGhlIHNhbXBsZSBub25jZQ==") && !WebSocket.isKey("dGhlIHNhbXBsZQ==") && !WebSocket.isKey("?"))
    }
}
