// Where a socket is: host and port, or a path. Names are resolved by the system's resolver, which blocks; servers resolve
// once at start, clients on a thread of their own.

import CLinux
import Glibc

package struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    /// The kernel's form.
    fileprivate var storage: [UInt8]
    package var description: String

    package var family: Int32 { Int32(storage[0]) | Int32(storage[1]) << 8 }
    package var isUnix: Bool { family == AF_UNIX }

    package static func unix(_ path: String) -> SocketAddress? {
        var address = sockaddr_un()
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        address.sun_family = sa_family_t(AF_UNIX)
        var storage = unsafe withUnsafeBytes(of: &address) { unsafe Array($0) }
        storage.replaceSubrange(2..<2 + bytes.count, with: bytes)
        return SocketAddress(storage: storage, description: path)
    }

    /// All addresses of a host name or literal, in the resolver's order.
    package static func resolve(host: String, port: String, passive: Bool = false) throws(SystemError)
        -> [SocketAddress]
    {
        try resolve(host: host, port: port, flags: passive ? AI_PASSIVE : 0)
    }

    /// Of a host that is an address already; nil for a name. Never blocks.
    package static func literal(host: String, port: String) -> SocketAddress? {
        // A failure means that it is a name, or nonsense, which resolving it will tell.
        (try? resolve(host: host, port: port, flags: AI_NUMERICHOST))?.first
    }

    private static func resolve(host: String, port: String, flags: Int32) throws(SystemError) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = flags
        var list: UnsafeMutablePointer<addrinfo>?
        let result = unsafe getaddrinfo(host.isEmpty ? nil : host, port, &hints, &list)
        guard result == 0 else {
            let reason = unsafe String(cString: gai_strerror(result))
            throw SystemError("resolve \(host):\(port) (\(reason))", code: EADDRNOTAVAIL)
        }
        defer { unsafe freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var entry = unsafe list
        while let info = unsafe entry?.pointee {
            let bytes = unsafe UnsafeRawBufferPointer(start: info.ai_addr, count: Int(info.ai_addrlen))
            addresses.append(unsafe SocketAddress(kernel: bytes))
            unsafe entry = info.ai_next
        }
        return addresses
    }

    fileprivate init(kernel bytes: UnsafeRawBufferPointer) {
        storage = unsafe Array(bytes)
        description = ""
        description = describe()
    }

    private init(storage: [UInt8], description: String) {
        self.storage = storage
        self.description = description
    }

    package func withKernelForm<R>(_ body: (UnsafeRawPointer, UInt32) -> R) -> R {
        unsafe storage.withUnsafeBytes { bytes in
            unsafe body(bytes.baseAddress!, UInt32(bytes.count))
        }
    }

    /// The name the resolver has for this address; nil when it has none. Blocks.
    package func reverseName() -> String? {
        var host = [CChar](repeating: 0, count: 1025)
        let result = unsafe withKernelForm { address, length in unsafe covey_host_name(address, length, &host, 1025) }
        guard result == 0 else { return nil }
        return String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Host without port; empty for a path.
    package var host: String {
        guard !isUnix, let colon = description.lastIndex(of: ":") else { return "" }
        let host = description[..<colon]
        return host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : String(host)
    }

    package var port: Int { isUnix ? 0 : Int(storage[2]) << 8 | Int(storage[3]) }

    private func describe() -> String {
        if storage.count < 2 || isUnix {
            return String(decoding: storage.dropFirst(2).prefix { $0 != 0 }, as: UTF8.self)
        }
        var host = [CChar](repeating: 0, count: 128)
        _ = unsafe withKernelForm { address, length in
            unsafe covey_numeric_host(address, length, &host, 128)
        }
        let name = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return family == AF_INET6 ? "[\(name)]:\(port)" : "\(name):\(port)"
    }
}

extension Socket {
    package static func peer(_ descriptor: Int32) -> SocketAddress? { name(of: descriptor, peer: true) }
    package static func local(_ descriptor: Int32) -> SocketAddress? { name(of: descriptor, peer: false) }

    private static func name(of descriptor: Int32, peer: Bool) -> SocketAddress? {
        var storage = [UInt8](repeating: 0, count: MemoryLayout<sockaddr_storage>.size)
        var length = UInt32(storage.count)
        let result = unsafe storage.withUnsafeMutableBytes { bytes in
            unsafe covey_socket_name(descriptor, peer ? 1 : 0, bytes.baseAddress!, &length)
        }
        guard result == 0 else { return nil }
        return unsafe storage.withUnsafeBytes { bytes in
            unsafe SocketAddress(kernel: UnsafeRawBufferPointer(rebasing: bytes[..<Int(length)]))
        }
    }
}
