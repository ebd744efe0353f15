// Every flag of the server, of etcd 3.4 to 3.7: names and defaults are etcd's at the 3.5 level, where versions differ the
// newest value that 3.5 accepts. What a flag does not do here is in `ServerOptions.notes`; it is said when it is used.

import Flags

package enum ServerOptions {
    package static let all: [Option] =
        member + clustering + security + auth + monitoring + logging + features + unsafeAndGeneral + proxy + legacy

    /// Names that etcd takes and ignores, with any value.
    package static let ignored = [
        "cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
        "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v",
        "vv",
        "test.coverprofile", "test.outputdir",
    ]

    private static func urls(_ name: String, _ fallback: String, _ summary: String, group: String) -> Option {
        Option(name, default: fallback, summary, group: group) { text in
            do throws(URLError) {
                // An empty list means "none" for listeners that need not exist.
                if text.isEmpty { return nil }
                _ = try URLList.parse(text)
                return nil
            } catch { return error.description }
        }
    }

    private static func one(
        of choices: [String], _ name: String, _ fallback: String, _ summary: String, group: String,
        reason: @escaping @Sendable (String) -> String = { _ in "invalid value" }
    ) -> Option {
        Option(name, default: fallback, summary, group: group, choices: choices) { text in
            choices.contains(text) ? nil : reason(text)
        }
    }

    private static let uint = Option.Kind.unsigned(bits: 64)
    private static let int = Option.Kind.integer(bits: 64)

    private static let member: [Option] = [
        Option("name", default: "default", "Name of this member, unique in its cluster.", group: "Member"),
        Option("data-dir", "Folder of the member's state.", shownDefault: "${name}.etcd", group: "Member"),
        Option("wal-dir", "Folder of the write-ahead log when it should be on another disk.", group: "Member"),
        Option(
            "wal-direct-io", .bool, default: "true",
            "Write the log past the page cache, where its file system takes that.", group: "Member"),
        Option(
            "snapshot-count", uint, default: "100000", "Applied entries between two snapshots of raft.", group: "Member"
        ),
        Option(
            "snapshot-catchup-entries", uint, default: "5000", "Entries kept behind a snapshot for slow followers.",
            group: "Member"),
        Option("heartbeat-interval", uint, default: "100", "Milliseconds between heartbeats.", group: "Member"),
        Option(
            "election-timeout", uint, default: "1000",
            "Milliseconds without a leader before an election; at least five heartbeats.", group: "Member"),
        Option(
            "initial-election-tick-advance", .bool, default: "true",
            "Skip most of the first election timeout at start.", group: "Member"),
        urls("listen-peer-urls", "http://localhost:2380", "URLs to listen on for other members.", group: "Member"),
        urls("listen-client-urls", "http://localhost:2379", "URLs to listen on for clients.", group: "Member"),
        urls(
            "listen-client-http-urls", "",
            "URLs for clients' HTTP requests only; the client URLs then speak gRPC only.", group: "Member"),
        Option("max-snapshots", uint, default: "5", "Snapshot files to keep (0: all).", group: "Member"),
        Option("max-wals", uint, default: "5", "Log segments to keep behind a snapshot (0: all).", group: "Member"),
        Option(
            "quota-backend-bytes", int, default: "0",
            "Size of the store that raises the NOSPACE alarm (0: 2 GiB, negative: no limit).", group: "Member"),
        Option("backend-bbolt-freelist-type", default: "map", "Accepted for compatibility.", group: "Member"),
        Option(
            "backend-batch-interval", .duration, "Longest time between two commits of the store (0: 100ms).",
            group: "Member"),
        Option(
            "backend-batch-limit", .integer(bits: 64), default: "0",
            "Most operations in one commit of the store (0: the default).", group: "Member"),
        Option("max-txn-ops", uint, default: "128", "Most operations in one transaction.", group: "Member"),
        Option("max-request-bytes", uint, default: "1572864", "Largest request of a client.", group: "Member"),
        Option(
            "max-concurrent-streams", .unsigned(bits: 32), default: "4294967295",
            "Most concurrent streams of one client connection.", group: "Member"),
        Option(
            "grpc-keepalive-min-time", .duration, default: "5s", "Shortest interval at which a client may ping.",
            group: "Member"),
        Option(
            "grpc-keepalive-interval", .duration, default: "2h", "Interval of our pings to a quiet client (0: none).",
            group: "Member"),
        Option(
            "grpc-keepalive-timeout", .duration, default: "20s",
            "How long to wait for the answer before closing (0: for ever).", group: "Member"),
        Option("socket-reuse-port", .bool, "Set SO_REUSEPORT on listeners.", group: "Member"),
        Option("socket-reuse-address", .bool, "Set SO_REUSEADDR on listeners.", group: "Member"),
        Option(
            "raft-read-timeout", .duration, default: "5s",
            "Longest wait for bytes on a connection between members (at least 5s).", group: "Member"),
        Option(
            "raft-write-timeout", .duration, default: "5s",
            "Longest wait to send bytes to another member (at least 5s).", group: "Member"),
        Option("memory-mlock", .bool, "Keep the process's memory out of swap.", group: "Member"),
    ]

    private static let clustering: [Option] = [
        urls(
            "initial-advertise-peer-urls", "http://localhost:2380",
            "This member's peer URLs as the others should know them.", group: "Clustering"),
        urls(
            "advertise-client-urls", "http://localhost:2379", "This member's client URLs as clients should know them.",
            group: "Clustering"),
        Option(
            "initial-cluster", default: "default=http://localhost:2380", "The members at bootstrap: name=url,name=url.",
            group: "Clustering"),
        one(
            of: ["new", "existing"], "initial-cluster-state", "new",
            "Whether this is a 'new' cluster or one that is 'existing'.", group: "Clustering"),
        Option(
            "initial-cluster-token", default: "etcd-cluster", "A word that keeps clusters with equal URLs apart.",
            group: "Clustering"),
        Option(
            "strict-reconfig-check", .bool, default: "true", "Refuse membership changes that would lose the quorum.",
            group: "Clustering"),
        Option("pre-vote", .bool, default: "true", "Ask before standing for election.", group: "Clustering"),
        Option(
            "auto-compaction-mode", default: "periodic", "'periodic' or 'revision'.", group: "Clustering",
            choices: ["periodic", "revision"]),
        Option(
            "auto-compaction-retention", default: "0",
            "History to keep: a duration or hours (periodic), a number of revisions (revision); 0: all.",
            group: "Clustering"),
        Option("discovery-srv", "DNS domain whose SRV records name the members.", group: "Clustering"),
        Option("discovery-srv-name", "Suffix of the SRV service names.", group: "Clustering"),
        Option("discovery-token", "Token of a cluster at the discovery service (v3).", group: "Clustering"),
        Option("discovery-endpoints", "Endpoints of the discovery service (v3), comma separated.", group: "Clustering"),
        Option(
            "discovery-dial-timeout", .duration, default: "2s",
            "Longest wait for a connection to the discovery service.", group: "Clustering"),
        Option(
            "discovery-request-timeout", .duration, default: "5s",
            "Longest wait for an answer of the discovery service.", group: "Clustering"),
        Option(
            "discovery-keepalive-time", .duration, default: "2s", "Interval of pings to the discovery service.",
            group: "Clustering"),
        Option(
            "discovery-keepalive-timeout", .duration, default: "6s", "Longest wait for the answer to such a ping.",
            group: "Clustering"),
        Option(
            "discovery-insecure-transport", .bool, default: "true", "Talk to the discovery service without TLS.",
            group: "Clustering"),
        Option(
            "discovery-insecure-skip-tls-verify", .bool, "Do not verify the discovery service's certificate.",
            group: "Clustering"),
        Option("discovery-cert", "Client certificate for the discovery service.", group: "Clustering"),
        Option("discovery-key", "Its key.", group: "Clustering"),
        Option("discovery-cacert", "CA of the discovery service.", group: "Clustering"),
        Option("discovery-user", "user[:password] for the discovery service.", group: "Clustering"),
        Option("discovery-password", "Password for the discovery service.", group: "Clustering"),
        Option("discovery", "URL of the cluster at a discovery service with the v2 keys API.", group: "Clustering"),
        Option("discovery-proxy", "HTTP proxy on the way to --discovery.", group: "Clustering"),
        one(
            of: ["exit", "proxy"], "discovery-fallback", "exit", "What to do when discovery fails: exit, whatever is given.",
            group: "Clustering"),
        Option("enable-v2", .bool, "Accepted for compatibility.", group: "Clustering"),
        one(
            of: ["not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"], "v2-deprecation",
            "not-yet", "Accepted for compatibility: there is no v2 store here.", group: "Clustering",
            reason: { "invalid value \(GoText.quote($0))" }),
    ]

    private static let security: [Option] = [
        Option("cert-file", "Certificate shown to clients.", group: "Security"),
        Option("key-file", "Its key.", group: "Security"),
        Option("client-cert-file", "Certificate used where this server is a client itself.", group: "Security"),
        Option("client-key-file", "Its key.", group: "Security"),
        Option("client-cert-auth", .bool, "Require certificates of clients.", group: "Security"),
        Option(
            "client-admission-file",
            "While this file is there, only clients with one of the common names in it, and this host, get in.", group: "Security"),
        Option("client-crl-file", "List of revoked client certificates.", group: "Security"),
        Option(
            "client-cert-allowed-hostname", "Names of which a client certificate must carry one, comma separated.",
            group: "Security"),
        Option("trusted-ca-file", "CA of client certificates.", group: "Security"),
        Option("auto-tls", .bool, "Make a self-signed certificate for the client URLs.", group: "Security"),
        Option("peer-cert-file", "Certificate shown to other members.", group: "Security"),
        Option("peer-key-file", "Its key.", group: "Security"),
        Option("peer-client-cert-file", "Certificate used to connect to other members.", group: "Security"),
        Option("peer-client-key-file", "Its key.", group: "Security"),
        Option("peer-client-cert-auth", .bool, "Require certificates of other members.", group: "Security"),
        Option("peer-trusted-ca-file", "CA of the members' certificates.", group: "Security"),
        Option("peer-auto-tls", .bool, "Make a self-signed certificate for the peer URLs.", group: "Security"),
        Option("peer-crl-file", "List of revoked member certificates.", group: "Security"),
        Option(
            "peer-cert-allowed-cn", "Common names allowed in members' certificates, comma separated.", group: "Security"
        ),
        Option(
            "peer-cert-allowed-hostname", "Names of which a member's certificate must carry one, comma separated.",
            group: "Security"),
        Option(
            "peer-skip-client-san-verification", .bool, "Do not compare members' addresses with their certificates.",
            group: "Security"),
        Option(
            "self-signed-cert-validity", uint, default: "1", "Years a certificate of auto-tls is valid.",
            group: "Security"),
        Option("cipher-suites", "TLS 1.2 cipher suites, comma separated (empty: a safe choice).", group: "Security"),
        Option(
            "tls-min-version", default: "TLS1.2", "Lowest TLS version.", group: "Security",
            choices: ["TLS1.2", "TLS1.3"]),
        Option(
            "tls-max-version", .text, "Highest TLS version (empty: the newest).", group: "Security",
            choices: ["TLS1.2", "TLS1.3"]),
        Option(
            "cors", default: "*", "Origins allowed in browsers, comma separated URLs.", group: "Security",
            check: badOrigins),
        Option("host-whitelist", default: "*", "Host names accepted in plain HTTP requests.", group: "Security"),
    ]

    private static let auth: [Option] = [
        Option(
            "auth-token", default: "simple",
            "'simple', or jwt with its options: jwt,pub-key=F,priv-key=F,sign-method=RS256,ttl=10m.", group: "Auth"),
        Option("bcrypt-cost", uint, default: "10", "Cost of hashing a password, 4 to 31.", group: "Auth"),
        Option("auth-token-ttl", uint, default: "300", "Seconds a simple token lives.", group: "Auth"),
    ]

    private static let monitoring: [Option] = [
        Option("enable-pprof", .bool, "Serve /debug/pprof/ on the client URLs.", group: "Profiling and Monitoring"),
        Option(
            "metrics", default: "basic", "'extensive' adds the latency of calls.", group: "Profiling and Monitoring",
            choices: ["basic", "extensive"]),
        urls(
            "listen-metrics-urls", "", "More URLs for /metrics and the health checks.",
            group: "Profiling and Monitoring"),
        Option("enable-distributed-tracing", .bool, "Accepted for compatibility.", group: "Profiling and Monitoring"),
        Option(
            "distributed-tracing-address", default: "localhost:4317", "Accepted for compatibility.",
            group: "Profiling and Monitoring"),
        Option(
            "distributed-tracing-service-name", default: "etcd", "Accepted for compatibility.",
            group: "Profiling and Monitoring"),
        Option("distributed-tracing-instance-id", "Accepted for compatibility.", group: "Profiling and Monitoring"),
        Option(
            "distributed-tracing-sampling-rate", int, default: "0", "Accepted for compatibility.",
            group: "Profiling and Monitoring"),
    ]

    private static let logging: [Option] = [
        Option("logger", default: "zap", "The form of log lines; only 'zap'.", group: "Logging"),
        Option(
            "log-outputs", default: "default",
            "'default', 'stdout', 'stderr', 'systemd/journal' or files, comma separated.", group: "Logging"),
        one(
            of: ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"], "log-level", "info",
            "debug, info, warn, error, dpanic, panic or fatal.", group: "Logging",
            reason: { "unrecognized level: \(GoText.quote($0))" }),
        one(of: ["json", "console"], "log-format", "json", "'json' or 'console'.", group: "Logging"),
        Option("enable-log-rotation", .bool, "Rotate the log file.", group: "Logging"),
        Option(
            "log-rotation-config-json",
            default: "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}",
            "How: megabytes, days, files.", group: "Logging"),
        Option(
            "warning-unary-request-duration", .duration, default: "300ms", "Requests that take longer are logged.",
            group: "Logging"),
    ]

    private static let features: [Option] = [
        Option("enable-grpc-gateway", .bool, default: "true", "Serve the JSON gateway.", group: "Features"),
        Option(
            "corrupt-check-time", .duration, default: "0s",
            "Interval of comparing hashes with other members (0: never).", group: "Features"),
        Option(
            "compact-hash-check-time", .duration, default: "1m0s",
            "Interval of comparing hashes of compacted revisions.", group: "Features"),
        Option(
            "compaction-batch-limit", int, default: "0", "Revisions deleted in one step of a compaction (0: 1000).",
            group: "Features"),
        Option("compaction-sleep-interval", .duration, "Pause between two such steps (0: 10ms).", group: "Features"),
        Option(
            "watch-progress-notify-interval", .duration, "Interval of progress notifications (0: 10m).",
            group: "Features"),
        Option(
            "warning-apply-duration", .duration, default: "100ms", "Requests that take longer to apply are logged.",
            group: "Features"),
        Option(
            "downgrade-check-time", .duration, default: "5s", "Interval of checking the progress of a downgrade.",
            group: "Features"),
        Option(
            "bootstrap-defrag-threshold-megabytes", uint, default: "0",
            "Defragment at start when at least so much can be freed (0: never).", group: "Features"),
        Option("max-learners", int, default: "1", "Most learners in the cluster.", group: "Features"),
        Option("feature-gates", .text, "Name=true,Name=false.", group: "Features", check: FeatureGates.refusal),
    ]

    private static let unsafeAndGeneral: [Option] = [
        Option("force-new-cluster", .bool, "Start alone with the data of a lost cluster.", group: "Unsafe features"),
        Option(
            "unsafe-no-fsync", .bool, "Do not wait for the disk: a crash can lose or corrupt data.",
            group: "Unsafe features"),
        Option("config-file", "Configuration file; other flags and variables are then ignored.", group: "General"),
        Option("version", .bool, "Print the version and exit.", group: "General"),
    ]

    private static let proxy: [Option] = [
        one(of: ["off", "readonly", "on"], "proxy", "off", "", group: ""),
        Option("proxy-failure-wait", uint, default: "5000"), Option("proxy-refresh-interval", uint, default: "30000"),
        Option("proxy-dial-timeout", uint, default: "1000"), Option("proxy-write-timeout", uint, default: "5000"),
        Option("proxy-read-timeout", uint, default: "0"),
    ].map(hidden)

    /// Older spellings and flags of single versions; parsed, not shown.
    private static let legacy: [Option] =
        (renamed.compactMap { old, new in
            all(named: new).map { option in
                var older = option
                older.name = old
                return older
            }
        } + [
            Option("experimental-initial-corrupt-check", .bool),
            Option("experimental-set-member-localaddr", .bool),
            Option("experimental-compact-hash-check-enabled", .bool),
            Option("experimental-enable-lease-checkpoint", .bool),
            Option("experimental-enable-lease-checkpoint-persist", .bool),
            Option("experimental-txn-mode-write-with-shared-buffer", .bool, default: "true"),
            Option("experimental-stop-grpc-service-on-defrag", .bool),
            Option("experimental-enable-v2v3"), Option("next-cluster-version-compatible", .bool),
            Option("debug", .bool), Option("log-package-levels"),
        ] + ignored.map { Option($0) }).map(hidden)

    private static func all(named name: String) -> Option? {
        (member + clustering + security + monitoring + logging + features).first { $0.name == name }
    }

    private static func hidden(_ option: Option) -> Option {
        var option = option
        option.hidden = true
        return option
    }

    /// Older spelling and present one. Both together are refused.
    package static let renamed: [(old: String, new: String)] = [
        ("experimental-snapshot-catchup-entries", "snapshot-catchup-entries"),
        ("experimental-backend-bbolt-freelist-type", "backend-bbolt-freelist-type"),
        ("experimental-memory-mlock", "memory-mlock"),
        ("experimental-peer-skip-client-san-verification", "peer-skip-client-san-verification"),
        ("experimental-enable-distributed-tracing", "enable-distributed-tracing"),
        ("experimental-distributed-tracing-address", "distributed-tracing-address"),
        ("experimental-distributed-tracing-service-name", "distributed-tracing-service-name"),
        ("experimental-distributed-tracing-instance-id", "distributed-tracing-instance-id"),
        ("experimental-distributed-tracing-sampling-rate", "distributed-tracing-sampling-rate"),
        ("experimental-warning-unary-request-duration", "warning-unary-request-duration"),
        ("experimental-corrupt-check-time", "corrupt-check-time"),
        ("experimental-compact-hash-check-time", "compact-hash-check-time"),
        ("experimental-compaction-batch-limit", "compaction-batch-limit"),
        ("experimental-compaction-sleep-interval", "compaction-sleep-interval"),
        ("experimental-watch-progress-notify-interval", "watch-progress-notify-interval"),
        ("experimental-warning-apply-duration", "warning-apply-duration"),
        ("experimental-downgrade-check-time", "downgrade-check-time"),
        ("experimental-bootstrap-defrag-threshold-megabytes", "bootstrap-defrag-threshold-megabytes"),
        ("log-output", "log-outputs"),
    ]

    /// Flags that exist and do nothing, or not the same, here; the text is logged when one is set.
    package static let notes: [String: String] = [
        "backend-bbolt-freelist-type": "the store is not bbolt and keeps no free list to choose",
        "discovery-fallback": "there is no v2 proxy: a failed discovery always ends the start",
        "enable-pprof": "there are no profiles of a Go program here; use perf(1)",
        "enable-v2": "the v2 API is not served",
        "experimental-enable-v2v3": "the v2 API is not served",
        "v2-deprecation": "there is no v2 store; its contents in imported data directories are dropped",
        "next-cluster-version-compatible": "it is needed by 3.4 only",
        "debug": "use --log-level=debug",
        "log-package-levels": "use --log-level",
        "enable-distributed-tracing": "traces are not exported; slow requests are logged with their parts",
        "proxy-failure-wait": "the v2 proxy is not available",
        "proxy-refresh-interval": "the v2 proxy is not available",
        "proxy-dial-timeout": "the v2 proxy is not available", "proxy-write-timeout": "the v2 proxy is not available",
        "proxy-read-timeout": "the v2 proxy is not available",
        "experimental-txn-mode-write-with-shared-buffer": "transactions read from one view of the store in any case",
        "experimental-stop-grpc-service-on-defrag": "defragmentation does not hold up requests",
        "experimental-set-member-localaddr": "members are dialled from the address the kernel chooses",
    ]

    private static let badOrigins: @Sendable (String) -> String? = { text in
        for origin in text.split(separator: ",", omittingEmptySubsequences: false) where origin != "*" {
            do throws(URLError) { _ = try URLList.parseOne(String(origin)) } catch { return error.description }
        }
        return nil
    }
}
