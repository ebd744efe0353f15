// A queue on a ring: append at the end, remove from the front, both without moving what is between. Inlinable: unspecialised,
// each step would look up metadata.

package struct Deque<Element> {
    @usableFromInline var slots: [Element?] = Array(repeating: nil, count: 16)
    @usableFromInline var head = 0
    @usableFromInline var filled = 0

    @inlinable package init() {}

    @inlinable package var count: Int { filled }

    @inlinable package var isEmpty: Bool { filled == 0 }

    @inlinable package var first: Element? { filled == 0 ? nil : slots[head] }

    @inlinable
    package mutating func append(_ element: Element) {
        if filled == slots.count { grow() }
        slots[(head + filled) & (slots.count - 1)] = element
        filled += 1
    }

    @discardableResult @inlinable
    package mutating func removeFirst() -> Element {
        guard filled > 0, let element = slots[head] else { unreachable("an empty queue has no first element") }
        slots[head] = nil
        head = (head + 1) & (slots.count - 1)
        filled -= 1
        return element
    }

    @usableFromInline
    mutating func grow() {
        var larger = [Element?](repeating: nil, count: slots.count * 2)
        for i in 0..<filled { larger[i] = slots[(head + i) & (slots.count - 1)] }
        slots = larger
        head = 0
    }
}

extension Deque: Sendable where Element: Sendable {}
