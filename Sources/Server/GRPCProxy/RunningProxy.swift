// A proxy's listeners and what stands behind them, from its start to its end.

import Connections
import CoveyClient
import Flags
import Foundations
import GRPC
import Glibc
import Linux
import Systemd
import TLSEngine
import Telemetry

final class RunningProxy {
    private let settings: ProxySettings
    private let loop: EventLoop
    private let logger: Logger
    private let tls: TLSContext?
    private let proxy: GRPCProxy
    private let pages: ProxyPages
    private let members: ProxyMembers
    /// Only for health and metrics.
    private let metricsServer: GRPCServer
    private var pools: [ConnectionPool]
    private var listeners: [Listener] = []
    private let http: HTTP1Client

    init(_ settings: ProxySettings, _ loop: EventLoop, _ logger: Logger) throws {
        self.settings = settings
        self.loop = loop
        self.logger = logger
        tls = try settings.tls.map { configuration throws(TLSError) in
            try TLSContext(configuration) { logger.info("proxy certificates: \($0)") }
        }
        let router = GRPCRouter()
        let server = GRPCServer(loop: loop, router: router, limits: Self.limits(settings))
        let toMembers = try settings.cluster.tlsContext(["h2"])
        let pool = ConnectionPool(loop: loop, settings.cluster, tls: toMembers)
        proxy = GRPCProxy(server, pool, namespace: ProxyNamespace(settings.namespace))
        pools = [pool]
        var own: GRPCProxy?
        if !settings.advertised.isEmpty {
            var configuration = settings.cluster
            let scheme = settings.tls == nil ? "http://" : "https://"
            configuration.endpoints = [settings.advertised.contains("://") ? settings.advertised : scheme + settings.advertised]
            configuration.tls = settings.tls.map { _ in configuration.tls ?? .init() }
            let toItself = ConnectionPool(loop: loop, configuration, tls: try configuration.tlsContext(["h2"]))
            own = GRPCProxy(server, toItself, namespace: nil)
            pools.append(toItself)
        }
        members = ProxyMembers(
            proxy, advertised: settings.advertised, name: Self.hostName, prefix: settings.resolverPrefix, ttl: settings.resolverTTL,
            logger)
        http = HTTP1Client(loop: loop, tls: try settings.cluster.tlsContext(["http/1.1"]), resolver: Resolver(loop))
        let scheme = settings.cluster.tls == nil ? "http://" : "https://"
        let urls = settings.cluster.endpoints.map { $0.contains("://") ? $0 : scheme + $0 }
        proxy.register(router, members: settings.advertised.isEmpty ? nil : { [members] in members.answer($0) })
        pages = ProxyPages(proxy, own: own, http, urls, ProxyMetrics(server))
        let metricsRouter = GRPCRouter()
        metricsServer = GRPCServer(loop: loop, router: metricsRouter, limits: GRPCServer.Limits())
        router.http = { [pages, unowned server] request, call, _ in pages.serve(request, call, on: server) }
        metricsRouter.http = { [pages, unowned metricsServer] request, call, _ in pages.serve(request, call, on: metricsServer) }
    }

    func start() throws {
        guard let (host, port) = HostPort.split(settings.listenAddress) else {
            throw ProxySettings.Refusal("failed to validate listen address: \(settings.listenAddress)")
        }
        guard let address = try SocketAddress.resolve(host: host, port: port, passive: true).first else {
            throw ProxySettings.Refusal("--listen-addr: \(host) has no address")
        }
        try listen(address, isSecure: tls != nil) { [proxy] descriptor, tls in proxy.server.add(descriptor, tls: tls) }
        logger.info("listening for gRPC proxy client requests", ["address": .text(settings.listenAddress)])
        if let url = settings.metricsURL {
            if url.isSecure && tls == nil {
                throw ProxySettings.Refusal("--metrics-addr is https: give --cert-file and --key-file, or --auto-tls")
            }
            logger.info("gRPC proxy listening for metrics", ["address": .text("\(url.host):\(url.port)")])
            for address in try url.addresses() {
                try listen(address, isSecure: url.isSecure) { [metricsServer] descriptor, tls in
                    metricsServer.add(descriptor, tls: tls, httpOnly: true)
                }
            }
            logger.info("gRPC proxy server metrics URL serving")
        }
        members.register()
        do { try ServiceManager().ready(status: "gRPC proxy to \(settings.cluster.endpoints.joined(separator: ", "))") } catch {
            logger.error("failed to notify systemd for readiness", ["error": .error(error)])
        }
        logger.info("started gRPC proxy", ["address": .text(settings.listenAddress)])
    }

    private func listen(
        _ address: SocketAddress, isSecure: Bool, _ accepted: @escaping (Int32, TLSSession?) -> Void
    ) throws(SystemError) {
        listeners.append(
            try Listener(address, loop: loop, report: { [logger] in logger.warn("\($0)") }) { [tls] descriptor in
                accepted(descriptor, isSecure ? tls?.makeServerSession() : nil)
            })
    }

    /// Takes no more connections and gives calls a moment to end.
    func stop(_ done: @escaping () -> Void) {
        guard !listeners.isEmpty else { return done() }
        for listener in listeners { listener.stop() }
        listeners = []
        proxy.server.drain(timeout: 2_000_000_000) { [self] in
            metricsServer.closeAll()
            for pool in pools { pool.close() }
            http.stop()
            done()
        }
    }

    // MARK: Parts

    private static func limits(_ settings: ProxySettings) -> GRPCServer.Limits {
        var limits = GRPCServer.Limits()
        limits.messageBytesMax = settings.messageBytesMax
        limits.maxConcurrentStreams = settings.concurrentStreamsMax
        limits.pingIntervalMin = settings.pingIntervalMin
        if settings.keepaliveInterval > 0 { limits.keepaliveInterval = settings.keepaliveInterval }
        if settings.keepaliveTimeout > 0 { limits.keepaliveTimeout = settings.keepaliveTimeout }
        return limits
    }

    private static var hostName: String {
        var name = [CChar](repeating: 0, count: 256)
        unsafe gethostname(&name, name.count - 1)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension ClientConfiguration {
    /// Nil for cleartext.
    fileprivate func tlsContext(_ protocols: [String]) throws(TLSError) -> TLSContext? {
        guard let files = tls else { return nil }
        var wanted = TLSConfiguration.client(
            trustedCA: files.trustedCA, certificate: files.certificate, key: files.key,
            insecureSkipVerify: files.insecureSkipVerify)
        wanted.applicationProtocols = protocols
        return try TLSContext(wanted)
    }
}
