// From option values, whatever their source, to the configuration.

import Flags
import Telemetry

/// Why a configuration is refused; the text is etcd's where etcd has one.
package struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    package var description: String
    package init(_ description: String) { self.description = description }
}

extension ServerConfiguration {
    /// Values are known to parse, one by one; this brings them together.
    package init(_ given: OptionValues) throws(ConfigurationError) {
        let values = try ServerConfiguration.withOldSpellings(given)
        func urls(_ name: String) throws(ConfigurationError) -> [MemberURL] {
            let text = values.text(name)
            if text.isEmpty { return [] }
            do throws(URLError) { return try URLList.parse(text) } catch {
                throw ConfigurationError(error.description)
            }
        }
        func list(_ name: String) -> [String] { values.text(name).split(separator: ",").map(String.init) }

        name = values.text("name")
        dataDirectoryIsDefault = values.text("data-dir").isEmpty
        dataDirectory = dataDirectoryIsDefault ? values.text("name") + ".etcd" : values.text("data-dir")
        walDirectory = values.text("wal-dir")
        walDirectIO = values.bool("wal-direct-io")
        snapshotCount = values.unsigned("snapshot-count") == 0 ? 100_000 : values.unsigned("snapshot-count")
        snapshotCatchupEntries = values.unsigned("snapshot-catchup-entries")
        heartbeatMilliseconds = values.unsigned("heartbeat-interval")
        electionMilliseconds = values.unsigned("election-timeout")
        initialElectionTickAdvance = values.bool("initial-election-tick-advance")
        listenPeerURLs = try urls("listen-peer-urls")
        listenClientURLs = try urls("listen-client-urls")
        listenClientHTTPURLs = try urls("listen-client-http-urls")
        listenMetricsURLs = try urls("listen-metrics-urls")
        snapshotFilesMax = values.unsigned("max-snapshots")
        logSegmentsMax = values.unsigned("max-wals")
        quotaBackendBytes = values.integer("quota-backend-bytes")
        batchInterval = values.duration("backend-batch-interval")
        batchLimit = values.integer("backend-batch-limit")
        transactionOperationsMax = values.unsigned("max-txn-ops")
        requestBytesMax = values.unsigned("max-request-bytes")
        concurrentStreamsMax = UInt32(values.unsigned("max-concurrent-streams"))
        clientAdmissionFile = values.text("client-admission-file")
        keepAlive = KeepAlive(
            minimumInterval: values.duration("grpc-keepalive-min-time"),
            interval: values.duration("grpc-keepalive-interval"), timeout: values.duration("grpc-keepalive-timeout"))
        reusePort = values.bool("socket-reuse-port")
        reuseAddress = values.bool("socket-reuse-address")
        raftReadTimeout = max(values.duration("raft-read-timeout"), 5 * GoDuration.second)
        raftWriteTimeout = max(values.duration("raft-write-timeout"), 5 * GoDuration.second)
        lockMemory = values.bool("memory-mlock")

        advertisePeerURLs = try urls("initial-advertise-peer-urls")
        advertiseClientURLs = try urls("advertise-client-urls")
        initialCluster = values.text("initial-cluster")
        initialClusterState = ClusterState(rawValue: values.text("initial-cluster-state")) ?? .new
        initialClusterToken = values.text("initial-cluster-token")
        strictReconfigCheck = values.bool("strict-reconfig-check")
        preVote = values.bool("pre-vote")
        guard let mode = AutoCompaction.Mode(rawValue: values.text("auto-compaction-mode")) else {
            let text = values.text("auto-compaction-mode")
            throw ConfigurationError(
                text.isEmpty ? "undefined auto-compaction-mode" : "unknown auto-compaction-mode \(GoText.quote(text))")
        }
        autoCompaction = AutoCompaction(mode: mode, retentionText: values.text("auto-compaction-retention"))
        discovery = ServerConfiguration.discovery(values, list("discovery-endpoints"))
        forceNewCluster = values.bool("force-new-cluster")
        wantsV2AndNot =
            values.bool("enable-v2") && values.isSet("v2-deprecation") && values.text("v2-deprecation") == "write-only"

        clientTLS = TLS(
            certFile: values.text("cert-file"), keyFile: values.text("key-file"),
            clientCertFile: values.text("client-cert-file"), clientKeyFile: values.text("client-key-file"),
            requiresClientCertificate: values.bool("client-cert-auth"), trustedCAFile: values.text("trusted-ca-file"),
            crlFile: values.text("client-crl-file"), selfSigned: values.bool("auto-tls"),
            allowedHostnames: list("client-cert-allowed-hostname"))
        peerTLS = TLS(
            certFile: values.text("peer-cert-file"), keyFile: values.text("peer-key-file"),
            clientCertFile: values.text("peer-client-cert-file"), clientKeyFile: values.text("peer-client-key-file"),
            requiresClientCertificate: values.bool("peer-client-cert-auth"),
            trustedCAFile: values.text("peer-trusted-ca-file"), crlFile: values.text("peer-crl-file"),
            selfSigned: values.bool("peer-auto-tls"), allowedCommonNames: list("peer-cert-allowed-cn"),
            allowedHostnames: list("peer-cert-allowed-hostname"),
            skipsClientSANVerification: values.bool("peer-skip-client-san-verification"))
        selfSignedValidityYears = values.unsigned("self-signed-cert-validity")
        cipherSuites = list("cipher-suites")
        tlsMinVersion = values.text("tls-min-version")
        tlsMaxVersion = values.text("tls-max-version")
        corsOrigins = list("cors")
        hostWhitelist = list("host-whitelist")
        authToken = values.text("auth-token")
        bcryptCost = Int(clamping: values.unsigned("bcrypt-cost"))
        authTokenTTLSeconds = values.unsigned("auth-token-ttl")

        enablePprof = values.bool("enable-pprof")
        extensiveMetrics = values.text("metrics") == "extensive"
        log = try ServerConfiguration.logSettings(values, list("log-outputs"))
        warningUnaryRequestDuration = values.duration("warning-unary-request-duration")
        warningApplyDuration = values.duration("warning-apply-duration")

        enableGateway = values.bool("enable-grpc-gateway")
        corruptCheckInterval = values.duration("corrupt-check-time")
        compactHashCheckInterval = values.duration("compact-hash-check-time")
        compactionBatchLimit = values.integer("compaction-batch-limit")
        bootstrapDefragThresholdMegabytes = values.unsigned("bootstrap-defrag-threshold-megabytes")
        compactionSleepInterval = values.duration("compaction-sleep-interval")
        watchProgressInterval = values.duration("watch-progress-notify-interval")
        downgradeCheckInterval = values.duration("downgrade-check-time")
        learnersMax = values.integer("max-learners")
        gates = try ServerConfiguration.featureGates(values)
        unsafeNoFsync = values.bool("unsafe-no-fsync")
        if initialCluster == "default=http://localhost:2380" && !values.isSet("initial-cluster") && name != "default" {
            initialCluster = clusterFromName
        }
        if !values.isSet("initial-cluster") && (!discovery.srvDomain.isEmpty || discovery.isUsed) {
            initialCluster = ""
        }
    }

