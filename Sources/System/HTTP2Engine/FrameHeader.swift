// The nine bytes before every HTTP/2 frame: how long it is, what it is, which stream it belongs to.

import Foundations

struct FrameHeader: Equatable {
    static let size = 9
    /// What we take, as the standard has it when nobody says otherwise; and what we send, so that streams take turns.
    static let payloadMax = 16_384

    enum Kind {
        static let data: UInt8 = 0, headers: UInt8 = 1, priority: UInt8 = 2, reset: UInt8 = 3, settings: UInt8 = 4
        static let pushPromise: UInt8 = 5, ping: UInt8 = 6, goAway: UInt8 = 7, windowUpdate: UInt8 = 8, continuation: UInt8 = 9
    }

    static let endStream: UInt8 = 0x1
    static let acknowledge: UInt8 = 0x1
    static let endHeaders: UInt8 = 0x4
    static let padded: UInt8 = 0x8
    static let priority: UInt8 = 0x20

    var length: Int
    var type: UInt8
    var flags: UInt8
    var streamID: Int32

    /// From a view of at least nine bytes. The stream's highest bit means nothing.
    @inline(__always)
    init(_ bytes: RawSpan, at: Int) {
        length = Int(bytes[byte: at]) << 16 | Int(bytes[byte: at + 1]) << 8 | Int(bytes[byte: at + 2])
        type = bytes[byte: at + 3]
        flags = bytes[byte: at + 4]
        streamID = Int32(truncatingIfNeeded: bytes.word(at: at + 5) & 0x7fff_ffff)
    }

    @inline(__always)
    func has(_ flag: UInt8) -> Bool { flags & flag != 0 }
}

extension RawSpan {
    /// Four bytes, most significant first.
    @inline(__always)
    func word(at: Int) -> UInt32 {
        UInt32(self[byte: at]) << 24 | UInt32(self[byte: at + 1]) << 16 | UInt32(self[byte: at + 2]) << 8 | UInt32(self[byte: at + 3])
    }
}

extension OutputSpan where Element == UInt8 {
    /// For which there is room.
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func appendFrame(_ type: UInt8, flags: UInt8, stream: Int32, length: Int) {
        let stream = UInt64(UInt32(bitPattern: stream))
        append(bigEndian: UInt64(length) << 40 | UInt64(type) << 32 | UInt64(flags) << 24 | stream >> 8)
        append(UInt8(truncatingIfNeeded: stream))
    }
}

extension [UInt8] {
    /// A frame whose payload is up to two words.
    mutating func appendFrame(_ type: UInt8, flags: UInt8 = 0, stream: Int32 = 0, word: UInt32, _ second: UInt32? = nil) {
        append(addingCapacity: FrameHeader.size + 8) { output in
            output.appendFrame(type, flags: flags, stream: stream, length: second == nil ? 4 : 8)
            for word in [word, second ?? 0].prefix(second == nil ? 1 : 2) {
                for shift in [24, 16, 8, 0] as [UInt32] { output.append(UInt8(truncatingIfNeeded: word >> shift)) }
            }
        }
    }

    mutating func appendWord(_ word: UInt32) {
        for shift in [24, 16, 8, 0] as [UInt32] { append(UInt8(truncatingIfNeeded: word >> shift)) }
    }

    /// A header block in as many frames as it takes.
    mutating func appendHeaders(_ block: [UInt8], stream: Int32, endsStream: Bool) {
        var at = 0
        repeat {
            let count = Swift.min(block.count - at, FrameHeader.payloadMax)
            let isLast = at + count == block.count
            var flags = isLast ? FrameHeader.endHeaders : 0
            if at == 0 && endsStream { flags |= FrameHeader.endStream }
            append(addingCapacity: FrameHeader.size + count) { output in
                let type = at == 0 ? FrameHeader.Kind.headers : FrameHeader.Kind.continuation
                output.appendFrame(type, flags: flags, stream: stream, length: count)
                output.append(block.rawSpan.extracting(at..<at + count))
            }
            at += count
        } while at < block.count
    }
}
