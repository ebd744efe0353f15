// WebSocket (RFC 6455) from the server's side: bytes to messages and back, without a socket.
//
//     client's frame: FIN RSV OPCODE | MASK LENGTH (7, 16 or 64 bits) | mask (4) | payload
//     ours:           the same without a mask
//
// Every rule is checked before what follows is looked at, and a length before anything is kept: what a peer can make us
// hold is one message of `messageBytesMax` and fourteen bytes. After an error the connection cannot go on; `closeCode` says
// why to the peer.

import Foundations

package struct WebSocketError: Error, Equatable, Sendable, CustomStringConvertible {
    package var closeCode: UInt16
    package var description: String

    static func violation(_ what: String) -> WebSocketError { WebSocketError(closeCode: 1002, description: what) }
}

package enum WebSocket {
    package enum Opcode: UInt8, Sendable {
        case continuation = 0
        case text = 1
        case binary = 2
        case close = 8
        case ping = 9
        case pong = 10

        var isControl: Bool { rawValue >= 8 }
    }

    package static let version = "13"
    static let controlBytesMax = 125

    /// What proves to the client that this server knows the protocol.
    package static func accept(_ key: String) -> String {
        Base64.encode(SHA1.digest(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
    }

    /// A key is sixteen bytes in base64.
    package static func isKey(_ key: String) -> Bool { Base64.decode(key.utf8)?.count == 16 }

    /// One unmasked frame.
    package static func append(_ opcode: Opcode, _ payload: [UInt8], to bytes: inout [UInt8]) {
        bytes.append(0x80 | opcode.rawValue)
        switch payload.count {
        case ...125: bytes.append(UInt8(payload.count))
        case ...0xffff: bytes += [126, UInt8(payload.count >> 8), UInt8(payload.count & 0xff)]
        default:
            bytes.append(127)
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: payload.count >> shift)) }
        }
        bytes += payload
    }

    /// The last frame. A reason longer than a control frame takes is cut.
    package static func appendClose(_ code: UInt16, _ reason: String, to bytes: inout [UInt8]) {
        var text = reason.unicodeScalars[...]
        while text.utf8Count > controlBytesMax - 2 { text = text.dropLast() }
        append(.close, [UInt8(code >> 8), UInt8(code & 0xff)] + Array(String(text).utf8), to: &bytes)
    }
}

extension Substring.UnicodeScalarView {
    fileprivate var utf8Count: Int { reduce(0) { $0 + UTF8.width($1) } }
}

