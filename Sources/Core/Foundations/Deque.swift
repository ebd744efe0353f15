// A queue on a ring: append at the end, remove from the front, both without moving what is between.

package struct Deque<Element> {
    private var slots: [Element?] = Array(repeating: nil, count: 16)
    private var head = 0
    package private(set) var count = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    package var first: Element? { count == 0 ? nil : slots[head] }

    package mutating func append(_ element: Element) {
        if count == slots.count {
            var larger = [Element?](repeating: nil, count: slots.count * 2)
            for i in 0..<count { larger[i] = slots[(head + i) & (slots.count - 1)] }
            slots = larger
            head = 0
        }
        slots[(head + count) & (slots.count - 1)] = element
        count += 1
    }

    @discardableResult
    package mutating func removeFirst() -> Element {
        guard count > 0, let element = slots[head] else { unreachable("an empty queue has no first element") }
        slots[head] = nil
        head = (head + 1) & (slots.count - 1)
        count -= 1
        return element
    }
}

extension Deque: Sendable where Element: Sendable {}