    /// `name=url` for each advertised peer URL.
    private var clusterFromName: String { advertisePeerURLs.map { "\(name)=\($0)" }.joined(separator: ",") }

    private static func withOldSpellings(_ given: OptionValues) throws(ConfigurationError) -> OptionValues {
        var values = given
        for (old, new) in ServerOptions.renamed where values.isSet(old) {
            if values.isSet(new) {
                throw ConfigurationError("cannot set --\(old) and --\(new) at the same time, please use --\(new) only")
            }
            values.set(new, values[old], from: values.source(old))
        }
        return values
    }

    private static func featureGates(_ values: OptionValues) throws(ConfigurationError) -> FeatureGates {
        var gates: FeatureGates
        do throws(URLError) { gates = try FeatureGates(values.text("feature-gates")) } catch {
            throw ConfigurationError(error.description)
        }
        for gate in FeatureGates.known {
            guard let flag = gate.flag, values.isSet(flag) else { continue }
            if gates.isChosen(gate.name) {
                throw ConfigurationError(
                    "cannot set --\(flag) and the feature gate \(gate.name) at the same time, please use --feature-gates only"
                )
            }
            gates[gate.name] = values.bool(flag)
        }
        return gates
    }

    private static func discovery(_ values: OptionValues, _ endpoints: [String]) -> Discovery {
        Discovery(
            srvDomain: values.text("discovery-srv"), srvName: values.text("discovery-srv-name"),
            token: values.text("discovery-token"), endpoints: endpoints,
            dialTimeout: values.duration("discovery-dial-timeout"),
            requestTimeout: values.duration("discovery-request-timeout"),
            keepAliveTime: values.duration("discovery-keepalive-time"),
            keepAliveTimeout: values.duration("discovery-keepalive-timeout"),
            insecureTransport: values.bool("discovery-insecure-transport"),
            insecureSkipVerify: values.bool("discovery-insecure-skip-tls-verify"),
            certFile: values.text("discovery-cert"), keyFile: values.text("discovery-key"),
            caFile: values.text("discovery-cacert"), user: values.text("discovery-user"),
            password: values.text("discovery-password"), url: values.text("discovery"), proxy: values.text("discovery-proxy"),
            fallsBackToProxy: values.text("discovery-fallback") == "proxy")
    }

    private static func logSettings(
        _ values: OptionValues, _ outputs: [String]
    ) throws(ConfigurationError) -> LogSettings {
        var settings = LogSettings()
        settings.identifier = "etcd"
        settings.level = LogLevel(values.text("log-level")) ?? .info
        if values.bool("debug") { settings.level = .debug }
        settings.format = LogFormat(rawValue: values.text("log-format")) ?? .json
        settings.outputs = Set(outputs).sorted()
        switch values.text("logger") {
        case "zap", "": break
        case "capnslog": throw ConfigurationError("--logger=capnslog is removed in v3.5")
        case let other: throw ConfigurationError("unknown logger option \(GoText.quote(other))")
        }
        if values.bool("enable-log-rotation") {
            settings.rotation = LogRotation()
            // The number of outputs is judged before the options are read.
            do throws(LogSettings.Refused) { try settings.verify() } catch {
                throw ConfigurationError(error.description)
            }
            do throws(LogRotation.Refused) {
                settings.rotation = try LogRotation(json: values.text("log-rotation-config-json"))
            } catch { throw ConfigurationError(error.description) }
        }
        do throws(LogSettings.Refused) { try settings.verify() } catch { throw ConfigurationError(error.description) }
        return settings
    }
}
