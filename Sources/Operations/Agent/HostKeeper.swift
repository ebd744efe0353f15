// One host's side of everything: looks, and performs single steps, each written down before and after. Used on one thread.
//
// Who may change something is decided here too: an operation claims a cluster with an epoch higher than any before; steps of
// other operations and lower epochs are refused from then on, also after a restart.

import CLinux
import Foundations
import GRPC
import Glibc
import Inventory
import JSON
import Linux
import PKI
import Rendering
import Systemd
import Wire

final class HostKeeper {
    let folders: AgentFolders
    let host: HostRecord
    let backend: any ServiceBackend
    private var journals: [String: StepJournal] = [:]
    var audits: [String: AuditLog] = [:]
    /// Who asked for what is being done; nil: the agent itself.
    var caller: AuditCaller?
    /// What is installed on the host, and what of it was seen last.
    var packageProgram = MemberProcess.installedProgram() ?? ""
    var packageDigest = RememberedDigest()
    /// By cluster: attempts of the agent to renew certificates, and whose turn it is to have them issued here.
    var renewals: [String: RenewalState] = [:]
    var turns: [String: RenewalTurns] = [:]
    /// Clusters whose units are still not what is on the disk although systemd was asked to read them again.
    var reloadedInVain: Set<String> = []
    /// Of the agent's own certificate.
    var identityRenewal = RenewalState()
    /// A handshake with the agent's own port, which another thread serves.
    var identityProof: (AgentFolders, HostRecord, String) -> String? = HostKeeper.identityIsUnproven
    /// The file put on this host, and what the agent does about it; nil when it looks for none.
    var hostInventory: HostInventory?
    var convergence = ConvergenceNews()
    /// Owner of what the server reads; nil where everything is one user's.
    let serverOwner: (user: UInt32, group: UInt32)?

    /// Seconds since 1970.
    private let time: () -> Int64

    init(
        _ folders: AgentFolders, _ host: HostRecord, _ backend: any ServiceBackend,
        time: @escaping () -> Int64 = { Int64(Clock.wall() / 1_000_000_000) }
    ) {
        self.folders = folders
        self.time = time
        self.host = host
        self.backend = backend
        serverOwner = geteuid() == 0 && backend.name == "systemd" ? Self.user("covey") : nil
    }

    private static func user(_ name: String) -> (user: UInt32, group: UInt32)? {
        guard let entry = unsafe getpwnam(name) else { return nil }
        return unsafe (entry.pointee.pw_uid, entry.pointee.pw_gid)
    }

    // MARK: Looking

    func observe(_ cluster: String) throws(GRPCStatus) -> AgentPB.ObserveResponse {
        try checkName(cluster)
        let inventory = storedInventory(cluster)
        var seen = AgentPB.ObserveResponse()
        seen.host = host.name
        seen.ledger = text(folders.ledger(cluster))
        seen.identity = text(identityFile(cluster, inventory))
        seen.hasData = KeyFile.exists(folders.data(cluster, inventory) + "/member")
        seen.engine = DataFolder.engine(folders.data(cluster, inventory))
        seen.unit = try perform { () throws(BackendError) in try backend.state(cluster) }
        seen.certificates = certificates(cluster, inventory)
        let operation = lastOperation(cluster)
        seen.epoch = operation?.epoch ?? 0
        seen.operation = operation
        let pause = text(folders.records(cluster) + "/paused")
        seen.isPaused = !pause.isEmpty
        seen.pausedReason = pause
        seen.inventoryDigest = inventory?.digest.hex ?? ""
        seen.configurationDigest = digest(folders.configuration(cluster) + "/server.yaml")
        seen.wallClock = Int64(Clock.wall())
        seen.file = fileState(cluster)
        seen.inventoryGeneration = inventory?.generation ?? 0
        seen.needsRestart = needsRestart(cluster, seen.unit)
        seen.voided = voidedTokens(cluster)
        seen.hadLedger = !seen.voided.isEmpty
        seen.authorities = heldAuthorities(cluster)
        seen.renewal = renewalText(cluster)
        describeAudit(cluster, &seen)
        describeSlots(cluster, &seen)
        describeIdentity(&seen)
        return seen
    }

    /// Clusters this host has records of.
    var clusters: [String] {
        guard let folder = unsafe opendir(folders.state) else { return [] }
        defer { unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if isPlainName(name) && KeyFile.exists(folders.records(name) + "/ledger.json") { names.append(name) }
        }
        return names.sorted()
    }

