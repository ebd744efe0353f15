// Durations in Go's notation: "300ms", "1h30m", "1.5s", "-2us". Nanoseconds in an Int64, which is what the file formats
// and the environment carry too.

package enum GoDuration {
    /// The message of a refused duration, e.g. `time: missing unit in duration "5"`.
    package struct ParseError: Error, Equatable, Sendable, CustomStringConvertible {
        package var description: String
    }

    package static let second: Int64 = 1_000_000_000
    package static let millisecond: Int64 = 1_000_000

    package static func parse(_ text: String) throws(ParseError) -> Int64 {
        let invalid = ParseError(description: "time: invalid duration \(GoText.quote(text))")
        var rest = Array(text.utf8)[...]
        var negative = false
        if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
            negative = sign == UInt8(ascii: "-")
            rest = rest.dropFirst()
        }
        if rest.elementsEqual("0".utf8) { return 0 }
        guard !rest.isEmpty else { throw invalid }
        var total: UInt64 = 0
        while !rest.isEmpty {
            let (whole, wholeDigits) = takeDigits(&rest)
            guard let whole else { throw invalid }
            var fraction: UInt64 = 0
            var scale = 1.0
            var fractionDigits = 0
            if rest.first == UInt8(ascii: ".") {
                rest = rest.dropFirst()
                (fraction, scale, fractionDigits) = takeFraction(&rest)
            }
            guard wholeDigits + fractionDigits > 0 else { throw invalid }
            let unitBytes = rest.prefix { $0 != UInt8(ascii: ".") && !(0x30...0x39).contains($0) }
            rest = rest.dropFirst(unitBytes.count)
            let unit = String(decoding: unitBytes, as: UTF8.self)
            guard !unit.isEmpty else {
                throw ParseError(description: "time: missing unit in duration \(GoText.quote(text))")
            }
            guard let size = units[unit] else {
                throw ParseError(
                    description: "time: unknown unit \(GoText.quote(unit)) in duration \(GoText.quote(text))")
            }
            let (product, overflow) = whole.multipliedReportingOverflow(by: size)
            guard !overflow else { throw invalid }
            let part = product &+ UInt64(Double(fraction) * (Double(size) / scale))
            let (sum, overflow2) = total.addingReportingOverflow(part)
            guard !overflow2, sum <= 1 << 63 else { throw invalid }
            total = sum
        }
        if negative { return total == 1 << 63 ? Int64.min : -Int64(total) }
        guard total <= UInt64(Int64.max) else { throw invalid }
        return Int64(total)
    }

    private static let units: [String: UInt64] = [
        "ns": 1, "us": 1000, "\u{b5}s": 1000, "\u{3bc}s": 1000, "ms": 1_000_000, "s": 1_000_000_000,
        "m": 60_000_000_000, "h": 3_600_000_000_000,
    ]

    /// Nil as the value on overflow.
    private static func takeDigits(_ rest: inout ArraySlice<UInt8>) -> (UInt64?, Int) {
        var value: UInt64? = 0
        var count = 0
        while let digit = rest.first, (0x30...0x39).contains(digit) {
            if let known = value {
                let (product, over1) = known.multipliedReportingOverflow(by: 10)
                let (sum, over2) = product.addingReportingOverflow(UInt64(digit - 0x30))
                value = over1 || over2 || sum > 1 << 63 ? nil : sum
            }
            count += 1
            rest = rest.dropFirst()
        }
        return (value, count)
    }

    /// Digits beyond what fits are read and do not count.
    private static func takeFraction(_ rest: inout ArraySlice<UInt8>) -> (UInt64, Double, Int) {
        var value: UInt64 = 0
        var scale = 1.0
        var count = 0
        while let digit = rest.first, (0x30...0x39).contains(digit) {
            if value < (1 << 63) / 10 - 10 {
                value = value * 10 + UInt64(digit - 0x30)
                scale *= 10
            }
            count += 1
            rest = rest.dropFirst()
        }
        return (value, scale, count)
    }

    /// `1h30m0s`, `5s`, `300ms`, `1.5s`, `0s`.
    package static func format(_ nanoseconds: Int64) -> String {
        let magnitude = nanoseconds.magnitude
        let sign = nanoseconds < 0 ? "-" : ""
        if magnitude == 0 { return "0s" }
        if magnitude < 1_000 { return sign + "\(magnitude)ns" }
        if magnitude < 1_000_000 { return sign + decimal(magnitude, per: 1_000) + "\u{b5}s" }
        if magnitude < 1_000_000_000 { return sign + decimal(magnitude, per: 1_000_000) + "ms" }
        let minutes = magnitude / 60_000_000_000
        let seconds = decimal(magnitude % 60_000_000_000, per: 1_000_000_000) + "s"
        if minutes == 0 { return sign + seconds }
        if minutes < 60 { return sign + "\(minutes)m" + seconds }
        return sign + "\(minutes / 60)h\(minutes % 60)m" + seconds
    }

    /// A quotient with its exact decimal fraction, trailing zeros dropped.
    private static func decimal(_ value: UInt64, per unit: UInt64) -> String {
        var fraction = String(unit + value % unit).dropFirst()
        while fraction.last == "0" { fraction = fraction.dropLast() }
        return fraction.isEmpty ? "\(value / unit)" : "\(value / unit).\(fraction)"
    }
}
