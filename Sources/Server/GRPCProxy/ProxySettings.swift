// What the flags of `grpc-proxy start` mean together.

import CoveyClient
import Flags
import Foundations
import GRPC
import Linux
import PKI
import TLSEngine

struct ProxySettings {
    struct Refusal: Error, CustomStringConvertible {
        var description: String

        init(_ description: String) { self.description = description }
    }

    var listenAddress: String
    /// Nil: no other listener.
    var metricsURL: ListenURL?
    var advertised: String
    var resolverPrefix: String
    var resolverTTL: Int64
    var namespace: String
    var cluster: ClientConfiguration
    /// Nil: cleartext.
    var tls: TLSConfiguration?
    var messageBytesMax: Int
    var concurrentStreamsMax: UInt32
    var pingIntervalMin: UInt64
    var keepaliveInterval: UInt64
    var keepaliveTimeout: UInt64
    /// Flags that have no effect here, and what that means.
    var notices: [String] = []

    init(_ values: OptionValues) throws {
        listenAddress = values.text("listen-addr")
        advertised = values.text("advertise-client-url")
        namespace = values.text("namespace")
        messageBytesMax = Int(max(0, values.integer("max-send-bytes")))
        concurrentStreamsMax = UInt32(clamping: values.unsigned("max-concurrent-streams"))
        pingIntervalMin = UInt64(max(0, values.duration("grpc-keepalive-min-time")))
        keepaliveInterval = UInt64(max(0, values.duration("grpc-keepalive-interval")))
        keepaliveTimeout = UInt64(max(0, values.duration("grpc-keepalive-timeout")))
        (resolverPrefix, resolverTTL) = (values.text("resolver-prefix"), values.integer("resolver-ttl"))
        if !resolverPrefix.isEmpty || resolverTTL != 0 {
            guard resolverTTL >= 1 else { throw Refusal("invalid resolver-ttl \(resolverTTL)") }
            guard !resolverPrefix.isEmpty else { throw Refusal("invalid resolver-prefix \"\"") }
            guard !advertised.isEmpty else { throw Refusal("invalid advertise-client-url \"\"") }
        }
        let metrics = values.text("metrics-addr")
        if !metrics.isEmpty {
            guard let url = ListenURL(metrics) else {
                throw Refusal("--metrics-addr \(metrics) is no URL; write http://HOST:PORT or https://HOST:PORT")
            }
            metricsURL = url
        }
        cluster = try Self.cluster(values)
        tls = try Self.tls(values)
        notices = Self.notices(values)
    }

    // MARK: To the members

    private static func cluster(_ values: OptionValues) throws -> ClientConfiguration {
        let found = try ServiceEndpoints.find(values)
        let endpoints = found?.map { ($0.isSecure ? "https://" : "http://") + $0.address } ?? values.list("endpoints")
        guard !endpoints.isEmpty else { throw Refusal("no endpoints found; name members with --endpoints") }
        let (certificate, key, authority) = (values.text("cert"), values.text("key"), values.text("cacert"))
        guard certificate.isEmpty == key.isEmpty else {
            throw Refusal("--cert and --key must both be given: the certificate shown to members, and its key")
        }
        var configuration = ClientConfiguration(endpoints: endpoints)
        let skipsVerification = values.bool("insecure-skip-tls-verify")
        if !certificate.isEmpty || !authority.isEmpty || skipsVerification || endpoints.contains(where: { $0.hasPrefix("https://") }) {
            configuration.tls = .init(
                trustedCA: authority.isEmpty ? nil : authority, certificate: certificate, key: key,
                insecureSkipVerify: skipsVerification)
        }
        if !certificate.isEmpty {
            // Members would take every client of the proxy for the user of that name.
            let name = try Certificate.load(certificate).first?.commonName ?? ""
            guard name.isEmpty else {
                throw Refusal("cert has non empty Common Name (\(name)): \(certificate); clients would all be that user")
            }
        }
        configuration.sendBytesMax = Int(clamping: values.integer("max-send-bytes"))
        configuration.receiveBytesMax = Int(clamping: min(max(0, values.integer("max-recv-bytes")), Int64(Int32.max)))
        let keepalive = values.duration("dial-keepalive-time")
        if keepalive > 0 { configuration.keepaliveInterval = .nanoseconds(keepalive) }
        configuration.keepaliveTimeout = .nanoseconds(max(values.duration("dial-keepalive-timeout"), 1_000_000))
        return configuration
    }

    // MARK: To the clients

    private static func tls(_ values: OptionValues) throws -> TLSConfiguration? {
        var (certificate, key) = (values.text("cert-file"), values.text("key-file"))
        guard certificate.isEmpty == key.isEmpty else {
            throw Refusal("--cert-file and --key-file must both be given: the certificate shown to clients, and its key")
        }
        if certificate.isEmpty {
            guard values.bool("auto-tls") else { return nil }
            let host = HostPort.split(values.text("listen-addr"))?.host ?? ""
            let files = try SelfSignedFiles.ensure(
                in: values.text("data-dir") + "/fixtures/proxy", hosts: [host], years: UInt(values.unsigned("self-signed-cert-validity")),
                isPeer: false, now: Int64(Clock.wall() / 1_000_000_000))
            (certificate, key) = (files.certificate, files.key)
        }
        let authority = values.text("trusted-ca-file")
        var configuration = TLSConfiguration.server(
            certificate: certificate, key: key, trustedCA: authority.isEmpty ? nil : authority)
        configuration.revocationFile = values.text("client-crl-file")
        configuration.cipherSuites = values.list("listen-cipher-suites")
        configuration.minimumVersion = try TLSVersion.parse(values.text("tls-min-version")) ?? .tls12
        configuration.maximumVersion = try TLSVersion.parse(values.text("tls-max-version"))
        return configuration
    }

    private static func notices(_ values: OptionValues) -> [String] {
        let meaning = [
            "enable-pprof": "there are no profiles of this runtime; use perf",
            "experimental-serializable-ordering": "serializable reads may go back in time when a member that is behind answers",
            "experimental-leasing-prefix": "reads are not served from leased keys; every read asks a member",
            "experimental-enable-grpc-logging": "calls are not logged one by one",
            "permit-without-stream":
                "members are probed while calls are in flight; an idle connection that broke is found by the next call",
            "endpoints-auto-sync-interval": "the members are those of --endpoints until a restart",
        ]
        return meaning.keys.sorted().filter { values.isSet($0) }.map { "--\($0) has no effect here: \(meaning[$0]!)" }
    }
}
