// The rules among the settings. `verify` is what etcd reports as "failed to verify flags"; `verifyStart` and
// `verifyBootstrap` what it reports when the start fails. Texts are etcd's.

import Flags

extension ServerConfiguration {
    package func verify(_ values: OptionValues) throws(ConfigurationError) {
        for url in listenPeerURLs + listenClientURLs + listenClientHTTPURLs + listenMetricsURLs where !url.isUnix {
            if url.host == "localhost" || url.host.isEmpty { continue }
            guard HostPort.isIPAddress(url.host) else {
                throw ConfigurationError("expected IP in URL for binding (\(url))")
            }
        }
        try verifyAdvertised("--initial-advertise-peer-urls", advertisePeerURLs)
        try verifyAdvertised("--advertise-client-urls", advertiseClientURLs)
        try verifyBootstrapSources(values)
        try verifyTiming()
        try verifyTLS()
        if values.isSet("listen-client-urls") && !values.isSet("advertise-client-urls") {
            throw ConfigurationError.advertiseClientURLs
        }
        if gates["LeaseCheckpointPersist"] && !gates["LeaseCheckpoint"] {
            throw ConfigurationError(
                values.isSet("experimental-enable-lease-checkpoint-persist")
                    ? "setting experimental-enable-lease-checkpoint-persist requires experimental-enable-lease-checkpoint"
                    : "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")
        }
        let rate = values.integer("distributed-tracing-sampling-rate")
        guard (0...1_000_000).contains(rate) else {
            throw ConfigurationError("distributed tracing sampling rate must be between 0 and 1000000 (set to \(rate))")
        }
    }

    private func verifyAdvertised(_ flag: String, _ urls: [MemberURL]) throws(ConfigurationError) {
        for url in urls where !url.isUnix && url.host.isEmpty {
            let all = urls.map(\.description).joined(separator: ",")
            throw ConfigurationError("\(flag) \"\(all)\" must be \"host:port\" (unexpected empty host (\(url)))")
        }
    }

    private func verifyBootstrapSources(_ values: OptionValues) throws(ConfigurationError) {
        let usesV3Discovery = values.isSet("discovery-token") || values.isSet("discovery-endpoints")
        let sources = [
            values.isSet("initial-cluster"), values.isSet("discovery"), !discovery.srvDomain.isEmpty, usesV3Discovery,
        ]
        if sources.filter({ $0 }).count > 1 {
            throw ConfigurationError(
                usesV3Discovery
                    ? "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\", "
                        + "\"discovery-endpoints\" or \"discovery-srv\""
                    : "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\" or \"discovery-srv\""
            )
        }
        if usesV3Discovery {
            if discovery.token.isEmpty || values.text("discovery-endpoints").isEmpty {
                throw ConfigurationError("both --discovery-token and --discovery-endpoints must be set")
            }
            let items = values.text("discovery-endpoints").split(separator: ",", omittingEmptySubsequences: false)
            if items.contains(where: \.isEmpty) {
                throw ConfigurationError("--discovery-endpoints must not contain empty endpoints")
            }
        }
        if values.text("proxy") != "off" {
            throw ConfigurationError(
                "--proxy=\(values.text("proxy")): the v2 proxy is not available; start without it, or use gateway or grpc-proxy"
            )
        }
    }

    private func verifyTiming() throws(ConfigurationError) {
        let heartbeat = heartbeatMilliseconds
        let election = electionMilliseconds
        if heartbeat == 0 { throw ConfigurationError("--heartbeat-interval must be >0 (set to 0ms)") }
        if election == 0 { throw ConfigurationError("--election-timeout must be >0 (set to 0ms)") }
        if heartbeat > 50_000 || 5 * heartbeat > election {
            throw ConfigurationError(
                "--election-timeout[\(election)ms] should be at least as 5 times as --heartbeat-interval[\(heartbeat)ms]"
            )
        }
        if election > 50_000 {
            throw ConfigurationError(
                "--election-timeout[\(election)ms] is too long, and should be set less than 50000ms")
        }
        if compactHashCheckInterval <= 0 {
            throw ConfigurationError(
                "--compact-hash-check-time must be >0 (set to \(GoDuration.format(compactHashCheckInterval)))")
        }
    }

