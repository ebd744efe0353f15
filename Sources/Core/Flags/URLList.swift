// URLs of members and listeners: `http://127.0.0.1:2379`, `unix://name`. The rules and the words of refusal are etcd's.

package struct MemberURL: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var scheme: String
    /// `host:port`, or what follows `unix://`.
    package var address: String
    package var path: String

    package init(scheme: String, address: String, path: String = "") {
        self.scheme = scheme
        self.address = address
        self.path = path
    }

    package var description: String { "\(scheme)://\(address)\(path)" }
    package static func < (a: MemberURL, b: MemberURL) -> Bool {
        Array(a.description.utf8).lexicographicallyPrecedes(Array(b.description.utf8))
    }

    package var isUnix: Bool { scheme == "unix" || scheme == "unixs" }
    package var usesTLS: Bool { scheme == "https" || scheme == "unixs" }

    /// Without brackets; empty for unix sockets.
    package var host: String { isUnix ? "" : HostPort.split(address)?.host ?? address }
    package var port: String { isUnix ? "" : HostPort.split(address)?.port ?? "" }
    /// The socket's file: authority and path together.
    package var socketPath: String { address + path }
}

package struct URLError: Error, Equatable, Sendable, CustomStringConvertible {
    package var description: String
    package init(_ description: String) { self.description = description }
}

package enum URLList {
    /// Comma separated, sorted. `http://a:1,http://b:2`
    package static func parse(_ text: String) throws(URLError) -> [MemberURL] {
        try parse(text.split(separator: ",", omittingEmptySubsequences: false).map(String.init))
    }

    package static func parse(_ texts: [String]) throws(URLError) -> [MemberURL] {
        guard !texts.isEmpty else { throw URLError("no valid URLs given") }
        var urls: [MemberURL] = []
        for text in texts { urls.append(try parseOne(text)) }
        return urls.sorted()
    }

    package static func parseOne(_ text: String) throws(URLError) -> MemberURL {
        let trimmed = trim(text)
        let url = try generic(trimmed)
        switch url.scheme {
        case "http", "https":
            guard HostPort.split(url.address) != nil else {
                throw URLError("URL address does not have the form \"host:port\": \(trimmed)")
            }
            guard url.path.isEmpty else { throw URLError("URL must not contain a path: \(trimmed)") }
        case "unix", "unixs": break
        default: throw URLError("URL scheme must be http, https, unix, or unixs: \(trimmed)")
        }
        return url
    }

    private static func trim(_ text: String) -> String {
        let spaces: Set<Character> = [" ", "\t", "\n", "\r"]
        var rest = text[...]
        while let first = rest.first, spaces.contains(first) { rest = rest.dropFirst() }
        while let last = rest.last, spaces.contains(last) { rest = rest.dropLast() }
        return String(rest)
    }

    /// The parts every URL has; no rule about schemes yet.
    private static func generic(_ text: String) throws(URLError) -> MemberURL {
        func refuse(_ reason: String) -> URLError { URLError("parse \(GoText.quote(text)): \(reason)") }
        if text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) {
            throw refuse("net/url: invalid control character in URL")
        }
        guard let scheme = try schemeEnd(text, refuse) else {
            // No scheme: what looks like host:port may not stand where a path would.
            let segment = text.prefix { $0 != "/" }
            if segment.contains(":") { throw refuse("first path segment in URL cannot contain colon") }
            return MemberURL(scheme: "", address: "", path: text)
        }
        let rest = text[text.index(scheme, offsetBy: 1)...]
        let name = text[..<scheme].lowercased()
        guard rest.hasPrefix("//") else { return MemberURL(scheme: name, address: "", path: String(rest)) }
        let authority = rest.dropFirst(2).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let path = String(rest.dropFirst(2 + authority.count))
        if let reason = badAuthority(String(authority)) { throw refuse(reason) }
        return MemberURL(scheme: name, address: String(authority), path: path)
    }

    private static func schemeEnd(
        _ text: String, _ refuse: (String) -> URLError
    ) throws(URLError) -> String.Index? {
        for index in text.indices {
            switch text[index] {
            case "a"..."z", "A"..."Z": continue
            case "0"..."9", "+", "-", ".":
                if index == text.startIndex { return nil }
            case ":":
                if index == text.startIndex { throw refuse("missing protocol scheme") }
                return index
            default: return nil
            }
        }
        return nil
    }

    private static func badAuthority(_ text: String) -> String? {
        let host = text.split(separator: "@", omittingEmptySubsequences: false).last.map(String.init) ?? ""
        var port = ""
        if host.hasPrefix("[") {
            guard let close = host.lastIndex(of: "]") else { return "missing ']' in host" }
            port = String(host[host.index(after: close)...])
        } else if let colon = host.lastIndex(of: ":") {
            port = String(host[colon...])
        }
        if port.isEmpty { return nil }
        let digits = port.dropFirst()
        if port.first != ":" || !digits.allSatisfy({ ("0"..."9").contains($0) }) {
            return "invalid port \(GoText.quote(port)) after host"
        }
        return nil
    }
}

/// `host:port` and `[v6]:port`.
package enum HostPort {
    package static func split(_ text: String) -> (host: String, port: String)? {
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            let after = text[text.index(after: close)...]
            guard after.first == ":" else { return nil }
            return (String(text[text.index(after: text.startIndex)..<close]), String(after.dropFirst()))
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        return (String(parts[0]), String(parts[1]))
    }

    package static func join(_ host: String, _ port: String) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// True for `127.0.0.1` and `::1` notations; names are not addresses.
    package static func isIPAddress(_ text: String) -> Bool { isIPv4(text) || isIPv6(text) }

    private static func isIPv4(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy {
                guard let value = Int($0), $0.allSatisfy(\.isASCII), !$0.hasPrefix("+") else { return false }
                return (0...255).contains(value) && $0.count <= 3
            }
    }

    private static func isIPv6(_ text: String) -> Bool {
        let withoutZone = text.split(separator: "%", maxSplits: 1).first.map(String.init) ?? ""
        let halves = parted(withoutZone)
        guard withoutZone.contains(":"), halves.count <= 2 else { return false }
        var groups = 0
        for half in halves where !half.isEmpty {
            let parts = half.split(separator: ":", omittingEmptySubsequences: false)
            for (i, part) in parts.enumerated() {
                if part.contains(".") {
                    guard i == parts.count - 1, isIPv4(String(part)) else { return false }
                    groups += 2
                } else {
                    guard (1...4).contains(part.count), part.allSatisfy(\.isHexDigit) else { return false }
                    groups += 1
                }
            }
        }
        return halves.count == 2 ? groups <= 7 : groups == 8
    }

    /// Split at each `::`.
    private static func parted(_ text: String) -> [String] {
        var parts = [""]
        var previousWasColon = false
        for character in text {
            if character == ":" && previousWasColon {
                parts[parts.count - 1].removeLast()
                parts.append("")
                previousWasColon = false
            } else {
                parts[parts.count - 1].append(character)
                previousWasColon = character == ":"
            }
        }
        return parts
    }
}
