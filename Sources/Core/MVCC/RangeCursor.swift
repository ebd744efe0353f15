// A range read in pieces, so that neither the answer nor the time it takes must fit into one turn. The pieces put together
// are the answer of one range at one revision: writes in between are not seen, a compaction past the revision ends it.
//
// For natural key order without revision filters (sorting and filtering need everything at once).

import Foundations

package struct RangeCursor: Sendable {
    /// Revision the whole answer is of; nil when each piece reads the latest.
    package let pinnedRevision: Int64?
    /// Revision of the store when the cursor was opened: what the answer's header carries.
    package let headerRevision: Int64
    package private(set) var isFinished = false
    /// Good when finished.
    package private(set) var more = false
    package private(set) var count: Int64 = 0

    private let options: RangeOptions
    private var nextKey: [UInt8]
    private let end: [UInt8]
    private var remaining: Int
    /// Keys walked over so far, and the total when it could be had at once.
    private var walked: Int64 = 0
    private var total: Int64?

    fileprivate init(_ key: RawSpan, _ end: RawSpan, _ options: RangeOptions, current: Int64) {
        pinnedRevision = options.revision < 0 ? nil : (options.revision == 0 ? current : options.revision)
        headerRevision = current
        self.options = options
        nextKey = [UInt8](key)
        self.end = [UInt8](end)
        remaining = options.limit > 0 ? Int(options.limit) : Int.max
    }

    fileprivate mutating func read(
        _ store: KeyValueStore, keysMax: Int, bytesMax: Int, _ tag: UInt8, _ bytes: inout [UInt8]
    ) throws(KeyValueError) -> Int {
        if isFinished { return 0 }
        try store.checkRevision(pinnedRevision ?? 0)
        let main = pinnedRevision.map { $0 < store.currentRevision ? $0 : Int64.max } ?? .max
        let start = bytes.count
        var appended = 0
        if options.countOnly {
            count = Int64(store.count(nextKey.rawSpan, end.rawSpan, at: main))
            isFinished = true
            return 0
        }
        if walked == 0 && main == .max { total = Int64(store.count(nextKey.rawSpan, end.rawSpan, at: main)) }

        // A single key is the range up to its successor.
        let successor = end.isEmpty ? nextKey + [0] : end
        let isOpen = end.isEmpty ? false : KeyValueStore.isOpenEnd(end.rawSpan)
        var scan = store.index.scan(from: nextKey.rawSpan, to: successor.rawSpan, isOpen: isOpen)
        var stepsLeft = max(keysMax, 10_000)
        while appended < keysMax, bytes.count - start < bytesMax, stepsLeft > 0 {
            if remaining == 0 && total != nil { return finish(appended) }
            guard let (ref, version) = store.next(&scan, at: main) else { return finish(appended) }
            stepsLeft -= 1
            walked += 1
            if remaining > 0 {
                remaining -= 1
                appended += 1
                store.append(ref, version, options, tag, &bytes)
            } else {
                more = true
            }
            if stepsLeft == 0 || appended == keysMax || bytes.count - start >= bytesMax {
                let index = store.index
                nextKey = [UInt8](index.key(ref)) + [0]
            }
        }
        if end.isEmpty { return finish(appended) }
        return appended
    }

    private mutating func finish(_ appended: Int) -> Int {
        isFinished = true
        count = total ?? walked
        if let total, total > walked { more = true }
        return appended
    }
}

extension KeyValueStore {
    /// Begins a range that is read in pieces. `end` as in `range`; sort and filters of the options are not used.
    package func openRange(_ key: RawSpan, _ end: RawSpan, _ options: RangeOptions) throws(KeyValueError) -> RangeCursor {
        try checkRevision(options.revision)
        return RangeCursor(key, end, options, current: currentRevision)
    }

    /// Appends the next pairs, at most `keysMax` and until `bytesMax` is reached; returns how many. Ask until the cursor is
    /// finished: a piece may be empty while keys are only counted.
    package func read(
        _ cursor: inout RangeCursor, keysMax: Int, bytesMax: Int, field tag: UInt8 = 0x12, into bytes: inout [UInt8]
    ) throws(KeyValueError) -> Int {
        try cursor.read(self, keysMax: keysMax, bytesMax: bytesMax, tag, &bytes)
    }
}
