// Ports of the loopback. Servers that are about to start do not get those the kernel gives away by itself, to whoever connects or
// listens anywhere: one of them may be gone before the server that was told it has come up.

import Glibc
import Linux

private let handedOut = Mutex<Set<Int>>([])

/// Ports of the loopback nobody listens on now; no two are the same in the life of this process.
package func freePorts(_ count: Int) -> [Int] { (0..<count).map { _ in freePort() } }

package func freePort() -> Int {
    while true {
        let port = Int.random(in: 10_240..<firstEphemeralPort)
        if succeeds(port, { bind($0, $1, $2) }), handedOut.withLock({ $0.insert(port).inserted }) { return port }
    }
}

private let firstEphemeralPort: Int = {
    let first = OwnProcess.text("/proc/sys/net/ipv4/ip_local_port_range").split(whereSeparator: \.isWhitespace).first
    // Where there are too few below, there is no choice.
    return first.flatMap { Int($0) }.flatMap { $0 > 12_000 ? $0 : nil } ?? 65_536
}()

package func canConnect(port: Int) -> Bool { succeeds(port) { connect($0, $1, $2) } }

/// Whether a new socket may be bound or connected there.
private func succeeds(_ port: Int, _ call: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    address.sin_port = UInt16(port).bigEndian
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            call(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
}
