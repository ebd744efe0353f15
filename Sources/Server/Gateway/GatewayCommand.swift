// `covey server gateway start`, as `etcd gateway start`: one address in front of several members, for clients that know
// only one. It copies bytes and looks at none, so TLS and everything else are between the client and the member.

import Connections
import Flags
import Foundations
import Glibc
import Linux
import Systemd
import Telemetry

enum GatewayCommand {
    private static let start = Command(
        "start", "", "start the gateway",
        options: [
            Option("listen-addr", default: "127.0.0.1:23790", "listen address"),
            Option(
                "trusted-ca-file", .text,
                "path to the client server TLS CA file for verifying the discovered endpoints when discovery-srv is provided."),
            Option("endpoints", .list, default: "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
            Option("retry-delay", .duration, default: "1m0s", "duration of delay before retrying failed endpoints"),
        ] + ServiceEndpoints.options)

    /// `words` begin with `gateway`.
    static func run(_ words: [String], calledAs program: String) -> Int32 {
        FrontCommand.run("gateway", start, words, calledAs: program, serve)
    }

    private static func serve(_ values: OptionValues, _ words: [String]) -> Int32 {
        let logger = (try? LogSettings().open()) ?? .silent
        logger.info("Running: ", ["args": .texts(words)])
        do {
            let loop = try EventLoop()
            var ended: Int32?
            let signals = try SignalWatch(loop) { signal in
                ended = signal
                loop.stop()
            }
            let targets = try targets(values)
            guard !targets.isEmpty else { throw Refusal(description: "no endpoints found") }
            let proxy = TCPProxy(
                loop, targets, retryDelay: UInt64(max(0, values.duration("retry-delay"))),
                report: { logger.warn("\($0)", ["address": .text($1), "error": .text($2)]) })
            guard let (host, port) = HostPort.split(values.text("listen-addr")) else {
                throw Refusal(description: "failed to validate listen address: \(values.text("listen-addr"))")
            }
            guard let address = try SocketAddress.resolve(host: host, port: port, passive: true).first else {
                throw Refusal(description: "--listen-addr: \(host) has no address")
            }
            let listener = try Listener(address, loop: loop, report: { logger.warn("\($0)") }) { proxy.accepted($0) }
            if !values.text("discovery-srv").isEmpty, !values.text("trusted-ca-file").isEmpty {
                logger.warn(
                    "endpoints that DNS names are not verified here: bytes pass through, and clients verify who answers",
                    ["trusted-ca-file": .text(values.text("trusted-ca-file"))])
            }
            logger.info("notifying init daemon")
            do {
                try ServiceManager().ready(status: "gateway to \(targets.map(\.name).joined(separator: ", "))")
                logger.info("successfully notified init daemon")
            } catch { logger.error("failed to notify systemd for readiness", ["error": .error(error)]) }
            logger.info("ready to proxy client requests", ["endpoints": .texts(targets.map(\.name))])
            loop.run()
            listener.stop()
            withExtendedLifetime(signals) {}
            if let ended, getpid() != 1 { Process.endBy(ended) }
            return 0
        } catch {
            ServerProgram.complain("\(error)")
            return 1
        }
    }

    private struct Refusal: Error, CustomStringConvertible { var description: String }

    private static func targets(_ values: OptionValues) throws(ServiceEndpoints.NotFound) -> [TCPProxy.Target] {
        if let found = try ServiceEndpoints.find(values) {
            return found.map { TCPProxy.Target(name: $0.address, priority: $0.priority, weight: $0.weight) }
        }
        return values.list("endpoints").map { text in
            let bare = ["http://", "https://"].first { text.hasPrefix($0) }.map { String(text.dropFirst($0.count)) } ?? text
            return TCPProxy.Target(name: bare, priority: 0, weight: 0)
        }
    }
}
