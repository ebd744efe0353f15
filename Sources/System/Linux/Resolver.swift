// Names to addresses for a loop: the system's resolver blocks, so it is asked on a thread of its own, which is started for
// the first name (an address needs none). While it is busy with a name, those who ask for that name again get what it was
// last known to be: a resolver that hangs does not cut off members whose addresses have not changed.

import CLinux
import Glibc

package final class Resolver {
    package typealias Answer = Result<[SocketAddress], SystemError>

    private struct Name: Hashable {
        var host: String
        var port: String
    }

    private let loop: EventLoop
    private var queue: BlockingQueue<@Sendable () -> Void>?
    private var pending: [Name: [(Answer) -> Void]] = [:]
    private var known: [Name: [SocketAddress]] = [:]

    package init(_ loop: EventLoop) { self.loop = loop }

    deinit { queue?.close() }

    /// `done` is called at once for an address, on a later turn for a name.
    package func resolve(host: String, port: String, _ done: @escaping (Answer) -> Void) {
        if let address = SocketAddress.literal(host: host, port: port) { return done(.success([address])) }
        let name = Name(host: host, port: port)
        if let waiting = pending[name] {
            if let known = known[name] { return done(.success(known)) }
            pending[name] = waiting + [done]
            return
        }
        pending[name] = [done]
        run({ () -> Answer in
            do throws(SystemError) {
                return .success(try SocketAddress.resolve(host: host, port: port))
            } catch { return .failure(error) }
        }) { [weak self] answer in self?.resolved(name, answer) }
    }

    private func resolved(_ name: Name, _ answer: Answer) {
        if case .success(let addresses) = answer { known[name] = addresses }
        let waiting = pending.removeValue(forKey: name) ?? []
        for done in waiting { done(answer) }
    }

    /// Anything else that asks the resolver and blocks. `done` runs on the loop.
    package func run<Result: Sendable>(_ work: @escaping @Sendable () -> Result, _ done: @escaping (Result) -> Void) {
        let queue = queue ?? start()
        self.queue = queue
        let mailbox = loop.mailbox
        let box = OnLoop(done)
        queue.push {
            let result = work()
            mailbox.post { box.done(result) }
        }
    }

    private func start() -> BlockingQueue<@Sendable () -> Void> {
        let queue = BlockingQueue<@Sendable () -> Void>()
        // Nobody waits for its end: a query may hang for half a minute, and holds nothing that must be saved.
        BackgroundThread(name: "resolver") {
            while let tasks = queue.takeAll() { for task in tasks { task() } }
        }.detach()
        return queue
    }

    /// Carries a closure of the loop's through the other thread.
    private struct OnLoop<Value>: @unchecked Sendable {
        // Made and called on the loop's thread only.
        let done: (Value) -> Void
        init(_ done: @escaping (Value) -> Void) { self.done = done }
    }
}
