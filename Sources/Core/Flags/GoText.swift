// Text as Go programs write and read it. Scripts and test suites match etcd's messages byte for byte, so numbers,
// booleans and quoted strings follow the rules of that language's standard library, error texts included.

package enum GoText {
    /// Why a number or a boolean was refused, in the two wordings in use.
    package enum NumberError: Error, Equatable, Sendable {
        case syntax, range

        /// `invalid syntax`, as pflag shows it.
        package var long: String { self == .syntax ? "invalid syntax" : "value out of range" }
        /// `parse error`, as the standard flag package shows it.
        package var short: String { self == .syntax ? "parse error" : "value out of range" }
    }

    package static func parseBool(_ text: String) throws(NumberError) -> Bool {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": return true
        case "0", "f", "F", "false", "FALSE", "False": return false
        default: throw .syntax
        }
    }

    /// Base 0 reads the prefix (0x, 0o, 0b, 0) and lets underscores separate digits.
    package static func parseUInt(_ text: String, base: Int = 10, bits: Int = 64) throws(NumberError) -> UInt64 {
        var digits = Array(text.utf8)[...]
        guard !digits.isEmpty else { throw .syntax }
        var radix = UInt64(base)
        if base == 0 {
            radix = 10
            if digits.first == UInt8(ascii: "0") && digits.count > 1 {
                switch digits[digits.startIndex + 1] | 0x20 {
                case UInt8(ascii: "x"): (radix, digits) = (16, digits.dropFirst(2))
                case UInt8(ascii: "b"): (radix, digits) = (2, digits.dropFirst(2))
                case UInt8(ascii: "o"): (radix, digits) = (8, digits.dropFirst(2))
                default: (radix, digits) = (8, digits.dropFirst())
                }
            }
            guard !digits.isEmpty, underscoresSeparateDigits(digits, afterPrefix: radix != 10) else { throw .syntax }
        }
        var value: UInt64 = 0
        var overflow = false
        for character in digits {
            if base == 0 && character == UInt8(ascii: "_") { continue }
            guard let digit = digitValue(character), digit < radix else { throw .syntax }
            let (product, over1) = value.multipliedReportingOverflow(by: radix)
            let (sum, over2) = product.addingReportingOverflow(digit)
            overflow = overflow || over1 || over2
            value = sum
        }
        if overflow || (bits < 64 && value >> UInt64(bits) != 0) { throw .range }
        return value
    }

    package static func parseInt(_ text: String, base: Int = 10, bits: Int = 64) throws(NumberError) -> Int64 {
        let negative = text.first == "-"
        let digits = negative || text.first == "+" ? String(text.dropFirst()) : text
        let magnitude = try parseUInt(digits, base: base)
        let limit: UInt64 = 1 << UInt64(bits - 1)
        if negative {
            guard magnitude <= limit else { throw .range }
            return magnitude == limit && bits == 64 ? Int64.min : -Int64(magnitude)
        }
        guard magnitude < limit else { throw .range }
        return Int64(magnitude)
    }

    private static func digitValue(_ character: UInt8) -> UInt64? {
        switch character {
        case 0x30...0x39: UInt64(character - 0x30)
        case 0x61...0x7a: UInt64(character - 0x61 + 10)
        case 0x41...0x5a: UInt64(character - 0x41 + 10)
        default: nil
        }
    }

    private static func underscoresSeparateDigits(_ digits: ArraySlice<UInt8>, afterPrefix: Bool) -> Bool {
        var previousIsDigit = afterPrefix
        for character in digits {
            let isUnderscore = character == UInt8(ascii: "_")
            if isUnderscore && !previousIsDigit { return false }
            previousIsDigit = !isUnderscore
        }
        return previousIsDigit
    }

    // MARK: Quoting

    /// The text in double quotes with escapes, as the `%q` verb writes it.
    package static func quote(_ text: String) -> String { quote(Array(text.utf8)) }

    /// Bytes that are not UTF-8 become \x escapes, one a byte.
    package static func quote(_ bytes: [UInt8]) -> String {
        var out = "\""
        var i = 0
        while i < bytes.count {
            guard let (scalar, length) = decodeScalar(bytes, at: i) else {
                out += "\\x" + hexadecimal(UInt32(bytes[i]), digits: 2)
                i += 1
                continue
            }
            appendQuoted(scalar, to: &out)
            i += length
        }
        return out + "\""
    }

    private static func appendQuoted(_ scalar: Unicode.Scalar, to out: inout String) {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\u{07}": out += "\\a"
        case "\u{08}": out += "\\b"
        case "\u{0c}": out += "\\f"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case "\u{0b}": out += "\\v"
        case _ where isPrintable(scalar): out.unicodeScalars.append(scalar)
        case _ where scalar.value < 0x80: out += "\\x" + hexadecimal(scalar.value, digits: 2)
        case _ where scalar.value < 0x10000: out += "\\u" + hexadecimal(scalar.value, digits: 4)
        default: out += "\\U" + hexadecimal(scalar.value, digits: 8)
        }
    }

    /// Letters, marks, numbers, punctuation, symbols, and of the spaces only U+0020.
    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value < 0x80 { return scalar.value >= 0x20 && scalar.value != 0x7f }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            return false
        default: return true
        }
    }

    /// One well-formed UTF-8 sequence, or nil.
    private static func decodeScalar(_ bytes: [UInt8], at start: Int) -> (Unicode.Scalar, Int)? {
        let first = bytes[start]
        let length =
            switch first {
            case 0..<0x80: 1
            case 0xc2..<0xe0: 2
            case 0xe0..<0xf0: 3
            case 0xf0..<0xf5: 4
            default: 0
            }
        guard length > 0, start + length <= bytes.count else { return nil }
        if length == 1 { return (Unicode.Scalar(first), 1) }
        var value = UInt32(first) & (0xff >> UInt32(length + 1))
        for i in 1..<length {
            let next = bytes[start + i]
            guard next & 0xc0 == 0x80 else { return nil }
            value = value << 6 | UInt32(next & 0x3f)
        }
        let least: [UInt32] = [0, 0, 0x80, 0x800, 0x10000]
        guard value >= least[length], let scalar = Unicode.Scalar(value) else { return nil }
        return (scalar, length)
    }

    private static func hexadecimal(_ value: UInt32, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
