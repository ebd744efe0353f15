// `covey server grpc-proxy start`, as `etcd grpc-proxy start`.

import Connections
import Flags
import Foundations
import Glibc
import Linux
import Telemetry

enum GRPCProxyCommand {
    private static let start = Command(
        "start", "", "start the grpc proxy",
        options: [
            Option("listen-addr", default: "127.0.0.1:23790", "listen address"),
            Option("endpoints", .list, default: "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
            Option("metrics-addr", .text, "listen for endpoint /metrics requests on an additional interface"),
            Option("advertise-client-url", default: "127.0.0.1:23790", "advertise address to register (must be reachable by client)"),
            Option("resolver-prefix", .text, "prefix to use for registering proxy (must be shared with other grpc-proxy members)"),
            Option("resolver-ttl", .integer(bits: 64), "specify TTL, in seconds, when registering proxy endpoints"),
            Option("namespace", .text, "string to prefix to all keys for namespacing requests"),
            Option("data-dir", default: "default.proxy", "Data directory for persistent data"),
            Option("max-send-bytes", .integer(bits: 64), default: "1572864", "message send limits in bytes (default value is 1.5 MiB)"),
            Option("max-recv-bytes", .integer(bits: 64), default: "2147483647", "message receive limits in bytes"),
            Option(
                "max-concurrent-streams", .unsigned(bits: 32), default: "4294967295",
                "Maximum concurrent streams that each client can open at a time."),
            Option("cert", .text, "identify secure connections with etcd servers using this TLS certificate file"),
            Option("key", .text, "identify secure connections with etcd servers using this TLS key file"),
            Option("cacert", .text, "verify certificates of TLS-enabled secure etcd servers using this CA bundle"),
            Option("insecure-skip-tls-verify", .bool, "skip authentication of etcd server TLS certificates"),
            Option("cert-file", .text, "identify secure connections to the proxy using this TLS certificate file"),
            Option("key-file", .text, "identify secure connections to the proxy using this TLS key file"),
            Option("trusted-ca-file", .text, "verify certificates of TLS-enabled secure proxy using this CA bundle"),
            Option("auto-tls", .bool, "proxy TLS using generated certificates"),
            Option("client-crl-file", .text, "proxy client certificate revocation list file."),
            Option(
                "self-signed-cert-validity", .unsigned(bits: 64), default: "1",
                "The validity period of the proxy certificates, unit is year"),
            Option(
                "tls-min-version", .text, default: "TLS1.2", "Minimum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3."
            ),
            Option(
                "tls-max-version", .text,
                "Maximum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3 (empty defers to Go)."),
            Option(
                "listen-cipher-suites", .list,
                "Comma-separated list of supported TLS cipher suites between client/proxy (empty will be auto-populated by Go)."),
            Option("endpoints-auto-sync-interval", .duration, default: "0s", "etcd endpoints auto sync interval (disabled by default)"),
            Option(
                "dial-keepalive-time", .duration, default: "0s", "keepalive time for client(grpc-proxy) connections (default 0, disable)."),
            Option(
                "dial-keepalive-timeout", .duration, default: "20s", "keepalive timeout for client(grpc-proxy) connections (default 20s)."),
            Option("permit-without-stream", .bool, "Enable client(grpc-proxy) to send keepalive pings even with no active RPCs."),
            Option(
                "grpc-keepalive-min-time", .duration, default: "5s",
                "Minimum interval duration that a client should wait before pinging proxy."),
            Option(
                "grpc-keepalive-interval", .duration, default: "2h",
                "Frequency duration of server-to-client ping to check if a connection is alive (0 to disable)."),
            Option(
                "grpc-keepalive-timeout", .duration, default: "20s",
                "Additional duration of wait before closing a non-responsive connection (0 to disable)."),
            Option("enable-pprof", .bool, "Enable runtime profiling data via HTTP server. Address is at client URL + \"/debug/pprof/\""),
            Option("debug", .bool, "Enable debug-level logging for grpc-proxy."),
            Option(
                "experimental-serializable-ordering", .bool,
                "Ensure serializable reads have monotonically increasing store revisions across endpoints."),
            Option("experimental-leasing-prefix", .text, "leasing metadata prefix for disconnected linearized reads."),
            Option("experimental-enable-grpc-logging", .bool, "logging all grpc requests and responses"),
        ] + ServiceEndpoints.options)

    /// `words` begin with `grpc-proxy`.
    static func run(_ words: [String], calledAs program: String) -> Int32 {
        FrontCommand.run("grpc-proxy", start, words, calledAs: program, serve)
    }

    private static func serve(_ values: OptionValues, _ words: [String]) -> Int32 {
        var log = LogSettings()
        if values.bool("debug") { log.level = .debug }
        let logger = (try? log.open()) ?? .silent
        logger.info("Running: ", ["args": .texts(words)])
        do {
            let settings = try ProxySettings(values)
            for notice in settings.notices { logger.warn("\(notice)") }
            let loop = try EventLoop()
            var ended: Int32?
            let running = try RunningProxy(settings, loop, logger)
            let signals = try SignalWatch(loop) { signal in
                ended = signal
                running.stop { loop.stop() }
            }
            try running.start()
            loop.run()
            withExtendedLifetime(signals) {}
            if let ended, getpid() != 1 { Process.endBy(ended) }
            return 0
        } catch {
            ServerProgram.complain("\(error)")
            return 1
        }
    }
}
