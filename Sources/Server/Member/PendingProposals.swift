// Requests proposed to the log whose result somebody waits for. Ids are handed out in sequence, so the table is a ring
// indexed by id: no hashing on the way of a put. Old requests are swept from the front when their time is over.

import Foundations

package struct PendingProposals<Waiter> {
    private struct Slot {
        var waiter: Waiter?
        var deadline: UInt64
    }

    private var ids: RequestIDs
    private var slots: [Slot?] = Array(repeating: nil, count: 1024)
    /// Id of the slot at `head`; valid while `length` > 0.
    private var firstID: UInt64 = 0
    private var head = 0
    private var length = 0
    /// Requests still waited for.
    package private(set) var count = 0

    package init(ids: RequestIDs) { self.ids = ids }

    /// Registers a waiter and gives the request its id. `deadline` is in the clock of `expire`.
    package mutating func add(_ waiter: Waiter, deadline: UInt64) -> UInt64 {
        let id = ids.next()
        if length == 0 {
            firstID = id
            head = 0
        }
        if length == slots.count { grow() }
        slots[(head + length) & (slots.count - 1)] = Slot(waiter: waiter, deadline: deadline)
        length += 1
        count += 1
        return id
    }

    /// An id nobody waits for.
    package mutating func anonymousID() -> UInt64 {
        // Keeps the ring contiguous: the id takes a slot without a waiter.
        let id = ids.next()
        guard length > 0 else { return id }
        if length == slots.count { grow() }
        slots[(head + length) & (slots.count - 1)] = nil
        length += 1
        return id
    }

    /// True while somebody waits for this id.
    package func isWaiting(_ id: UInt64) -> Bool { index(of: id).map { slots[$0]?.waiter != nil } ?? false }

    /// Removes and returns the waiter of an id.
    package mutating func take(_ id: UInt64) -> Waiter? {
        guard let index = index(of: id), let waiter = slots[index]?.waiter else { return nil }
        slots[index] = nil
        count -= 1
        dropFinished()
        return waiter
    }

    /// Removes the waiters whose deadline is not after `now`, oldest first.
    package mutating func expire(now: UInt64) -> [Waiter] {
        var expired: [Waiter] = []
        for offset in 0..<length {
            let index = (head + offset) & (slots.count - 1)
            guard let slot = slots[index] else { continue }
            // Deadlines are handed out in order, or nearly: the first that is not due ends the sweep.
            guard slot.deadline <= now else { break }
            if let waiter = slot.waiter { expired.append(waiter) }
            slots[index] = nil
            count -= 1
        }
        dropFinished()
        return expired
    }

    /// Removes everything, oldest first.
    package mutating func takeAll() -> [Waiter] {
        let all = (0..<length).compactMap { slots[(head + $0) & (slots.count - 1)]?.waiter }
        slots = Array(repeating: nil, count: 1024)
        head = 0
        length = 0
        count = 0
        return all
    }

    private func index(of id: UInt64) -> Int? {
        guard length > 0 else { return nil }
        let distance = RequestIDs.distance(from: firstID, to: id)
        return distance < UInt64(length) ? (head + Int(distance)) & (slots.count - 1) : nil
    }

    private mutating func dropFinished() {
        while length > 0, slots[head] == nil {
            head = (head + 1) & (slots.count - 1)
            firstID = (firstID & 0xffff_0000_0000_0000) | ((firstID &+ 1) & 0xffff_ffff_ffff)
            length -= 1
        }
    }

    private mutating func grow() {
        var larger = [Slot?](repeating: nil, count: slots.count * 2)
        for offset in 0..<length { larger[offset] = slots[(head + offset) & (slots.count - 1)] }
        slots = larger
        head = 0
    }
}
