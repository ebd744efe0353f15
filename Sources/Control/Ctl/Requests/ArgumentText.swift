// Arguments are bytes, our words are text. Bytes that are not UTF-8 travel through the parser as scalars of a private
// plane and come out as they were, so that any key can be named on a command line.

import Foundations

package enum ArgumentText {
    /// U+10FF00 + byte; nobody types these.
    private static let base: UInt32 = 0x10FF00

    package static func text(of bytes: some Collection<UInt8>) -> String {
        if let text = String(validating: Bytes(bytes), as: UTF8.self) { return text }
        var text = String.UnicodeScalarView()
        var rest = Bytes(bytes)[...]
        while let first = rest.first {
            let length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
            if length <= rest.count, let scalar = String(validating: Bytes(rest.prefix(length)), as: UTF8.self) {
                text.append(contentsOf: scalar.unicodeScalars)
                rest = rest.dropFirst(length)
            } else {
                text.append(Unicode.Scalar(base + UInt32(first))!)
                rest = rest.dropFirst()
            }
        }
        return String(text)
    }

    package static func bytes(of text: String) -> Bytes {
        var bytes: Bytes = []
        for scalar in text.unicodeScalars {
            if scalar.value >= base, scalar.value < base + 0x100 {
                bytes.append(UInt8(scalar.value - base))
            } else {
                bytes.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
        return bytes
    }
}
