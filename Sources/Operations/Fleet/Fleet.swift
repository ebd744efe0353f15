// A cluster under the operator's hands: looking at it whole, holding it for an operation, and the members' own calls.

import CoveyClient
import Flags
import Foundations
import GRPC
import Inventory
import JSON
import Linux
import PKI
import Wire

final class Fleet: Sendable {
    let file: InventoryFile
    let text: String
    let identity: FleetIdentity
    let agents: Agents
    let gateway: Gateway
    let events: EventLines
    let interruption: Interruption
    var inventory: Inventory { file.inventory }
    var cluster: String { file.inventory.name }
    /// Pause after each member of a rolling procedure.
    let soak: Duration
    /// Nanoseconds a learner may take until it is a voter.
    let budget: Int64
    static let budgetDefault = 1_800 * GoDuration.second

    /// The operator's.
    convenience init(
        _ file: InventoryFile, _ folder: StateFolder, _ loop: EventLoop, soak: Duration, budget: Int64,
        interruption: Interruption
    ) throws(FleetFailure) {
        let text: String
        let identity: FleetIdentity
        do throws(PKIError) {
            text = String(decoding: try KeyFile.read(file.path).bytes, as: UTF8.self)
            identity = try .ofOperator(folder, file.inventory)
        } catch { throw FleetFailure(text: "\(error)") }
        try self.init(file, text, identity, loop, soak: soak, budget: budget, interruption: interruption)
    }

    init(
        _ file: InventoryFile, _ text: String, _ identity: FleetIdentity, _ loop: EventLoop, soak: Duration,
        budget: Int64 = Fleet.budgetDefault, interruption: Interruption = Interruption()
    ) throws(FleetFailure) {
        self.file = file
        self.text = text
        self.identity = identity
        self.soak = soak
        self.budget = budget
        self.interruption = interruption
        agents = try Agents(file.inventory, identity.toAgents)
        events = EventLines(file.inventory)
        gateway = Gateway(whenAsked: loop, identity.toMembers)
    }

    /// Only commands of the operator ask for them.
    var authorities: FleetAuthorities {
        guard let own = identity.authorities else { unreachable("an agent has no authorities") }
        return own
    }

    /// As who dials members.
    var probe: HandshakeProbe {
        let own = identity.toMembers
        return HandshakeProbe(trustedCA: own.trustedCA, certificate: own.certificate, key: own.key)
    }

    func host(_ name: String) throws(FleetFailure) -> Inventory.Host {
        guard let host = inventory.hosts.first(where: { $0.name == name }) else {
            throw FleetFailure(code: 2, text: "\(name) is no host of \(file.path)")
        }
        return host
    }

    /// Of the members that answer, by these names.
    func memberClient(_ names: [String]) throws(FleetFailure) -> Client {
        let endpoints = inventory.hosts.filter { names.contains($0.name) }.map(\.clientURL)
        guard !endpoints.isEmpty else { throw FleetFailure(text: "no member is left to be asked") }
        var configuration = ClientConfiguration(endpoints: endpoints, timeout: .seconds(10))
        let own = identity.toMembers
        configuration.tls = .init(trustedCA: own.trustedCA, certificate: own.certificate, key: own.key)
        do throws(ClientError) { return try Client(configuration) } catch { throw FleetFailure(text: "\(error)") }
    }

    // MARK: Looking

    struct View: Sendable {
        var agents: [String: AgentPB.ObserveResponse]
        var members: [String: MemberView]

        var ledger: Ledger? { Ledger.newest(agents.values.compactMap { Ledger(text: $0.ledger) }.filter { !isVoid($0) }) }

        /// A host that was away when it was given up or ended still has it; another one set it aside. What serves is neither given
        /// up nor ended, whatever an agent says.
        func isVoid(_ ledger: Ledger) -> Bool {
            agents.values.contains { $0.voided.contains(ledger.token) } && !serves(ledger.token)
        }

        private func serves(_ token: String) -> Bool {
            agents.contains { host, agent in
                members[host]?.isHealthy == true && Ledger(text: agent.ledger)?.token == token
            }
        }
    }

    func look() async -> View {
        async let agents = agents.observe(inventory.hosts.map(\.name), cluster)
        async let members = members(inventory.hosts)
        return View(agents: await agents, members: await members)
    }

    func members(_ hosts: [Inventory.Host]) async -> [String: MemberView] {
        var views = await [String: MemberView].observe(hosts.filter { !agents.silent.has($0.name) }, gateway)
        for host in hosts where agents.silent.has(host.name) {
            views[host.name] = MemberView(health: .unreachable("off, by the operator's word"), facts: nil)
        }
        return views
    }