    private func verifyTLS() throws(ConfigurationError) {
        for version in [tlsMinVersion, tlsMaxVersion] where !["", "TLS1.2", "TLS1.3"].contains(version) {
            throw ConfigurationError("unexpected TLS version \(GoText.quote(version)) (must be one of: TLS1.2, TLS1.3)")
        }
        if !tlsMaxVersion.isEmpty && tlsMinVersion > tlsMaxVersion {
            throw ConfigurationError("min version (\(tlsMinVersion)) is greater than max version (\(tlsMaxVersion))")
        }
        if tlsMinVersion == "TLS1.3" && !cipherSuites.isEmpty {
            throw ConfigurationError("cipher suites cannot be configured when only TLS1.3 is enabled")
        }
        if !peerTLS.allowedCommonNames.isEmpty && !peerTLS.allowedHostnames.isEmpty {
            throw ConfigurationError(
                "cannot use both --peer-cert-allowed-cn and --peer-cert-allowed-hostname: a certificate is checked by one of them"
            )
        }
    }

    // MARK: At start

    /// What is found when the listeners and the store are about to open. `failed to start etcd`.
    package func verifyStart() throws(ConfigurationError) {
        _ = try retention()
        for suite in cipherSuites where !CipherSuites.names.contains(suite) {
            throw ConfigurationError("unexpected TLS cipher suite \(GoText.quote(suite))")
        }
        if clientTLS.isEmpty && !clientTLS.selfSigned {
            for url in listenClientURLs + listenClientHTTPURLs where url.usesTLS {
                throw ConfigurationError(
                    "TLS key/cert (--cert-file, --key-file) must be provided for client url \(url) with HTTPS scheme")
            }
            for url in listenMetricsURLs where url.usesTLS {
                throw ConfigurationError(
                    "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url")
            }
        }
        if peerTLS.isEmpty && !peerTLS.selfSigned {
            for url in listenPeerURLs where url.usesTLS {
                throw ConfigurationError(
                    "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url \(url) with HTTPS scheme"
                )
            }
        }
        for url in listenClientHTTPURLs where listenClientURLs.contains(url) {
            throw ConfigurationError(
                "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url \(url)")
        }
        if wantsV2AndNot { throw ConfigurationError("--enable-v2 and --v2-deprecation=write-only are mutually exclusive") }
        guard AuthTokenOptions(authToken) != nil else { throw ConfigurationError("auth: invalid auth options") }
    }

    /// Which side's certificates cannot be made because they would never be valid.
    package var sideWithoutValidity: String? {
        guard selfSignedValidityYears == 0 else { return nil }
        if peerTLS.selfSigned && peerTLS.isEmpty { return "peer" }
        return clientTLS.selfSigned && clientTLS.isEmpty ? "client" : nil
    }

    /// How much history auto-compaction keeps: nanoseconds or revisions, by mode. 0: off.
    package func retention() throws(ConfigurationError) -> Int64 {
        let text = autoCompaction.retentionText
        if text.isEmpty { return 0 }
        if let number = Int64(text), number >= 0 {
            return autoCompaction.mode == .periodic ? number &* 3600 * GoDuration.second : number
        }
        do throws(GoDuration.ParseError) { return try GoDuration.parse(text) } catch {
            throw ConfigurationError("error parsing CompactionRetention: \(error.description)")
        }
    }

    /// The members of a new cluster; only asked when there is no data yet. `resolve` turns a URL's host into addresses,
    /// sorted, so that a name and its address count as equal; nil when it cannot.
    package func bootstrapCluster(
        resolve: (MemberURL) -> [String]?
    ) throws(ConfigurationError) -> Flags.InitialCluster {
        let cluster: Flags.InitialCluster
        do throws(URLError) { cluster = try Flags.InitialCluster.parse(initialCluster) } catch {
            throw ConfigurationError("error setting up initial cluster: \(error.description)")
        }
        guard let own = cluster.urls(of: name) else {
            throw ConfigurationError(
                "couldn't find local name \(GoText.quote(name)) in the initial cluster configuration")
        }
        guard cluster.urlsAreUnique else {
            let origin = discovery.isUsed ? "discovery" : "initial"
            throw ConfigurationError("\(origin) cluster \(cluster) has duplicate url")
        }
        try compare(own: own, resolve)
        return cluster
    }

