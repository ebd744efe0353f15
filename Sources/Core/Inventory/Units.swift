// Sizes and durations as people write them in an inventory: `8GiB`, `512MB`, `100ms`, `1h30m`, `30d`, `10y`.

import Flags

package enum SizeText {
    private static let units: [(name: String, bytes: Int64)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("KB", 1_000), ("B", 1),
    ]

    static let pattern = "^[0-9]+ ?([KMGT]iB|[kKMGT]?B)?$"

    /// Bytes; nil for what is no size. A number alone is bytes.
    package static func parse(_ text: String) -> Int64? {
        let unit = units.first { text.hasSuffix($0.name) }
        var digits = text.dropLast(unit?.name.count ?? 0)
        if digits.last == " " { digits = digits.dropLast() }
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int64(digits) else {
            return nil
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit?.bytes ?? 1)
        return overflow ? nil : bytes
    }

    /// The largest unit that fits exactly: `8GiB`, `1536MiB`, `1000B`.
    package static func format(_ bytes: Int64) -> String {
        for unit in units where unit.name.hasSuffix("iB") && bytes >= unit.bytes && bytes % unit.bytes == 0 {
            return "\(bytes / unit.bytes)\(unit.name)"
        }
        return "\(bytes)B"
    }
}

package enum DurationText {
    static let day: Int64 = 86_400 * GoDuration.second
    private static let long: [(name: Character, nanoseconds: Int64)] = [("y", 365 * day), ("w", 7 * day), ("d", day)]

    static let pattern = "^([0-9]+(y|w|d))*([0-9]+(\\.[0-9]+)?(h|m|s|ms|us))*$"

    /// Nanoseconds; nil for what is no duration. Go's notation, with years (365 days), weeks and days in front.
    package static func parse(_ text: String) -> Int64? {
        var rest = text[...]
        var total: Int64 = 0
        var found = false
        while let end = rest.firstIndex(where: { !($0.isASCII && $0.isNumber) }), end > rest.startIndex,
            let unit = long.first(where: { $0.name == rest[end] }), let number = Int64(rest[..<end])
        {
            let (part, over1) = number.multipliedReportingOverflow(by: unit.nanoseconds)
            let (sum, over2) = total.addingReportingOverflow(part)
            if over1 || over2 { return nil }
            total = sum
            found = true
            rest = rest[rest.index(after: end)...]
        }
        if rest.isEmpty { return found ? total : nil }
        // The reason is not lost: the caller says what a duration looks like.
        guard let first = rest.first, first.isASCII, first.isNumber, let more = try? GoDuration.parse(String(rest))
        else {
            return nil
        }
        let (sum, overflow) = total.addingReportingOverflow(more)
        return overflow ? nil : sum
    }

    /// `30d`, `1h`, `1h30m`, `100ms`.
    package static func format(_ nanoseconds: Int64) -> String {
        if nanoseconds == 0 { return "0s" }
        for unit in long
        where nanoseconds >= unit.nanoseconds && nanoseconds % unit.nanoseconds == 0 && unit.name != "w" {
            return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
        }
        var text = GoDuration.format(nanoseconds)
        if text.hasSuffix("m0s") { text.removeLast(2) }
        if text.hasSuffix("h0m") { text.removeLast(2) }
        return text
    }
}
