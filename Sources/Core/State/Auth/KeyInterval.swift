// Key ranges as requests and grants write them, as half-open intervals, and the union of many of them.
//
//     key "a"                     ["a", "a\0")      one key
//     key "a", range_end "c"      ["a", "c")
//     key "a", range_end "\0"     ["a", infinity)
//
// Grants of one user are merged once: ["a","c") and ["c","e") become ["a","e"), so a request that spans two grants is
// allowed, and a check is one binary search.

import Foundations

package struct KeyInterval: Equatable, Sendable {
    package var start: Bytes
    /// First key that no longer belongs; nil: none, everything from `start` on belongs.
    package var end: Bytes?

    /// As written in a request: empty `rangeEnd` is one key, one zero byte is "from key". An inverted range selects no
    /// key; it is treated as its first key, so that asking for it still needs a permission.
    package init(key: RawSpan, rangeEnd: RawSpan) {
        start = Bytes(key)
        if rangeEnd.byteCount == 1 && rangeEnd[byte: 0] == 0 {
            end = nil
        } else if rangeEnd.byteCount == 0 || rangeEnd.compare(key) <= 0 {
            end = start + [0]
        } else {
            end = Bytes(rangeEnd)
        }
    }

    package init(key: Bytes, rangeEnd: Bytes = []) { self.init(key: key.rawSpan, rangeEnd: rangeEnd.rawSpan) }
}

/// Byte order, for sorting keys and names.
func precedes(_ a: Bytes, _ b: Bytes) -> Bool { a.rawSpan.compare(b.rawSpan) < 0 }

/// A set of keys made of intervals.
struct KeyIntervalSet {
    /// Sorted by start, disjoint and not touching each other.
    private(set) var intervals: [KeyInterval] = []

    init(_ parts: [KeyInterval]) {
        let sorted = parts.sorted { precedes($0.start, $1.start) }
        for part in sorted {
            guard var last = intervals.popLast() else {
                intervals.append(part)
                continue
            }
            guard let end = last.end else {
                intervals.append(last)
                break
            }
            if part.start.rawSpan.compare(end.rawSpan) <= 0 {
                if let partEnd = part.end {
                    if partEnd.rawSpan.compare(end.rawSpan) > 0 { last.end = partEnd }
                } else {
                    last.end = nil
                }
                intervals.append(last)
            } else {
                intervals.append(last)
                intervals.append(part)
            }
        }
    }

    /// The whole range a request names belongs to the set. Does not allocate.
    func contains(key: RawSpan, rangeEnd: RawSpan) -> Bool {
        var low = 0
        var high = intervals.count
        while low < high {
            let middle = (low + high) / 2
            let start = intervals[middle].start
            if start.rawSpan.compare(key) <= 0 { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return false }
        // The only interval that can hold `key`.
        guard let end = intervals[low - 1].end else { return true }
        let isFromKey = rangeEnd.byteCount == 1 && rangeEnd[byte: 0] == 0
        if isFromKey { return false }
        let isOneKey = rangeEnd.byteCount == 0 || rangeEnd.compare(key) <= 0
        // For one key: the next possible key is key + "\0", which is <= end exactly when key < end.
        return isOneKey ? key.compare(end.rawSpan) < 0 : rangeEnd.compare(end.rawSpan) <= 0
    }
}