    private func compare(own: [MemberURL], _ resolve: (MemberURL) -> [String]?) throws(ConfigurationError) {
        let advertised = advertisePeerURLs.sorted()
        if own == advertised { return }
        func addresses(_ url: MemberURL) -> [String] {
            url.isUnix ? [url.description] : (resolve(url) ?? [url.host]).map { "\(url.scheme)://\($0):\(url.port)" }
        }
        func resolved(_ urls: [MemberURL]) -> [String] { urls.flatMap(addresses).sorted() }
        if resolved(own) == resolved(advertised) { return }
        let missing = own.filter { !advertised.contains($0) }
        let text = advertised.map(\.description).joined(separator: ",")
        if !missing.isEmpty {
            let entries = missing.map { "\(name)=\($0)" }.joined(separator: ",")
            let detail = difference(advertised, own, addresses)
            throw ConfigurationError(
                "--initial-cluster has \(entries) but missing from --initial-advertise-peer-urls=\(text) (\(detail))")
        }
        let extra = advertised.filter { !own.contains($0) }.map(\.description).joined(separator: ",")
        // What is advertised, under this member's name: so etcd says it, and so scripts look for it.
        let entries = advertised.map { "\(name)=\($0)" }.joined(separator: ",")
        throw ConfigurationError(
            "--initial-advertise-peer-urls has \(extra) but missing from --initial-cluster=\(entries)")
    }

    /// Where two lists of URLs differ, first URL by first URL, with what names stand for.
    private func difference(_ a: [MemberURL], _ b: [MemberURL], _ addresses: (MemberURL) -> [String]) -> String {
        func list(_ urls: [MemberURL]) -> String { "[" + urls.map { GoText.quote($0.description) }.joined(separator: " ") + "]" }
        guard a.count == b.count else { return "len(\(list(a))) != len(\(list(b)))" }
        func shown(_ url: MemberURL) -> String {
            "\(GoText.quote(addresses(url).first ?? url.description))(resolved from \(GoText.quote(url.description)))"
        }
        for (x, y) in zip(a, b) where addresses(x) != addresses(y) { return "\(shown(x)) != \(shown(y))" }
        return "\(list(a)) != \(list(b))"
    }

    /// The advertised host where none was given and the listener takes every address: this machine's own.
    package mutating func adoptDefaultHost(_ host: String, _ values: OptionValues) -> Bool {
        func listensEverywhere(_ urls: [MemberURL]) -> Bool {
            urls.contains { $0.host == "0.0.0.0" || $0.host == "::" }
        }
        func replaced(_ urls: [MemberURL], _ listeners: [MemberURL]) -> [MemberURL] {
            let ports = listeners.map(\.port)
            return urls.enumerated().map { i, url in
                MemberURL(
                    scheme: url.scheme, address: HostPort.join(host, ports.count == urls.count ? ports[i] : url.port))
            }
        }
        var changed = false
        if !values.isSet("initial-advertise-peer-urls") && listensEverywhere(listenPeerURLs) {
            let before = clusterFromDefault
            advertisePeerURLs = replaced(advertisePeerURLs, listenPeerURLs)
            if !values.isSet("initial-cluster") && initialCluster == before { initialCluster = clusterFromDefault }
            changed = true
        }
        if !values.isSet("advertise-client-urls") && listensEverywhere(listenClientURLs) {
            advertiseClientURLs = replaced(advertiseClientURLs, listenClientURLs)
            changed = true
        }
        return changed
    }

    private var clusterFromDefault: String { advertisePeerURLs.map { "\(name)=\($0)" }.joined(separator: ",") }
}

extension ConfigurationError {
    package static let advertiseClientURLs = ConfigurationError(
        "--advertise-client-urls is required when --listen-client-urls is set explicitly")
}

/// --auth-token: `simple`, or `jwt,key=value,...`.
package struct AuthTokenOptions: Sendable, Equatable {
    package var type: String
    package var options: [String: String]

    /// Nil when the text has another form, or a kind nobody knows.
    package init?(_ text: String) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        type = parts[0]
        options = [:]
        for part in parts.dropFirst() {
            let pair = part.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
            guard pair.count == 2, options[pair[0]] == nil else { return nil }
            options[pair[0]] = pair[1]
        }
        switch type {
        case "simple", "": break
        case "jwt": guard options["sign-method"] != nil else { return nil }
        default: return nil
        }
    }
}

/// Names of TLS cipher suites as configurations write them.
package enum CipherSuites {
    package static let names: Set<String> = {
        let ciphers = [
            "RC4_128_SHA", "3DES_EDE_CBC_SHA", "AES_128_CBC_SHA", "AES_256_CBC_SHA", "AES_128_CBC_SHA256",
            "AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305",
        ]
        var names: Set<String> = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
        for cipher in ciphers {
            let isChaCha = cipher.hasPrefix("CHACHA")
            if !isChaCha { names.insert("TLS_RSA_WITH_" + cipher) }
            names.insert("TLS_ECDHE_RSA_WITH_" + cipher)
            if cipher != "3DES_EDE_CBC_SHA" { names.insert("TLS_ECDHE_ECDSA_WITH_" + cipher) }
        }
        return names
    }()
}
