// The target of a request taken apart: path and query, percent-decoded. `/v3/kv/range?x=1`, `http://host/path`, `*`.

package struct HTTPTarget: Equatable, Sendable {
    /// Decoded; begins with `/`, or is `*`. Dot segments are left as they are: routes are compared whole.
    package var path: String
    package var rawPath: String
    package var rawQuery: String

    /// Nil for what is no target (a broken escape, an authority).
    package init?(_ target: String) {
        var bytes = Array(target.utf8)[...]
        if let scheme = ["http://", "https://"].first(where: { target.lowercased().hasPrefix($0) }) {
            bytes = bytes.dropFirst(scheme.utf8.count).drop { $0 != 0x2f && $0 != 0x3f }
            if bytes.first != 0x2f { bytes = ([0x2f] + bytes)[...] }
        }
        if let fragment = bytes.firstIndex(of: 0x23) { bytes = bytes[..<fragment] }
        let split = bytes.firstIndex(of: 0x3f) ?? bytes.endIndex
        let raw = bytes[..<split]
        guard raw.first == 0x2f || Array(raw) == [0x2a], let decoded = HTTPPercent.decode(raw) else { return nil }
        path = String(decoding: decoded, as: UTF8.self)
        rawPath = String(decoding: raw, as: UTF8.self)
        rawQuery = String(decoding: bytes[split...].dropFirst(), as: UTF8.self)
    }

    /// A path without empty, `.` and `..` segments, the slash at the end kept: where etcd sends who asks for another one.
    package static func cleaned(_ path: String) -> String {
        var kept: [Substring] = []
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        for part in parts {
            switch part {
            case "", ".": continue
            case "..": _ = kept.popLast()
            default: kept.append(part)
            }
        }
        let endsWithSlash = path.hasSuffix("/") && !kept.isEmpty
        return "/" + kept.joined(separator: "/") + (endsWithSlash ? "/" : "")
    }

    /// Names and values in order; pairs with a broken escape or a `;` are left out, as Go's servers do.
    package var query: [(name: String, value: String)] {
        rawQuery.utf8.split(separator: 0x26).compactMap { pair in
            if pair.contains(0x3b) { return nil }
            let split = pair.firstIndex(of: 0x3d) ?? pair.endIndex
            guard let name = HTTPPercent.decode(pair[..<split], plusIsBlank: true),
                let value = HTTPPercent.decode(pair[split...].dropFirst(), plusIsBlank: true)
            else { return nil }
            return (String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self))
        }
    }

    package func queryValues(_ name: String) -> [String] { query.filter { $0.name == name }.map(\.value) }
}

package enum HTTPPercent {
    /// Nil when a `%` is not followed by two hexadecimal digits.
    package static func decode(_ bytes: some Collection<UInt8>, plusIsBlank: Bool = false) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        var rest = bytes.makeIterator()
        while let byte = rest.next() {
            switch byte {
            case 0x25:
                guard let first = rest.next(), let second = rest.next(), let high = BodyDecoder.hexValue(first),
                    let low = BodyDecoder.hexValue(second)
                else { return nil }
                out.append(high << 4 | low)
            case 0x2b where plusIsBlank: out.append(0x20)
            default: out.append(byte)
            }
        }
        return out
    }

    /// Everything but unreserved characters and what `keeping` lists is written as %XX.
    package static func encode(_ bytes: some Sequence<UInt8>, keeping: String = "") -> String {
        var out: [UInt8] = []
        let digits = Array("0123456789ABCDEF".utf8)
        for byte in bytes {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: out.append(byte)
            default:
                if keeping.utf8.contains(byte) {
                    out.append(byte)
                } else {
                    out += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                }
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
