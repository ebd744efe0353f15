// Accepts connections for a server. When descriptors run out it says so (not more often than every ten seconds), drops
// the newcomer with the help of a descriptor kept in reserve, and rests a moment instead of spinning.

import CLinux
import Foundations
import Glibc
import Linux

package final class Listener: EventHandler {
    package let address: SocketAddress
    private let loop: EventLoop
    private let descriptor: Int32
    private let accepted: (Int32) -> Void
    private let report: (String) -> Void
    private var registration: EventLoop.Registration?
    private var reserve: Int32
    private var lastReport: UInt64 = 0

    /// `accepted` takes over each new descriptor. `paused`: connections wait in the kernel until `resume`.
    package init(
        _ address: SocketAddress, loop: EventLoop, options: Socket.ListenOptions = Socket.ListenOptions(),
        paused: Bool = false, report: @escaping (String) -> Void = { _ in }, accepted: @escaping (Int32) -> Void
    ) throws(SystemError) {
        self.loop = loop
        self.accepted = accepted
        self.report = report
        descriptor = try Socket.listen(address, options)
        self.address = Socket.local(descriptor) ?? address
        reserve = unsafe covey_open("/dev/null", O_RDONLY, 0)
        registration = try loop.register(descriptor, self)
        if paused, let registration { loop.change(registration, readable: false, writable: false) }
    }

    package func resume() {
        guard let registration else { return }
        loop.change(registration, readable: true, writable: false)
    }

    package func stop() {
        guard let registration else { return }
        loop.deregister(registration)
        self.registration = nil
        close(descriptor)
        if reserve >= 0 { close(reserve) }
        if address.isUnix { unsafe unlink(address.description) }
    }

    package func ready(readable: Bool, writable: Bool) {
        for _ in 0..<64 {
            let connection = covey_accept(descriptor)
            if connection >= 0 {
                accepted(connection)
                continue
            }
            switch errno {
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return outOfDescriptors()
            case EINTR, ECONNABORTED: continue
            default: return
            }
        }
    }

    private func outOfDescriptors() {
        if lastReport == 0 || loop.now > lastReport + 10_000_000_000 {
            lastReport = loop.now
            report("cannot accept connections on \(address): too many open files; raise the limit (LimitNOFILE=)")
        }
        if reserve >= 0 {
            close(reserve)
            let connection = covey_accept(descriptor)
            if connection >= 0 { close(connection) }
            reserve = unsafe covey_open("/dev/null", O_RDONLY, 0)
        }
        guard let registration else { return }
        loop.change(registration, readable: false, writable: false)
        loop.schedule(after: 100_000_000) { [weak self] in
            guard let self, let registration = self.registration else { return }
            loop.change(registration, readable: true, writable: false)
        }
    }
}
