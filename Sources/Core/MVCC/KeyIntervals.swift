// A set of keys as sorted half-open intervals that do not touch: what a transaction deletes. Bounds are compared
// literally, so an end that is not after its key covers nothing (also the end that elsewhere means "open").

struct KeyIntervals {
    private var starts: [[UInt8]] = []
    private var ends: [[UInt8]] = []

    var isEmpty: Bool { starts.isEmpty }

    /// Adds [key, end), or the one key when the end is empty.
    mutating func insert(_ key: [UInt8], end: [UInt8]) {
        let end = end.isEmpty ? key + [0] : end
        if key.compare(end) >= 0 { return }
        var one = KeyIntervals()
        one.starts = [key]
        one.ends = [end]
        formUnion(one)
    }

    func contains(_ key: [UInt8]) -> Bool {
        let after = starts.partitioningIndex { $0.compare(key) > 0 }
        return after > 0 && key.compare(ends[after - 1]) < 0
    }

    mutating func formUnion(_ other: KeyIntervals) {
        if other.isEmpty { return }
        var merged = KeyIntervals()
        var i = 0
        var j = 0
        while i < starts.count || j < other.starts.count {
            if j == other.starts.count || (i < starts.count && starts[i].compare(other.starts[j]) <= 0) {
                merged.append(starts[i], ends[i])
                i += 1
            } else {
                merged.append(other.starts[j], other.ends[j])
                j += 1
            }
        }
        self = merged
    }

    /// `start` is not before any start so far.
    private mutating func append(_ start: [UInt8], _ end: [UInt8]) {
        if let last = ends.last, start.compare(last) <= 0 {
            if end.compare(last) > 0 { ends[ends.count - 1] = end }
        } else {
            starts.append(start)
            ends.append(end)
        }
    }
}
