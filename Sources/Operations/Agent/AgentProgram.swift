// `covey agent`: the daemon of a host. It serves the operator's commands on port 2378, keeps systemd informed, and looks at
// the health of the members it runs.

import Connections
import Foundations
import Glibc
import HTTP1
import Inventory
import JSON
import Linux
import PKI
import Systemd
import TLSEngine
import Wire

final class AgentProgram {
    struct Settings {
        var root: String
        /// Empty: systemd when it runs this machine.
        var supervisor: String
        /// HOST:PORT; empty: the agent's address and the usual port; `off`.
        var metrics = ""
        /// The file to converge by; empty: where it usually is; `off`.
        var inventory = ""
        /// Pause after each member that is restarted.
        var soak = Duration.seconds(30)
    }

    static let metricsPort = 2377

    private let loop: EventLoop
    private let keeper: HostKeeper
    private let service: AgentService
    private let tls: TLSContext
    private let manager = ServiceManager()
    private let pages: HTTP1Client
    private let metrics: AgentMetrics
    private let watch: ClusterWatch
    private let convergence: Convergence?
    private let metricsAddress: String
    private let metricsServer: GRPCServer
    private var metricsListener: Listener?
    private var listener: Listener?
    private var signals: SignalWatch?
    private var status = ""
    /// What is to be said of the agent's own certificate; empty while it is good.
    private var identity = ""
    /// Clusters whose certificates are being renewed by this agent.
    private var renewing: Set<String> = []
    private var isRenewingIdentity = false

    static func run(_ settings: Settings) -> Int32 {
        do {
            let agent = try AgentProgram(settings)
            return try agent.serve()
        } catch {
            Output.error("covey agent: \(error)\n")
            return 1
        }
    }

    struct Refused: Error, CustomStringConvertible { var description: String }

    private init(_ settings: Settings) throws {
        let folders = AgentFolders(root: settings.root)
        guard KeyFile.exists(folders.hostFile) else {
            throw Refused(
                description:
                    "this host has not joined: \(folders.hostFile) is not there; on the operator's machine: covey enroll HOST"
            )
        }
        guard let json = try? JSONValue(parsing: KeyFile.read(folders.hostFile).bytes), let host = HostRecord(json)
        else {
            throw Refused(description: "\(folders.hostFile) cannot be read; enroll this host again")
        }
        guard let program = MemberProcess.ownProgram() else {
            throw Refused(description: "cannot find the own program in /proc")
        }
        let usesSystemd = settings.supervisor.isEmpty ? SystemBus.isPresent : settings.supervisor == "systemd"
        let backend: any ServiceBackend = usesSystemd ? SystemdBackend() : ProcessBackend(folders, program: program)
        loop = try EventLoop()
        // Before any thread is made: they inherit what is blocked.
        var stop: (() -> Void)?
        signals = try SignalWatch(loop) { _ in stop?() }
        folders.mendIdentity()
        var configuration = TLSConfiguration.server(
            certificate: folders.certificate, key: folders.key, trustedCA: folders.authority)
        configuration.minimumVersion = .tls13
        configuration.applicationProtocols = ["h2"]
        tls = try TLSContext(configuration)
        keeper = HostKeeper(folders, host, backend)
        service = AgentService(loop, keeper)
        pages = HTTP1Client(loop: loop, tls: nil, resolver: Resolver(loop))
        metrics = AgentMetrics(host: host.name)
        watch = ClusterWatch(loop, service, metrics)
        let file = settings.inventory.isEmpty ? folders.root + HostInventory.usualPath : settings.inventory
        convergence =
            settings.inventory == "off"
            ? nil : Convergence(loop, service, folders, host.name, path: file, soak: settings.soak)
        metricsAddress = settings.metrics
        metricsServer = GRPCServer(loop: loop, router: GRPCRouter())
        stop = { [loop] in loop.stop() }
    }

    private func serve() throws -> Int32 {
        let host = keeper.host
        let addresses = try SocketAddress.resolve(host: host.address, port: String(host.port), passive: true)
        guard let address = addresses.first else {
            throw Refused(description: "\(host.address) is no address of this host")
        }
        listener = try Listener(address, loop: loop) { [self] descriptor in
            service.server.add(descriptor, tls: tls.makeServerSession(), grpcOnly: true)
        }
        try tellMetrics(host)
        service.begin()
        service.onHost { keeper in keeper.recover() }
        watch.begin()
        convergence?.begin()
        look()
        heartbeat()
        tick()
        Output.withoutJournal("covey agent: \(host.name) listens on \(address), members run by \(keeper.backend.name)\n")
        JournalRecord.send(
            "agent of \(host.name) ready on \(address)", id: MessageID.agentReady, priority: 6,
            fields: [("COVEY_MEMBER", host.name)])
        try manager.ready(status: "\(host.name) ready")
        loop.run()
        // When systemd is not listening any more there is nobody to tell.
        try? manager.stopping()
        listener?.stop()
        metricsListener?.stop()
        return 0
    }

