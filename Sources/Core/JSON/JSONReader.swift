// Reads JSON values one after the other from bytes in memory. Strict about the grammar (RFC 8259), bounded in depth,
// lenient about text as Go's decoder is: bytes that are not UTF-8 and lone surrogates become U+FFFD.
//
//     var reader = JSONReader(body)
//     while let value = try reader.next() { … }

import Foundations

package struct JSONReader: ~Escapable {
    package static let depthMaxDefault = 200

    private let text: RawSpan
    private let depthMax: Int
    package private(set) var position = 0

    @_lifetime(copy text)
    package init(_ text: RawSpan, depthMax: Int = JSONReader.depthMaxDefault) {
        self.text = text
        self.depthMax = depthMax
    }

    /// The next value, nil when only blanks are left.
    package mutating func next() throws(JSONError) -> JSONValue? {
        try isAtEnd() ? nil : try value(depth: 0)
    }

    /// Skips blanks.
    package mutating func isAtEnd() throws(JSONError) -> Bool {
        skipBlanks()
        return position == text.byteCount
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        switch try peek() {
        case 0x7b: return try object(depth: depth + 1)
        case 0x5b: return try array(depth: depth + 1)
        case 0x22: return .string(try string())
        case 0x2d, 0x30...0x39: return try number()
        case 0x74:
            try literal("true")
            return .bool(true)
        case 0x66:
            try literal("false")
            return .bool(false)
        case 0x6e:
            try literal("null")
            return .null
        case let byte: throw JSONError(.unexpected(byte, expected: "beginning of value"), at: position)
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= depthMax else { throw JSONError(.tooDeep, at: position) }
        position += 1
        var members: [JSONValue.Member] = []
        skipBlanks()
        if try peek() == 0x7d {
            position += 1
            return .object([])
        }
        while true {
            skipBlanks()
            let byte = try peek()
            guard byte == 0x22 else {
                throw JSONError(.unexpected(byte, expected: "beginning of object key string"), at: position)
            }
            let name = try string()
            skipBlanks()
            try take(0x3a, "':' after object key")
            skipBlanks()
            members.append(JSONValue.Member(name, try value(depth: depth)))
            skipBlanks()
            if try peek() == 0x7d {
                position += 1
                return .object(members)
            }
            try take(0x2c, "',' or '}' after object member")
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= depthMax else { throw JSONError(.tooDeep, at: position) }
        position += 1
        var values: [JSONValue] = []
        skipBlanks()
        if try peek() == 0x5d {
            position += 1
            return .array([])
        }
        while true {
            skipBlanks()
            values.append(try value(depth: depth))
            skipBlanks()
            if try peek() == 0x5d {
                position += 1
                return .array(values)
            }
            try take(0x2c, "',' or ']' after array element")
        }
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        if try peek() == 0x2d { position += 1 }
        // A leading zero stands alone.
        if digit() == 0x30 { position += 1 } else { try digits(start) }
        if current() == 0x2e {
            position += 1
            try digits(start)
        }
        if current() == 0x65 || current() == 0x45 {
            position += 1
            if current() == 0x2b || current() == 0x2d { position += 1 }
            try digits(start)
        }
        if digit() != nil { throw JSONError(.badNumber, at: start) }
        return .number(String(decoding: Bytes(text.extracting(start..<position)), as: UTF8.self))
    }

    private mutating func digits(_ start: Int) throws(JSONError) {
        guard digit() != nil else {
            throw JSONError(position == text.byteCount ? .unexpectedEnd : .badNumber, at: start)
        }
        while digit() != nil { position += 1 }
    }

    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        // Most strings have no escape: find the end first.
        while let byte = current(), byte != 0x22, byte != 0x5c, byte >= 0x20 { position += 1 }
        var bytes = Bytes(text.extracting(start..<position))
        while true {
            let byte = try peek()
            position += 1
            switch byte {
            case 0x22: return String(decoding: bytes, as: UTF8.self)
            case 0x5c: try escape(&bytes)
            case ..<0x20: throw JSONError(.controlCharacter, at: position - 1)
            default: bytes.append(byte)
            }
        }
    }

    private mutating func escape(_ bytes: inout Bytes) throws(JSONError) {
        let byte = try peek()
        position += 1
        switch byte {
        case 0x22, 0x5c, 0x2f: bytes.append(byte)
        case 0x62: bytes.append(0x08)
        case 0x66: bytes.append(0x0c)
        case 0x6e: bytes.append(0x0a)
        case 0x72: bytes.append(0x0d)
        case 0x74: bytes.append(0x09)
        case 0x75: bytes.append(contentsOf: Array(String(try unicodeEscape()).utf8))
        default: throw JSONError(.badEscape, at: position - 2)
        }
    }

    private mutating func unicodeEscape() throws(JSONError) -> Character {
        let replacement: Character = "\u{fffd}"
        let first = try fourDigits()
        if let scalar = Unicode.Scalar(first) { return Character(scalar) }
        // A high surrogate takes the low one that follows; alone either is replaced.
        guard first < 0xdc00, current() == 0x5c, position + 1 < text.byteCount, text[byte: position + 1] == 0x75 else {
            return replacement
        }
        let back = position
        position += 2
        let second = try fourDigits()
        guard (0xdc00...0xdfff).contains(second) else {
            position = back
            return replacement
        }
        return Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00)).map(Character.init) ?? replacement
    }

    private mutating func fourDigits() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            let byte = try peek()
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x61...0x66: digit = byte - 0x61 + 10
            case 0x41...0x46: digit = byte - 0x41 + 10
            default: throw JSONError(.badEscape, at: position)
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private mutating func literal(_ word: StaticString) throws(JSONError) {
        for wanted in word.description.utf8 { try take(wanted, "literal \(word)") }
    }

    private mutating func take(_ wanted: UInt8, _ expected: String) throws(JSONError) {
        let byte = try peek()
        guard byte == wanted else { throw JSONError(.unexpected(byte, expected: expected), at: position) }
        position += 1
    }

    private func peek() throws(JSONError) -> UInt8 {
        guard position < text.byteCount else { throw JSONError(.unexpectedEnd, at: position) }
        return text[byte: position]
    }

    private func current() -> UInt8? { position < text.byteCount ? text[byte: position] : nil }

    private func digit() -> UInt8? {
        guard let byte = current(), (0x30...0x39).contains(byte) else { return nil }
        return byte
    }

    private mutating func skipBlanks() {
        while let byte = current(), byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }
}
