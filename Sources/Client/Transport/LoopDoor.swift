// The seam between tasks, which run anywhere, and the client's loop, which owns connections and calls.

import Linux

/// Something that belongs to the loop's thread, carried through a `@Sendable` closure that runs there.
// Unchecked, because the type system does not know that the closures run on the one thread.
struct LoopBound<Value>: @unchecked Sendable {
    let value: Value
}

/// The way in. Once closed it takes nothing more, so nothing can wait for a loop that has ended.
final class LoopDoor: Sendable {
    private let mailbox: Mutex<Mailbox?>

    init(_ mailbox: Mailbox) { self.mailbox = Mutex(mailbox) }

    /// False when the door is closed: `body` will not run.
    func post(_ body: @escaping @Sendable () -> Void) -> Bool {
        mailbox.withLock { mailbox in
            mailbox?.post(body)
            return mailbox != nil
        }
    }

    /// `last` is the last thing that runs. False when it was closed before.
    func close(_ last: @escaping @Sendable () -> Void) -> Bool {
        mailbox.withLock { mailbox in
            defer { mailbox = nil }
            mailbox?.post(last)
            return mailbox != nil
        }
    }
}
