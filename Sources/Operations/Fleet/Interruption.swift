// Ctrl-C in the middle of an operation. What an agent has been told to do it does to its end; the next thing is not begun, and the
// operation stays open, to be gone on with or given up. A second signal ends the program where it is, which is safe as well: agents
// have written down what they do.

import CLinux
import Glibc
import Linux
import struct Synchronization.Atomic

final class Interruption: Sendable {
    private enum State { static let idle = 0, holding = 1, asked = 2 }
    private let state = Atomic<Int>(State.idle)

    /// From here to `end` a signal is a wish.
    func begin() { _ = state.compareExchange(expected: State.idle, desired: State.holding, ordering: .sequentiallyConsistent) }
    func end() { state.store(State.idle, ordering: .sequentiallyConsistent) }

    var isAsked: Bool { state.load(ordering: .sequentiallyConsistent) == State.asked }

    /// False: nothing is under way, or it was asked before.
    private func ask() -> Bool {
        state.compareExchange(expected: State.holding, desired: State.asked, ordering: .sequentiallyConsistent).exchanged
    }

    /// To be called before other threads are made.
    func watch(_ loop: EventLoop, _ events: EventLines) throws(SystemError) -> SignalWatch {
        try SignalWatch(loop, [SIGINT, SIGTERM, SIGHUP]) { [self] number in
            if ask() {
                events.tell("interrupted: what is under way is done to its end, then it stops; once more, and it ends at once")
            } else {
                Self.die(of: number)
            }
        }
    }

    /// As if it had never been caught: whoever waits for the process sees the signal.
    private static func die(of number: Int32) {
        signal(number, SIG_DFL)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, number)
        unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
        kill(getpid(), number)
    }
}

extension Fleet {
    /// Between two things that an operation does.
    func goOn(before what: String) throws(FleetFailure) {
        if interruption.isAsked { throw FleetFailure(code: 4, text: "interrupted before: \(what)") }
    }
}