    func seen(_ view: View) -> [String: ChangePlan.Seen] {
        var all: [String: ChangePlan.Seen] = [:]
        for host in inventory.hosts {
            var seen = ChangePlan.Seen(hasAgent: false)
            if let agent = view.agents[host.name] {
                seen.hasAgent = true
                seen.ledger = Ledger(text: agent.ledger)
                seen.isVoid = seen.ledger.map(view.isVoid) ?? false
                seen.hasData = agent.hasData
                seen.engine = agent.engine
                seen.inventoryDigest = agent.inventoryDigest
                seen.needsRestart = agent.needsRestart
                let digests = Dictionary(agent.slots.map { ($0.name, $0.sha256) }, uniquingKeysWith: { first, _ in first })
                seen.runs = digests[agent.runningSlot] ?? ""
                seen.startsWith = digests[agent.slot] ?? ""
                seen.isFenced = agent.unit?.isMasked == true && agent.unit?.active != "active"
            }
            if let member = view.members[host.name] {
                seen.isHealthy = member.isHealthy
                seen.isLeader = member.facts?.isLeader == true
                seen.lag = view.members.lag(of: host.name) ?? 0
            }
            all[host.name] = seen
        }
        return all
    }

    // MARK: Holding

    struct Held: Sendable {
        var operation: AgentPB.Operation
        /// Who granted it.
        var hosts: [String]

        func header(_ cluster: String, _ step: String) -> AgentPB.StepHeader {
            AgentPB.StepHeader(cluster: cluster, operation: operation.id, epoch: operation.epoch, step: step)
        }
    }

    /// Claims the cluster on all agents that answer. A majority of those that should must grant it; all, to make a cluster.
    func claim(
        _ kind: String, _ arguments: [String], resuming: AgentPB.Operation? = nil, needsAll: Bool = false,
        plan: String = ""
    ) async throws(FleetFailure) -> Held {
        let names = inventory.hosts.map(\.name)
        let view = await agents.observe(names, cluster)
        let reachable = names.filter { view[$0] != nil }
        let voided = Set(view.values.flatMap(\.voided))
        let counted = view.values.compactMap { Ledger(text: $0.ledger) }.filter { !voided.contains($0.token) }
            .map { $0.members.map(\.name) }.max { $0.count < $1.count }
        let voters = counted ?? inventory.voters.map(\.name)
        let answering = voters.filter { reachable.contains($0) }
        let needed = needsAll ? voters.count : voters.count / 2 + 1
        guard answering.count >= needed else {
            throw FleetFailure(
                code: 3,
                text:
                    "the agents of \(voters.filter { !reachable.contains($0) }.joined(separator: ", ")) do not answer; "
                    + "\(needed) of \(voters.count) are needed")
        }
        var operation = AgentPB.Operation(
            id: resuming?.id ?? "\(kind)-\(Hexadecimal.encode(SecureRandom.bytes(3)))", kind: kind,
            arguments: arguments,
            owner: identity.owner, state: "open", began: resuming?.began ?? Int64(Clock.wall() / 1_000_000_000))
        operation.epoch = (view.values.map(\.epoch).max() ?? 0) + 1
        operation.inventory = text
        operation.plan = plan
        await closeEnded(view)
        var granted: [String] = []
        for name in reachable {
            let answer: AgentPB.ClaimResponse = try await agents.call(
                name, RPC.Agent.claim,
                AgentPB.ClaimRequest(cluster: cluster, operation: operation, takeOver: resuming != nil), isSafe: false)
            guard answer.isGranted else {
                // What was granted so far is given back; nobody has done anything yet.
                await release(Held(operation: operation, hosts: granted), "aborted", "not granted by \(name)")
                let next = answer.heldBy.map {
                    "\nGo on with it: covey op resume \($0.id)   or give it up: covey op abort \($0.id)"
                }
                throw FleetFailure(code: 5, text: answer.refusal + (next ?? "\nLet it go on: covey resume"))
            }
            granted.append(name)
        }
        return Held(operation: operation, hosts: granted)
    }

    /// A host that was away when an operation ended still thinks it is open; the others know better.
    private func closeEnded(_ view: [String: AgentPB.ObserveResponse]) async {
        for (name, seen) in view {
            guard let open = seen.operation, open.state == "open",
                let ended = view.values.compactMap(\.operation).first(where: {
                    $0.id == open.id && $0.epoch >= open.epoch && $0.state != "open"
                })
            else { continue }
            await release(Held(operation: open, hosts: [name]), ended.state, "ended while \(name) was away")
        }
    }

    func release(_ held: Held, _ state: String, _ outcome: String) async {
        for name in held.hosts {
            // An agent that is gone keeps the operation open in its records; the next claim finds it and says so.
            let _: AgentPB.StepResponse? = try? await agents.call(
                name, RPC.Agent.release,
                AgentPB.ReleaseRequest(header: held.header(cluster, "release"), state: state, outcome: outcome),
                seconds: 5)
        }
    }

