// --discovery-token: the registry is another cluster. Under the token it holds:
//
//     /_etcd/registry/TOKEN/_config/size         3
//     /_etcd/registry/TOKEN/members/8e9e05c5...  a=http://10.0.0.1:2380
//
// A member that starts again before the others came keeps its place: its key is the same, because its id follows from its URLs
// and the token.

import CoveyClient
import Foundations

final class TokenRegistry: DiscoveryRegistry {
    let placesAreKept = true

    private let client: Client
    private let prefix: String
    private let ownKey: Blob
    private let ownValue: Blob

    init(_ settings: ServerConfiguration.Discovery, id: String, value: String) throws(ClusterDiscovery.Failure) {
        prefix = "/_etcd/registry/\(settings.token)"
        ownKey = Blob("\(prefix)/members/\(id)")
        ownValue = Blob(value)
        do throws(ClientError) { client = try Client(TokenRegistry.configuration(settings)) } catch {
            throw ClusterDiscovery.Failure(description: "discovery: \(error)")
        }
    }

    deinit { client.close() }

    func look() async throws -> ClusterDiscovery.Seen {
        guard let text = try await client.get(Blob(prefix + "/_config/size"))?.value.text else {
            throw ClusterDiscovery.Failure.noSize
        }
        let size = try ClusterDiscovery.Seen.size(text)
        let listing = try await client.list(.prefix(Blob(prefix + "/members/")), limit: ClusterDiscovery.membersMax)
        return ClusterDiscovery.Seen(
            size: size,
            members: listing.pairs.map { pair in
                ClusterDiscovery.Seen.Member(
                    id: pair.key.text.split(separator: "/").last.map(String.init) ?? "", text: pair.value.text,
                    createRevision: pair.createRevision)
            }, revision: listing.revision)
    }

    func register() async throws { _ = try await client.put(ownKey, ownValue) }

    func change(after seen: ClusterDiscovery.Seen) async throws {
        let watch = try await client.watch(.prefix(Blob(prefix + "/members/")), from: seen.revision.map { $0 + 1 })
        defer { watch.cancel() }
        while let event = try await watch.next() {
            switch event {
            case .changes, .gap: return
            case .progress: continue
            }
        }
    }

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
}
