// Base64 as the JSON gateway, member files and password hashes use it: standard alphabet with padding on output; on
// input strict, or lenient (URL-safe alphabet and missing padding accepted too).

package enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    package static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        append(bytes, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    package static func append(_ bytes: [UInt8], to text: inout [UInt8]) {
        text.reserveCapacity(text.count + (bytes.count + 2) / 3 * 4)
        var i = 0
        while i < bytes.count {
            let a = bytes[i]
            let b = i + 1 < bytes.count ? bytes[i + 1] : 0
            let c = i + 2 < bytes.count ? bytes[i + 2] : 0
            text.append(alphabet[Int(a >> 2)])
            text.append(alphabet[Int((a & 3) << 4 | b >> 4)])
            text.append(i + 1 < bytes.count ? alphabet[Int((b & 15) << 2 | c >> 6)] : 0x3d)
            text.append(i + 2 < bytes.count ? alphabet[Int(c & 63)] : 0x3d)
            i += 3
        }
    }

    /// Nil when the text is not base64 of the wanted strictness.
    package static func decode(_ text: some Sequence<UInt8>, lenient: Bool = false) -> [UInt8]? {
        var bytes: [UInt8] = []
        var accumulator: UInt32 = 0
        var digits = 0
        var padding = 0
        for character in text {
            let digit: UInt32
            switch character {
            case 0x41...0x5a: digit = UInt32(character - 0x41)
            case 0x61...0x7a: digit = UInt32(character - 0x61) + 26
            case 0x30...0x39: digit = UInt32(character - 0x30) + 52
            case 0x2b: digit = 62
            case 0x2f: digit = 63
            case 0x2d where lenient: digit = 62
            case 0x5f where lenient: digit = 63
            case 0x3d:
                padding += 1
                continue
            default: return nil
            }
            if padding > 0 { return nil }
            accumulator = accumulator << 6 | digit
            digits += 1
            if digits == 4 {
                bytes.append(UInt8(truncatingIfNeeded: accumulator >> 16))
                bytes.append(UInt8(truncatingIfNeeded: accumulator >> 8))
                bytes.append(UInt8(truncatingIfNeeded: accumulator))
                accumulator = 0
                digits = 0
            }
        }
        let wantedPadding = digits == 0 ? 0 : 4 - digits
        guard padding == wantedPadding || (lenient && padding == 0) else { return nil }
        switch digits {
        case 0: break
        case 2: bytes.append(UInt8(truncatingIfNeeded: accumulator >> 4))
        case 3:
            bytes.append(UInt8(truncatingIfNeeded: accumulator >> 10))
            bytes.append(UInt8(truncatingIfNeeded: accumulator >> 2))
        default: return nil
        }
        return bytes
    }
}
