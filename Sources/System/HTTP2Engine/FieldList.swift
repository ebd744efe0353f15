// Header fields of one message in one buffer: name length, value length, name, value, and so on. A list that is reused
// keeps its memory, so that the fields of a call cost no allocation.

import Foundations

package struct FieldList: Sendable {
    /// Before each name: its length and the value's.
    static let headerBytes = 8

    @usableFromInline var bytes: [UInt8] = []

    package init() {}

    package var isEmpty: Bool { bytes.isEmpty }

    mutating func removeAll() { bytes.removeAll(keepingCapacity: bytes.capacity <= 4096) }

    /// Where the value lies now.
    @discardableResult
    mutating func append(_ name: RawSpan, _ value: RawSpan) -> Range<Int32> {
        let (nameCount, valueCount) = (UInt32(truncatingIfNeeded: name.byteCount), UInt32(truncatingIfNeeded: value.byteCount))
        bytes.append(addingCapacity: 8 + name.byteCount + value.byteCount) { output in
            // Two little-endian words.
            output.append(bigEndian: (UInt64(valueCount) << 32 | UInt64(nameCount)).byteSwapped)
            output.append(name)
            output.append(value)
        }
        let end = Int32(bytes.count)
        return end - Int32(truncatingIfNeeded: value.byteCount)..<end
    }

    /// The same fields, in this list's memory.
    mutating func assign(_ other: FieldList) {
        bytes.removeAll(keepingCapacity: true)
        bytes.append(other.bytes.rawSpan)
    }

    /// Room for the lengths of a field that is appended in parts; they are set afterwards.
    mutating func appendLengths() {
        bytes.append(addingCapacity: FieldList.headerBytes) { $0.append(bigEndian: 0) }
    }

    mutating func setLengths(_ at: Int, name: Int, value: Int) {
        for i in 0..<4 {
            bytes[at + i] = UInt8(truncatingIfNeeded: name >> (8 * i))
            bytes[at + 4 + i] = UInt8(truncatingIfNeeded: value >> (8 * i))
        }
    }

    /// Of the field whose record begins here.
    static func nameLength(_ record: RawSpan) -> Int { word(record, 0) }

    static func word(_ record: RawSpan, _ at: Int) -> Int {
        Int(record[byte: at]) | Int(record[byte: at + 1]) << 8 | Int(record[byte: at + 2]) << 16 | Int(record[byte: at + 3]) << 24
    }

    /// The first value of the field with this lower-case name.
    package subscript(_ name: StaticString) -> [UInt8]? {
        var at = 0
        while at < bytes.count {
            let (key, value) = ranges(at)
            if key.count == name.utf8CodeUnitCount,
                name.withUTF8Buffer({ unsafe $0.elementsEqual(bytes[key]) })
            {
                return Array(bytes[value])
            }
            at = value.upperBound
        }
        return nil
    }

    /// Whether the first value of the field is this one; false when there is none.
    package func has(_ name: StaticString, _ value: [UInt8]) -> Bool {
        var at = 0
        while at < bytes.count {
            let (key, range) = ranges(at)
            if key.count == name.utf8CodeUnitCount, name.withUTF8Buffer({ unsafe $0.elementsEqual(bytes[key]) }) {
                return bytes[range].elementsEqual(value)
            }
            at = range.upperBound
        }
        return false
    }

    package func forEach(_ body: (_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Void) {
        var at = 0
        while at < bytes.count {
            let (key, value) = ranges(at)
            body(bytes[key], bytes[value])
            at = value.upperBound
        }
    }

    private func ranges(_ at: Int) -> (name: Range<Int>, value: Range<Int>) {
        let name = at + 8
        let value = name + length(at)
        return (name..<value, value..<value + length(at + 4))
    }

    private func length(_ at: Int) -> Int {
        Int(bytes[at]) | Int(bytes[at + 1]) << 8 | Int(bytes[at + 2]) << 16 | Int(bytes[at + 3]) << 24
    }
}
