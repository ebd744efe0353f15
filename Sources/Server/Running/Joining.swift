// A first boot looks at the other members before anything is written: a new cluster must not be there already, and one that
// is joined must list this member, under exactly the URLs that --initial-cluster gives.

import FileFormats
import Flags
import Foundations
import JSON
import Linux
import State

/// What other members said about the cluster.
struct RemoteCluster {
    var id: ClusterID
    var members: [State.Member]
}

final class Joining {
    struct Failure: Error, CustomStringConvertible { var description: String }

    private let loop: EventLoop
    private let transport: PeerTransport
    private let configuration: ServerConfiguration
    private let cluster: Flags.InitialCluster
    private let log: (String, [(String, String)]) -> Void

    init(
        _ loop: EventLoop, _ transport: PeerTransport, _ configuration: ServerConfiguration, _ cluster: Flags.InitialCluster,
        log: @escaping (String, [(String, String)]) -> Void
    ) {
        self.loop = loop
        self.transport = transport
        self.configuration = configuration
        self.cluster = cluster
        self.log = log
    }

    private var otherURLs: [String] {
        cluster.members.filter { $0.name != configuration.name }.flatMap { $0.urls.map(\.description) }.sorted()
    }

    /// The lists of the other members that answer, one after the other, until `isEnough` says so.
    private func fetch(
        timeout: UInt64, until isEnough: @escaping (RemoteCluster) -> Bool, then done: @escaping () -> Void
    ) {
        var urls = otherURLs
        func next() {
            guard !urls.isEmpty else { return done() }
            let url = urls.removeFirst()
            transport.fetch(PeerRequest([url], "/members", timeout: timeout)) { [self] result in
                guard case .success(let response) = result, let remote = Joining.remote(response) else {
                    if case .failure(let failure) = result {
                        log("failed to get cluster response", [("peer-url", url), ("error", "\(failure)")])
                    }
                    return next()
                }
                if isEnough(remote) { done() } else { next() }
            }
        }
        next()
    }

    static func remote(_ response: PeerResponse) -> RemoteCluster? {
        guard response.status == 200, let text = response.cluster, let id = UInt64(text, radix: 16),
            let list = try? JSONValue(parsing: response.body), case .array(let items) = list
        else { return nil }
        let members = items.compactMap { State.Member(json: Bytes($0.text().utf8)) }
        guard members.count == items.count, !members.isEmpty else { return nil }
        return RemoteCluster(id: ClusterID(id), members: members)
    }

    /// A member that published itself has acknowledged entries and given votes. Without its data it would deny both, and a
    /// vote it gives again can elect a leader that lacks what was acknowledged.
    private static func startedBefore(_ own: MemberID, _ remote: RemoteCluster) -> Failure? {
        guard let known = remote.members.first(where: { $0.id == own }), !known.clientURLs.isEmpty else { return nil }
        return Failure(
            description: "member \(own) has already been bootstrapped and its data is gone; "
                + "remove it from the cluster and add it again to get a new identity")
    }

    /// A new cluster: nobody may have started this member already.
    func checkNew(own: MemberID, _ done: @escaping (Failure?) -> Void) {
        guard !otherURLs.isEmpty else { return done(nil) }
        var failure: Failure?
        fetch(timeout: 1_000_000_000) { remote in
            failure = Joining.startedBefore(own, remote)
            return true
        } then: {
            done(failure)
        }
    }

    /// An existing cluster: who this member is there.
    func join(_ done: @escaping (Result<LogIdentity, Failure>) -> Void) {
        join(until: Linux.Clock.monotonic() + Self.patience, done)
    }

