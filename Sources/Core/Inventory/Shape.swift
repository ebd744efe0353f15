// What a setting may be. One definition serves validation, defaults, the JSON Schema and the explanation of a key.

import Flags

package indirect enum Shape: Sendable {
    case text(TextRule)
    case choice([String])
    case flag
    case integer(ClosedRange<Int64>)
    /// Bytes.
    case size(ClosedRange<Int64>)
    /// Nanoseconds.
    case duration(ClosedRange<Int64>)
    case fraction(ClosedRange<Double>)
    case list(Shape, countMax: Int)
    /// Keys of the person's choosing.
    case table(key: TextRule, Shape, count: ClosedRange<Int>)
    case record([Setting])
    /// A record that may be written as the value of one of its settings alone: `kv1: 10.0.0.11`.
    case short(String, [Setting])

    /// In messages and explanations: `1 to 65535`, `one of: a, b`.
    package var allowed: String {
        switch self {
        case .text(let rule): rule.allowed
        case .choice(let words): words.count == 1 ? words[0] : "one of: " + words.joined(separator: ", ")
        case .flag: "true or false"
        case .integer(let range): "\(range.lowerBound) to \(range.upperBound)"
        case .size(let range): "\(SizeText.format(range.lowerBound)) to \(SizeText.format(range.upperBound))"
        case .duration(let range):
            "\(DurationText.format(range.lowerBound)) to \(DurationText.format(range.upperBound))"
        case .fraction(let range): "\(range.lowerBound) to \(range.upperBound)"
        case .list(let element, let countMax): "a list of at most \(countMax), each: \(element.allowed)"
        case .table(let key, let value, _): "a group; keys: \(key.allowed); values: \(value.allowed)"
        case .record(let settings): "a group with the keys " + settings.map(\.name).sorted().joined(separator: ", ")
        case .short(let key, let settings):
            "\(settings.first { $0.name == key }?.shape.allowed ?? key), or a group with the keys "
                + settings.map(\.name).sorted().joined(separator: ", ")
        }
    }

    var settings: [Setting]? {
        switch self {
        case .record(let settings), .short(_, let settings): settings
        default: nil
        }
    }
}

/// One key: what it may be, what it is when nobody says, and what it does.
package struct Setting: Sendable {
    package var name: String
    package var shape: Shape
    /// As it would be written; nil when there is none.
    package var defaultText: String?
    /// Where the default comes from when it is another key's value.
    package var follows: String?
    package var isRequired: Bool
    package var summary: String
    /// What it becomes: flags of the server, directives of a unit. For the explanation.
    package var becomes: String
    /// Checked and kept, but nothing acts on it in this version: to set it earns a warning.
    package var isPending: Bool

    package init(
        _ name: String, _ shape: Shape, default defaultText: String? = nil, follows: String? = nil,
        required isRequired: Bool = false, becomes: String = "", pending isPending: Bool = false, _ summary: String
    ) {
        self.name = name
        self.shape = shape
        self.defaultText = defaultText
        self.follows = follows
        self.isRequired = isRequired
        self.becomes = becomes
        self.isPending = isPending
        self.summary = summary
    }
}

