// A listening URL as socket addresses.

import Foundations
import Glibc
import Linux

/// Where to listen: scheme, host and port, or a path.
package struct ListenURL: Sendable, Equatable {
    package var scheme: String
    package var host: String
    package var port: String

    package init?(_ text: String) {
        guard let mark = text.range(of: "://") else { return nil }
        scheme = String(text[..<mark.lowerBound])
        guard ["http", "https", "unix", "unixs"].contains(scheme) else { return nil }
        let rest = text[mark.upperBound...]
        if scheme.hasPrefix("unix") {
            host = String(rest)
            port = ""
            return
        }
        guard let colon = rest.lastIndex(of: ":") else { return nil }
        let name = rest[..<colon]
        host = name.hasPrefix("[") ? String(name.dropFirst().dropLast()) : String(name)
        port = String(rest[rest.index(after: colon)...])
    }

    package var isSecure: Bool { scheme == "https" || scheme == "unixs" }

    package func addresses() throws(SystemError) -> [SocketAddress] {
        if scheme.hasPrefix("unix") {
            guard let address = SocketAddress.unix(host) else { throw SystemError("socket path", host, code: ENAMETOOLONG) }
            return [address]
        }
        var seen: [SocketAddress] = []
        for address in try SocketAddress.resolve(host: host, port: port, passive: true) where !seen.contains(address) {
            seen.append(address)
        }
        return seen
    }
}

extension String {
    /// The first place where `text` stands.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