    /// In the clear, as exporters do: there is nothing secret in it, and nothing can be asked but to be told.
    private func tellMetrics(_ host: HostRecord) throws {
        guard metricsAddress != "off" else { return }
        let usual = "\(AddressText.inURL(host.address)):\(Self.metricsPort)"
        let wanted = metricsAddress.isEmpty ? usual : metricsAddress
        guard let colon = wanted.lastIndex(of: ":"),
            let address = try SocketAddress.resolve(
                host: wanted[..<colon].filter { $0 != "[" && $0 != "]" },
                port: String(wanted[wanted.index(after: colon)...]), passive: true
            ).first
        else { throw Refused(description: "--metrics \(wanted): want HOST:PORT, or off") }
        metricsServer.router.http = { [metrics, unowned metricsServer] request, call, _ in
            let isKnown = request.path == "/metrics" && request.method == "GET"
            metricsServer.respond(
                call, status: isKnown ? 200 : 404,
                headers: [("Content-Type", isKnown ? AgentMetrics.contentType : "text/plain; charset=utf-8")],
                body: Array((isKnown ? metrics.text : "there is /metrics\n").utf8))
        }
        metricsListener = try Listener(address, loop: loop) { [metricsServer] descriptor in
            metricsServer.add(descriptor, httpOnly: true)
        }
    }

    // MARK: From time to time

    private func tick() {
        guard keeper.backend.name == "processes" else { return }
        service.onHost { $0.backend.tick() }
        loop.schedule(after: 200_000_000) { [weak self] in self?.tick() }
    }

    /// Through the host thread, so that an agent that hangs there is restarted as well.
    private func heartbeat() {
        guard let interval = manager.watchdogInterval else { return }
        let mailbox = loop.mailbox
        let manager = manager
        service.onHost { _ in
            mailbox.post {
                // A datagram that is lost is followed by another.
                try? manager.watchdog()
            }
        }
        loop.schedule(after: interval / 2) { [weak self] in self?.heartbeat() }
    }

    private func look() {
        let service = service
        let box = Weak(self)
        let mailbox = loop.mailbox
        service.onHost { keeper in
            let members = keeper.clusters.map { name in
                keeper.haveUnitsRead(name)
                // A ledger that cannot be read is told by the steps.
                keeper.openToClients(name, try? keeper.ledger(name))
                return Seen(
                    cluster: name,
                    port: keeper.storedInventory(name)?.hosts.first { $0.name == keeper.host.name }?.metricsPort,
                    unit: (try? keeper.backend.state(name)) ?? AgentPB.UnitState(active: "unknown"),
                    operation: keeper.lastOperation(name), certificates: keeper.certificateNews(name),
                    renewal: keeper.renewalOrder(name), proof: keeper.openProof(name),
                    inventory: keeper.storedInventory(name))
            }
            let (news, order) = (keeper.identityNews(), keeper.identityOrder())
            mailbox.post {
                box.value?.identity = news.level > .good ? news.text : ""
                box.value?.saw(members)
                if let order { box.value?.renew(order) }
            }
        }
        loop.schedule(after: 5_000_000_000) { [weak self] in self?.look() }
    }

    private struct Seen: Sendable {
        var cluster: String
        var port: Int?
        var unit: AgentPB.UnitState
        var operation: AgentPB.Operation?
        var certificates: CertificateNews?
        var renewal: RenewalOrder?
        var proof: LeafProof?
        var inventory: Inventory?
    }

    /// One renewal of a cluster's certificates at a time; what was switched and not proven comes first.
    private func renew(_ member: Seen) {
        guard member.renewal != nil || member.proof != nil, renewing.insert(member.cluster).inserted else { return }
        let work = LeafRenewal(service: service, folders: keeper.folders, host: keeper.host.name)
        let box = Weak(self)
        let mailbox = loop.mailbox
        Task {
            if let proof = member.proof, let inventory = member.inventory {
                await work.goOn(proof, inventory)
            } else if let order = member.renewal {
                await work.run(order)
            }
            mailbox.post { box.value?.renewing.remove(member.cluster) }
        }
    }

    private func renew(_ order: IdentityOrder) {
        guard !isRenewingIdentity else { return }
        isRenewingIdentity = true
        let work = IdentityRenewal(leaves: LeafRenewal(service: service, folders: keeper.folders, host: keeper.host.name))
        let box = Weak(self)
        let mailbox = loop.mailbox
        Task {
            await work.run(order)
            mailbox.post { box.value?.isRenewingIdentity = false }
        }
    }

