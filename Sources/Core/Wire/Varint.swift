// Pieces of the wire format for code that writes a message by hand, front to back: an answer that holds messages which
// are already encoded (the store keeps encoded KeyValues, and copies them).
//
//     output.appendWire(2, message: keyValueBytes)     // RangeResponse.kvs
//     output.appendWire(4, count)                      // RangeResponse.count

import Foundations

package enum Varint {
    /// Bytes the number takes: one for every seven bits.
    @inlinable @inline(__always)
    package static func size(_ value: UInt64) -> Int {
        (9 &* (64 &- (value | 1).leadingZeroBitCount) &+ 64) &>> 6
    }

    /// Bytes of a field with a number, zero when it is left out.
    @inlinable
    package static func fieldSize(_ field: UInt32, _ value: UInt64) -> Int {
        value == 0 ? 0 : size(UInt64(field) &<< 3) &+ size(value)
    }

    /// Bytes of a field with a payload of that length.
    @inlinable
    package static func payloadFieldSize(_ field: UInt32, _ length: Int) -> Int {
        size(UInt64(field) &<< 3) &+ size(UInt64(truncatingIfNeeded: length)) &+ length
    }
}

extension Array where Element == UInt8 {
    @inlinable
    package mutating func appendVarint(_ value: UInt64) {
        if value < 0x80 { append(UInt8(truncatingIfNeeded: value)) } else { appendLongVarint(value) }
    }

    /// Asks for room once, not for each byte.
    @usableFromInline @inline(never)
    mutating func appendLongVarint(_ value: UInt64) {
        append(addingCapacity: Varint.size(value)) { output in
            var rest = value
            while rest >= 0x80 {
                output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest &>>= 7
            }
            output.append(UInt8(truncatingIfNeeded: rest))
        }
    }

    /// A number field, left out when zero.
    @inlinable
    package mutating func appendWire(_ field: UInt32, _ value: UInt64) {
        if value == 0 { return }
        appendVarint(UInt64(field) &<< 3)
        appendVarint(value)
    }

    @inlinable
    package mutating func appendWire(_ field: UInt32, _ value: Int64) { appendWire(field, UInt64(bitPattern: value)) }

    /// A bytes field, left out when empty.
    @inlinable
    package mutating func appendWire(_ field: UInt32, bytes: RawSpan) {
        if bytes.byteCount > 0 { appendWire(field, message: bytes) }
    }

    /// A message that is encoded already; written even when it is empty.
    @inlinable
    package mutating func appendWire(_ field: UInt32, message: RawSpan) {
        appendWireHeader(field, length: message.byteCount)
        append(message)
    }

    /// The tag and length before a payload that the caller writes next.
    @inlinable
    package mutating func appendWireHeader(_ field: UInt32, length: Int) {
        appendVarint(UInt64(field) &<< 3 | 2)
        appendVarint(UInt64(truncatingIfNeeded: length))
    }
}
