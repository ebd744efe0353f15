// The two flags that both name a member's own peer URLs must agree, with names resolved: a member that starts under
// other URLs than the cluster has for it is found by nobody.

import Flags
import Linux

enum AdvertisedURLs {
    static func check(_ advertised: [MemberURL], against cluster: InitialCluster, name: String) throws(CtlFailure) {
        guard let own = cluster.urls(of: name) else {
            throw CtlFailure(
                .error, "couldn't find local name \(GoText.quote(name)) in the initial cluster configuration")
        }
        guard cluster.urlsAreUnique else { throw CtlFailure(.error, "initial cluster \(cluster) has duplicate url") }
        let advertised = advertised.sorted()
        guard let difference = difference(advertised, own) else { return }
        let missing = own.filter { !advertised.contains($0) }
        if !missing.isEmpty {
            throw CtlFailure(
                .error,
                "--initial-cluster has \(entries(name, missing)) but missing from "
                    + "--initial-advertise-peer-urls=\(list(advertised)) (\(difference))")
        }
        let extra = advertised.filter { !own.contains($0) }
        throw CtlFailure(
            .error,
            "--initial-advertise-peer-urls has \(list(extra)) but missing from "
                + "--initial-cluster=\(entries(name, advertised))")
    }

    private static func entries(_ name: String, _ urls: [MemberURL]) -> String {
        urls.map { "\(name)=\($0)" }.joined(separator: ",")
    }

    private static func list(_ urls: [MemberURL]) -> String { urls.map(\.description).joined(separator: ",") }

    /// What sets them apart; nil when they are the same, or are once names are addresses.
    private static func difference(_ a: [MemberURL], _ b: [MemberURL]) -> String? {
        guard a.count == b.count else { return "len(\(shown(a))) != len(\(shown(b)))" }
        if a == b { return nil }
        var pairs: [(a: (given: String, resolved: String), b: (given: String, resolved: String))] = []
        for (x, y) in zip(a, b) {
            guard let first = resolved(x) else { return "failed to resolve \(GoText.quote("\(x)"))" }
            guard let second = resolved(y) else { return "failed to resolve \(GoText.quote("\(y)"))" }
            pairs.append((("\(x)", first), ("\(y)", second)))
        }
        let left = pairs.map(\.a).sorted { $0.resolved < $1.resolved }
        let right = pairs.map(\.b).sorted { $0.resolved < $1.resolved }
        for (x, y) in zip(left, right) where x.resolved != y.resolved {
            return "\(GoText.quote(x.resolved))(resolved from \(GoText.quote(x.given))) != "
                + "\(GoText.quote(y.resolved))(resolved from \(GoText.quote(y.given)))"
        }
        return nil
    }

    private static func shown(_ urls: [MemberURL]) -> String {
        "[" + urls.map { GoText.quote("\($0)") }.joined(separator: " ") + "]"
    }

    /// `localhost` stays a name, as in etcd: it is a different address on every host.
    private static func resolved(_ url: MemberURL) -> String? {
        if url.isUnix || url.host == "localhost" || HostPort.isIPAddress(url.host) { return "\(url)" }
        do throws(SystemError) {
            guard let address = try SocketAddress.resolve(host: url.host, port: url.port).first else { return nil }
            return "\(url.scheme)://\(address)\(url.path)"
        } catch { return nil }
    }
}
