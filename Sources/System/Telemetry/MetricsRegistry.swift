// All families of a process and their text for a scrape (exposition format 0.0.4): families by name, children by label
// values, labels by name.

import Foundations
import Linux

package final class MetricsRegistry: Sendable {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private enum Source: Sendable {
        case counter(Labelled<Counter>)
        case gauge(Labelled<Gauge>)
        case histogram(Labelled<Histogram>)
        case read(@Sendable () -> [Sample])
    }

    /// A value read at the time of a scrape.
    package struct Sample: Sendable {
        package var labels: [(name: String, value: String)]
        package var value: Double

        package init(_ value: Double, _ labels: [(name: String, value: String)] = []) {
            self.value = value
            self.labels = labels
        }
    }

    private struct Family: Sendable {
        var name: String
        var help: String
        var type: String
        var source: Source
    }

    private let families = Mutex<[Family]>([])

    package init() {}

    // MARK: Declaring

    package func counter(_ name: String, _ help: String) -> Counter { counters(name, help, []).child([]) }
    package func gauge(_ name: String, _ help: String) -> Gauge { gauges(name, help, []).child([]) }
    package func histogram(_ name: String, _ help: String, _ bounds: [Double]) -> Histogram {
        histograms(name, help, [], bounds).child([])
    }

    package func counters(_ name: String, _ help: String, _ labels: [String]) -> Labelled<Counter> {
        let family = Labelled(labels) { Counter() }
        add(Family(name: name, help: help, type: "counter", source: .counter(family)))
        return family
    }

    package func gauges(_ name: String, _ help: String, _ labels: [String]) -> Labelled<Gauge> {
        let family = Labelled(labels) { Gauge() }
        add(Family(name: name, help: help, type: "gauge", source: .gauge(family)))
        return family
    }

    package func histograms(
        _ name: String, _ help: String, _ labels: [String], _ bounds: [Double]
    ) -> Labelled<Histogram> {
        let family = Labelled(labels) { Histogram(bounds) }
        add(Family(name: name, help: help, type: "histogram", source: .histogram(family)))
        return family
    }

    /// A family whose values are read when somebody asks. `type` is "counter" or "gauge".
    package func read(
        _ name: String, _ help: String, type: String = "gauge", _ body: @escaping @Sendable () -> [Sample]
    ) {
        add(Family(name: name, help: help, type: type, source: .read(body)))
    }

    private func add(_ family: Family) {
        families.withLock { families in
            invariant(!families.contains { $0.name == family.name }, "metric \(family.name) is declared twice")
            families.append(family)
            families.sort { $0.name < $1.name }
        }
    }

    // MARK: Exposition

    /// Families that have nothing to show yet are left out.
    package func exposition() -> Bytes {
        var out: Bytes = []
        for family in families.withLock({ $0 }) {
            var lines: Bytes = []
            switch family.source {
            case .counter(let labelled):
                for (_, child, head) in labelled.lines({ self.head(family.name, labelled.labels, $0) }) {
                    lines += head
                    let value = child.value
                    lines += (value < 1_000_000 ? String(value) : MetricNumber.text(Double(value))).utf8
                    lines.append(0x0a)
                }
            case .gauge(let labelled):
                for (_, child, head) in labelled.lines({ self.head(family.name, labelled.labels, $0) }) {
                    lines += head
                    lines += MetricNumber.text(child.value).utf8
                    lines.append(0x0a)
                }
            case .histogram(let labelled):
                for (values, child, _) in labelled.lines({ _ in [] }) {
                    append(child, family.name, pairs(labelled.labels, values), to: &lines)
                }
            case .read(let body):
                for sample in body() {
                    let labels = sample.labels.sorted { $0.name < $1.name }
                    append(family.name, labels, MetricNumber.text(sample.value), to: &lines)
                }
            }
            if lines.isEmpty { continue }
            out += "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.type)\n".utf8
            out += lines
        }
        return out
    }

    private func pairs(_ names: [String], _ values: [String]) -> [(name: String, value: String)] {
        zip(names, values).map { ($0, $1) }.sorted { $0.0 < $1.0 }
    }

    private func head(_ name: String, _ labels: [String], _ values: [String]) -> Bytes {
        var head: Bytes = []
        appendHead(name, pairs(labels, values), to: &head)
        return head
    }

    private func append(
        _ name: String, _ labels: [(name: String, value: String)], _ value: String, to out: inout Bytes
    ) {
        appendHead(name, labels, to: &out)
        out += value.utf8
        out.append(0x0a)
    }

    private func appendHead(_ name: String, _ labels: [(name: String, value: String)], to out: inout Bytes) {
        out += name.utf8
        if !labels.isEmpty {
            out.append(UInt8(ascii: "{"))
            for (i, label) in labels.enumerated() {
                if i > 0 { out.append(UInt8(ascii: ",")) }
                out += label.name.utf8
                out += "=\"".utf8
                for byte in label.value.utf8 {
                    switch byte {
                    case UInt8(ascii: "\\"): out += "\\\\".utf8
                    case UInt8(ascii: "\""): out += "\\\"".utf8
                    case 0x0a: out += "\\n".utf8
                    default: out.append(byte)
                    }
                }
                out.append(UInt8(ascii: "\""))
            }
            out.append(UInt8(ascii: "}"))
        }
        out.append(UInt8(ascii: " "))
    }

    private func append(
        _ histogram: Histogram, _ name: String, _ labels: [(name: String, value: String)], to out: inout Bytes
    ) {
        let (counts, sum) = histogram.snapshot
        for (i, count) in counts.enumerated() {
            let bound = i < histogram.bounds.count ? MetricNumber.text(histogram.bounds[i]) : "+Inf"
            append(name + "_bucket", labels + [("le", bound)], String(count), to: &out)
        }
        append(name + "_sum", labels, MetricNumber.text(sum), to: &out)
        append(name + "_count", labels, String(counts.last ?? 0), to: &out)
    }
}

/// Floating point numbers as Go's `%g` writes them: shortest, exponent below 1e-4 and from 1e+06 on.
package enum MetricNumber {
    package static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if value == 0 { return "0" }
        let (digits, exponent) = shortest(value.magnitude)
        let sign = value < 0 ? "-" : ""
        if exponent < -4 || exponent >= 6 {
            let rest = digits.dropFirst()
            let power = exponent.magnitude < 10 ? "0\(exponent.magnitude)" : "\(exponent.magnitude)"
            return sign + String(digits.first!) + (rest.isEmpty ? "" : "." + rest) + "e" + (exponent < 0 ? "-" : "+")
                + power
        }
        if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
        if digits.count <= exponent + 1 {
            return sign + digits + String(repeating: "0", count: exponent + 1 - digits.count)
        }
        let point = digits.index(digits.startIndex, offsetBy: exponent + 1)
        return sign + digits[..<point] + "." + digits[point...]
    }

    /// The digits without leading or trailing zeros, and the power of ten of the first one.
    private static func shortest(_ value: Double) -> (String, Int) {
        let text = "\(value)"
        let parts = text.split(separator: "e")
        let shift = parts.count == 2 ? Int(parts[1]) ?? 0 : 0
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let whole = String(mantissa[0])
        let fraction = mantissa.count > 1 ? String(mantissa[1]) : ""
        var digits = (whole + fraction)[...]
        var exponent = whole.count - 1 + shift
        while digits.first == "0" && digits.count > 1 {
            digits = digits.dropFirst()
            exponent -= 1
        }
        while digits.last == "0" && digits.count > 1 { digits = digits.dropLast() }
        return (String(digits), exponent)
    }
}
