// Deadlines of many things that are mostly renewed before they are due: leases, tokens, checkpoints.
//
// A binary heap of (time, slot, generation) that is *lazy*: renewing changes only the deadline kept with the thing
// itself; the heap learns of it when the old deadline comes up, and the owner pushes the entry again. So a renewal
// touches no heap, and the heap holds one entry per thing however often it is renewed. An entry whose generation is
// no longer that of its slot belongs to something that is gone and is dropped when it comes up.

/// Monotonic time in nanoseconds. Only differences mean anything.
package typealias Nanoseconds = Int64

extension Nanoseconds {
    package static let second: Nanoseconds = 1_000_000_000
    package static let millisecond: Nanoseconds = 1_000_000

    /// Later than everything that will be compared with it.
    package static let distantFuture = Nanoseconds.max

    /// This moment plus so many seconds; never beyond `distantFuture`.
    package func adding(seconds: Int64) -> Nanoseconds {
        let (product, tooLong) = seconds.multipliedReportingOverflow(by: .second)
        if tooLong { return .distantFuture }
        return adding(product)
    }

    package func adding(_ duration: Nanoseconds) -> Nanoseconds {
        let (sum, tooLate) = addingReportingOverflow(duration)
        return tooLate ? .distantFuture : sum
    }
}

/// The time of a turn, as the shell read it.
package struct Clock: Equatable, Sendable {
    package var now: Nanoseconds
    /// Seconds since 1970, for what leaves the process.
    package var unixTime: Int64

    package init(now: Nanoseconds = 0, unixTime: Int64 = 0) {
        self.now = now
        self.unixTime = unixTime
    }
}

struct ExpiryQueue {
    struct Entry {
        var time: Nanoseconds
        var slot: UInt32
        var generation: UInt32
    }

    private var heap: [Entry] = []

    var count: Int { heap.count }
    var earliest: Nanoseconds? { heap.first?.time }

    mutating func removeAll() { heap.removeAll(keepingCapacity: true) }

    mutating func push(_ entry: Entry) {
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].time < heap[parent].time else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// The earliest entry if its time has come.
    mutating func popDue(_ now: Nanoseconds) -> Entry? {
        guard let first = heap.first, first.time <= now else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink(0)
        }
        return first
    }

    /// Replaces the whole content; linear.
    mutating func rebuild(_ entries: [Entry]) {
        heap = entries
        for i in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(i) }
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count && heap[child + 1].time < heap[child].time { child += 1 }
            guard heap[child].time < heap[parent].time else { return }
            heap.swapAt(child, parent)
            parent = child
        }
    }
}
