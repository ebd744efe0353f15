// A server between start and stop. On the loop's thread.
//
// Order of start: listeners bound (so that a taken port is known at once), data directory and replay, peers, publication
// of the member's name; only when that is applied are clients served. Order of stop: leadership handed over, listeners
// closed, calls drained, log and store written.

import Connections
import DiskLog
import FileFormats
import Flags
import Foundations
import GRPC
import Glibc
import HTTP1
import Linux
import Passwords
import Raft
import State
import TLSEngine
import Telemetry

final class RunningServer {
    let configuration: ServerConfiguration
    let loop: EventLoop
    let logger: Logger
    private let arguments: [String]
    private var signals: SignalWatch?
    private var tls: ServerTLS?
    private var directory: BootDirectory?
    private var signer: (any TokenSigner)?
    private var probe: PeerTransport?
    private let nobody = NobodyAtHome()
    private var joining: Joining?
    private var discovery: Task<Void, Never>?
    private var member: Member?
    private var transport: PeerTransport?
    private var api: ClientAPI?
    private var http: HTTPService?
    private var server: GRPCServer?
    private var httpServer: GRPCServer?
    private var metricsServer: GRPCServer?
    private var feed: MetricsFeed?
    private var report: ServiceReport?
    private var clientListeners: [Listener] = []
    private var otherListeners: [Listener] = []
    private var duties: [AnyObject] = []
    private var isStopping = false
    private var isServing = false
    private(set) var exitCode: Int32 = 0
    private(set) var endedBySignal: Int32?

