// A thread for work that takes long: results come back on the loop that asked.

import Foundations
import Linux

final class Worker {
    private let queue = BlockingQueue<@Sendable () -> Void>()
    private let thread: BackgroundThread

    init(name: String) {
        let queue = queue
        thread = BackgroundThread(name: name) {
            while let tasks = queue.takeAll() { for task in tasks { task() } }
        }
    }

    deinit {
        queue.close()
        thread.join()
    }

    func run<Result: Sendable>(
        _ loop: EventLoop, _ work: @escaping @Sendable () -> Result, _ done: @escaping (Result) -> Void
    ) {
        let mailbox = loop.mailbox
        let box = LoopBound(done)
        queue.push {
            let result = work()
            mailbox.post { box.value(result) }
        }
    }
}

/// Carries what belongs to the loop's thread through another thread, untouched, and back.
struct LoopBound<Value>: @unchecked Sendable {
    // Made and used on the loop's thread only; other threads just hold it.
    let value: Value
    init(_ value: Value) { self.value = value }
}