    func storedInventory(_ cluster: String) -> Inventory? {
        // Before the first rendering there is none.
        (try? InventoryFile.read(folders.inventory(cluster)))?.inventory
    }

    func ledger(_ cluster: String) throws(GRPCStatus) -> Ledger? {
        guard KeyFile.exists(folders.ledger(cluster)) else { return nil }
        guard let bytes = try? KeyFile.read(folders.ledger(cluster)).bytes, let json = try? JSONValue(parsing: bytes),
            let ledger = Ledger(json)
        else {
            throw GRPCStatus(
                .failedPrecondition, "\(folders.ledger(cluster)) on \(host.name) cannot be read as a ledger")
        }
        return ledger
    }

    func identityFile(_ cluster: String, _ inventory: Inventory?) -> String {
        folders.data(cluster, inventory) + ".identity.json"
    }

    private func certificates(_ cluster: String, _ inventory: Inventory?) -> [AgentPB.CertificateState] {
        guard let inventory, KeyFile.exists(folders.tls(cluster)) else { return [] }
        return leaves(cluster, inventory).map { leaf in
            var state = AgentPB.CertificateState(
                name: leaf.kind.rawValue, problem: leaf.problem ?? "", due: leaf.due, isExternal: leaf.folder != nil)
            guard let certificate = leaf.certificate else { return state }
            state.serial = Hexadecimal.encode(certificate.serial)
            state.issuer = certificate.issuer
            state.notBefore = certificate.notBefore
            state.notAfter = certificate.notAfter
            state.fingerprint = Hexadecimal.encode(certificate.fingerprint)
            return state
        }
    }

    func digest(_ path: String) -> String {
        (try? KeyFile.read(path).bytes).map { Hexadecimal.encode(SHA256Digest.hash($0)) } ?? ""
    }