    /// A member that is behind does not know of this one yet, so each is asked before a list is said to be wrong, and asked
    /// again: whoever answered the addition is not whoever answers here.
    private func join(until end: UInt64, _ done: @escaping (Result<LogIdentity, Failure>) -> Void) {
        var misfit: Failure?
        var found: (RemoteCluster, MemberID)?
        fetch(timeout: 10_000_000_000) { [self] remote in
            switch identify(remote) {
            case .success(let own): found = (remote, own)
            case .failure(let failure): misfit = misfit ?? failure
            }
            return found != nil
        } then: { [self] in
            if let (remote, own) = found {
                if let failure = Joining.startedBefore(own, remote) { return done(.failure(failure)) }
                return checkVersions(remote, own) { failure in
                    if let failure { return done(.failure(failure)) }
                    done(.success(LogIdentity(member: own, cluster: remote.id)))
                }
            }
            guard let misfit else {
                return done(
                    .failure(
                        Failure(
                            description: "cannot fetch cluster info from peer urls: "
                                + "could not retrieve cluster information from the given URLs")))
            }
            guard Linux.Clock.monotonic() < end else { return done(.failure(misfit)) }
            loop.schedule(after: Self.pause) { [weak self] in self?.join(until: end, done) }
        }
    }

    private static let patience: UInt64 = 3_000_000_000
    private static let pause: UInt64 = 200_000_000

    /// Who this member is in a list, when that is what --initial-cluster says.
    private func identify(_ remote: RemoteCluster) -> Result<MemberID, Failure> {
        let local = cluster.members
        func wrong(_ why: String) -> Result<MemberID, Failure> {
            .failure(Failure(description: "error validating peerURLs \(remoteText(remote)): \(why)"))
        }
        guard local.count == remote.members.count else { return wrong("member count is unequal") }
        var own: MemberID?
        for member in local {
            let urls = member.urls.map(\.description).sorted()
            guard let match = remote.members.first(where: { same($0.peerURLs, urls) }) else {
                return wrong("unmatched member while checking PeerURLs (\(urls.joined(separator: ",")))")
            }
            if member.name == configuration.name { own = match.id }
        }
        guard let own else {
            return .failure(
                Failure(description: "couldn't find local name \"\(configuration.name)\" in the initial cluster configuration"))
        }
        return .success(own)
    }

    private func remoteText(_ remote: RemoteCluster) -> String {
        let members = remote.members.map { "\($0.id) \($0.peerURLs.joined(separator: ","))" }
        return "{ClusterID:\(remote.id) Members:[\(members.joined(separator: " "))]}"
    }

    private func same(_ a: [String], _ b: [String]) -> Bool {
        if a.sorted() == b { return true }
        func resolved(_ urls: [String]) -> [String]? {
            var all: [String] = []
            for url in urls {
                guard let parsed = try? URLList.parseOne(url),
                    let addresses = try? SocketAddress.resolve(host: parsed.host, port: parsed.port), let first = addresses.first
                else { return nil }
                all.append("\(parsed.scheme)://\(first)")
            }
            return all.sorted()
        }
        guard let x = resolved(a), let y = resolved(b) else { return false }
        return x == y
    }

    private func checkVersions(_ remote: RemoteCluster, _ own: MemberID, _ done: @escaping (Failure?) -> Void) {
        let others = remote.members.filter { $0.id != own }
        guard !others.isEmpty else { return done(nil) }
        var left = others.count
        var known = 0
        var bad: ClusterVersion?
        let ours = ClusterVersion(3, 5)
        for other in others {
            transport.fetch(PeerRequest(other.peerURLs, "/version", timeout: 5_000_000_000)) { result in
                if case .success(let response) = result, let version = ClusterVersionDuty.clusterVersion(in: response) {
                    known += 1
                    if version.release > ours || version.major < 3 { bad = version }
                }
                left -= 1
                guard left == 0 else { return }
                if let bad {
                    done(Failure(description: "incompatible with current running cluster: it runs at \(bad), this server at \(ours)"))
                } else if known == 0 {
                    done(Failure(description: "incompatible with current running cluster: no member tells its version"))
                } else {
                    done(nil)
                }
            }
        }
    }
}
