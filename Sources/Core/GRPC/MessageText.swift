// The grpc-message header carries any text in printable ASCII: other bytes and `%` are written as %XX.

package enum GRPCMessageText {
    package static func encode(_ text: String) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            if (0x20...0x7e).contains(byte), byte != 0x25 {
                out.append(byte)
            } else {
                out.append(0x25)
                out.append(upperHex(byte >> 4))
                out.append(upperHex(byte & 15))
            }
        }
        return out
    }

    /// A `%` that begins no escape stands for itself; bytes that are not UTF-8 in the end are repaired, because a broken
    /// text must not hide the status it explains.
    package static func decode(_ header: some RandomAccessCollection<UInt8>) -> String {
        let bytes = Array(header)
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        var i = 0
        while i < bytes.count {
            if bytes[i] == 0x25, i + 2 < bytes.count, let high = hexValue(bytes[i + 1]),
                let low = hexValue(bytes[i + 2])
            {
                out.append(high << 4 | low)
                i += 3
            } else {
                out.append(bytes[i])
                i += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    private static func upperHex(_ digit: UInt8) -> UInt8 { digit < 10 ? 0x30 + digit : 0x41 + digit - 10 }

    private static func hexValue(_ character: UInt8) -> UInt8? {
        switch character {
        case 0x30...0x39: character - 0x30
        case 0x41...0x46: character - 0x41 + 10
        case 0x61...0x66: character - 0x61 + 10
        default: nil
        }
    }
}
