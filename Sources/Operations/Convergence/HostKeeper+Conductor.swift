// What a host lets another host's agent do to it. The rule is narrow, and kept here, where it cannot be talked around: the
// file on this host must be the one the operation is about, at every step; the agent must have claimed the cluster itself;
// and it may only do what takes nobody out and destroys nothing.

import Foundations
import GRPC
import Inventory
import JSON
import PKI
import Wire

extension HostKeeper {
    /// By the name in the certificate of who calls.
    static func isOperator(_ caller: String) -> Bool { caller.hasPrefix("operator") }

    /// The file on this host, when it is about that cluster.
    func placed(_ cluster: String) -> HostInventory.Content? {
        guard let content = hostInventory?.content, content.inventory.name == cluster else { return nil }
        return content
    }

    func fileState(_ cluster: String) -> AgentPB.FileState? {
        guard let file = hostInventory else { return nil }
        var state = AgentPB.FileState(
            path: file.path, news: convergence.news, needsOperator: convergence.needsOperator,
            isConducting: convergence.isConducting)
        switch file.state {
        case .none: return nil
        case .broken(let lines): state.problem = lines.joined(separator: "; ")
        case .good(let content):
            if content.inventory.name == cluster {
                state.digest = content.digest
                state.generation = content.generation
            } else {
                state.problem = "it is of cluster \(content.inventory.name)"
            }
        }
        return state
    }

    /// Of attempts that were given up and clusters that were ended. What cannot be read has a token nobody has.
    func voidedTokens(_ cluster: String) -> [String] {
        let folder = folders.records(cluster)
        return Self.names(in: folder).filter { $0.hasPrefix("ledger.json.void-") }.sorted().map { name in
            guard let bytes = try? KeyFile.read("\(folder)/\(name)").bytes, let json = try? JSONValue(parsing: bytes),
                let ledger = Ledger(json)
            else { return "" }
            return ledger.token
        }
    }

    func hadLedger(_ cluster: String) -> Bool { !voidedTokens(cluster).isEmpty }

    // MARK: Who may

    private func denied(_ text: String) -> GRPCStatus { GRPCStatus(.permissionDenied, "\(host.name): \(text)") }

    /// The file both hosts must have. Looked at now, not when the operation began.
    private func agreed(_ caller: String, _ cluster: String, _ text: String) throws(GRPCStatus) -> HostInventory.Content {
        _ = hostInventory?.look()
        guard let content = placed(cluster) else { throw denied("there is no usable inventory file of \(cluster) here") }
        let hosts = content.inventory.hosts
        guard hosts.contains(where: { Converging.name($0.name) == caller }), hosts.contains(where: { $0.name == host.name }) else {
            throw denied("the inventory file does not name both \(caller) and this host")
        }
        guard content.isSame(as: text) else { throw denied("the inventory file here is another one than the operation's") }
        return content
    }

    /// For steps: the operation is the caller's own, and is still about the file on this host.
    private func conducted(_ caller: String, _ header: AgentPB.StepHeader?) throws(GRPCStatus) -> HostInventory.Content {
        let header = try fenced(header)
        let operation = lastOperation(header.cluster)
        do throws(GRPCStatus) {
            guard let operation, operation.isAgents, operation.owner == caller else {
                throw denied("\(caller) may do nothing in an operation that is not its own")
            }
            return try agreed(caller, header.cluster, operation.inventory)
        } catch {
            try audit(header.cluster, step: header.step, phase: "refused", error.message, operation)
            throw error
        }
    }

    /// For steps that are alike for operators and agents.
    func mayStep(_ header: AgentPB.StepHeader?, by caller: String) throws(GRPCStatus) {
        if !Self.isOperator(caller) { _ = try conducted(caller, header) }
    }

    // MARK: What

    func claim(_ request: AgentPB.ClaimRequest, by caller: String) throws(GRPCStatus) -> AgentPB.ClaimResponse {
        if Self.isOperator(caller) { return try claim(request) }
        try checkName(request.cluster)
        guard let wanted = request.operation, wanted.kind == Converging.kind, wanted.owner == caller, wanted.arguments.isEmpty
        else { throw denied("\(caller) may claim a cluster for its own convergence only, and override nothing") }
        _ = try agreed(caller, request.cluster, wanted.inventory)
        if let held = lastOperation(request.cluster), held.state == "open" {
            guard held.isAgents else {
                return AgentPB.ClaimResponse(
                    epoch: held.epoch, heldBy: held,
                    refusal: "operation \(held.id) (\(held.kind)) of \(held.owner) has not ended")
            }
            if request.takeOver && held.id != wanted.id && held.epoch < wanted.epoch {
                // This host was away when agents began anew; the procedure looks before each step, so nothing is lost.
                var ended = held
                ended.state = "failed"
                ended.outcome = "\(wanted.id) took its place"
                try save(ended, request.cluster)
            }
        }
        return try claim(request)
    }

    func release(_ request: AgentPB.ReleaseRequest, by caller: String) throws(GRPCStatus) -> AgentPB.StepResponse {
        if !Self.isOperator(caller) {
            let header = try fenced(request.header)
            guard let operation = lastOperation(header.cluster), operation.isAgents, operation.owner == caller else {
                throw denied("\(caller) may end its own operations only")
            }
        }
        return try release(request)
    }

