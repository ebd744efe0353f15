// Writes compact JSON, with Go's escaping: control characters as \u00XX but \n \r \t, the line separators U+2028 and
// U+2029 always escaped, `<` `>` `&` escaped when `escapesHTML` is set (what Go's Marshal does by default).
//
//     var writer = JSONWriter()
//     writer.beginObject()
//     writer.name("revision"); writer.number(7)
//     writer.endObject()

import Foundations

package struct JSONWriter: Sendable {
    package var bytes: Bytes
    package let escapesHTML: Bool
    /// The next name or element of the current list needs a comma before it.
    private var needsComma = false

    package init(appendingTo bytes: Bytes = [], escapesHTML: Bool = false) {
        self.bytes = bytes
        self.escapesHTML = escapesHTML
    }

    package mutating func beginObject() { open(0x7b) }
    package mutating func endObject() { close(0x7d) }
    package mutating func beginArray() { open(0x5b) }
    package mutating func endArray() { close(0x5d) }

    package mutating func name(_ name: String) {
        separate()
        quoted(name)
        bytes.append(0x3a)
        needsComma = false
    }

    package mutating func string(_ text: String) {
        separate()
        quoted(text)
    }

    package mutating func number(_ value: some FixedWidthInteger) { literal(String(value)) }

    /// 64-bit integers as JavaScript can keep them.
    package mutating func quotedNumber(_ value: some FixedWidthInteger) {
        literal("\"\(value)\"")
    }

    package mutating func bool(_ value: Bool) { literal(value ? "true" : "false") }
    package mutating func null() { literal("null") }

    package mutating func base64(_ data: Bytes) {
        separate()
        bytes.append(0x22)
        Base64.append(data, to: &bytes)
        bytes.append(0x22)
    }

    /// Text that is JSON already.
    package mutating func literal(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
    }

    package mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let value): bool(value)
        case .number(let text): literal(text)
        case .string(let text): string(text)
        case .array(let values):
            beginArray()
            for element in values { self.value(element) }
            endArray()
        case .object(let members):
            beginObject()
            for member in members {
                name(member.name)
                self.value(member.value)
            }
            endObject()
        }
    }

    /// A line's end between values of a stream.
    package mutating func newline() {
        bytes.append(0x0a)
        needsComma = false
    }

    private mutating func open(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
    }

    private mutating func close(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(0x2c) }
        needsComma = true
    }

    private mutating func quoted(_ text: String) {
        bytes.append(0x22)
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5c:
                bytes.append(0x5c)
                bytes.append(UInt8(scalar.value))
            case 0x0a: bytes.append(contentsOf: [0x5c, 0x6e])
            case 0x0d: bytes.append(contentsOf: [0x5c, 0x72])
            case 0x09: bytes.append(contentsOf: [0x5c, 0x74])
            case 0..<0x20, 0x2028, 0x2029: escape(scalar.value)
            case 0x3c, 0x3e, 0x26: escapesHTML ? escape(scalar.value) : bytes.append(UInt8(scalar.value))
            case 0..<0x80: bytes.append(UInt8(scalar.value))
            default: bytes.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
        bytes.append(0x22)
    }

    private mutating func escape(_ value: UInt32) {
        let digits = Array("0123456789abcdef".utf8)
        bytes.append(contentsOf: [0x5c, 0x75])
        for shift: UInt32 in [12, 8, 4, 0] { bytes.append(digits[Int(value >> shift & 15)]) }
    }
}
