// The stored form of one version of a key: an encoded mvccpb.KeyValue. These bytes are hashed and must be the same on
// every member, and they are what answers and events carry, so they are written once and copied from then on.
//
//     0a key   10 create_revision   18 mod_revision   20 version   2a value (not when empty)   30 lease (not when 0)
//
// A tombstone is stored as its key alone.

import Foundations

package struct StoredKeyValue {
    /// Where key and value are in the bytes that were parsed.
    package var key: Range<Int> = 0..<0
    package var value: Range<Int> = 0..<0
    package var createRevision: Int64 = 0
    package var modRevision: Int64 = 0
    package var version: Int64 = 0
    package var lease: Int64 = 0

    /// Nil when the bytes are not a KeyValue. Unknown fields are passed over.
    package init?(_ bytes: RawSpan) {
        var reader = FieldReader(bytes)
        while let field = reader.next() {
            switch field.tag {
            case 0x0a: key = field.payload
            case 0x10: createRevision = Int64(bitPattern: field.number)
            case 0x18: modRevision = Int64(bitPattern: field.number)
            case 0x20: version = Int64(bitPattern: field.number)
            case 0x2a: value = field.payload
            case 0x30: lease = Int64(bitPattern: field.number)
            default: break
            }
        }
        if reader.isDamaged { return nil }
    }

    package static func append(
        key: RawSpan, value: RawSpan, create: Int64, mod: Int64, version: Int64, lease: Int64, to bytes: inout [UInt8]
    ) {
        FieldWriter.bytes(0x0a, key, &bytes)
        FieldWriter.number(0x10, create, &bytes)
        FieldWriter.number(0x18, mod, &bytes)
        FieldWriter.number(0x20, version, &bytes)
        if value.byteCount > 0 { FieldWriter.bytes(0x2a, value, &bytes) }
        FieldWriter.number(0x30, lease, &bytes)
    }

    package static func count(
        key: Int, value: Int, create: Int64, mod: Int64, version: Int64, lease: Int64
    ) -> Int {
        FieldWriter.bytesCount(key) + FieldWriter.numberCount(create) + FieldWriter.numberCount(mod)
            + FieldWriter.numberCount(version) + (value > 0 ? FieldWriter.bytesCount(value) : 0)
            + FieldWriter.numberCount(lease)
    }
}

/// Goes through the fields of a message whose field numbers are below 16, without copying.
struct FieldReader: ~Escapable {
    struct Field {
        var tag: UInt8
        var number: UInt64
        var payload: Range<Int>
    }

    private let bytes: RawSpan
    private var offset = 0
    private(set) var isDamaged = false

    @_lifetime(copy bytes)
    init(_ bytes: RawSpan) { self.bytes = bytes }

    @_lifetime(self: copy self)
    mutating func next() -> Field? {
        guard offset < bytes.byteCount, !isDamaged else { return nil }
        guard let tag = varint(), tag < 0x100 else { return damaged() }
        switch tag & 7 {
        case 0:
            guard let number = varint() else { return damaged() }
            return Field(tag: UInt8(tag), number: number, payload: 0..<0)
        case 2:
            guard let count = varint(), count <= UInt64(bytes.byteCount - offset) else { return damaged() }
            let start = offset
            offset += Int(count)
            return Field(tag: UInt8(tag), number: 0, payload: start..<offset)
        default: return damaged()
        }
    }

    @_lifetime(self: copy self)
    private mutating func damaged() -> Field? {
        isDamaged = true
        return nil
    }

    @_lifetime(self: copy self)
    private mutating func varint() -> UInt64? {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while offset < bytes.byteCount, shift < 64 {
            let byte = unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
            offset += 1
            result |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return result }
            shift += 7
        }
        return nil
    }
}

/// Appends fields of a message; zero numbers are left out.
enum FieldWriter {
    @inline(__always)
    static func varint(_ value: UInt64, _ bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    static func varintCount(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }

    @inline(__always)
    static func number(_ tag: UInt8, _ value: Int64, _ bytes: inout [UInt8]) {
        if value == 0 { return }
        bytes.append(tag)
        varint(UInt64(bitPattern: value), &bytes)
    }

    @inline(__always)
    static func numberCount(_ value: Int64) -> Int { value == 0 ? 0 : 1 + varintCount(UInt64(bitPattern: value)) }

    /// Asks for room once: this is the way of every stored pair into an answer.
    @inline(__always)
    static func bytes(_ tag: UInt8, _ payload: RawSpan, _ bytes: inout [UInt8]) {
        bytes.append(addingCapacity: 11 + payload.byteCount) { output in
            output.append(tag)
            var rest = UInt64(payload.byteCount)
            while rest >= 0x80 {
                output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            output.append(UInt8(truncatingIfNeeded: rest))
            output.append(payload)
        }
    }

    /// A part of other bytes as a field.
    @inline(__always)
    static func bytes(_ tag: UInt8, _ part: Range<Int>, of source: [UInt8], _ bytes: inout [UInt8]) {
        FieldWriter.bytes(tag, source.rawSpan.extracting(part), &bytes)
    }

    @inline(__always)
    static func bytesCount(_ count: Int) -> Int { 1 + varintCount(UInt64(count)) + count }
}

extension Array where Element == UInt8 {
    @inline(__always)
    mutating func append(_ part: Range<Int>, of source: [UInt8]) { append(source.rawSpan.extracting(part)) }

    /// As RawSpan.compare, of a key in an array.
    @inline(__always)
    func compare(_ other: RawSpan) -> Int { rawSpan.compare(other) }

    func compare(_ other: [UInt8]) -> Int { rawSpan.compare(other.rawSpan) }
}