    func writeLedger(_ request: AgentPB.WriteLedgerRequest, by caller: String) throws(GRPCStatus) -> AgentPB.StepResponse {
        if !Self.isOperator(caller) { try checkLedger(request, try conducted(caller, request.header)) }
        return try writeLedger(request)
    }

    /// Members of the file may be added; nobody is taken out, and no cluster is made where one was.
    private func checkLedger(_ request: AgentPB.WriteLedgerRequest, _ content: HostInventory.Content) throws(GRPCStatus) {
        guard let wanted = Ledger(text: request.ledger) else { throw denied("an agent may not set a ledger aside") }
        let current = try ledger(content.inventory.name)
        guard current != nil || !hadLedger(content.inventory.name) else {
            throw denied("a cluster of this name was here before; an operator has to make the next one")
        }
        let known = current?.members ?? []
        for member in known where member.wasStarted && !wanted.members.contains(where: { $0.peerURL == member.peerURL }) {
            throw denied("an agent may not take \(member.name) out")
        }
        for member in wanted.members where current != nil || wanted.state == .pending {
            let isNamed = content.inventory.voters.contains { $0.name == member.name && $0.peerURL == member.peerURL }
            guard isNamed || known.contains(where: { $0.peerURL == member.peerURL }) else {
                throw denied("\(member.name) is no voter of the inventory file")
            }
        }
    }

    func render(_ request: AgentPB.RenderRequest, by caller: String) throws(GRPCStatus) -> AgentPB.StepResponse {
        if !Self.isOperator(caller) {
            guard try conducted(caller, request.header).isSame(as: request.inventory) else {
                throw denied("the inventory file here is another one")
            }
        }
        return try render(request)
    }

    func control(_ request: AgentPB.ControlRequest, by caller: String) throws(GRPCStatus) -> AgentPB.StepResponse {
        guard !Self.isOperator(caller) else { return try control(request) }
        let cluster = try conducted(caller, request.header).inventory.name
        for verb in request.verbs where ![.start, .restart, .enable, .unmask].contains(verb) {
            throw denied("an agent may not \(Self.word(verb)) a server")
        }
        if request.verbs.contains(.unmask) {
            guard try ledger(cluster)?.members.contains(where: { $0.name == host.name }) == true else {
                throw denied("this host is no member, and stays masked")
            }
        }
        if request.verbs.contains(.restart) {
            let unit = try perform { () throws(BackendError) in try backend.state(cluster) }
            guard needsRestart(cluster, unit) || needsOtherProgram(cluster, unit) else {
                return AgentPB.StepResponse(evidence: "it runs with the settings on disk")
            }
        }
        return try control(request)
    }

    // MARK: First certificates

    /// Keys for a host that is about to be a member; nil when it has certificates that serve.
    func beginCertificates(
        _ request: AgentPB.ObtainCertificatesRequest, by caller: String
    ) throws(GRPCStatus) -> (order: RenewalOrder, requests: [AgentPB.SigningRequestFile])? {
        let content = try conducted(caller, request.header)
        let inventory = content.inventory
        let all = leaves(inventory.name, inventory)
        guard !all.isEmpty else { throw denied("this host is not in the inventory file") }
        if all.allSatisfy({ $0.problem == nil && $0.age == .fresh }) { return nil }
        let names = all.flatMap(\.holders)
        let order = RenewalOrder(
            cluster: inventory.name, kinds: all.map(\.kind), holders: inventory.hosts.filter { names.contains($0.name) },
            inventory: inventory, retrySeconds: 0)
        try makeConfigurationFolder(inventory.name)
        return (order, try beginRenewal(order))
    }

    func installCertificates(
        _ request: AgentPB.ObtainCertificatesRequest, _ order: RenewalOrder, _ issued: AgentPB.IssueCertificatesResponse
    ) throws(GRPCStatus) -> AgentPB.StepResponse {
        try step(request.header, "certificates") { header throws(GRPCStatus) in
            let proof = try switchLeaves(order, issued.certificates, trusted: issued.authorities)
            try linkClientFiles(header.cluster)
            let evidence = "serial \(proof.serials["server"] ?? "")"
            // No server shows them yet: the proof is the handshakes of the members with each other.
            try endRenewal(proof, evidence, failure: nil)
            return (true, evidence)
        }
    }

    /// For the holder: the file by which a host that is no member yet is about to be one.
    func inventoryOfComing(_ name: String, _ cluster: String) throws(GRPCStatus) -> Inventory? {
        guard let operation = lastOperation(cluster), operation.isAgents, operation.state == "open" else { return nil }
        _ = hostInventory?.look()
        guard let content = placed(cluster), content.isSame(as: operation.inventory),
            content.inventory.voters.contains(where: { $0.name == name })
        else { return nil }
        let ledger = try ledger(cluster)
        let isMember = ledger?.state == .active && ledger?.members.contains { $0.name == name && $0.wasStarted } == true
        return isMember ? nil : content.inventory
    }
}

/// What the agent does about the file, as others are told.
struct ConvergenceNews: Sendable, Equatable {
    var news = ""
    var needsOperator = false
    var isConducting = false

    /// Begins what is told when all is as the file says.
    static let inEffect = "in effect"
}
