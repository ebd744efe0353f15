// The little JSON that membership needs: documents that other members wrote with Go's encoder, read with its rules (names
// fit in any case, unknown ones are passed over, null changes nothing, the last of several wins), and strings written as
// it escapes them, so that what we write is the same to the byte.

import Foundations

enum GoJSON {
    indirect enum Value: Equatable {
        case object([Member])
        case array([Value])
        case string(String)
        case number(Substring)
        case flag(Bool)
        case null
    }

    struct Member: Equatable {
        var name: String
        var value: Value
    }

    static let depthMax = 64

    static func parse(_ text: Bytes) -> Value? {
        var parser = Parser(text: text)
        guard let value = parser.value(depth: 0) else { return nil }
        parser.skipSpace()
        return parser.isAtEnd ? value : nil
    }

    static func append(_ string: String, to text: inout Bytes) {
        text.append(0x22)
        for scalar in string.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5c: text += [0x5c, UInt8(scalar.value)]
            case 0x0a: text += Bytes("\\n".utf8)
            case 0x0d: text += Bytes("\\r".utf8)
            case 0x09: text += Bytes("\\t".utf8)
            // Control characters, HTML's special ones and the two line separators.
            case ..<0x20, 0x26, 0x3c, 0x3e, 0x2028, 0x2029:
                let hex = Array(String(scalar.value, radix: 16).utf8)
                text += Bytes("\\u".utf8) + Bytes(repeating: 0x30, count: 4 - hex.count) + hex
            default: text += Bytes(String(scalar).utf8)
            }
        }
        text.append(0x22)
    }

    /// An array of strings; an empty one is null, as Go writes a slice that was never made.
    static func append(_ strings: [String], to text: inout Bytes) {
        guard !strings.isEmpty else {
            text += Bytes("null".utf8)
            return
        }
        text.append(0x5b)
        for (i, string) in strings.enumerated() {
            if i > 0 { text.append(0x2c) }
            append(string, to: &text)
        }
        text.append(0x5d)
    }

    private struct Parser {
        let text: Bytes
        var at = 0

        var isAtEnd: Bool { at == text.count }

        mutating func skipSpace() {
            while at < text.count, [0x20, 0x09, 0x0a, 0x0d].contains(text[at]) { at += 1 }
        }

        mutating func take(_ character: UInt8) -> Bool {
            skipSpace()
            guard at < text.count, text[at] == character else { return false }
            at += 1
            return true
        }

        mutating func take(word: StaticString) -> Bool {
            let bytes = Array("\(word)".utf8)
            guard text[at...].starts(with: bytes) else { return false }
            at += bytes.count
            return true
        }

        mutating func value(depth: Int) -> Value? {
            guard depth < GoJSON.depthMax else { return nil }
            skipSpace()
            guard at < text.count else { return nil }
            switch text[at] {
            case 0x7b: return object(depth: depth)
            case 0x5b: return array(depth: depth)
            case 0x22: return string().map(Value.string)
            case 0x74: return take(word: "true") ? .flag(true) : nil
            case 0x66: return take(word: "false") ? .flag(false) : nil
            case 0x6e: return take(word: "null") ? .null : nil
            default: return number()
            }
        }

        private mutating func object(depth: Int) -> Value? {
            at += 1
            var members: [Member] = []
            if take(0x7d) { return .object(members) }
            repeat {
                skipSpace()
                guard let name = string(), take(0x3a), let value = value(depth: depth + 1) else { return nil }
                members.append(Member(name: name, value: value))
            } while take(0x2c)
            return take(0x7d) ? .object(members) : nil
        }

        private mutating func array(depth: Int) -> Value? {
            at += 1
            var values: [Value] = []
            if take(0x5d) { return .array(values) }
            repeat {
                guard let value = value(depth: depth + 1) else { return nil }
                values.append(value)
            } while take(0x2c)
            return take(0x5d) ? .array(values) : nil
        }

        private mutating func number() -> Value? {
            let start = at
            while at < text.count, (0x30...0x39).contains(text[at]) || [0x2b, 0x2d, 0x2e, 0x45, 0x65].contains(text[at]) {
                at += 1
            }
            guard at > start else { return nil }
            return .number(Substring(decoding: text[start..<at], as: UTF8.self))
        }

        private mutating func string() -> String? {
            guard at < text.count, text[at] == 0x22 else { return nil }
            at += 1
            var bytes: Bytes = []
            while at < text.count {
                let character = text[at]
                at += 1
                switch character {
                case 0x22: return String(decoding: bytes, as: UTF8.self)
                case 0x5c: guard escape(into: &bytes) else { return nil }
                case ..<0x20: return nil
                default: bytes.append(character)
                }
            }
            return nil
        }

        private mutating func escape(into bytes: inout Bytes) -> Bool {
            guard at < text.count else { return false }
            let character = text[at]
            at += 1
            switch character {
            case 0x22, 0x5c, 0x2f: bytes.append(character)
            case 0x62: bytes.append(8)
            case 0x66: bytes.append(12)
            case 0x6e: bytes.append(10)
            case 0x72: bytes.append(13)
            case 0x74: bytes.append(9)
            case 0x75:
                guard let first = codeUnit() else { return false }
                var units = [first]
                if UTF16.isLeadSurrogate(first), text[at...].starts(with: "\\u".utf8) {
                    let back = at
                    at += 2
                    guard let second = codeUnit() else { return false }
                    if UTF16.isTrailSurrogate(second) { units.append(second) } else { at = back }
                }
                bytes += Bytes(String(decoding: units, as: UTF16.self).utf8)
            default: return false
            }
            return true
        }

        private mutating func codeUnit() -> UInt16? {
            guard at + 4 <= text.count else { return nil }
            let digits = String(decoding: text[at..<at + 4], as: UTF8.self)
            guard digits.utf8.allSatisfy({ $0 != 0x2b && $0 != 0x2d }), let unit = UInt16(digits, radix: 16) else {
                return nil
            }
            at += 4
            return unit
        }
    }
}

extension GoJSON.Value {
    /// The last member whose name fits, in any case; null counts as absent.
    subscript(name: String) -> GoJSON.Value? {
        guard case .object(let members) = self else { return nil }
        let wanted = name.lowercased()
        let found = members.last { $0.name.lowercased() == wanted }?.value
        return found == .null ? nil : found
    }

    private var isObject: Bool { if case .object = self { true } else { false } }

    /// In each: the zero value when absent; nil when it is something else than asked for, or this is no object.
    func number(_ name: String) -> UInt64? {
        switch self[name] {
        case nil: isObject ? 0 : nil
        case .number(let digits)?: UInt64(digits)
        default: nil
        }
    }

    func string(_ name: String) -> String? {
        switch self[name] {
        case nil: isObject ? "" : nil
        case .string(let string)?: string
        default: nil
        }
    }

    func flag(_ name: String) -> Bool? {
        switch self[name] {
        case nil: isObject ? false : nil
        case .flag(let flag)?: flag
        default: nil
        }
    }

    func strings(_ name: String) -> [String]? {
        guard let value = self[name] else { return isObject ? [] : nil }
        guard case .array(let values) = value else { return nil }
        var strings: [String] = []
        for value in values {
            guard case .string(let string) = value else { return nil }
            strings.append(string)
        }
        return strings
    }
}