    // MARK: Single steps

    func writeLedger(_ held: Held, _ ledger: Ledger, to hosts: [String]) async throws(FleetFailure) {
        let text = ledger.json.text()
        try await agents.all(hosts) { [self] host throws(FleetFailure) in
            let _: AgentPB.StepResponse = try await agents.call(
                host, RPC.Agent.writeLedger,
                AgentPB.WriteLedgerRequest(header: held.header(cluster, "ledger"), ledger: text))
        }
    }

    /// Keys made there, certificates issued here, or, where nobody has the authorities, by the holders each host asks.
    func certify(_ held: Held, _ hosts: [String]) async throws(FleetFailure) {
        guard let authorities = identity.authorities else {
            return try await agents.all(hosts) { [self] name throws(FleetFailure) in
                let request = AgentPB.ObtainCertificatesRequest(header: held.header(cluster, "certificates"))
                let _: AgentPB.StepResponse = try await agents.call(
                    name, RPC.Agent.obtainCertificates, request, seconds: 60)
            }
        }
        try await agents.all(hosts) { [self] name throws(FleetFailure) in
            let host = try host(name)
            let answer: AgentPB.RequestCertificatesResponse = try await agents.call(
                name, RPC.Agent.requestCertificates,
                AgentPB.RequestCertificatesRequest(
                    header: held.header(cluster, "keys"), names: ["server", "peer", "client"]))
            var files: [AgentPB.CertificateFile] = []
            do throws(PKIError) {
                for request in answer.requests {
                    let leaf = try authorities.issue(request.name, host, request.pem)
                    files.append(AgentPB.CertificateFile(name: request.name, pem: leaf.pem))
                }
            } catch { throw FleetFailure(text: "certificates of \(name): \(error)") }
            let install = AgentPB.InstallCertificatesRequest(
                header: held.header(cluster, "certificates"), certificates: files,
                authorities: [
                    AgentPB.CertificateFile(name: "client-ca", pem: authorities.bundle(.client)),
                    AgentPB.CertificateFile(name: "peer-ca", pem: authorities.bundle(.peer)),
                ])
            // Not repeated: the keys have moved to their place by then.
            let _: AgentPB.StepResponse = try await agents.call(
                name, RPC.Agent.installCertificates, install, isSafe: false)
        }
    }

    func render(_ held: Held, _ hosts: [String]) async throws(FleetFailure) {
        let text = text
        try await agents.all(hosts) { [self] host throws(FleetFailure) in
            let _: AgentPB.StepResponse = try await agents.call(
                host, RPC.Agent.render,
                AgentPB.RenderRequest(header: held.header(cluster, "render"), inventory: text, host: host))
        }
    }

    func control(
        _ held: Held, _ hosts: [String], _ verbs: [AgentPB.ControlRequest.Verb], reason: String = ""
    ) async throws(FleetFailure) {
        try await agents.all(hosts) { [self] host throws(FleetFailure) in
            let _: AgentPB.StepResponse = try await agents.call(
                host, RPC.Agent.control,
                AgentPB.ControlRequest(header: held.header(cluster, "control"), verbs: verbs, reason: reason))
        }
    }

    func waitUntilDown(_ host: String, seconds: Int = 95) async throws(FleetFailure) {
        try await wait(seconds: seconds, "\(host) does not stop") { [self] in
            let state = await agents.observe([host], cluster, isPatient: false)[host]?.unit?.active ?? ""
            return state == "inactive" || state == "failed"
        }
    }

    /// Moves the member's data aside, once it is down.
    func setAside(_ held: Held, _ host: String, _ label: String) async throws(FleetFailure) -> String {
        let answer: AgentPB.StepResponse = try await agents.call(
            host, RPC.Agent.quarantine,
            AgentPB.QuarantineRequest(header: held.header(cluster, "quarantine"), label: label), isSafe: false)
        return answer.evidence
    }

    // MARK: Waiting

    func wait(
        seconds: Int, _ what: String, every: Duration = .milliseconds(100),
        _ isTrue: @escaping @Sendable () async -> Bool
    ) async throws(FleetFailure) {
        let end = Clock.monotonic() + UInt64(seconds) * 1_000_000_000
        while !(await isTrue()) {
            guard Clock.monotonic() < end else { throw FleetFailure(code: 4, text: "\(what) (waited \(seconds) s)") }
            if interruption.isAsked { throw FleetFailure(code: 4, text: "interrupted while waiting: \(what) yet") }
            try? await Task.sleep(for: every)  // tasks are not cancelled
        }
    }
}

extension Ledger {
    /// Nil for an empty text and for what is no ledger.
    init?(text: String) {
        guard !text.isEmpty, let json = try? JSONValue(parsing: text) else { return nil }
        self.init(json)
    }
}
