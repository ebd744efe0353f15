// One thread's loop: descriptors that are ready, timers that are due, work posted by other threads, and at the end of
// each turn the hooks that flush what the turn produced. Everything but `post` and `stop` is called on its own thread.
//
//     turn: epoll_wait -> handlers -> posted work -> timers -> end-of-turn hooks
//
// Registrations live in a slab; the kernel carries slot and generation, so an event for a descriptor that was closed in
// the same turn finds nobody.

import CLinux
import Glibc

/// Called by a loop when its descriptor is ready. Errors and hang-ups come as readable, so that the next read reports them.
package protocol EventHandler: AnyObject {
    func ready(readable: Bool, writable: Bool)
}

package final class EventLoop {
    package struct Registration: Equatable, Sendable {
        fileprivate var slot: UInt32
        fileprivate var generation: UInt32

        fileprivate var data: UInt64 { UInt64(generation) << 32 | UInt64(slot) }
    }

    private struct Slot {
        var handler: (any EventHandler)?
        var generation: UInt32
        var descriptor: Int32
        var bits: UInt32
    }

    /// The way in for other threads; outlives the loop harmlessly.
    package let mailbox: Mailbox

    private let epoll: Int32
    private var slots: [Slot] = []
    private var free: [UInt32] = []
    private var timers = TimerHeap()
    private var hooks: [() -> Void] = []
    private var running = false
    private var again = false
    /// How many turns have begun.
    package private(set) var turns: UInt64 = 0
    /// The monotonic clock at the start of this turn: cheap, and good enough for time-outs.
    package private(set) var now: UInt64 = Clock.monotonic()

    package init() throws(SystemError) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw SystemError("epoll_create1") }
        mailbox = try Mailbox()
        let result = covey_epoll_control(epoll, EPOLL_CTL_ADD, mailbox.descriptor, EPOLLIN.rawValue, .max)
        guard result == 0 else { throw SystemError("epoll_ctl") }
    }

    deinit { close(epoll) }

    // MARK: Descriptors

    /// Watches a descriptor until `deregister`. The loop keeps the handler alive meanwhile.
    package func register(
        _ descriptor: Int32, readable: Bool = true, writable: Bool = false, _ handler: any EventHandler
    ) throws(SystemError) -> Registration {
        let bits = interest(readable, writable)
        let slot: UInt32
        if let reused = free.popLast() {
            slot = reused
        } else {
            slot = UInt32(slots.count)
            slots.append(Slot(handler: nil, generation: 0, descriptor: -1, bits: 0))
        }
        let registration = Registration(slot: slot, generation: slots[Int(slot)].generation)
        guard covey_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, bits, registration.data) == 0 else {
            let error = SystemError("epoll_ctl")
            free.append(slot)
            throw error
        }
        slots[Int(slot)].handler = handler
        slots[Int(slot)].descriptor = descriptor
        slots[Int(slot)].bits = bits
        return registration
    }

    package func change(_ registration: Registration, readable: Bool, writable: Bool) {
        guard isCurrent(registration) else { return }
        let slot = slots[Int(registration.slot)]
        let bits = interest(readable, writable)
        guard bits != slot.bits else { return }
        slots[Int(registration.slot)].bits = bits
        _ = covey_epoll_control(epoll, EPOLL_CTL_MOD, slot.descriptor, bits, registration.data)
    }

    /// Before the descriptor is closed.
    package func deregister(_ registration: Registration) {
        guard isCurrent(registration) else { return }
        let slot = slots[Int(registration.slot)]
        _ = covey_epoll_control(epoll, EPOLL_CTL_DEL, slot.descriptor, 0, 0)
        slots[Int(registration.slot)].handler = nil
        slots[Int(registration.slot)].generation &+= 1
        free.append(registration.slot)
    }

    private func isCurrent(_ registration: Registration) -> Bool {
        slots[Int(registration.slot)].generation == registration.generation
            && slots[Int(registration.slot)].handler != nil
    }

    private func interest(_ readable: Bool, _ writable: Bool) -> UInt32 {
        (readable ? EPOLLIN.rawValue | EPOLLRDHUP.rawValue : 0) | (writable ? EPOLLOUT.rawValue : 0)
    }

    // MARK: Time

    @discardableResult
    package func schedule(after nanoseconds: UInt64, _ body: @escaping () -> Void) -> TimerID {
        timers.add(deadline: Clock.monotonic() &+ nanoseconds, body)
    }

    package func cancel(_ timer: TimerID) { timers.cancel(timer) }

    // MARK: Turns

    /// Called at the end of each turn, in the order in which they were added.
    package func atEndOfTurn(_ hook: @escaping () -> Void) { hooks.append(hook) }

    /// Asks for another turn at once instead of waiting for an event.
    package func turnAgain() { again = true }

    /// From any thread: runs `body` on the loop, in the order of posting.
    package func post(_ body: @escaping @Sendable () -> Void) { mailbox.post(body) }

    /// Ends `run` after the current turn. On the loop's thread; others post it.
    package func stop() { running = false }

    package func run() {
        running = true
        let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 512)
        defer { unsafe events.deallocate() }
        while running { unsafe turn(events) }
    }

    private func turn(_ events: UnsafeMutablePointer<epoll_event>) {
        let count = unsafe epoll_wait(epoll, events, 512, waitMilliseconds())
        again = false
        turns &+= 1
        now = Clock.monotonic()
        var posted = false
        for i in 0..<Int(max(count, 0)) {
            let data = unsafe covey_event_data(events + i)
            if data == .max {
                posted = true
                continue
            }
            let slot = Int(UInt32(truncatingIfNeeded: data))
            guard slots[slot].generation == UInt32(data >> 32), let handler = slots[slot].handler else { continue }
            let bits = unsafe covey_event_bits(events + i)
            let broken = bits & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0
            handler.ready(
                readable: broken || bits & (EPOLLIN.rawValue | EPOLLRDHUP.rawValue) != 0,
                writable: broken || bits & EPOLLOUT.rawValue != 0)
        }
        if posted { for body in mailbox.drain() { body() } }
        while let body = timers.popDue(now: now) { body() }
        for hook in hooks { hook() }
    }

    private func waitMilliseconds() -> Int32 {
        if again { return 0 }
        guard let deadline = timers.nextDeadline else { return -1 }
        let now = Clock.monotonic()
        if deadline <= now { return 0 }
        return Int32(clamping: (deadline - now + 999_999) / 1_000_000)
    }
}

/// Work handed to a loop by other threads: taken as a whole, one wake-up for all that waits.
package final class Mailbox: Sendable {
    let descriptor: Int32
    private let waiting = Mutex<[@Sendable () -> Void]>([])

    init() throws(SystemError) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        guard descriptor >= 0 else { throw SystemError("eventfd") }
    }

    deinit { close(descriptor) }

    package func post(_ body: @escaping @Sendable () -> Void) {
        let first = waiting.withLock { queue in
            queue.append(body)
            return queue.count == 1
        }
        if first { _ = eventfd_write(descriptor, 1) }
    }

    fileprivate func drain() -> [@Sendable () -> Void] {
        var value: UInt64 = 0
        _ = unsafe eventfd_read(descriptor, &value)
        return waiting.withLock { queue in
            let all = queue
            queue = []
            return all
        }
    }
}
