// A JSON value as written: numbers keep their text, so that 64-bit integers stay exact; members keep their order, and a
// repeated name is kept too (the last one counts).

import Foundations

package indirect enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// The literal, valid JSON number syntax.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    package struct Member: Sendable, Equatable {
        package var name: String
        package var value: JSONValue

        package init(_ name: String, _ value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// The last member of that name; nil when this is no object or has none.
    package subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name == name }?.value
    }

    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var array: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
    package var members: [Member]? { if case .object(let members) = self { members } else { nil } }

    /// Exact integers only: `1`, `-5`, not `1.0`, `1e3` or what does not fit.
    package var int64: Int64? { if case .number(let text) = self { Int64(text) } else { nil } }
    package var uint64: UInt64? { if case .number(let text) = self { UInt64(text) } else { nil } }

    package static func number(_ value: some FixedWidthInteger) -> JSONValue { .number(String(value)) }

    /// For messages: `object`, `number`, ...
    package var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "bool"
        case .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}

extension JSONValue {
    /// Reads exactly one value; only blanks may follow.
    package init(parsing text: RawSpan, depthMax: Int = JSONReader.depthMaxDefault) throws(JSONError) {
        var reader = JSONReader(text, depthMax: depthMax)
        guard let value = try reader.next() else { throw JSONError(.unexpectedEnd, at: text.byteCount) }
        guard try reader.isAtEnd() else { throw JSONError(.trailingBytes, at: reader.position) }
        self = value
    }

    package init(parsing text: Bytes) throws(JSONError) { try self.init(parsing: text.rawSpan) }
    package init(parsing text: String) throws(JSONError) { try self.init(parsing: Array(text.utf8)) }

    /// Compact text.
    package func text(escapingHTML: Bool = false) -> String {
        var writer = JSONWriter(escapesHTML: escapingHTML)
        writer.value(self)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}

/// Why a text is not JSON, or not the JSON that was expected; `offset` counts bytes from the start.
package struct JSONError: Error, Equatable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        case unexpectedEnd
        case unexpected(UInt8, expected: String)
        case badEscape
        case badNumber
        case controlCharacter
        case tooDeep
        case trailingBytes
        /// Well formed, but not what the field `path` takes.
        case mismatch(path: String, expected: String, found: String)
    }
    package var kind: Kind
    package var offset: Int

    package init(_ kind: Kind, at offset: Int) {
        self.kind = kind
        self.offset = offset
    }

    package var description: String {
        switch kind {
        case .unexpectedEnd: return "unexpected end of JSON input"
        case .unexpected(let byte, let expected):
            let shown = (0x20...0x7e).contains(byte) ? "'\(Unicode.Scalar(byte))'" : "byte \(byte)"
            return "invalid character \(shown) at byte \(offset), looking for \(expected)"
        case .badEscape: return "invalid escape in a string at byte \(offset)"
        case .badNumber: return "invalid number at byte \(offset)"
        case .controlCharacter: return "control character in a string at byte \(offset)"
        case .tooDeep: return "JSON nested too deep at byte \(offset)"
        case .trailingBytes: return "unexpected bytes after the JSON value at byte \(offset)"
        case .mismatch(let path, let expected, let found): return "\(path): expected \(expected), found \(found)"
        }
    }
}
