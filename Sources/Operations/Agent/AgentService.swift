// The agent's calls: who may make them, and their way from the loop to the thread that works on the host and back.

import Connections
import Foundations
import GRPC
import Linux
import PKI
import Wire

// Router and server are used on the loop's thread only; the keeper on the host thread only.
final class AgentService: @unchecked Sendable {
    private let loop: EventLoop
    let server: GRPCServer
    private let keeper: HostKeeper
    private let work = BlockingQueue<@Sendable () -> Void>()
    private let mailbox: Mailbox
    /// Of each cluster's member, as its own health page says; on the loop.
    var health: [String: String] = [:]
    /// Of each cluster's member, as its metrics say; on the loop.
    var syncs: [String: SyncTimes] = [:]
    /// Of each cluster, as its members say; on the loop.
    var elections: [String: ElectionWatch] = [:]
    var lags: [String: LagWatch] = [:]

    init(_ loop: EventLoop, _ keeper: HostKeeper) {
        self.loop = loop
        self.keeper = keeper
        mailbox = loop.mailbox
        let router = GRPCRouter()
        server = GRPCServer(loop: loop, router: router)
        route(router)
    }

    func begin() {
        let work = work
        BackgroundThread(name: "host") {
            while let bodies = work.takeAll() { for body in bodies { body() } }
        }.detach()
    }

    /// Runs on the host thread, in order.
    func onHost(_ body: @escaping @Sendable (HostKeeper) -> Void) {
        let keeper = Borrowed(keeper)
        work.push { body(keeper.value) }
    }

