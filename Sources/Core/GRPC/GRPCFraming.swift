// A gRPC message on a stream: one byte of flags, four bytes of length, the message. HTTP/2 may cut it anywhere.

import Foundations

package enum GRPCFraming {
    package static let headerSize = 5

    /// Appends the header of a message of `length` bytes, which the caller appends next.
    @inlinable
    package static func appendHeader(length: Int, compressed: Bool = false, to buffer: inout [UInt8]) {
        invariant(length >= 0 && length <= UInt32.max, "message length \(length)")
        buffer.append(compressed ? 1 : 0)
        buffer.append(UInt8(truncatingIfNeeded: length >> 24))
        buffer.append(UInt8(truncatingIfNeeded: length >> 16))
        buffer.append(UInt8(truncatingIfNeeded: length >> 8))
        buffer.append(UInt8(truncatingIfNeeded: length))
    }

    /// For a message that is encoded in place: reserve the header, append the message, then set the length.
    @inlinable
    package static func reserveHeader(in buffer: inout [UInt8]) -> Int {
        let start = buffer.count
        appendHeader(length: 0, to: &buffer)
        return start
    }

    @inlinable
    package static func setLength(headerAt start: Int, in buffer: inout [UInt8]) {
        let length = buffer.count - start - headerSize
        invariant(length >= 0 && length <= UInt32.max, "message length \(length)")
        buffer[start + 1] = UInt8(truncatingIfNeeded: length >> 24)
        buffer[start + 2] = UInt8(truncatingIfNeeded: length >> 16)
        buffer[start + 3] = UInt8(truncatingIfNeeded: length >> 8)
        buffer[start + 4] = UInt8(truncatingIfNeeded: length)
    }
}

/// Puts messages together again. A message that arrives in one piece is handed over where it lies; only one that is cut
/// is copied. After an error the stream is over.
///
///     try deframer.feed(chunk) { message, compressed in … }
package struct GRPCDeframer {
    /// Larger messages are refused when their header is read, before anything is buffered.
    package let messageBytesMax: Int

    /// A message (header included) that has begun and not ended.
    private var partial: [UInt8] = []

    package init(messageBytesMax: Int) { self.messageBytesMax = messageBytesMax }

    /// The stream may end here.
    package var isBetweenMessages: Bool { partial.isEmpty }

    /// Bytes held back.
    package var bufferedBytes: Int { partial.count }

    /// What to answer when the stream ends inside a message.
    package static let truncated = GRPCStatus(.internal, "unexpected EOF")

    /// Calls `message` for each message the chunk completes, in order, with the flag whether it is compressed.
    package mutating func feed(
        _ chunk: RawSpan, message: (_ bytes: RawSpan, _ compressed: Bool) throws(GRPCStatus) -> Void
    ) throws(GRPCStatus) {
        var position = 0
        if !partial.isEmpty {
            guard try complete(with: chunk, &position) else { return }
            let whole = partial
            partial.removeAll(keepingCapacity: true)
            let bytes = whole.rawSpan
            try message(bytes.extracting(GRPCFraming.headerSize..<whole.count), bytes[byte: 0] == 1)
        }
        while position < chunk.byteCount {
            let rest = chunk.extracting(position..<chunk.byteCount)
            guard rest.byteCount >= GRPCFraming.headerSize else { return partial.append(rest) }
            let length = try messageLength(rest)
            let end = GRPCFraming.headerSize + length
            guard rest.byteCount >= end else {
                // Room for what is announced is taken only as it arrives, twice as much each time.
                return partial.append(rest)
            }
            try message(rest.extracting(GRPCFraming.headerSize..<end), rest[byte: 0] == 1)
            position += end
        }
    }

    /// Moves bytes from the chunk until the begun message is whole.
    private mutating func complete(with chunk: RawSpan, _ position: inout Int) throws(GRPCStatus) -> Bool {
        func take(upTo count: Int) -> Bool {
            let missing = min(count - partial.count, chunk.byteCount - position)
            if missing > 0 {
                partial.append(chunk.extracting(position..<position + missing))
                position += missing
            }
            return partial.count >= count
        }
        guard take(upTo: GRPCFraming.headerSize) else { return false }
        return take(upTo: GRPCFraming.headerSize + (try messageLength(partial.rawSpan)))
    }

    private func messageLength(_ header: RawSpan) throws(GRPCStatus) -> Int {
        guard header[byte: 0] <= 1 else { throw EtcdError.unexpectedPayloadFormat(header[byte: 0]) }
        var length = 0
        for i in 1..<GRPCFraming.headerSize { length = length << 8 | Int(header[byte: i]) }
        guard length <= messageBytesMax else { throw EtcdError.messageTooLarge(length, limit: messageBytesMax) }
        return length
    }
}
