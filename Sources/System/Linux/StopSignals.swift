// SIGINT and SIGTERM for a command that has something to undo before it ends. To be blocked before other threads are
// started: they inherit it.

import CLinux
import Glibc

package struct StopSignals: Sendable {
    /// Blocks both for this thread and those it starts.
    package init() {
        var set = StopSignals.set
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Blocks the calling thread until one of the two arrives.
    package func wait() -> Int32 {
        var set = StopSignals.set
        var signal: Int32 = 0
        while unsafe sigwait(&set, &signal) != 0 {}
        return signal
    }

    private static var set: sigset_t {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, SIGINT)
        unsafe sigaddset(&set, SIGTERM)
        return set
    }
}
