// The conversation with systemd about this process: ready, stopping, what it is doing, still alive, needs longer. One
// datagram each to the socket that NOTIFY_SOCKET names; without it everything is a no-op that succeeds, as etcd has it.

import Foundations
import Glibc
import Linux

package struct ServiceManager: Sendable {
    /// Nil when nobody wants to hear: not started by systemd.
    private let address: SocketAddress?
    /// An abstract name (`@name`) has no end mark: its length is part of the address.
    private let addressLength: UInt32?
    /// How often systemd wants a sign of life, in nanoseconds; send one at half of it.
    package let watchdogInterval: UInt64?

    /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. The variables stay, for children that want them.
    package init() {
        self.init(
            socket: ServiceManager.environment("NOTIFY_SOCKET"), watchdog: ServiceManager.environment("WATCHDOG_USEC"),
            watchdogProcess: ServiceManager.environment("WATCHDOG_PID"))
    }

    package init(socket: String?, watchdog: String? = nil, watchdogProcess: String? = nil) {
        let isAbstract = socket?.hasPrefix("@") == true
        let path = isAbstract ? socket.map { "\0" + $0.dropFirst() } : socket
        address = path.flatMap { $0.isEmpty ? nil : SocketAddress.unix($0) }
        addressLength = isAbstract ? path.map { UInt32(2 + $0.utf8.count) } : nil
        let isOurs = watchdogProcess.map { $0 == String(getpid()) } ?? true
        watchdogInterval = isOurs ? watchdog.flatMap(UInt64.init).flatMap { $0 > 0 ? $0 * 1000 : nil } : nil
    }

    package var isPresent: Bool { address != nil }

    package func ready(status: String = "") throws(SystemError) {
        try send("READY=1" + (status.isEmpty ? "" : "\nSTATUS=\(oneLine(status))"))
    }

    /// What `systemctl status` shows: role, lag, size, days left on certificates.
    package func status(_ text: String) throws(SystemError) { try send("STATUS=\(oneLine(text))") }

    package func stopping(status: String = "") throws(SystemError) {
        try send("STOPPING=1" + (status.isEmpty ? "" : "\nSTATUS=\(oneLine(status))"))
    }

    package func watchdog() throws(SystemError) { try send("WATCHDOG=1") }

    /// Start-up or shutdown takes longer than the unit allows: at least this much more from now.
    package func extendTimeout(by nanoseconds: UInt64) throws(SystemError) {
        try send("EXTEND_TIMEOUT_USEC=\(nanoseconds / 1000)")
    }

    /// The process systemd should watch from now on.
    package func mainProcess(_ pid: Int32) throws(SystemError) { try send("MAINPID=\(pid)") }

    /// A newline would start another assignment.
    private func oneLine(_ text: String) -> String { String(text.map { $0.isNewline ? " " : $0 }) }

    private func send(_ message: String) throws(SystemError) {
        guard let address else { return }
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket", address.description) }
        defer { close(descriptor) }
        let bytes = Array(message.utf8)
        let sent = unsafe address.withKernelForm { pointer, length in
            unsafe bytes.withUnsafeBytes { buffer in
                unsafe sendto(
                    descriptor, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL),
                    pointer.assumingMemoryBound(to: sockaddr.self), addressLength ?? length)
            }
        }
        guard sent == bytes.count else { throw SystemError("sendto", address.description) }
    }

    private static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }
}