    private func text(_ path: String) -> String {
        (try? KeyFile.read(path).bytes).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    // MARK: Claims

    func lastOperation(_ cluster: String) -> AgentPB.Operation? {
        // What is not there was never claimed.
        guard let bytes = try? KeyFile.read(folders.operation(cluster)).bytes else { return nil }
        return try? AgentPB.Operation(decoding: bytes.dropFirst(0).map { $0 })
    }

    func save(_ operation: AgentPB.Operation, _ cluster: String) throws(GRPCStatus) {
        var bytes: [UInt8] = []
        operation.append(to: &bytes)
        try perform { () throws(PKIError) in
            try KeyFile.makeFolder(folders.records(cluster))
            try KeyFile.write(bytes, to: folders.operation(cluster), mode: 0o600)
            Folder.sync(of: folders.operation(cluster))
        }
    }

    func claim(_ request: AgentPB.ClaimRequest) throws(GRPCStatus) -> AgentPB.ClaimResponse {
        try checkName(request.cluster)
        let answer = try decide(request)
        if !answer.isGranted {
            try audit(request.cluster, step: "claim", phase: "refused", answer.refusal, request.operation)
        }
        return answer
    }

    private func decide(_ request: AgentPB.ClaimRequest) throws(GRPCStatus) -> AgentPB.ClaimResponse {
        guard var wanted = request.operation, !wanted.id.isEmpty, wanted.epoch > 0 else {
            throw GRPCStatus(.invalidArgument, "a claim needs an operation with an id and an epoch")
        }
        let held = lastOperation(request.cluster)
        var answer = AgentPB.ClaimResponse(epoch: held?.epoch ?? 0)
        if let held, held.epoch >= wanted.epoch {
            answer.refusal = "\(host.name) has seen epoch \(held.epoch)"
            answer.heldBy = held
            return answer
        }
        if let held, held.state == "open", held.id != wanted.id || !request.takeOver {
            answer.refusal = "operation \(held.id) (\(held.kind)) of \(held.owner) has not ended"
            answer.heldBy = held
            return answer
        }
        if KeyFile.exists(folders.records(request.cluster) + "/paused") && wanted.kind != "resume" {
            answer.refusal = "\(request.cluster) is paused: \(text(folders.records(request.cluster) + "/paused"))"
            return answer
        }
        wanted.state = "open"
        wanted.changed = now
        try perform { () throws(PKIError) in try KeyFile.makeFolder(folders.records(request.cluster)) }
        try audit(request.cluster, step: "claim", phase: "intent", wanted.kind, wanted)
        try save(wanted, request.cluster)
        try note(
            request.cluster,
            .init(
                operation: wanted.id, epoch: wanted.epoch, step: "claim", phase: .done,
                // Gates somebody answers for are part of the record.
                evidence: ([wanted.kind] + Overrides(recorded: wanted.arguments).arguments).joined(separator: " ")))
        answer.isGranted = true
        answer.epoch = wanted.epoch
        return answer
    }

    func release(_ request: AgentPB.ReleaseRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        let header = try fenced(request.header)
        guard var operation = lastOperation(header.cluster) else { return AgentPB.StepResponse() }
        guard request.state == "done" || request.state == "aborted" || request.state == "failed" else {
            throw GRPCStatus(.invalidArgument, "an operation ends as done, aborted or failed")
        }
        operation.state = request.state
        operation.outcome = request.outcome
        operation.changed = now
        try audit(header.cluster, step: "release", phase: "intent", request.state, operation)
        try save(operation, header.cluster)
        try note(
            header.cluster,
            .init(
                operation: operation.id, epoch: operation.epoch, step: "release", phase: .done, evidence: request.state)
        )
        return AgentPB.StepResponse(isChanged: true, evidence: request.state)
    }

    /// The header of a step whose operation holds the cluster.
    func fenced(_ header: AgentPB.StepHeader?) throws(GRPCStatus) -> AgentPB.StepHeader {
        guard let header else { throw GRPCStatus(.invalidArgument, "a step needs a header") }
        try checkName(header.cluster)
        guard let operation = lastOperation(header.cluster) else {
            throw GRPCStatus(.failedPrecondition, "nobody has claimed cluster \(header.cluster) on \(host.name)")
        }
        guard header.epoch == operation.epoch, header.operation == operation.id else {
            throw GRPCStatus(
                .aborted,
                "\(host.name) is at epoch \(operation.epoch) (operation \(operation.id) of \(operation.owner)); "
                    + "epoch \(header.epoch) may do nothing any more"
            )
        }
        guard operation.state == "open" else {
            throw GRPCStatus(.aborted, "operation \(operation.id) has ended: \(operation.state)")
        }
        return header
    }

    private func admitted(_ header: AgentPB.StepHeader?, _ name: String) throws(GRPCStatus) -> AgentPB.StepHeader {
        do throws(GRPCStatus) { return try fenced(header) } catch {
            if let cluster = header?.cluster, isPlainName(cluster) {
                try audit(cluster, step: name, phase: "refused", "\(header?.operation ?? ""): \(error.message)")
            }
            throw error
        }
    }

    // MARK: Steps

    /// Writes down what is meant, acts, writes down what came of it. `act` looks first, and answers false when all was done.
    func step(
        _ header: AgentPB.StepHeader?, _ name: String, _ act: (AgentPB.StepHeader) throws(GRPCStatus) -> (Bool, String)
    ) throws(GRPCStatus) -> AgentPB.StepResponse {
        let header = try admitted(header, name)
        var record = StepJournal.Record(operation: header.operation, epoch: header.epoch, step: name, phase: .intent)
        try note(header.cluster, record)
        crashPoint(name + "/intent")
        do throws(GRPCStatus) {
            let (isChanged, evidence) = try act(header)
            crashPoint(name + "/acted")
            record.phase = .done
            record.evidence = evidence
            try note(header.cluster, record)
            tell(header, name, "done", evidence, priority: 6)
            return AgentPB.StepResponse(isChanged: isChanged, evidence: evidence)
        } catch {
            record.phase = .failed
            record.evidence = error.message
            try note(header.cluster, record)
            tell(header, name, "failed", error.message, priority: 4)
            throw error
        }
    }

    func note(_ cluster: String, _ record: StepJournal.Record) throws(GRPCStatus) {
        let path = folders.journal(cluster)
        if journals[cluster] == nil {
            try perform { () throws(PKIError) in
                try KeyFile.makeFolder(folders.records(cluster))
                journals[cluster] = try StepJournal(path)
            }
        }
        if let damage = journals[cluster]?.damage { throw GRPCStatus(.dataLoss, damage) }
        try openAudit(cluster)
        let number = journals[cluster]?.count ?? 0
        do throws(SystemError) { try journals[cluster]?.append(record, at: now) } catch {
            throw GRPCStatus(.unavailable, "\(error)")
        }
        crashPoint(record.step + "/journalled")
        try copyToAudit(cluster, record, journal: number)
    }

    func journalDamage(_ cluster: String) -> String {
        (try? StepJournal(folders.journal(cluster)))?.damage ?? ""
    }

    private func tell(_ header: AgentPB.StepHeader, _ name: String, _ result: String, _ evidence: String, priority: Int) {
        let text = "op \(header.operation) \(name): \(result)\(evidence.isEmpty ? "" : ", \(evidence)")"
        Output.withoutJournal("\(EventLines.time(Clock.wall()))  \(header.cluster)  \(text)\n")
        JournalRecord.send(
            text, id: result == "done" ? MessageID.stepDone : MessageID.stepFailed, priority: priority,
            fields: [
                ("COVEY_CLUSTER", header.cluster), ("COVEY_MEMBER", host.name), ("COVEY_OP", header.operation),
                ("COVEY_STEP", name), ("COVEY_RESULT", result), ("COVEY_EPOCH", String(header.epoch)),
            ])
    }

    /// Drills end the process here: COVEY_AGENT_CRASH=render/intent.
    func crashPoint(_ point: String) {
        guard let wanted = unsafe getenv("COVEY_AGENT_CRASH"), unsafe String(cString: wanted) == point else { return }
        kill(getpid(), SIGKILL)
    }

    // MARK: Helpers

    var now: Int64 { time() }

    func checkName(_ cluster: String) throws(GRPCStatus) {
        guard isPlainName(cluster) else { throw GRPCStatus(.invalidArgument, "\"\(cluster)\" is no name of a cluster") }
    }

    func perform<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(GRPCStatus) -> Value {
        do throws(Failure) { return try body() } catch {
            throw GRPCStatus(.failedPrecondition, "\(host.name): \(error)")
        }
    }

    /// Lets the server's user, and nobody else, read what is meant for it.
    func give(_ path: String) throws(GRPCStatus) {
        guard let owner = serverOwner else { return }
        guard unsafe lchown(path, owner.user, owner.group) == 0 else {
            throw GRPCStatus(.failedPrecondition, "\(host.name): \(SystemError("chown", path))")
        }
    }
}

/// Stable names of what the journal holds, for `journalctl MESSAGE_ID=` and the catalog.
enum MessageID {
    static let stepDone = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a10"
    static let stepFailed = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a11"
    static let identityGuard = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a12"
    static let agentReady = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a13"
    static let healthChanged = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a14"
    static let unitsRead = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a15"
    static let leaderMoved = "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a16"
    static let inventoryFileRefused = "5e1d70c94b3a4d1f8c26a0f7e9b31c01"
    static let convergenceNews = "5e1d70c94b3a4d1f8c26a0f7e9b31c02"
    static let convergenceNeedsOperator = "5e1d70c94b3a4d1f8c26a0f7e9b31c03"
    static let certificatesAge = "b1f4d6a07c3e4f52a9c81e0d35f7a201"
    static let certificatesRenewed = "b1f4d6a07c3e4f52a9c81e0d35f7a202"
    static let certificatesNotRenewed = "b1f4d6a07c3e4f52a9c81e0d35f7a203"
    static let certificatesIssued = "b1f4d6a07c3e4f52a9c81e0d35f7a204"
    static let identityAge = "b1f4d6a07c3e4f52a9c81e0d35f7a205"
    static let identityRenewed = "b1f4d6a07c3e4f52a9c81e0d35f7a206"
    static let identityNotRenewed = "b1f4d6a07c3e4f52a9c81e0d35f7a207"
}

/// Who this host is, written when it joined.
struct HostRecord: Sendable, Equatable {
    var name: String
    var address: String
    var port: Int

    static let defaultPort = 2378

    init(name: String, address: String, port: Int) {
        self.name = name
        self.address = address
        self.port = port
    }

    init?(_ json: JSONValue) {
        guard let name = json["name"]?.string, let address = json["address"]?.string, let port = json["port"]?.int64
        else {
            return nil
        }
        self.init(name: name, address: address, port: Int(port))
    }

    var json: JSONValue {
        .object([.init("name", .string(name)), .init("address", .string(address)), .init("port", .number(port))])
    }
}
