// Deadlines of one loop: a binary heap of (deadline, slot); cancelling empties the slot and leaves the heap entry to be
// dropped when it comes up. Meant for tens of thousands of timers that mostly fire; a timer per request is a sweep
// instead.

package struct TimerID: Equatable, Sendable {
    fileprivate var slot: Int32
    fileprivate var generation: UInt32
}

struct TimerHeap {
    private struct Entry {
        var deadline: UInt64
        var slot: Int32
        var generation: UInt32
    }

    private struct Slot {
        var generation: UInt32
        var body: (() -> Void)?
    }

    private var heap: [Entry] = []
    private var slots: [Slot] = []
    private var free: [Int32] = []

    var nextDeadline: UInt64? { heap.first?.deadline }

    mutating func add(deadline: UInt64, _ body: @escaping () -> Void) -> TimerID {
        let slot: Int32
        if let reused = free.popLast() {
            slot = reused
            slots[Int(slot)].body = body
        } else {
            slot = Int32(slots.count)
            slots.append(Slot(generation: 0, body: body))
        }
        let generation = slots[Int(slot)].generation
        heap.append(Entry(deadline: deadline, slot: slot, generation: generation))
        siftUp(heap.count - 1)
        return TimerID(slot: slot, generation: generation)
    }

    mutating func cancel(_ id: TimerID) {
        guard slots[Int(id.slot)].generation == id.generation, slots[Int(id.slot)].body != nil else { return }
        release(id.slot)
    }

    /// The body of the earliest timer that is due, removed; nil when none is.
    mutating func popDue(now: UInt64) -> (() -> Void)? {
        while let first = heap.first, first.deadline <= now {
            removeFirst()
            let slot = slots[Int(first.slot)]
            guard slot.generation == first.generation, let body = slot.body else { continue }
            release(first.slot)
            return body
        }
        return nil
    }

    private mutating func release(_ slot: Int32) {
        slots[Int(slot)].body = nil
        slots[Int(slot)].generation &+= 1
        free.append(slot)
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        var i = 0
        while true {
            var least = i
            for child in [2 * i + 1, 2 * i + 2] where child < heap.count && heap[child].deadline < heap[least].deadline {
                least = child
            }
            if least == i { return }
            heap.swapAt(i, least)
            i = least
        }
    }

    private mutating func siftUp(_ start: Int) {
        var i = start
        while i > 0, heap[i].deadline < heap[(i - 1) / 2].deadline {
            heap.swapAt(i, (i - 1) / 2)
            i = (i - 1) / 2
        }
    }
}
