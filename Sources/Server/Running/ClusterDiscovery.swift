// --discovery-token: the members of a new cluster find each other through another cluster that is there already. Under the
// token it holds how many there will be, and each member writes itself beside it:
//
//     /_etcd/registry/TOKEN/_config/size         3
//     /_etcd/registry/TOKEN/members/8e9e05c5...  a=http://10.0.0.1:2380
//
// The first so many by the revision that created their keys are the cluster. A member that starts again before the others
// came keeps its place: its key is the same, because its id follows from its URLs and the token.
//
// What the other cluster does not answer is asked again, after pauses that double; only what it does answer is final.

import CoveyClient
import Flags
import Foundations
import Linux

final class ClusterDiscovery: Sendable {
    struct Failure: Error, Equatable, CustomStringConvertible {
        var description: String

        static let noSize = Failure(description: "discovery: size key not found")
        static let badSize = Failure(description: "discovery: size key is bad")
        static let full = Failure(description: "discovery: cluster is full")
        static let stopped = Failure(description: "discovery: stopped")
    }

    /// What happened, for the log; `isProblem` when somebody should look.
    typealias Report = @Sendable (_ message: String, _ fields: [(String, String)], _ isProblem: Bool) -> Void

    static let membersMax = 1_000
    private static let pauseSecondsMax: UInt64 = 256

    private let client: Client
    private let prefix: String
    private let ownKey: Blob
    private let ownValue: Blob
    private let timeout: Duration
    private let report: Report

    /// `member`: the id this server will have.
    init(
        _ settings: ServerConfiguration.Discovery, member: MemberID, name: String, urls: [MemberURL], report: @escaping Report
    ) throws(Failure) {
        prefix = "/_etcd/registry/\(settings.token)"
        ownKey = Blob("\(prefix)/members/\(member)")
        ownValue = Blob(urls.map { "\(name)=\($0)" }.sorted().joined(separator: ","))
        timeout = .nanoseconds(max(settings.requestTimeout, 1_000_000))
        self.report = report
        do throws(ClientError) { client = try Client(ClusterDiscovery.configuration(settings)) } catch {
            throw Failure(description: "discovery: \(error)")
        }
    }

    deinit { client.close() }

    private static func configuration(_ settings: ServerConfiguration.Discovery) -> ClientConfiguration {
        let timeout = Duration.nanoseconds(max(settings.requestTimeout, 1_000_000))
        var configuration = ClientConfiguration(
            endpoints: settings.endpoints.map { endpoint in
                // Without a scheme the transport decides, and that is cleartext unless it was switched off.
                settings.insecureTransport && !endpoint.contains("://") ? "http://" + endpoint : endpoint
            }, timeout: timeout)
        configuration.connectionWait = timeout
        configuration.connectTimeout = .nanoseconds(max(settings.dialTimeout, 0))
        if settings.keepAliveTime > 0 { configuration.keepaliveInterval = .nanoseconds(settings.keepAliveTime) }
        if settings.keepAliveTimeout > 0 { configuration.keepaliveTimeout = .nanoseconds(settings.keepAliveTimeout) }
        if !settings.insecureTransport || configuration.endpoints.contains(where: { $0.hasPrefix("https:") || $0.hasPrefix("unixs:") }) {
            configuration.tls = ClientConfiguration.TLS(
                trustedCA: settings.caFile.isEmpty ? nil : settings.caFile, certificate: settings.certFile,
                key: settings.keyFile, insecureSkipVerify: settings.insecureSkipVerify)
        }
        if !settings.user.isEmpty {
            var (user, password) = (settings.user, settings.password)
            if password.isEmpty, let colon = user.firstIndex(of: ":") {
                password = String(user[user.index(after: colon)...])
                user = String(user[..<colon])
            }
            configuration.credentials = ClientConfiguration.Credentials(user: user, password: password)
        }
        return configuration
    }

    /// Writes this member down, waits for the others; --initial-cluster, as they wrote it.
    func join() async throws(Failure) -> String {
        var seen = try await persistently("check") { try await self.look() }
        if seen.ownPlace == nil {
            if seen.isFull { throw .full }
            _ = try await persistently("register") { try await self.client.put(self.ownKey, self.ownValue).revision }
            report("registered self with discovery service", [("member", ownValue.text)], false)
            seen = try await persistently("check") { try await self.look() }
        }
        // Others may have been quicker by a moment.
        guard let place = seen.ownPlace, place < seen.size else { throw .full }
        report("found self from discovery server", [("self", ownValue.text)], false)
        while !seen.isFull {
            let known = seen
            seen = try await persistently("watch") { try await self.more(than: known) }
        }
        report("found all needed peers from discovery server", [("needed-peers", "\(seen.size)")], false)
        return seen.members.prefix(seen.size).map(\.value.text).joined(separator: ",")
    }

    // MARK: Looking

    private struct Seen: Sendable {
        var size: Int
        /// By the revision that created them.
        var members: [KeyValuePair]
        var revision: Int64
        var ownPlace: Int?

        var isFull: Bool { members.count >= size }
    }

    private func look() async throws -> Seen {
        guard let text = try await client.get(Blob(prefix + "/_config/size"))?.value.text else { throw Failure.noSize }
        guard let size = Int(text), (1...ClusterDiscovery.membersMax).contains(size) else { throw Failure.badSize }
        let listing = try await client.list(.prefix(Blob(prefix + "/members/")), limit: ClusterDiscovery.membersMax)
        let members = listing.pairs.sorted { $0.createRevision < $1.createRevision }
        return Seen(
            size: size, members: members, revision: listing.revision, ownPlace: members.firstIndex { $0.key == ownKey })
    }

    /// Waits until something changes behind what was seen, and looks again.
    private func more(than seen: Seen) async throws -> Seen {
        for member in seen.members where member.key != ownKey {
            report("found peer from discovery server", [("peer", member.value.text)], false)
        }
        report(
            "found peers from discovery server; waiting for more",
            [("found-peers", "\(seen.members.count)"), ("needed-peers", "\(seen.size - seen.members.count)")], false)
        let watch = try await client.watch(.prefix(Blob(prefix + "/members/")), from: seen.revision + 1)
        defer { watch.cancel() }
        waiting: while let event = try await watch.next() {
            switch event {
            case .changes, .gap: break waiting
            case .progress: continue
            }
        }
        let now = try await look()
        // Somebody took this member's key away: it is not to be part of the cluster.
        guard let place = now.ownPlace, place < now.size else { throw Failure.full }
        return now
    }

    /// Asks again until there is an answer.
    private func persistently<Answer: Sendable>(
        _ what: String, _ body: @Sendable () async throws -> Answer
    ) async throws(Failure) -> Answer {
        var pause: UInt64 = 2
        while true {
            do { return try await body() } catch let failure as Failure { throw failure } catch {
                if Task.isCancelled { throw .stopped }
                report(
                    "retry connecting to discovery service",
                    [("reason", what), ("backoff", "\(pause)s"), ("error", "\(error)")], true)
            }
            // A cancelled pause ends with the next attempt.
            try? await Task.sleep(nanoseconds: pause * 1_000_000_000)
            if Task.isCancelled { throw .stopped }
            pause = min(2 * pause, ClusterDiscovery.pauseSecondsMax)
        }
    }
}
