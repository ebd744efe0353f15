// SIGTERM and SIGINT as events of a loop. To be made before other threads are: they inherit that the signals are blocked.
// SIGPIPE is ignored: a broken connection is an error of a write.

import CLinux
import Glibc

package final class SignalWatch: EventHandler {
    private let descriptor: Int32
    private let received: (Int32) -> Void

    package init(_ loop: EventLoop, _ signals: [Int32] = [SIGTERM, SIGINT], received: @escaping (Int32) -> Void) throws(SystemError) {
        self.received = received
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for number in signals { unsafe sigaddset(&set, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
        descriptor = unsafe signalfd(-1, &set, Int32(SFD_NONBLOCK) | Int32(SFD_CLOEXEC))
        guard descriptor >= 0 else { throw SystemError("signalfd") }
        _ = try loop.register(descriptor, self)
    }

    deinit { close(descriptor) }

    package func ready(readable: Bool, writable: Bool) {
        var info = signalfd_siginfo()
        while unsafe read(descriptor, &info, MemoryLayout<signalfd_siginfo>.size) > 0 { received(Int32(info.ssi_signo)) }
    }
}