/// A kind of text: what it is called, which texts it takes, as a rule and as a pattern for JSON Schema.
package struct TextRule: Sendable {
    package var name: String
    package var allowed: String
    package var pattern: String?
    package var accepts: @Sendable (String) -> Bool

    package init(_ name: String, allowed: String, pattern: String? = nil, accepts: @escaping @Sendable (String) -> Bool) {
        self.name = name
        self.allowed = allowed
        self.pattern = pattern
        self.accepts = accepts
    }

    static let any = TextRule("text", allowed: "text of at most 1024 characters") { $0.utf8.count <= 1024 }

    /// Names of clusters, hosts, zones: they become file names, unit names and certificate names.
    static let name = TextRule(
        "name", allowed: "lower-case letters, digits and dashes, a letter first, at most 40 characters",
        pattern: "^[a-z][a-z0-9-]{0,38}[a-z0-9]$|^[a-z]$"
    ) { text in
        let bytes = Array(text.utf8)
        guard let first = bytes.first, let last = bytes.last, bytes.count <= 40 else { return false }
        return isLower(first) && last != 0x2d && bytes.allSatisfy { isLower($0) || isDigit($0) || $0 == 0x2d }
    }

    /// An IP address or a DNS name, without port.
    static let address = TextRule("address", allowed: "an IP address or a DNS name, without a port") {
        AddressText.isIP($0) || AddressText.isDNSName($0)
    }

    static let path = TextRule(
        "path", allowed: "an absolute path below /, without . and .. parts", pattern: "^/[^/].*"
    ) { text in
        let parts = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        return text.hasPrefix("/") && text.utf8.count <= 512
            && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
            && !text.unicodeScalars.contains { $0.value < 0x21 || $0 == "%" || $0 == "\"" || $0 == "\\" || $0 == "$" }
    }

    static let cidr = TextRule("network", allowed: "an IP network such as 10.0.0.0/24") { text in
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, AddressText.isIP(parts[0]), let bits = UInt8(parts[1]) else { return false }
        return bits <= (parts[0].contains(":") ? 128 : 32)
    }

    private static func isLower(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) }
    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
}

/// Addresses as text. No resolver: this ring asks nobody.
package enum AddressText {
    package static func isIP(_ text: String) -> Bool { isIPv4(text) || isIPv6(text) }

    package static func isLoopback(_ text: String) -> Bool {
        text == "localhost" || text == "::1" || (isIPv4(text) && text.hasPrefix("127."))
    }

    /// Listening there is listening on every address; nobody can connect to it by that name.
    package static func isWildcard(_ text: String) -> Bool { text == "0.0.0.0" || text == "::" }

    static func isIPv4(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { part in
                part.count <= 3 && part.utf8.allSatisfy { (0x30...0x39).contains($0) } && UInt8(part) != nil
                    && (part.count == 1 || part.first != "0")
            }
    }

    static func isIPv6(_ text: String) -> Bool {
        guard text.contains(":"), text.utf8.count <= 45 else { return false }
        var groups = 0
        let halves = split(text, by: "::")
        guard halves.count <= 2 else { return false }
        for (i, half) in halves.enumerated() where !half.isEmpty {
            let parts = half.split(separator: ":", omittingEmptySubsequences: false)
            for (j, part) in parts.enumerated() {
                let isLast = i == halves.count - 1 && j == parts.count - 1
                if isLast && isIPv4(String(part)) {
                    groups += 2
                } else if !part.isEmpty, part.count <= 4, UInt16(part, radix: 16) != nil, part.first != "+" {
                    groups += 1
                } else {
                    return false
                }
            }
        }
        return halves.count == 2 ? groups < 8 : groups == 8
    }

    private static func split(_ text: String, by separator: String) -> [Substring] {
        var found: [Substring] = []
        var rest = text[...]
        while true {
            var at = rest.startIndex
            while at < rest.endIndex, !rest[at...].hasPrefix(separator) { at = rest.index(after: at) }
            found.append(rest[..<at])
            if at == rest.endIndex { return found }
            rest = rest[rest.index(at, offsetBy: separator.count)...]
        }
    }

    static func isDNSName(_ text: String) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard !text.isEmpty, text.utf8.count <= 253 else { return false }
        // All digits and dots is an address that is none.
        if text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2e }) { return false }
        return labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                && label.utf8.allSatisfy { byte in
                    switch byte {
                    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d: true
                    default: false
                    }
                }
        }
    }

    /// With brackets around an IPv6 address, as in a URL.
    package static func inURL(_ address: String) -> String { isIPv6(address) ? "[\(address)]" : address }
}
