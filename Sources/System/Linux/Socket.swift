// Sockets as the loops use them: non-blocking, closed on exec, TCP_NODELAY. Plain descriptors; the one that makes it
// closes it.

import CLinux
import Glibc

package enum Socket {
    package struct ListenOptions: Sendable {
        package var reusePort = false
        package var reuseAddress = true
        package var backlog: Int32 = 4096

        package init() {}
    }

    package static func listen(_ address: SocketAddress, _ options: ListenOptions = ListenOptions()) throws(SystemError)
        -> Int32
    {
        let descriptor = try make(address)
        if options.reuseAddress { set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) }
        if options.reusePort { set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
        if address.family == AF_INET6 { set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
        if address.isUnix { removeStale(address) }
        let bound = unsafe address.withKernelForm { unsafe covey_bind(descriptor, $0, $1) }
        guard bound == 0, Glibc.listen(descriptor, options.backlog) == 0 else {
            let error = SystemError("listen", address.description)
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// Starts to connect; writable (or an error) tells when it is done, see `pendingError`.
    package static func connect(_ address: SocketAddress) throws(SystemError) -> Int32 {
        let descriptor = try make(address)
        if !address.isUnix { prepare(descriptor) }
        let result = unsafe address.withKernelForm { unsafe covey_connect(descriptor, $0, $1) }
        if result != 0 && errno != EINPROGRESS && errno != EAGAIN {
            let error = SystemError("connect", address.description)
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// What became of a connect: zero, or an error code.
    package static func pendingError(_ descriptor: Int32) -> Int32 {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        let result = unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &value, &length)
        return result == 0 ? value : errno
    }

    /// No delay, and dead peers noticed by the kernel within about a minute.
    package static func prepare(_ descriptor: Int32) {
        set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    }

    package static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        _ = unsafe setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func make(_ address: SocketAddress) throws(SystemError) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(address.family, kind, 0)
        guard descriptor >= 0 else { throw SystemError("socket", address.description) }
        return descriptor
    }

    /// A path left behind by a process that is gone would keep us from listening; one that still answers is not removed.
    private static func removeStale(_ address: SocketAddress) {
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard probe >= 0 else { return }
        defer { close(probe) }
        let result = unsafe address.withKernelForm { unsafe covey_connect(probe, $0, $1) }
        if result != 0 && errno == ECONNREFUSED { unsafe unlink(address.description) }
    }
}