    init(_ configuration: ServerConfiguration, _ loop: EventLoop, _ logger: Logger, arguments: [String]) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.arguments = arguments
    }

    private func log(_ message: String, _ fields: [(String, String)], level: LogLevel? = nil) {
        let level = level ?? (Self.worrying.contains(message) ? .warn : .info)
        logger.log(level, message, list: fields.map { ($0.0, .text($0.1)) })
    }

    /// What the member's parts report without saying how bad it is.
    private static let worrying: Set = [
        "lost leader", "raised alarm", "found hash mismatch", CorruptionCheck.mismatch, CorruptionCheck.skipped, "slow fdatasync",
        "peer became inactive", "failed auto compaction", "apply request took too long", "failed to reach the peer URL",
        "rejected connection on client endpoint", "rejected connection on peer endpoint",
    ]

    /// What the transport says although nothing is wrong.
    private static let expected: Set = ["peer became active", "receiving database snapshot"]

    /// A write that a full disk cut short is an "Input/output error" to the store: people are told what it really is.
    private func withFullDisk(_ reason: String) -> String {
        for place in [configuration.dataDirectory, configuration.walDirectory] where !place.isEmpty {
            guard let free = DiskSpace.freeBytes(place), free < Self.fullBelowBytes else { continue }
            return "the disk of \(place) is full, \(free / 1024) KiB are free: make room there and the member can start. \(reason)"
        }
        return reason
    }

    private static let fullBelowBytes: UInt64 = 4 << 20

    private func refuse(_ reason: String) -> Bool {
        let reason = withFullDisk(SystemWords.asGo(reason))
        // In etcd's words, whatever it was: scripts wait for them. The error says what is wrong.
        logger.warn("failed to start etcd", ["error": .text(reason)])
        logger.log(.fatal, "discovery failed", list: [("error", .text(reason))])
        ServiceReport.failed(reason)
        exitCode = 1
        return false
    }

    private func fail(_ reason: String) {
        let reason = withFullDisk(reason)
        logger.error("cannot go on", ["error": .text(reason)])
        ServiceReport.failed(reason)
        exitCode = 1
        shutDown()
    }

    // MARK: Start

    func start() -> Bool {
        do throws(SystemError) {
            // First of all: every thread made later inherits that these signals are blocked.
            signals = try SignalWatch(loop) { [weak self] signal in self?.received(signal) }
        } catch { return refuse("\(error)") }
        announce()
        do {
            let logger = logger
            tls = try ServerTLS(configuration) { text in logger.info("\(text)") }
            if let options = AuthTokenOptions(configuration.authToken), options.type == "jwt" {
                do throws(JWTTokens.Failure) { signer = try JWTTokens(options.options) } catch {
                    logger.error("problem loading JWT options", ["error": .text(SystemWords.asGo("\(error)"))])
                    return refuse("auth: invalid auth options")
                }
            }
            var logOptions = LogOptions()
            logOptions.bypassesCache = configuration.walDirectIO
            directory = try BootDirectory(
                configuration.dataDirectory, wal: configuration.walDirectory.isEmpty ? nil : configuration.walDirectory,
                logOptions: logOptions)
        } catch let error as ServerTLS.Failure where error.isOfClients {
            logger.log(.fatal, "listener failed", list: [("error", .text(SystemWords.asGo(error.description)))])
            ServiceReport.failed(error.description)
            exitCode = 1
            return false
        } catch let error as BootError {
            if case .directory(.disk(let error)) = error, error.call == "mkdir" {
                return refuse("cannot access data directory: \(error)")
            }
            return refuse("\(error)")
        } catch { return refuse("\(error)") }
        guard let directory else { return false }
        if let warning = directory.permissionWarning { logger.warn("\(warning)") }
        do throws(SystemError) { try bindClients() } catch { return refuse(error.inWordsOfEtcd) }
        guard directory.isNew else {
            logger.info(
                "server has been already initialized",
                ["data-dir": .text(configuration.dataDirectory), "dir-type": "member"])
            if configuration.discovery.isUsed {
                logger.warn(
                    "discovery token ignored since a cluster has already been initialized; valid logs are found",
                    ["wal-dir": .text(configuration.walDirectory)])
            }
            return open()
        }
        if !configuration.discovery.isUsed { return firstBoot(directory, configuration) }
        return discover(directory)
    }

    private func announce() {
        logger.info(
            "starting an etcd server",
            [
                "etcd-version": .text(ProgramVersion.etcd), "covey-version": .text(ProgramVersion.covey),
                "go-os": "linux", "go-arch": .text(ProgramVersion.architecture), "name": .text(configuration.name),
                "data-dir": .text(configuration.dataDirectory), "wal-dir": .text(configuration.walDirectory),
                "heartbeat-interval": .text("\(configuration.heartbeatMilliseconds)ms"),
                "election-timeout": .text("\(configuration.electionMilliseconds)ms"),
                "snapshot-count": .unsigned(configuration.snapshotCount),
                "snapshot-catchup-entries": .unsigned(configuration.snapshotCatchupEntries),
                "initial-advertise-peer-urls": .texts(configuration.advertisePeerURLs.map(\.description)),
                "listen-peer-urls": .texts(configuration.listenPeerURLs.map(\.description)),
                "advertise-client-urls": .texts(configuration.advertiseClientURLs.map(\.description)),
                "listen-client-urls": .texts(configuration.listenClientURLs.map(\.description)),
                "listen-metrics-urls": .texts(configuration.listenMetricsURLs.map(\.description)),
                "initial-cluster": .text(configuration.initialCluster),
                "initial-cluster-state": .text(configuration.initialClusterState.rawValue),
                "initial-cluster-token": .text(configuration.initialClusterToken),
                "quota-backend-bytes": .unsigned(UInt64(configuration.quotaBytes ?? 0)),
                "pre-vote": .bool(configuration.preVote),
                "auto-compaction-mode": .text(configuration.autoCompaction.mode.rawValue),
                "auto-compaction-retention": .text(configuration.autoCompaction.retentionText),
            ])
    }

    /// Nothing is in the directory: what the flags say of the cluster counts now, and never again.
    private func firstBoot(_ directory: BootDirectory, _ configuration: ServerConfiguration) -> Bool {
        var configuration = configuration
        if !configuration.discovery.srvDomain.isEmpty {
            do throws(ServiceDiscovery.Failure) {
                configuration.initialCluster = try ServiceDiscovery(configuration).cluster(discovered)
            } catch { return refuse("error setting up initial cluster: \(error)") }
            logger.info("got bootstrap from DNS for etcd-server", ["initial-cluster": .text(configuration.initialCluster)])
        }
        let cluster: Flags.InitialCluster
        do throws(ConfigurationError) {
            cluster = try configuration.bootstrapCluster { url in
                // Hosts, without the port each is shown with.
                (try? SocketAddress.resolve(host: url.host, port: url.port)).map { addresses in
                    addresses.map { String($0.description.dropLast("\(url.port)".count + 1)) }.sorted()
                }
            }
        } catch { return refuse(error.description) }
        let probe = PeerTransport(
            loop: loop, identity: LogIdentity(member: .none, cluster: ClusterID(0)), settings: transportSettings(),
            tlsClient: tls?.toPeers, owner: nobody)
        self.probe = probe
        let joining = Joining(loop, probe, configuration, cluster) { [weak self] in self?.log($0, $1, level: .warn) }
        self.joining = joining
        if configuration.initialClusterState == .new {
            let new = InitialCluster(
                token: configuration.initialClusterToken,
                members: cluster.members.map { ($0.name, $0.urls.map(\.description)) }, ownName: configuration.name)
            guard let own = new.members.firstIndex(where: { $0.name == new.ownName }) else { return refuse("no local name") }
            joining.checkNew(own: new.ids[own]) { [weak self] failure in
                self?.created(failure?.description) { () throws(BootError) in try directory.create(new) }
            }
        } else {
            joining.join { [weak self] result in
                switch result {
                case .failure(let failure): self?.created(failure.description) {}
                case .success(let identity):
                    self?.created(nil) { () throws(BootError) in try directory.create(joining: identity) }
                }
            }
        }
        return true
    }

    /// Another cluster, or a service, says who the members are; that may take as long as the others need to come.
    private func discover(_ directory: BootDirectory) -> Bool {
        var configuration = configuration
        // The token stands for the cluster: ids follow from it.
        configuration.initialClusterToken = configuration.discovery.clusterToken
        let own = InitialCluster(
            token: configuration.initialClusterToken,
            members: [(configuration.name, configuration.advertisePeerURLs.map(\.description))], ownName: configuration.name)
        let (logger, mailbox, found) = (logger, loop.mailbox, configuration)
        let meeting: ClusterDiscovery
        do throws(ClusterDiscovery.Failure) {
            meeting = try ClusterDiscovery(
                found.discovery, member: own.ids[0], name: found.name, urls: found.advertisePeerURLs, loop: loop
            ) { message, fields, isProblem in
                logger.log(isProblem ? .warn : .info, message, list: fields.map { ($0.0, .text($0.1)) })
            }
        } catch { return refuse("failed to join discovery cluster (\(error))") }
        let done = LoopBound<(Result<String, ClusterDiscovery.Failure>) -> Void> { [weak self] result in
            guard let self, !isStopping else { return }
            discovery = nil
            var begun = false
            switch result {
            case .failure(let failure): begun = refuse("failed to join discovery cluster (\(failure))")
            case .success(let members):
                var configuration = found
                configuration.initialCluster = members
                begun = firstBoot(directory, configuration)
            }
            if !begun { shutDown() }
        }
        discovery = Task {
            let result: Result<String, ClusterDiscovery.Failure>
            do throws(ClusterDiscovery.Failure) { result = .success(try await meeting.join()) } catch { result = .failure(error) }
            mailbox.post { done.value(result) }
        }
        return true
    }

    private func discovered(_ finding: ServiceDiscovery.Finding) {
        log(
            "get cluster for \(finding.service) SRV",
            [
                ("service-scheme", finding.scheme), ("service-name", finding.service), ("server-name", configuration.name),
                ("discovery-srv", configuration.discovery.srvDomain), ("found-cluster", finding.entries.joined(separator: ",")),
                ("error", finding.error ?? ""),
            ], level: finding.error == nil ? .info : .warn)
    }

    private func created(_ failure: String?, _ create: @escaping () throws(BootError) -> Void) {
        // Not from inside the probe's own call.
        loop.schedule(after: 0) { [weak self] in
            guard let self, !isStopping else { return }
            probe?.stop()
            probe = nil
            joining = nil
            var created = failure.map { refuse($0) } ?? true
            if created {
                do throws(BootError) { try create() } catch { created = refuse("\(error)") }
            }
            if !created || !open() { shutDown() }
        }
    }

    private func open() -> Bool {
        guard let directory else { return false }
        let hasher = Bcrypt(cost: configuration.bcryptCost)
        if signer == nil { logger.warn("simple token is not cryptographically signed") }
        let settings = memberSettings()
        let configuration = configuration
        let member: Member
        do throws(BootError) {
            member = try Boot.open(
                directory, settings: settings,
                parts: StateParts(hasher: hasher, signer: signer) { state in
                    state.lease.electionTimeout = Nanoseconds(settings.electionTimeout)
                    state.lease.minimumTTL = Lessor.Settings.minimumTTL(
                        electionTicks: settings.electionTicks, heartbeat: Nanoseconds(settings.heartbeat))
                    state.lease.checkpoints = settings.leaseCheckpoints
                    state.lease.persistCheckpoints = configuration.gates["LeaseCheckpointPersist"]
                    state.tokenTimeToLive = Nanoseconds(configuration.authTokenTTLSeconds) * .second
                    state.learnersMax = Int(configuration.learnersMax)
                    state.remembersCompactionHashes = configuration.gates["CompactHashCheck"]
                },
                forceNewCluster: configuration.forceNewCluster, loop: loop, note: { log($0, [], level: .warn) })
        } catch { return refuse("\(error)") }
        self.member = member
        logger.info(
            "opened the write-ahead log", ["path": .text(member.log.directory), "direct-io": .bool(member.log.bypassesCache)])
        member.report = { [weak self] in self?.log($0, $1) }
        member.warn = { [weak self] in self?.log($0, $1, level: .warn) }
        member.onHalt = { [weak self] reason in self?.fail("the member stops: \(reason)") }
        member.onRemoved = { [weak self] reason in
            self?.logger.warn("server error", ["error": .text(reason)])
            self?.logger.warn(
                "data-dir used by this member must be removed", ["data-dir": .text(configuration.dataDirectory)])
            self?.shutDown()
        }
        serve(member, hasher)
        let transport = PeerTransport(
            loop: loop, identity: member.identity, settings: transportSettings(), tlsServer: tls?.peers,
            tlsClient: tls?.toPeers, owner: member)
        self.transport = transport
        // What goes wrong with another member; the same thing at most every half minute.
        transport.report = { [weak self] in self?.log($0, $1, level: Self.expected.contains($0) ? .info : .warn) }
        do throws(SystemError) {
            for url in configuration.listenPeerURLs {
                try transport.listen("\(url)")
                logger.info("serving peer traffic", ["address": .text(url.address)])
            }
        } catch { return refuse(error.inWordsOfEtcd) }
        logger.info(
            "starting local member",
            ["local-member-id": .id(member.identity.member), "cluster-id": .id(member.identity.cluster)])
        member.start(transport)
        let publication = Publication(
            member, name: configuration.name, clientURLs: configuration.advertiseClientURLs.map(\.description)
        ) { [weak self] in self?.published() }
        duties.append(publication)
        publication.start()
        return true
    }

    private func memberSettings() -> Member.Settings {
        var settings = Member.Settings()
        settings.name = configuration.name
        settings.dataDirectory = configuration.dataDirectory
        settings.snapshotCount = max(1, configuration.snapshotCount)
        settings.catchUpEntries = configuration.snapshotCatchupEntries
        settings.quotaBytes = configuration.quotaBytes.map { Int($0) }
        settings.maxRequestBytes = Int(clamping: configuration.requestBytesMax)
        settings.maxTxnOperations = Int(clamping: configuration.transactionOperationsMax)
        settings.electionTimeout = configuration.electionMilliseconds * 1_000_000
        settings.heartbeat = configuration.heartbeatMilliseconds * 1_000_000
        if configuration.batchInterval > 0 { settings.batchInterval = UInt64(configuration.batchInterval) }
        if configuration.batchLimit > 0 { settings.batchLimit = Int(configuration.batchLimit) }
        if configuration.watchProgressInterval > 0 { settings.progressInterval = UInt64(configuration.watchProgressInterval) }
        settings.slowRequest = UInt64(max(0, configuration.warningUnaryRequestDuration))
        settings.slowApply = UInt64(max(0, configuration.warningApplyDuration))
        settings.preVote = configuration.preVote
        settings.strictReconfiguration = configuration.strictReconfigCheck
        settings.advancesFirstElection = configuration.initialElectionTickAdvance
        settings.leaseCheckpoints = configuration.gates["LeaseCheckpoint"]
        settings.serverVersion = ProgramVersion.etcd
        return settings
    }

    private func transportSettings() -> PeerTransport.Settings {
        var settings = PeerTransport.Settings()
        settings.serverVersion = ProgramVersion.etcd
        settings.peerURLs = configuration.advertisePeerURLs.map(\.description)
        settings.snapshotDirectory = directory?.snapshotDirectory ?? ""
        settings.storePath = directory?.storePath
        settings.electionTimeout = configuration.electionMilliseconds * 1_000_000
        settings.metrics = feed?.metrics.network
        settings.skipsAddressCheck = configuration.peerTLS.skipsClientSANVerification
        return settings
    }

    // MARK: Clients

    private func limits() -> GRPCServer.Limits {
        var limits = GRPCServer.Limits()
        limits.messageBytesMax = Int(clamping: configuration.requestBytesMax) + 524_288
        limits.maxConcurrentStreams = configuration.concurrentStreamsMax
        limits.pingIntervalMin = UInt64(max(0, configuration.keepAlive.minimumInterval))
        if configuration.keepAlive.interval > 0 { limits.keepaliveInterval = UInt64(configuration.keepAlive.interval) }
        if configuration.keepAlive.timeout > 0 { limits.keepaliveTimeout = UInt64(configuration.keepAlive.timeout) }
        return limits
    }

    private func serve(_ member: Member, _ hasher: any PasswordHasher) {
        let server = GRPCServer(loop: loop, router: GRPCRouter(), limits: limits())
        self.server = server
        server.observeRejection = { [weak self] address, name, reason in
            self?.log("rejected connection on client endpoint", [("remote-addr", address), ("server-name", name), ("error", reason)])
        }
        let api = ClientAPI(member: member, server: server, hasher: hasher)
        self.api = api
        member.servePage = { [unowned api] page, answer in api.servePeer(page, answer) }
        var settings = HTTPService.Settings()
        settings.origins = configuration.corsOrigins
        settings.hosts = configuration.hostWhitelist
        settings.gateway = configuration.enableGateway
        settings.arguments = arguments
        let http = HTTPService(api, settings)
        self.http = http
        http.gateway.refusesNamedCertificates = configuration.clientTLS.requiresClientCertificate
        let feed = MetricsFeed(configuration, api, streams: Set(api.streams.keys), logger)
        self.feed = feed
        http.metrics = { [unowned feed] in feed.page() }
        http.checked = { [unowned feed] in feed.checked($0, $1, $2) }
        feed.healthChecks = { [unowned http] in (http.healthSuccesses, http.healthFailures) }
        let version = ClusterVersionDuty(member) { [weak self] in self?.log($0, $1) }
        duties.append(version)
        member.onLeaderChanged = { [unowned version, unowned member] in if member.leadsForSure { version.look() } }
        if let retention = try? configuration.retention(), retention > 0 {
            let rule: AutoCompaction.Rule =
                configuration.autoCompaction.mode == .periodic ? .periodic(UInt64(retention)) : .revisions(retention)
            duties.append(AutoCompaction(member, rule) { [weak self] in self?.log($0, $1) })
        }
        member.onCompacted = { [weak self] revision in
            self?.log("finished scheduled compaction", [("compact-revision", "\(revision)")])
        }
    }

    private func bindClients() throws(SystemError) {
        let admission = ClientAdmission(configuration.clientAdmissionFile)
        for url in configuration.listenClientURLs {
            // One port may be given for both, http and https: what comes first decides, for each connection.
            let twin = configuration.listenClientURLs.first { $0 != url && $0.address == url.address }
            if let twin, twin.usesTLS { continue }
            try listen(url, into: \.clientListeners) { [weak self] descriptor in
                guard let self else { return Process.close(descriptor) }
                add(
                    descriptor, url, admission, takesCleartext: twin != nil,
                    grpcOnly: !configuration.listenClientHTTPURLs.isEmpty)
            }
        }
        for url in configuration.listenClientHTTPURLs {
            try listen(url, into: \.clientListeners) { [weak self] descriptor in
                guard let self else { return Process.close(descriptor) }
                add(descriptor, url, admission, httpOnly: true)
            }
        }
        for url in configuration.listenMetricsURLs {
            try listen(url, into: \.otherListeners) { [weak self] descriptor in
                guard let self else { return Process.close(descriptor) }
                metrics().add(descriptor, tls: session(url), httpOnly: true)
            }
        }
    }

    private func add(
        _ descriptor: Int32, _ url: MemberURL, _ admission: ClientAdmission, takesCleartext: Bool = false, grpcOnly: Bool = false,
        httpOnly: Bool = false
    ) {
        guard let server else { return Process.close(descriptor) }
        let session = session(url)
        var judge: GRPCServer.Admission?
        if !admission.isOpen {
            let remote = Socket.peer(descriptor)?.host ?? ""
            // Without a certificate nobody is one of a few.
            guard let session, !takesCleartext else {
                guard admission.admits(nil, from: remote) else { return Process.close(descriptor) }
                return server.add(descriptor, tls: session, takesCleartext: takesCleartext, grpcOnly: grpcOnly, httpOnly: httpOnly)
            }
            judge = { [weak self] decide in
                let isAdmitted = admission.admits(session.peerCommonName, from: remote)
                if !isAdmitted {
                    self?.log("rejected connection on client endpoint", [("remote-addr", remote), ("error", "the cluster is being made")])
                }
                decide(isAdmitted)
            }
        }
        server.add(
            descriptor, tls: session, takesCleartext: takesCleartext, grpcOnly: grpcOnly, httpOnly: httpOnly, admission: judge)
    }

    private func session(_ url: MemberURL) -> TLSSession? { url.usesTLS ? tls?.clients?.makeServerSession() : nil }

    private func metrics() -> GRPCServer {
        if let metricsServer { return metricsServer }
        let router = GRPCRouter()
        let server = GRPCServer(loop: loop, router: router, limits: GRPCServer.Limits())
        router.http = { [weak self, unowned server] request, call, _ in
            guard let http = self?.http else {
                return server.respond(call, status: 503, headers: [], body: Bytes("not ready\n".utf8))
            }
            http.serveObservability(request, call, on: server)
        }
        metricsServer = server
        return server
    }

    private func listen(
        _ url: MemberURL, into list: ReferenceWritableKeyPath<RunningServer, [Listener]>,
        accepted: @escaping (Int32) -> Void
    ) throws(SystemError) {
        guard let target = ListenURL("\(url)") else { throw SystemError("parse URL", "\(url)", code: EINVAL) }
        var options = Socket.ListenOptions()
        options.reusePort = configuration.reusePort
        for address in try target.addresses() {
            self[keyPath: list].append(
                try Listener(
                    address, loop: loop, options: options, paused: list == \.clientListeners,
                    report: { [weak self] in self?.log($0, [], level: .warn) }, accepted: accepted))
        }
    }

    /// The cluster knows this member's name: clients may come.
    private func published() {
        guard !isServing, !isStopping, let api else { return }
        let check = CorruptionCheck(api) { [weak self] in self?.log($0, $1) }
        if configuration.corruptCheckInterval > 0 { check.compareStores(every: UInt64(configuration.corruptCheckInterval)) }
        if configuration.gates["CompactHashCheck"] {
            check.compareCompactions(every: UInt64(configuration.compactHashCheckInterval))
        }
        duties.append(check)
        guard configuration.gates["InitialCorruptCheck"] else { return serveClients() }
        check.initial { [weak self] failure in
            if let failure { self?.fail(failure) } else { self?.serveClients() }
        }
    }

    private func defragmentAtStart(_ member: Member) {
        let threshold = configuration.bootstrapDefragThresholdMegabytes
        guard threshold > 0 else { return }
        let free = member.store.allocatedBytes - member.store.usedBytes
        guard UInt64(free) >> 20 >= threshold else {
            return logger.info(
                "Skipping defragmentation",
                [
                    "current-db-size-bytes": .integer(member.store.allocatedBytes),
                    "current-db-size-in-use-bytes": .integer(member.store.usedBytes),
                    "experimental-bootstrap-defrag-threshold-bytes": .unsigned(threshold << 20),
                ])
        }
        member.giveBackSpace { _ in }
    }

    private func serveClients() {
        guard !isServing, !isStopping, let member else { return }
        isServing = true
        defragmentAtStart(member)
        log(
            "published local member to cluster through raft",
            [
                ("local-member-id", "\(member.identity.member)"), ("cluster-id", "\(member.identity.cluster)"),
                ("publish-timeout", "\(member.settings.requestTimeout / 1_000_000_000)s"),
            ])
        logger.info("ready to serve client requests")
        if let version = member.state.membership.version {
            log("enabled capabilities for version", [("cluster-version", "\(version.major).\(version.minor)")])
        }
        for listener in clientListeners { listener.resume() }
        for url in configuration.listenClientURLs + configuration.listenClientHTTPURLs {
            if url.usesTLS {
                logger.info("serving client traffic securely", ["address": .text(url.address)])
            } else {
                logger.info("serving client traffic insecurely; this is strongly discouraged!", ["address": .text(url.address)])
            }
        }
        let report = ServiceReport(member, [tls?.clients, tls?.peers].compactMap { $0 })
        self.report = report
        logger.info("notifying init daemon")
        if let error = report.ready() {
            logger.error("failed to notify systemd for readiness", ["error": .error(error)])
        } else {
            logger.info("successfully notified init daemon")
        }
        duties.append(MappedMemory(member))
    }

    // MARK: Stop

    private func received(_ signal: Int32) {
        let name = signal == SIGTERM ? "terminated" : signal == SIGINT ? "interrupt" : "signal \(signal)"
        logger.info("received signal; shutting down", ["signal": .text(name)])
        if isStopping { return }
        endedBySignal = signal
        shutDown()
    }

    private func shutDown() {
        guard !isStopping else { return }
        isStopping = true
        if exitCode == 0 { report?.stopping() }
        logger.info("closing etcd server", ["name": .text(configuration.name), "data-dir": .text(configuration.dataDirectory)])
        api?.setServing(false)
        guard let member, !member.isStopped else { return drain() }
        member.handOver { [weak self] in self?.drain() }
    }

    private func drain() {
        for listener in clientListeners + otherListeners { listener.stop() }
        clientListeners = []
        otherListeners = []
        guard let server else { return finish() }
        let timer = loop.schedule(after: 5_000_000_000) { [weak self] in self?.finish() }
        server.drain { [weak self] in
            self?.loop.cancel(timer)
            self?.finish()
        }
    }

    private func finish() {
        discovery?.cancel()
        probe?.stop()
        member?.stop()
        transport?.stop()
        server?.closeAll()
        metricsServer?.closeAll()
        logger.info("closed etcd server", ["name": .text(configuration.name), "data-dir": .text(configuration.dataDirectory)])
        loop.stop()
    }
}

extension SystemError {
    /// A listener that cannot be had, as scripts look for it: `listen tcp 127.0.0.1:2379: bind: address already in use`.
    fileprivate var inWordsOfEtcd: String {
        guard call == "listen" else { return description }
        let network = subject.hasPrefix("/") || !subject.contains(":") ? "unix" : "tcp"
        return "listen \(network) \(subject): bind: \(reason.prefix(1).lowercased())\(reason.dropFirst())"
    }
}

/// Before there is a member nobody can be asked.
private final class NobodyAtHome: PeerTransportOwner {
    func received(_ message: Raft.Message) {}
    func receivedSnapshot(_ message: Raft.Message, _ database: ReceivedDatabase) {}
    func unreachable(_ id: MemberID) {}
    func gone(_ id: MemberID) {}
    func snapshotSent(to id: MemberID, ok: Bool) {}
    func isRemoved(_ id: MemberID) -> Bool { false }
    func selfRemoved(_ reason: String) {}
    func page(_ page: PeerPage, _ answer: @escaping (PeerPageAnswer) -> Void) { answer(.error(503, "not ready")) }
}
