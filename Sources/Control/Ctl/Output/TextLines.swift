// Lines of output as bytes: keys and values are any bytes and go out as they are.

import Foundations

struct TextLines {
    private(set) var bytes: Bytes = []

    mutating func line(_ text: String = "") {
        bytes.append(contentsOf: text.utf8)
        bytes.append(0x0a)
    }

    mutating func line(_ text: Bytes) {
        bytes.append(contentsOf: text)
        bytes.append(0x0a)
    }

    mutating func text(_ text: String) { bytes.append(contentsOf: text.utf8) }
    mutating func raw(_ more: Bytes) { bytes.append(contentsOf: more) }
}

extension UInt64 {
    /// Lower-case hexadecimal.
    var hex: String { String(self, radix: 16) }
    /// Sixteen columns, blanks in front.
    var paddedHex: String { padded(hex, with: " ") }
    /// Sixteen digits, zeros in front.
    var fullHex: String { padded(hex, with: "0") }

    private func padded(_ text: String, with filler: Character) -> String {
        String(repeating: filler, count: Swift.max(0, 16 - text.count)) + text
    }
}

extension Int64 {
    /// With a sign in front, as other tools show and read lease ids.
    var hex: String { String(self, radix: 16) }
    /// Sixteen columns, zeros in front.
    var fullHex: String { self < 0 ? "-" + magnitude.fullHex.dropFirst() : magnitude.fullHex }
}
