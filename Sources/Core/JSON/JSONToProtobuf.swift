// JSON as an encoded message, by its descriptor alone. The rules are the gateway's of the 3.5 releases: both spellings of
// a name, unknown names ignored, null as absent, the last of a repeated name, integers as numbers or strings, enums by
// name or number, strict base64.

import Foundations
import Wire

extension JSONValue {
    /// The bytes of the message this value describes; null is the empty message.
    package func encoded(as descriptor: MessageDescriptor) throws(JSONError) -> Bytes {
        try encoded(as: descriptor, path: descriptor.name)
    }

    package func decoded<M: WireMessage>(_ type: M.Type = M.self) throws(JSONError) -> M {
        let bytes = try encoded(as: M.descriptor)
        do {
            return try M(decoding: bytes)
        } catch {
            unreachable("\(M.descriptor.name) does not read what was written for it: \(error)")
        }
    }

    private func encoded(as descriptor: MessageDescriptor, path: String) throws(JSONError) -> Bytes {
        if case .null = self { return [] }
        guard case .object(let members) = self else { throw mismatch(path, "object") }
        var encodedFields: [Bytes] = Array(repeating: [], count: descriptor.fields.count)
        for member in members {
            let index = descriptor.fields.firstIndex { $0.name == member.name || $0.jsonName == member.name }
            guard let index else { continue }
            let field = descriptor.fields[index]
            encodedFields[index] = try member.value.encoded(field: field, path: "\(path).\(field.name)")
        }
        // Ascending numbers: of two members of a oneof the one with the higher number stays.
        return encodedFields.reduce(into: []) { $0 += $1 }
    }

    /// The field with its tags; empty when it is absent or has its default.
    private func encoded(field: FieldDescriptor, path: String) throws(JSONError) -> Bytes {
        var bytes: Bytes = []
        if case .null = self { return bytes }
        guard field.isRepeated else {
            try append(field, path, &bytes)
            return bytes
        }
        guard case .array(let values) = self else { throw mismatch(path, "array") }
        guard field.label == .packed else {
            for (i, value) in values.enumerated() { try value.append(field, "\(path)[\(i)]", &bytes) }
            return bytes
        }
        var packed: Bytes = []
        for (i, value) in values.enumerated() {
            packed.appendVarint(try value.number(field, "\(path)[\(i)]"))
        }
        bytes.appendWire(field.number, bytes: packed.rawSpan)
        return bytes
    }

    private func append(_ field: FieldDescriptor, _ path: String, _ bytes: inout Bytes) throws(JSONError) {
        let isDefaultLeftOut = field.label == .implicit
        switch field.kind {
        case .message(let descriptor):
            if case .null = self { throw mismatch(path, "object") }
            let message = try encoded(as: descriptor(), path: path)
            bytes.appendWire(field.number, message: message.rawSpan)
        case .string:
            guard case .string(let text) = self else { throw mismatch(path, "string") }
            append(field, Array(text.utf8), isDefaultLeftOut, &bytes)
        case .bytes:
            append(field, try base64(path), isDefaultLeftOut, &bytes)
        case .bool, .int32, .int64, .uint32, .uint64, .enumeration:
            let value = try number(field, path)
            if value == 0, isDefaultLeftOut { return }
            bytes.appendVarint(UInt64(field.number) << 3)
            bytes.appendVarint(value)
        }
    }

    private func append(_ field: FieldDescriptor, _ payload: Bytes, _ isDefaultLeftOut: Bool, _ bytes: inout Bytes) {
        if payload.isEmpty, isDefaultLeftOut { return }
        bytes.appendWire(field.number, message: payload.rawSpan)
    }

    private func base64(_ path: String) throws(JSONError) -> Bytes {
        guard case .string(let text) = self else { throw mismatch(path, "base64 string") }
        // Line ends inside are legal, as in MIME.
        guard let bytes = Base64.decode(text.utf8.lazy.filter { $0 != 0x0a && $0 != 0x0d }) else {
            throw mismatch(path, "standard base64 with padding")
        }
        return bytes
    }

    /// The varint of a numeric field.
    private func number(_ field: FieldDescriptor, _ path: String) throws(JSONError) -> UInt64 {
        switch field.kind {
        case .bool:
            guard case .bool(let value) = self else { throw mismatch(path, "bool") }
            return value ? 1 : 0
        case .int64: return UInt64(bitPattern: try integer(path, Int64.self))
        case .uint64: return try integer(path, UInt64.self)
        case .int32: return UInt64(bitPattern: Int64(try integer(path, Int32.self)))
        case .uint32: return UInt64(try integer(path, UInt32.self))
        case .enumeration(let values):
            if case .string(let name) = self {
                guard let number = values.number(of: name) else { throw mismatch(path, "value of \(values.name)") }
                return UInt64(bitPattern: Int64(number))
            }
            return UInt64(bitPattern: Int64(try integer(path, Int32.self)))
        case .string, .bytes, .message: unreachable("\(path) is no number")
        }
    }

    private func integer<I: FixedWidthInteger>(_ path: String, _: I.Type) throws(JSONError) -> I {
        let text: String
        switch self {
        case .number(let literal): text = literal
        case .string(let quoted): text = quoted
        case .null, .bool, .array, .object: throw mismatch(path, "\(I.self)")
        }
        guard isInteger(text), let value = I(text) else { throw mismatch(path, "\(I.self)") }
        return value
    }

    /// JSON's syntax of an integer: no plus sign, no leading zeros, no fraction.
    private func isInteger(_ text: String) -> Bool {
        var digits = Array(text.utf8)[...]
        if digits.first == 0x2d { digits.removeFirst() }
        guard let first = digits.first, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
        return first != 0x30 || digits.count == 1
    }

    private func mismatch(_ path: String, _ expected: String) -> JSONError {
        let found =
            switch self {
            case .string(let text): "\"\(text.prefix(40))\""
            case .number(let text): String(text.prefix(40))
            case .null, .bool, .array, .object: typeName
            }
        return JSONError(.mismatch(path: path, expected: expected, found: found), at: 0)
    }
}