    private func saw(_ members: [Seen]) {
        var parts: [String] = []
        for member in members {
            let health = service.health[member.cluster] ?? "health not known yet"
            var text = "\(member.cluster) \(member.unit.active)"
            if member.unit.active == "active" {
                text += ", \(health)"
                if let cluster = metrics.sight(member.cluster)?.text, !cluster.isEmpty { text += ", \(cluster)" }
                ask(member)
            } else {
                service.health[member.cluster] = nil
                service.syncs[member.cluster] = nil
            }
            if let operation = member.operation, operation.state == "open" {
                text += ", op \(operation.kind) under way"
            }
            if let news = member.certificates, news.level > .good { text += ", \(news.text)" }
            parts.append(text)
            renew(member)
        }
        if parts.isEmpty { parts.append("\(keeper.host.name) ready, no member") }
        if let news = convergence?.news.news, !news.isEmpty, !news.hasPrefix(ConvergenceNews.inEffect) {
            parts.append("file: \(news.split(separator: "\n").joined(separator: " ").prefix(300))")
        }
        if !identity.isEmpty { parts.append(identity) }
        let text = parts.joined(separator: " · ")
        guard text != status else { return }
        status = text
        // As above.
        try? manager.status(text)
    }

    private func ask(_ member: Seen) {
        guard let port = member.port else { return }
        get("/health", port) { [weak self] page in self?.heard(member.cluster, Self.health(page)) }
        get("/metrics", port) { [weak self] page in
            // A member that does not answer says so on the other page.
            guard let self, case .success(let body) = page else { return }
            service.syncs[member.cluster, default: SyncTimes()].saw(String(decoding: body, as: UTF8.self), at: loop.now)
        }
    }

    private func get(_ path: String, _ port: Int, _ done: @escaping (Result<[UInt8], HTTPClientError>) -> Void) {
        var request = HTTP1ClientRequest("GET", path)
        request.timeout = 3_000_000_000
        _ = pages.send(request, to: HTTPOrigin(isTLS: false, host: "127.0.0.1", port: String(port)), Page(done))
    }

    private static func health(_ page: Result<[UInt8], HTTPClientError>) -> String {
        switch page {
        case .failure(let error): return "does not answer: \(error)"
        case .success(let body):
            // What is no JSON is no health.
            let json = try? JSONValue(parsing: body)
            if json?["health"]?.string == "true" { return "healthy" }
            return "unhealthy: \(json?["reason"]?.string ?? String(decoding: body.prefix(80), as: UTF8.self))"
        }
    }

    private func heard(_ cluster: String, _ text: String) {
        let before = service.health[cluster]
        service.health[cluster] = text
        guard let before, before != text else { return }
        JournalRecord.send(
            "\(cluster) on \(keeper.host.name): \(before) -> \(text)", id: MessageID.healthChanged,
            priority: text == "healthy" ? 5 : 4,
            fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", keeper.host.name)])
    }

    private final class Page: HTTP1ResponseHandler {
        /// No page of a member is as long; what is behind is not looked at.
        private static let bytesMax = 4 << 20
        private var body: [UInt8] = []
        private let done: (Result<[UInt8], HTTPClientError>) -> Void

        init(_ done: @escaping (Result<[UInt8], HTTPClientError>) -> Void) { self.done = done }

        func head(_ head: HTTPResponseHead) {}
        func body(_ bytes: RawSpan) { if body.count < Self.bytesMax { body.append(bytes) } }
        func failed(_ error: HTTPClientError) { done(.failure(error)) }
        func ended() { done(.success(body)) }
    }

    /// Made on the loop and looked into there.
    private final class Weak: @unchecked Sendable {
        weak var value: AgentProgram?
        init(_ value: AgentProgram) { self.value = value }
    }
}

extension HostKeeper {
    /// After a start: a host that is no member any more, by its own ledger, does not run one.
    func recover() {
        for cluster in clusters {
            // A ledger that cannot be read stops nothing that runs; steps say what is wrong with it.
            guard let ledger = try? ledger(cluster), ledger.state == .active,
                !ledger.members.contains(where: { $0.name == host.name })
            else { continue }
            // That it cannot be recorded does not make the member one again.
            try? audit(cluster, step: "recover", phase: "intent", "\(host.name) is no member: its server is stopped and masked")
            do throws(BackendError) {
                try standDown(cluster)
            } catch { Output.error("covey agent: \(cluster): \(error)\n") }
        }
    }

    /// This host is no member any more: nothing starts its server, and what it said last is no failure.
    func standDown(_ cluster: String) throws(BackendError) {
        try backend.stop(cluster)
        try backend.setEnabled(cluster, false)
        try backend.setMasked(cluster, true)
    }
}