package struct WebSocketParser: Sendable {
    package enum Event: Equatable, Sendable {
        /// Whole, its frames joined. Text is valid UTF-8.
        case message([UInt8], isText: Bool)
        case ping([UInt8])
        case pong
        /// The peer says no more; the code is nil when it gave none.
        case close(UInt16?)
    }

    private let messageBytesMax: Int
    /// Of the frame that is being read: its head as far as it has come.
    private var head: [UInt8] = []
    private var frame: Frame?
    /// Of the message whose frames are being joined.
    private var message: [UInt8] = []
    private var messageIsText: Bool?
    private var control: [UInt8] = []
    private var isOver = false

    private struct Frame {
        var opcode: WebSocket.Opcode
        var isFinal: Bool
        var left: Int
        var mask: (UInt8, UInt8, UInt8, UInt8)
        /// Of the payload, already taken.
        var taken = 0
    }

    package init(messageBytesMax: Int) { self.messageBytesMax = messageBytesMax }

    /// The next event; nil when more bytes are needed. Nothing follows a close.
    package mutating func next(_ bytes: RawSpan, _ at: inout Int) throws(WebSocketError) -> Event? {
        while !isOver {
            if frame == nil {
                guard try readHead(bytes, &at) else { return nil }
            }
            guard takePayload(bytes, &at) else { return nil }
            if let event = try endFrame() { return event }
        }
        return nil
    }

    // MARK: Heads

    private mutating func readHead(_ bytes: RawSpan, _ at: inout Int) throws(WebSocketError) -> Bool {
        while head.count < 2 || head.count < WebSocketParser.headCount(head) {
            guard at < bytes.byteCount else { return false }
            head.append(bytes[byte: at])
            at += 1
            if head.count == 2 { try judge(head[0], head[1]) }
        }
        let length = try WebSocketParser.length(head)
        guard let opcode = WebSocket.Opcode(rawValue: head[0] & 0x0f) else { unreachable("judged before") }
        guard opcode.isControl || length <= messageBytesMax - message.count else {
            throw WebSocketError(closeCode: 1009, description: "a message of more than \(messageBytesMax) bytes")
        }
        let m = head.count - 4
        frame = Frame(
            opcode: opcode, isFinal: head[0] & 0x80 != 0, left: length, mask: (head[m], head[m + 1], head[m + 2], head[m + 3]))
        head.removeAll(keepingCapacity: true)
        return true
    }

    private static func headCount(_ head: [UInt8]) -> Int {
        switch head[1] & 0x7f {
        case 126: 2 + 2 + 4
        case 127: 2 + 8 + 4
        default: 2 + 4
        }
    }

    private func judge(_ first: UInt8, _ second: UInt8) throws(WebSocketError) {
        guard first & 0x70 == 0 else { throw .violation("reserved bits are set") }
        guard let opcode = WebSocket.Opcode(rawValue: first & 0x0f) else { throw .violation("unknown opcode \(first & 0x0f)") }
        guard second & 0x80 != 0 else { throw .violation("a client's frame is not masked") }
        switch opcode {
        case .close, .ping, .pong:
            guard first & 0x80 != 0 else { throw .violation("a control frame in fragments") }
            guard second & 0x7f <= WebSocket.controlBytesMax else { throw .violation("a control frame that is too long") }
        case .continuation:
            guard messageIsText != nil else { throw .violation("a continuation of nothing") }
        case .text, .binary:
            guard messageIsText == nil else { throw .violation("a message inside another") }
        }
    }

    private static func length(_ head: [UInt8]) throws(WebSocketError) -> Int {
        let short = head[1] & 0x7f
        guard short >= 126 else { return Int(short) }
        let digits = head[2..<(short == 126 ? 4 : 10)]
        guard digits.first! < 0x80 || short == 126 else { throw .violation("a length with its first bit set") }
        let length = digits.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length > (short == 126 ? 125 : 0xffff) else { throw .violation("a length that takes more bytes than it needs") }
        return Int(clamping: length)
    }

    // MARK: Payloads

    /// True when the frame is complete.
    private mutating func takePayload(_ bytes: RawSpan, _ at: inout Int) -> Bool {
        guard var frame else { return false }
        let count = min(frame.left, bytes.byteCount - at)
        let mask = [frame.mask.0, frame.mask.1, frame.mask.2, frame.mask.3]
        let isControl = frame.opcode.isControl
        for i in 0..<count {
            let byte = bytes[byte: at + i] ^ mask[(frame.taken + i) & 3]
            if isControl { control.append(byte) } else { message.append(byte) }
        }
        at += count
        frame.left -= count
        frame.taken += count
        self.frame = frame
        return frame.left == 0
    }

    private mutating func endFrame() throws(WebSocketError) -> Event? {
        guard let frame else { unreachable("a frame has ended") }
        self.frame = nil
        switch frame.opcode {
        case .text, .binary, .continuation:
            if frame.opcode != .continuation { messageIsText = frame.opcode == .text }
            guard frame.isFinal, let isText = messageIsText else { return nil }
            let whole = message
            message = []
            messageIsText = nil
            guard !isText || WebSocketParser.isUTF8(whole) else {
                throw WebSocketError(closeCode: 1007, description: "a text that is not UTF-8")
            }
            return .message(whole, isText: isText)
        case .ping:
            defer { control.removeAll(keepingCapacity: true) }
            return .ping(control)
        case .pong:
            control.removeAll(keepingCapacity: true)
            return .pong
        case .close:
            isOver = true
            return .close(try closeCode())
        }
    }

    private func closeCode() throws(WebSocketError) -> UInt16? {
        if control.isEmpty { return nil }
        guard control.count >= 2 else { throw .violation("a close code of one byte") }
        let code = UInt16(control[0]) << 8 | UInt16(control[1])
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: break
        default: throw .violation("close code \(code)")
        }
        guard WebSocketParser.isUTF8(Array(control[2...])) else {
            throw WebSocketError(closeCode: 1007, description: "a reason that is not UTF-8")
        }
        return code
    }

    private static func isUTF8(_ bytes: [UInt8]) -> Bool { String(validating: bytes, as: UTF8.self) != nil }
}
