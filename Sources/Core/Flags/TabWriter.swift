// Columns by elastic tabs, as etcdctl's help lays them out: cells end in a tab, a column is as wide as its widest cell in
// a run of consecutive lines, rounded up to the next multiple of eight, and filled with tabs.

package struct TabWriter: Sendable {
    private let tabWidth = 8
    private let padding = 1

    package init() {}

    package func format(_ text: String) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        }
        var widths = lines.map { _ in [Int]() }
        measure(lines, 0..<lines.count, column: 0, into: &widths)
        return zip(lines, widths).map { cells, widths in
            var out = ""
            for (i, cell) in cells.enumerated() {
                out += cell
                guard i < cells.count - 1 else { break }
                let missing = widths[i] - cell.count
                out += String(repeating: "\t", count: max(1, (missing + tabWidth - 1) / tabWidth))
            }
            return out
        }.joined(separator: "\n")
    }

    /// A column exists where lines have a cell that a tab ends.
    private func measure(_ lines: [[String]], _ range: Range<Int>, column: Int, into widths: inout [[Int]]) {
        var start = range.lowerBound
        while start < range.upperBound {
            guard lines[start].count > column + 1 else {
                start += 1
                continue
            }
            var end = start
            var widest = 0
            while end < range.upperBound && lines[end].count > column + 1 {
                widest = max(widest, lines[end][column].count + padding)
                end += 1
            }
            let rounded = (widest + tabWidth - 1) / tabWidth * tabWidth
            for line in start..<end { widths[line].append(rounded) }
            measure(lines, start..<end, column: column + 1, into: &widths)
            start = end
        }
    }
}
