// What was measured, and the table of it.

import Foundations
import Glibc

/// What one load of one server came to, or several of them.
struct Outcome {
    /// Of each round.
    var rates: [Double] = []
    var count = 0
    var cpu = 0.0
    var latencies = Latencies()

    /// The best round's: whatever else the machine did, it only took away.
    var rate: Double { rates.max() ?? 0 }
    var cpuPer100k: Double { count == 0 ? 0 : cpu * 100_000 / Double(count) }

    mutating func merge(_ other: Outcome) {
        rates += other.rates
        count += other.count
        cpu += other.cpu
        latencies.add(other.latencies)
    }
}

/// One line of the table: the same quantity of both servers.
struct Figure {
    var name: String
    var unit: String
    var ours: Double
    var theirs: Double
    var isBetterHigh = false
    /// How many times better it is to be.
    var target: Double?
    /// What ours is to be at most, whatever theirs is.
    var limit: Double?

    /// How many times better ours is.
    var ratio: Double { isBetterHigh ? ours / theirs : theirs / ours }
}

final class Report {
    private var rows: [(title: String, figures: [Figure])] = []
    private var notes: [String] = []
    private let etcd: String

    init(etcd: String) { self.etcd = etcd }

    func add(_ title: String, _ figures: [Figure]) {
        if rows.isEmpty {
            print(Report.line(["", "", "covey", etcd, "x", "target"]))
        }
        rows.append((title, figures))
        print(title)
        for figure in figures { print(Report.line(["  " + figure.name] + Report.cells(figure))) }
        // Also when it goes into a file or a pipe.
        fflush(nil)
    }

    func note(_ text: String) {
        notes.append(text)
        print("  (\(text))")
    }

    /// The table, machine and notes in Markdown.
    func markdown(_ command: String) -> String {
        var text = "\(Report.machine)  \nCommand: `\(command)`. Ratios say how many times better Covey is.\n\n"
        text += "| | unit | Covey | \(etcd) | ratio | target |\n|---|---|---:|---:|---:|---:|\n"
        for (title, figures) in rows {
            text += "| **\(title)** | | | | | |\n"
            for figure in figures {
                text += "| \(figure.name) | " + Report.cells(figure).joined(separator: " | ") + " |\n"
            }
        }
        if !notes.isEmpty { text += "\n" + notes.map { "- \($0)\n" }.joined() }
        return text
    }

    private static func cells(_ figure: Figure) -> [String] {
        let digits = min(figure.ours, figure.theirs) < 10 ? 2 : min(figure.ours, figure.theirs) < 1000 ? 1 : 0
        return [
            figure.unit, fixed(figure.ours, digits), fixed(figure.theirs, digits), fixed(figure.ratio, 1),
            figure.target.map(short) ?? figure.limit.map { "<= \(short($0))" } ?? "",
        ]
    }

    private static func short(_ number: Double) -> String { fixed(number, number == number.rounded() ? 0 : 1) }

    private static func line(_ cells: [String]) -> String {
        let widths = [44, 10, 12, 12, 8, 8]
        return zip(cells, widths).enumerated()
            .map { $0 < 2 ? $1.0 + spaces($1.1 - $1.0.count) : spaces($1.1 - $1.0.count) + $1.0 }.joined()
    }

    static var machine: String {
        var model = ""
        for line in contents("/proc/cpuinfo").split(separator: "\n") where line.hasPrefix("model name") {
            model = String(line.drop { $0 != ":" }.dropFirst(2))
            break
        }
        var memory = 0.0
        for line in contents("/proc/meminfo").split(separator: "\n") where line.hasPrefix("MemTotal:") {
            memory = (Double(line.split(separator: " ")[1]) ?? 0) / 1_048_576
        }
        let kernel = contents("/proc/sys/kernel/osrelease").split(separator: "\n").first ?? ""
        let load = contents("/proc/loadavg").split(separator: " ").first ?? ""
        return "Machine: \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) x \(model), \(fixed(memory, 0)) GiB, Linux \(kernel), "
            + "load average \(load) at the end."
    }
}

func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }

func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "-" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let text = "\(Int((value * scale).rounded()))"
    if digits == 0 { return text }
    let filled = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    return filled.dropLast(digits) + "." + filled.suffix(digits)
}
