// Boxes of `+---+`: titles in capitals and centred, cells to the right, long cells broken at blanks.
//
//     +-----------------+------------+
//     |    ENDPOINT     |    HASH    |
//     +-----------------+------------+
//     | 127.0.0.1:23790 | 1084519789 |
//     +-----------------+------------+

package struct AsciiTable {
    /// Cells are broken into lines of this width where their words allow it.
    private static let wrapWidth = 30

    private let header: [String]
    private let rows: [[[String]]]
    private let widths: [Int]

    package init(_ header: [String], _ rows: [[String]]) {
        let cells = rows.map { row in row.map { AsciiTable.wrapped($0, width: AsciiTable.wrapWidth) } }
        self.header = header.map { $0.uppercased() }
        self.rows = cells
        widths = header.indices.map { column in
            // A cell that had to be broken takes the whole width that breaking was for.
            let uncut = rows.map { min(AsciiTable.width($0[column]), AsciiTable.wrapWidth) }
            let lines = cells.flatMap { $0[column] } + [header[column]]
            return (lines.map(AsciiTable.width) + uncut).max() ?? 0
        }
    }

    package var text: String {
        let rule = "+" + widths.map { String(repeating: "-", count: $0 + 2) + "+" }.joined() + "\n"
        let titles = zip(header, widths).map { AsciiTable.centred($0, $1) }
        var out = rule + AsciiTable.line(titles) + rule
        for row in rows {
            let height = row.map(\.count).max() ?? 1
            for i in 0..<height {
                out += AsciiTable.line(zip(row, widths).map { AsciiTable.right(i < $0.count ? $0[i] : "", $1) })
            }
        }
        return rows.isEmpty ? out : out + rule
    }

    private static func line(_ cells: [String]) -> String { "|" + cells.map { " \($0) |" }.joined() + "\n" }

    private static func right(_ text: String, _ width: Int) -> String { blanks(width - self.width(text)) + text }

    /// An odd blank goes to the right.
    private static func centred(_ text: String, _ width: Int) -> String {
        let missing = width - self.width(text)
        return blanks(missing / 2) + text + blanks(missing - missing / 2)
    }

    private static func blanks(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }

    private static func width(_ text: String) -> Int { text.unicodeScalars.count }

    // MARK: Breaking lines

    /// Lines of at most `width` where the words allow, such that the squares of what is left free are least in sum; the
    /// last line is free of charge. A text that fits is one line.
    static func wrapped(_ text: String, width: Int) -> [String] {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "\n" }, keepingEmpty: true)
        let limit = max(min(self.width(text), width), words.map(self.width).max() ?? 0)
        guard self.width(text) > limit else { return [words.joined(separator: " ")] }
        var cost = [Int](repeating: 0, count: words.count + 1)
        var next = [Int](repeating: words.count, count: words.count)
        for start in stride(from: words.count - 1, through: 0, by: -1) {
            let rest = length(words[start...])
            if rest <= limit { continue }
            cost[start] = Int.max
            for end in start + 1..<words.count {
                let free = limit - length(words[start..<end])
                let price = free * free + cost[end] + (free < 0 ? 100_000 : 0)
                if price < cost[start] { (cost[start], next[start]) = (price, end) }
            }
        }
        var lines: [String] = []
        var start = 0
        while start < words.count {
            lines.append(words[start..<next[start]].joined(separator: " "))
            start = next[start]
        }
        return lines
    }

    private static func length(_ words: ArraySlice<String>) -> Int {
        words.reduce(0) { $0 + width($1) } + max(0, words.count - 1)
    }
}

extension String {
    fileprivate func split(whereSeparator isSeparator: (Character) -> Bool, keepingEmpty: Bool) -> [String] {
        split(omittingEmptySubsequences: !keepingEmpty, whereSeparator: isSeparator).map(String.init)
    }
}
