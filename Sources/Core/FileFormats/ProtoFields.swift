// The few protobuf fields that log records and snapshot envelopes are made of, read and written without the message
// runtime: a log record is framed, checksummed and encoded in one go, straight into the log's buffer, and its payload
// is never copied on the way.

import Foundations

/// Walks the fields of one message. Everything is bounds checked; `nil` from `next` at the end, or with `malformed` set.
package struct ProtoFields: ~Escapable {
    private let bytes: RawSpan
    private var offset = 0
    package private(set) var malformed = false

    package enum Value {
        case number(UInt64)
        /// Offsets into the message given to `init`.
        case bytes(Range<Int>)
    }

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) { self.bytes = bytes }

    package mutating func next() -> (field: Int, value: Value)? {
        guard !malformed, offset < bytes.byteCount else { return nil }
        guard let tag = varint(), tag >> 3 != 0, tag >> 3 <= 0x1fff_ffff else { return fail() }
        let field = Int(tag >> 3)
        switch tag & 7 {
        case 0:
            guard let number = varint() else { return fail() }
            return (field, .number(number))
        case 1, 5:
            let width = tag & 7 == 1 ? 8 : 4
            guard bytes.byteCount - offset >= width else { return fail() }
            var number: UInt64 = 0
            for i in 0..<width { number |= UInt64(bytes[byte: offset + i]) << (8 * UInt64(i)) }
            offset += width
            return (field, .number(number))
        case 2:
            guard let length = varint(), length <= UInt64(bytes.byteCount - offset) else { return fail() }
            let range = offset..<(offset + Int(length))
            offset = range.upperBound
            return (field, .bytes(range))
        default: return fail()
        }
    }

    private mutating func varint() -> UInt64? {
        var number: UInt64 = 0
        var shift: UInt64 = 0
        while offset < bytes.byteCount, shift < 70 {
            let byte = bytes[byte: offset]
            offset += 1
            if shift == 63, byte > 1 { return nil }
            number |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return number }
            shift += 7
        }
        return nil
    }

    private mutating func fail() -> (field: Int, value: Value)? {
        malformed = true
        return nil
    }
}

extension [UInt8] {
    mutating func appendVarint(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }

    /// A number field, written even when it is zero.
    mutating func appendField(_ field: UInt8, number: UInt64) {
        append(field << 3)
        appendVarint(number)
    }

    mutating func appendField(_ field: UInt8, bytes: [UInt8]) {
        append(field << 3 | 2)
        appendVarint(UInt64(bytes.count))
        append(contentsOf: bytes)
    }

    mutating func appendBigEndian(_ number: UInt64) {
        for shift in stride(from: 56, through: 0, by: -8) { append(UInt8(truncatingIfNeeded: number >> UInt64(shift))) }
    }

    mutating func appendLittleEndian(_ number: some FixedWidthInteger & UnsignedInteger) {
        for i in 0..<(number.bitWidth / 8) { append(UInt8(truncatingIfNeeded: number >> (8 * i))) }
    }
}

extension RawSpan {
    @inline(__always)
    func littleEndian64(at offset: Int) -> UInt64 {
        invariant(offset >= 0 && offset + 8 <= byteCount, "word at \(offset) of \(byteCount)")
        return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
    }

    @inline(__always)
    func littleEndian32(at offset: Int) -> UInt32 {
        invariant(offset >= 0 && offset + 4 <= byteCount, "word at \(offset) of \(byteCount)")
        return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self).littleEndian
    }

    @inline(__always)
    func littleEndian16(at offset: Int) -> UInt16 {
        invariant(offset >= 0 && offset + 2 <= byteCount, "word at \(offset) of \(byteCount)")
        return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self).littleEndian
    }

    /// True when every byte is zero.
    func isZero(_ range: Range<Int>) -> Bool {
        var i = range.lowerBound
        while i < range.upperBound, i & 7 != 0 {
            if self[byte: i] != 0 { return false }
            i += 1
        }
        while i + 8 <= range.upperBound {
            if littleEndian64(at: i) != 0 { return false }
            i += 8
        }
        while i < range.upperBound {
            if self[byte: i] != 0 { return false }
            i += 1
        }
        return true
    }
}
