// Quoted words on lines people type: "a\tb" with Go's escapes, 'as it stands', and plain words.

import Flags
import Foundations

/// The front of a line is read piece by piece.
struct ScannedText {
    private(set) var rest: Substring

    init(_ text: some StringProtocol) { rest = Substring(text) }

    mutating func skipBlanks() { rest = rest.drop { $0 == " " || $0 == "\t" } }

    mutating func take(_ character: Character) -> Bool {
        guard rest.first == character else { return false }
        rest = rest.dropFirst()
        return true
    }

    mutating func word() -> Substring {
        let word = rest.prefix { !$0.isWhitespace }
        rest = rest.dropFirst(word.count)
        return word
    }

    /// A string in double or back quotes; nil when there is none or it is malformed.
    mutating func quoted() -> Bytes? {
        if rest.first == "`" {
            guard let end = rest.dropFirst().firstIndex(of: "`") else { return nil }
            defer { rest = rest[rest.index(after: end)...] }
            return ArgumentText.bytes(of: String(rest[rest.index(after: rest.startIndex)..<end]))
        }
        guard rest.first == "\"" else { return nil }
        var end = rest.index(after: rest.startIndex)
        while end < rest.endIndex, rest[end] != "\"" {
            if rest[end] == "\\" { end = rest.index(after: end) }
            if end < rest.endIndex { end = rest.index(after: end) }
        }
        guard end < rest.endIndex else { return nil }
        let inner = String(rest[rest.index(after: rest.startIndex)..<end])
        rest = rest[rest.index(after: end)...]
        return ScannedText.unescaped(inner)
    }

    /// Go's escapes: \a \b \f \n \r \t \v \\ \" \ooo \xhh \uhhhh \Uhhhhhhhh.
    static func unescaped(_ text: String) -> Bytes? {
        var bytes: Bytes = []
        var scalars = ArraySlice(Array(text.unicodeScalars))
        while let scalar = scalars.popFirst() {
            guard scalar == "\\" else {
                bytes.append(contentsOf: ArgumentText.bytes(of: String(scalar)))
                continue
            }
            guard let kind = scalars.popFirst() else { return nil }
            if let plain = plainEscapes[kind] {
                bytes.append(plain)
                continue
            }
            let (digits, radix): (Int, Int) =
                switch kind {
                case "x": (2, 16)
                case "u": (4, 16)
                case "U": (8, 16)
                case "0"..."7": (3, 8)
                default: (0, 0)
                }
            guard digits > 0 else { return nil }
            if radix == 8 { scalars = [kind] + scalars }
            let number = String(String.UnicodeScalarView(scalars.prefix(digits)))
            guard number.unicodeScalars.count == digits, let value = UInt32(number, radix: radix) else { return nil }
            scalars = scalars.dropFirst(digits)
            if digits >= 4 {
                guard let scalar = Unicode.Scalar(value) else { return nil }
                bytes.append(contentsOf: UTF8.encode(scalar)!)
            } else {
                guard let byte = UInt8(exactly: value) else { return nil }
                bytes.append(byte)
            }
        }
        return bytes
    }

    private static let plainEscapes: [Unicode.Scalar: UInt8] = [
        "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 0x5c, "\"": 0x22,
    ]
}

/// A line cut into words. `put "a b" 'c d' e` is put, a b, c d, e.
enum ShellWords {
    static func split(_ line: String) throws(CtlFailure) -> [String] {
        var words: [String] = []
        var text = ScannedText(line)
        while true {
            text.skipBlanks()
            guard let first = text.rest.first else { return words }
            if first == "\"", let end = closingQuote(text.rest) {
                var quoted = ScannedText(text.rest[...end])
                guard let bytes = quoted.quoted() else { throw CtlFailure(.badInput, "bad quoted string: \(line)") }
                words.append(ArgumentText.text(of: bytes))
                text = ScannedText(text.rest[text.rest.index(after: end)...])
            } else if first == "'", let end = text.rest.dropFirst().firstIndex(of: "'") {
                words.append(String(text.rest[text.rest.index(after: text.rest.startIndex)..<end]))
                text = ScannedText(text.rest[text.rest.index(after: end)...])
            } else if first == "\"" || first == "'" {
                // A quote that nothing closes is passed over.
                _ = text.take(first)
            } else {
                words.append(String(text.word()))
            }
        }
    }

    private static func closingQuote(_ text: Substring) -> Substring.Index? {
        var i = text.index(after: text.startIndex)
        while i < text.endIndex, text[i] != "\"" {
            if text[i] == "\\" { i = text.index(after: i) }
            if i < text.endIndex { i = text.index(after: i) }
        }
        return i < text.endIndex ? i : nil
    }
}
