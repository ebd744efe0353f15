// Hands work to a thread that has nothing else to do than wait for it. The taker gets everything that waits in one go;
// a wake-up is paid only when it sleeps.

import CLinux
import Glibc

// Safe to share: every access to the fields happens with the mutex held.
@safe package final class BlockingQueue<Element: Sendable>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let arrived: UnsafeMutablePointer<pthread_cond_t>
    private let drained: UnsafeMutablePointer<pthread_cond_t>
    private var waiting: [Element] = []
    private var taken = 0
    private var takerSleeps = false
    private var closed = false

    package init() {
        unsafe mutex = .allocate(capacity: 1)
        unsafe arrived = .allocate(capacity: 1)
        unsafe drained = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(arrived, nil)
        unsafe pthread_cond_init(drained, nil)
    }

    deinit {
        unsafe pthread_cond_destroy(drained)
        unsafe pthread_cond_destroy(arrived)
        unsafe pthread_mutex_destroy(mutex)
        unsafe drained.deallocate()
        unsafe arrived.deallocate()
        unsafe mutex.deallocate()
    }

    package func push(_ element: consuming Element) {
        lock()
        waiting.append(element)
        let wake = takerSleeps
        unlock()
        if wake { unsafe pthread_cond_signal(arrived) }
    }

    /// Everything that waits; sleeps while there is nothing. Nil when the queue is closed and empty. What was taken before
    /// counts as done with the next call.
    package func takeAll() -> [Element]? {
        lock()
        defer { unlock() }
        finishTaken()
        while waiting.isEmpty, !closed {
            takerSleeps = true
            unsafe pthread_cond_wait(arrived, mutex)
        }
        takerSleeps = false
        return takeLocked()
    }

    /// What waits now, without sleeping; empty when there is nothing.
    package func takeWaiting() -> [Element] {
        lock()
        defer { unlock() }
        finishTaken()
        return takeLocked() ?? []
    }

    package var isEmpty: Bool {
        lock()
        defer { unlock() }
        return waiting.isEmpty
    }

    /// Blocks until everything pushed so far has been taken and done.
    package func waitUntilDone() {
        lock()
        while !waiting.isEmpty || taken > 0 { unsafe pthread_cond_wait(drained, mutex) }
        unlock()
    }

    /// The taker gets what waits and then nil.
    package func close() {
        lock()
        closed = true
        unlock()
        unsafe pthread_cond_broadcast(arrived)
    }

    private func takeLocked() -> [Element]? {
        guard !waiting.isEmpty else { return nil }
        let all = waiting
        waiting = []
        taken = all.count
        return all
    }

    private func finishTaken() {
        taken = 0
        if waiting.isEmpty { unsafe pthread_cond_broadcast(drained) }
    }

    private func lock() { unsafe pthread_mutex_lock(mutex) }
    private func unlock() { unsafe pthread_mutex_unlock(mutex) }
}
