// An endpoint as users write it: "host:port", or a URL with http, https, unix or unixs.

struct Endpoint: Hashable, Sendable {
    let text: String
    let isUnix: Bool
    /// Decided by the scheme; nil without one.
    let isSecure: Bool?
    /// Host, or path of a socket.
    let host: String
    /// Empty when missing, which is found out when dialling.
    let port: String

    init(_ text: String) {
        self.text = text
        var rest = Substring(text)
        var scheme = ""
        for known in ["http", "https", "unix", "unixs"] where text.hasPrefix(known + "://") {
            scheme = known
            rest = rest.dropFirst(known.count + 3)
        }
        // A socket's path also stands right behind the scheme.
        for known in ["unix", "unixs"] where scheme.isEmpty && text.hasPrefix(known + ":") {
            scheme = known
            rest = rest.dropFirst(known.count + 1)
        }
        isSecure = scheme.isEmpty ? nil : scheme.hasSuffix("s")
        isUnix = scheme.hasPrefix("unix")
        if isUnix {
            host = String(rest)
            port = ""
            return
        }
        // A path behind the port says nothing here.
        rest = rest.prefix { $0 != "/" }
        guard let colon = rest.lastIndex(of: ":"), !rest[colon...].contains("]") else {
            host = String(rest)
            port = ""
            return
        }
        let name = rest[..<colon]
        host = name.hasPrefix("[") && name.hasSuffix("]") ? String(name.dropFirst().dropLast()) : String(name)
        port = String(rest[rest.index(after: colon)...])
    }

    /// The `:authority` of calls.
    var authority: String {
        if isUnix { return "localhost" }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
