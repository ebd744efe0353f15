// The one clock of a simulation: a heap of what happens next. Equal times keep the order in which they were scheduled,
// so that a seed gives one run.

typealias Microseconds = Int

struct EventQueue<Event> {
    private var heap: [(time: Microseconds, order: Int, event: Event)] = []
    private var scheduled = 0
    private(set) var now: Microseconds = 0

    mutating func schedule(after delay: Microseconds, _ event: Event) {
        scheduled += 1
        heap.append((now + max(0, delay), scheduled, event))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard isBefore(child, parent) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Nil when nothing is left.
    mutating func next() -> Event? {
        guard !heap.isEmpty else { return nil }
        heap.swapAt(0, heap.count - 1)
        let first = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            guard least != parent else { break }
            heap.swapAt(parent, least)
            parent = least
        }
        now = first.time
        return first.event
    }

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        (heap[a].time, heap[a].order) < (heap[b].time, heap[b].order)
    }
}