    /// As above, for who waits without blocking.
    func host<Value: Sendable>(_ body: @escaping @Sendable (HostKeeper) -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            onHost { keeper in continuation.resume(returning: body(keeper)) }
        }
    }

    private func route(_ router: GRPCRouter) {
        // Agents may look at each other. An operator may change anything; an agent only what the file on this host wants.
        add(router, RPC.Agent.describe, AgentPB.DescribeRequest.self, forAgents: true) {
            keeper, request throws(GRPCStatus) in
            try keeper.describe(request)
        }
        router.unary(RPC.Agent.observe.path) { [unowned self] context, message in
            guard let request = admit(context, message, AgentPB.ObserveRequest.self, forAgents: true) else { return }
            let health = health[request.cluster] ?? ""
            let slowest = syncs[request.cluster]?.slowest(at: loop.now) ?? 0
            let elections = elections[request.cluster]?.told(at: loop.now)
            let stragglers = lags[request.cluster]?.told(at: loop.now) ?? []
            run(context) { keeper throws(GRPCStatus) in
                var seen = try keeper.observe(request.cluster)
                seen.health = health
                seen.syncTime = slowest
                seen.elections = elections
                seen.stragglers = stragglers
                return seen
            }
        }
        addConducted(router, RPC.Agent.claim, AgentPB.ClaimRequest.self) { keeper, request, caller throws(GRPCStatus) in
            try keeper.claim(request, by: caller)
        }
        addConducted(router, RPC.Agent.release, AgentPB.ReleaseRequest.self) {
            keeper, request, caller throws(GRPCStatus) in
            try keeper.release(request, by: caller)
        }
        addConducted(router, RPC.Agent.writeLedger, AgentPB.WriteLedgerRequest.self) {
            keeper, request, caller throws(GRPCStatus) in
            try keeper.writeLedger(request, by: caller)
        }
        add(router, RPC.Agent.requestCertificates, AgentPB.RequestCertificatesRequest.self) {
            keeper, request throws(GRPCStatus) in
            try keeper.requestCertificates(request)
        }
        add(router, RPC.Agent.installCertificates, AgentPB.InstallCertificatesRequest.self) {
            keeper, request throws(GRPCStatus) in
            try keeper.installCertificates(request)
        }
        routeCertificates(router)
        routeAudit(router)
        routeSlots(router)
        addConducted(router, RPC.Agent.render, AgentPB.RenderRequest.self) { keeper, request, caller throws(GRPCStatus) in
            try keeper.render(request, by: caller)
        }
        addConducted(router, RPC.Agent.control, AgentPB.ControlRequest.self) {
            keeper, request, caller throws(GRPCStatus) in
            try keeper.control(request, by: caller)
        }
        add(router, RPC.Agent.quarantine, AgentPB.QuarantineRequest.self) { keeper, request throws(GRPCStatus) in
            try keeper.quarantine(request)
        }
        add(router, RPC.Agent.readJournal, AgentPB.ReadJournalRequest.self) { keeper, request throws(GRPCStatus) in
            try keeper.checkName(request.cluster)
            return AgentPB.ReadJournalResponse(
                records: StepJournal.tail(keeper.folders.journal(request.cluster), Int(min(request.limit, 1000))),
                damage: keeper.journalDamage(request.cluster))
        }
    }

    private func routeAudit(_ router: GRPCRouter) {
        add(router, RPC.Agent.readAudit, AgentPB.ReadAuditRequest.self) { keeper, request throws(GRPCStatus) in
            try keeper.readAudit(request)
        }
    }

    private func routeSlots(_ router: GRPCRouter) {
        addStep(router, RPC.Agent.offerArtifact, \AgentPB.OfferArtifactRequest.header) { keeper, request, _ throws(GRPCStatus) in
            try keeper.offerArtifact(request)
        }
        addStep(router, RPC.Agent.uploadArtifact, \AgentPB.UploadArtifactRequest.header) { keeper, request, _ throws(GRPCStatus) in
            try keeper.uploadArtifact(request)
        }
        addStep(router, RPC.Agent.installSlot, \AgentPB.InstallSlotRequest.header) { keeper, request, _ throws(GRPCStatus) in
            try keeper.installSlot(request)
        }
        addStep(router, RPC.Agent.activateSlot, \AgentPB.ActivateSlotRequest.header) { keeper, request, caller throws(GRPCStatus) in
            try keeper.activateSlot(request, by: caller)
        }
    }

    private func routeCertificates(_ router: GRPCRouter) {
        router.unary(RPC.Agent.issueCertificates.path) { [unowned self] context, message in
            let type = AgentPB.IssueCertificatesRequest.self
            guard let request = admit(context, message, type, forAgents: true) else { return }
            let caller = context.peer.commonName ?? ""
            run(context) { keeper throws(GRPCStatus) in try keeper.issueCertificates(request, caller: caller) }
        }
        router.unary(RPC.Agent.obtainCertificates.path) { [unowned self] context, message in
            let type = AgentPB.ObtainCertificatesRequest.self
            guard let request = admit(context, message, type, forAgents: true) else { return }
            let (call, mailbox) = (context.call, mailbox)
            let work = FirstCertificates(
                service: self, folders: keeper.folders, host: keeper.host.name,
                caller: AuditCaller(name: context.peer.commonName ?? "", address: context.peer.address))
            Task {
                let result: Result<[UInt8], GRPCStatus>
                do throws(GRPCStatus) {
                    var bytes: [UInt8] = []
                    try await work.obtain(request).append(to: &bytes)
                    result = .success(bytes)
                } catch { result = .failure(error) }
                let answer = result
                mailbox.post { [self] in finish(call, answer) }
            }
        }
        router.unary(RPC.Agent.shakeHands.path) { [unowned self] context, message in
            guard let request = admit(context, message, AgentPB.ShakeHandsRequest.self, forAgents: true) else { return }
            guard isPlainName(request.cluster), request.edges.count <= EdgeCheck.edgesMax else {
                let text = "a cluster, and at most \(EdgeCheck.edgesMax) edges at a time"
                server.finish(context.call, GRPCStatus(.invalidArgument, text))
                return
            }
            let folders = keeper.folders
            let (call, mailbox) = (context.call, mailbox)
            Task {
                let answer = AgentPB.ShakeHandsResponse(handshakes: await EdgeCheck.shake(request.edges, folders, request.cluster))
                var bytes: [UInt8] = []
                answer.append(to: &bytes)
                let message = bytes
                mailbox.post { [self] in server.reply(call, message) }
            }
        }
        add(router, RPC.Agent.requestAuthority, AgentPB.AuthorityRequest.self) { keeper, request throws(GRPCStatus) in
            try keeper.requestAuthority(request)
        }
        add(router, RPC.Agent.installAuthority, AgentPB.InstallAuthorityRequest.self) {
            keeper, request throws(GRPCStatus) in
            try keeper.installAuthority(request)
        }
    }

    private func add<Request: WireMessage & Sendable, Response: WireMessage>(
        _ router: GRPCRouter, _ method: MethodDescriptor, _ type: Request.Type, forAgents: Bool = false,
        _ serve: @escaping @Sendable (HostKeeper, Request) throws(GRPCStatus) -> Response
    ) {
        router.unary(method.path) { [unowned self] context, message in
            guard let request = admit(context, message, type, forAgents: forAgents) else { return }
            run(context) { keeper throws(GRPCStatus) in try serve(keeper, request) }
        }
    }

    /// As above; the keeper decides what agents may do, by the name of the one that asks.
    private func addConducted<Request: WireMessage & Sendable, Response: WireMessage>(
        _ router: GRPCRouter, _ method: MethodDescriptor, _ type: Request.Type,
        _ serve: @escaping @Sendable (HostKeeper, Request, String) throws(GRPCStatus) -> Response
    ) {
        router.unary(method.path) { [unowned self] context, message in
            guard let request = admit(context, message, type, forAgents: true) else { return }
            let caller = context.peer.commonName ?? ""
            run(context) { keeper throws(GRPCStatus) in try serve(keeper, request, caller) }
        }
    }

    /// As above, for steps that agents may take in operations of their own.
    private func addStep<Request: WireMessage & Sendable, Response: WireMessage>(
        _ router: GRPCRouter, _ method: MethodDescriptor, _ header: KeyPath<Request, AgentPB.StepHeader?> & Sendable,
        _ serve: @escaping @Sendable (HostKeeper, Request, String) throws(GRPCStatus) -> Response
    ) {
        addConducted(router, method, Request.self) { keeper, request, caller throws(GRPCStatus) in
            try keeper.mayStep(request[keyPath: header], by: caller)
            return try serve(keeper, request, caller)
        }
    }

    /// Nil when the call was refused.
    private func admit<Request: WireMessage>(
        _ context: CallContext, _ message: RawSpan, _ type: Request.Type, forAgents: Bool
    ) -> Request? {
        let name = context.peer.commonName ?? ""
        guard HostKeeper.isOperator(name) || forAgents && name.hasPrefix("agent:") else {
            server.finish(context.call, GRPCStatus(.permissionDenied, "\"\(name)\" may not ask this of an agent"))
            return nil
        }
        guard !HostKeeper.isOperator(name) || isTheAuthoritys(context.peer.issuer) else {
            let text = "\"\(name)\" was not certified by the authority itself: a holder makes no operators"
            server.finish(context.call, GRPCStatus(.permissionDenied, text))
            return nil
        }
        do throws(WireError) { return try Request(decoding: message) } catch {
            server.finish(context.call, GRPCStatus(.invalidArgument, "\(error)"))
            return nil
        }
    }

    /// Holders certify agents, nobody else.
    private func isTheAuthoritys(_ issuer: String?) -> Bool {
        // An authority that cannot be read has verified nobody.
        let roots = (try? Certificate.load(keeper.folders.authority)) ?? []
        return roots.contains { $0.subject == issuer }
    }

    private func run<Response: WireMessage>(
        _ context: CallContext, _ serve: @escaping @Sendable (HostKeeper) throws(GRPCStatus) -> Response
    ) {
        let mailbox = mailbox
        let call = context.call
        let caller = AuditCaller(name: context.peer.commonName ?? "", address: context.peer.address)
        onHost { keeper in
            keeper.caller = caller
            defer { keeper.caller = nil }
            let result: Result<[UInt8], GRPCStatus>
            do throws(GRPCStatus) {
                var bytes: [UInt8] = []
                try serve(keeper).append(to: &bytes)
                result = .success(bytes)
            } catch { result = .failure(error) }
            mailbox.post { [self] in finish(call, result) }
        }
    }

    private func finish(_ call: Call, _ result: Result<[UInt8], GRPCStatus>) {
        switch result {
        case .success(let bytes): server.reply(call, bytes)
        case .failure(let status): server.finish(call, status)
        }
    }

    /// Taken to its thread; nobody else uses it.
    private struct Borrowed: @unchecked Sendable {
        let value: HostKeeper
        init(_ value: HostKeeper) { self.value = value }
    }
}
