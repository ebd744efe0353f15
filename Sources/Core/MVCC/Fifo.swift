// A queue in one array: append at the end, drop from the front. The front is cut off when it is the larger half, so that
// both cost a constant on average.

struct Fifo<Element> {
    private var items: [Element] = []
    private var head = 0

    var count: Int { items.count - head }
    var isEmpty: Bool { head == items.count }
    var first: Element? { isEmpty ? nil : items[head] }

    subscript(_ i: Int) -> Element { items[head + i] }

    mutating func append(_ element: Element) { items.append(element) }

    mutating func dropFirst(_ n: Int = 1) {
        head += n
        if head == items.count {
            // A queue that was long once does not keep its room.
            items.removeAll(keepingCapacity: items.capacity <= 4096)
            head = 0
        } else if head > 1024 && head * 2 > items.count {
            items = Array(items[head...])
            head = 0
        }
    }

    /// Number of leading elements for which `condition` holds; it must not hold again after it failed once.
    func prefixCount(where condition: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if condition(self[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
