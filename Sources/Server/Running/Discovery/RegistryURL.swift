// Where a discovery service is: `https://discovery.example/v2/keys/TOKEN`, and where a redirect of it leads.

import Connections
import Flags
import Foundations
import HTTP1

struct RegistryURL: Equatable, CustomStringConvertible {
    var origin: HTTPOrigin
    /// Escaped, without a slash at the end: keys are appended.
    var path: String
    /// What is asked; the URL's own is no part of the place.
    var query = ""

    init(_ text: String) throws(ClusterDiscovery.Failure) {
        func refuse(_ reason: String) -> ClusterDiscovery.Failure {
            ClusterDiscovery.Failure(description: "discovery: \(GoText.quote(text)) \(reason)")
        }
        let lowered = text.lowercased()
        guard let scheme = ["http://", "https://"].first(where: { lowered.hasPrefix($0) }) else {
            throw refuse("is no URL of a discovery service: it begins with neither http:// nor https://")
        }
        let rest = text.utf8.dropFirst(scheme.utf8.count)
        let authority = String(decoding: rest.prefix { $0 != 0x2f && $0 != 0x3f && $0 != 0x23 }, as: UTF8.self)
        if authority.contains("@") { throw refuse("names a user, which is not supported") }
        let isTLS = scheme == "https://"
        let isBare = authority.hasPrefix("[") ? authority.hasSuffix("]") : !authority.contains(":")
        guard let (host, port) = HostPort.split(isBare ? authority + (isTLS ? ":443" : ":80") : authority),
            !host.isEmpty, let number = UInt16(port), number > 0
        else { throw refuse("has no host, or a port that is none") }
        guard host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { throw refuse("has no host that can be looked up") }
        let tail = String(decoding: rest.dropFirst(authority.utf8.count), as: UTF8.self)
        guard let target = HTTPTarget(tail.hasPrefix("/") ? tail : "/" + tail) else { throw refuse("has a broken escape") }
        origin = HTTPOrigin(isTLS: isTLS, host: host, port: port)
        // Blanks, and letters beyond ASCII, as they may stand in a request.
        let path = HTTPTarget.cleaned(HTTPPercent.encode(target.rawPath.utf8, keeping: "/%:@!$&'()*+,;="))
        self.path = path.hasSuffix("/") ? String(path.dropLast()) : path
        query = target.rawQuery
    }

    /// `10.0.0.1:3128`, `http://proxy:3128`
    static func proxy(_ text: String) throws(ClusterDiscovery.Failure) -> HTTPOrigin {
        do throws(ClusterDiscovery.Failure) {
            let url = try RegistryURL(text.contains("://") ? text : "http://" + text)
            guard !url.origin.isTLS else {
                throw ClusterDiscovery.Failure(description: "proxies are spoken to without TLS here")
            }
            return url.origin
        } catch { throw ClusterDiscovery.Failure(description: "invalid proxy address \(GoText.quote(text)): \(error)") }
    }

    /// Of a request. Proxies want the whole URL, save inside of a tunnel.
    func target(isProxied: Bool) -> String {
        (isProxied && !origin.isTLS ? "\(origin)" : "") + (path.isEmpty ? "/" : path) + (query.isEmpty ? "" : "?" + query)
    }

    /// `location`: a URL, or a path of this host.
    func following(_ location: String) throws(ClusterDiscovery.Failure) -> RegistryURL {
        try RegistryURL(location.hasPrefix("/") && !location.hasPrefix("//") ? "\(origin)\(location)" : location)
    }

    var description: String { "\(origin)\(target(isProxied: false))" }
}
