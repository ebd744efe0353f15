// Names of log segments and snapshot files: hexadecimal numbers of fixed width, so that the order of names is the order
// of the log.

import Foundations

/// `<sequence>-<first index>.wal`: the first index is that of the first entry written after the segment was opened.
package struct SegmentName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var sequence: UInt64
    package var firstIndex: LogIndex

    package init(sequence: UInt64, firstIndex: LogIndex) {
        self.sequence = sequence
        self.firstIndex = firstIndex
    }

    /// Nil for anything that is not a segment's name (spare `.tmp` files, `.broken` copies).
    package init?(_ name: String) {
        guard let numbers = parseNumbers(name, suffix: ".wal") else { return nil }
        self.init(sequence: numbers.0, firstIndex: numbers.1)
    }

    package static func < (a: SegmentName, b: SegmentName) -> Bool {
        (a.sequence, a.firstIndex) < (b.sequence, b.firstIndex)
    }

    package var description: String { hex16(sequence) + "-" + hex16(firstIndex) + ".wal" }
}

/// `<term>-<index>.snap`.
package struct SnapName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var term: Term
    package var index: LogIndex

    package init(term: Term, index: LogIndex) {
        self.term = term
        self.index = index
    }

    package init?(_ name: String) {
        guard let numbers = parseNumbers(name, suffix: ".snap") else { return nil }
        self.init(term: numbers.0, index: numbers.1)
    }

    package static func < (a: SnapName, b: SnapName) -> Bool { (a.term, a.index) < (b.term, b.index) }

    package var description: String { hex16(term) + "-" + hex16(index) + ".snap" }
}

/// Sixteen hexadecimal digits, lower case.
package func hex16(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

private func parseNumbers(_ name: String, suffix: String) -> (UInt64, UInt64)? {
    guard name.hasSuffix(suffix) else { return nil }
    let parts = name.dropLast(suffix.count).split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 16 && !$0.hasPrefix("+") && !$0.hasPrefix("-") }),
        let first = UInt64(parts[0], radix: 16), let second = UInt64(parts[1], radix: 16)
    else { return nil }
    return (first, second)
}
