import GRPC
import Glibc
import Inventory
import PKI
import Rendering
import TestSupport
import Testing
import Wire

@testable import Operations

/// A supervisor that only remembers what it was told.
final class RememberingBackend: ServiceBackend {
    var name = "processes"
    var reloads = 0
    /// Files of units are newer than what it has read; a reload that does not help leaves it so.
    var isStale = false
    var reloadHelps = true
    var active = "inactive"
    /// Of the server that runs; 0: none.
    var process: Int32 = 0
    var told: [String] = []

    func state(_ cluster: String) throws(BackendError) -> AgentPB.UnitState {
        AgentPB.UnitState(active: process > 0 ? "active" : active, mainProcess: process)
    }
    func needsReload(_ cluster: String) throws(BackendError) -> Bool { isStale }
    func reload() throws(BackendError) {
        reloads += 1
        told.append("reload")
        if reloadHelps { isStale = false }
    }
    func start(_ cluster: String) throws(BackendError) { told.append("start") }
    func stop(_ cluster: String) throws(BackendError) { told.append("stop") }
    func restart(_ cluster: String) throws(BackendError) { told.append("restart") }
    func setEnabled(_ cluster: String, _ on: Bool) throws(BackendError) { told.append(on ? "enable" : "disable") }
    func setMasked(_ cluster: String, _ on: Bool) throws(BackendError) { told.append(on ? "mask" : "unmask") }
    func tick() {}
}

/// The steps of one host, with a supervisor that only remembers what it was told.
@Suite struct HostKeeperTests {
    private static let text =
        "metadata: {name: main}\nspec:\n  hosts:\n    kv1: 10.0.0.1\n    kv2: 10.0.0.2\n    kv3: 10.0.0.3\n"

    private let folder = temporaryFolder("keeper")
    private let backend = RememberingBackend()
    private let keeper: HostKeeper
    private let inventory: Inventory

    init() throws {
        keeper = HostKeeper(
            AgentFolders(root: folder), HostRecord(name: "kv1", address: "10.0.0.1", port: 2378), backend)
        inventory = try InventoryFile.parse(Array(Self.text.utf8), "test").inventory
    }

    private func claim(_ id: String, _ epoch: UInt64, takeOver: Bool = false) throws -> AgentPB.ClaimResponse {
        try keeper.claim(
            AgentPB.ClaimRequest(
                cluster: "main", operation: AgentPB.Operation(id: id, kind: "apply", epoch: epoch), takeOver: takeOver))
    }

    private func header(_ id: String, _ epoch: UInt64) -> AgentPB.StepHeader {
        AgentPB.StepHeader(cluster: "main", operation: id, epoch: epoch)
    }

    private func write(_ ledger: Ledger, _ id: String = "a", _ epoch: UInt64 = 1) throws -> AgentPB.StepResponse {
        try keeper.writeLedger(AgentPB.WriteLedgerRequest(header: header(id, epoch), ledger: ledger.json.text()))
    }

    private func control(_ verbs: [AgentPB.ControlRequest.Verb]) throws -> AgentPB.StepResponse {
        try keeper.control(AgentPB.ControlRequest(header: header("a", 1), verbs: verbs))
    }

    private func code(_ body: () throws -> some Any) -> GRPCCode? {
        do {
            _ = try body()
            return nil
        } catch { return (error as? GRPCStatus)?.code }
    }

    private func putData() throws { try KeyFile.makeFolder(folder + "/var/lib/covey/main/member") }

    @Test func `an operation holds the cluster until it ends, and who takes it over fences the old owner`() throws {
        #expect(try claim("a", 1).isGranted)
        #expect(try claim("b", 2).heldBy?.id == "a")
        #expect(try !claim("a", 2).isGranted, "not without saying so")
        #expect(try !claim("a", 1, takeOver: true).isGranted, "not with the same epoch")
        #expect(try claim("a", 2, takeOver: true).isGranted)
        let ledger = Ledger.pending(inventory, token: "main-1")
        #expect(code { try write(ledger, "a", 1) } == .aborted)
        #expect(try write(ledger, "a", 2).isChanged)
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header("a", 2), state: "done"))
        #expect(code { try write(ledger, "a", 2) } == .aborted)
        #expect(try claim("b", 3).isGranted)
    }

    @Test func `epochs survive a restart of the agent`() throws {
        #expect(try claim("a", 7).isGranted)
        let again = HostKeeper(keeper.folders, keeper.host, backend)
        let answer = try again.claim(
            AgentPB.ClaimRequest(
                cluster: "main", operation: AgentPB.Operation(id: "b", kind: "x", epoch: 7), takeOver: true))
        #expect(!answer.isGranted && answer.epoch == 7)
    }

    @Test func `a ledger is written once, never goes back, and never becomes another cluster's`() throws {
        _ = try claim("a", 1)
        var ledger = Ledger.pending(inventory, token: "main-1")
        #expect(try write(ledger).isChanged)
        #expect(try !write(ledger).isChanged)
        #expect(code { try write(Ledger.pending(inventory, token: "main-2")) } == .failedPrecondition)
        ledger.state = .active
        ledger.generation = 5
        #expect(try write(ledger).isChanged)
        ledger.generation = 4
        #expect(code { try write(ledger) } == .failedPrecondition)
        ledger.generation = 6
        ledger.state = .pending
        #expect(code { try write(ledger) } == .failedPrecondition, "what was made is not made again")
    }

    @Test func `a server is started on its own data, and never as an old member on an empty disk`() throws {
        _ = try claim("a", 1)
        #expect(code { try control([.start]) } == .failedPrecondition, "without a ledger")
        var ledger = Ledger.pending(inventory, token: "main-1")
        _ = try write(ledger)
        _ = try control([.enable, .start])
        #expect(backend.told == ["enable", "start"])
        ledger.state = .active
        for index in ledger.members.indices { ledger.members[index].wasStarted = true }
        _ = try write(ledger)
        #expect(code { try control([.start]) } == .failedPrecondition, "the data is gone")
        try putData()
        _ = try control([.start])
        unlink(folder + "/var/lib/covey/main.identity.json")
        #expect(code { try control([.start]) } == .failedPrecondition, "nobody knows whose data it is")
        #expect(backend.told == ["enable", "start", "start"])
    }

    @Test func `data is set aside when the server is down, and not deleted`() throws {
        _ = try claim("a", 1)
        try putData()
        backend.active = "active"
        func setAside() throws -> AgentPB.StepResponse {
            try keeper.quarantine(AgentPB.QuarantineRequest(header: header("a", 1), label: "removed"))
        }
        #expect(code { try setAside() } == .failedPrecondition)
        backend.active = "inactive"
        let place = try setAside().evidence
        #expect(KeyFile.exists(place + "/member") && !KeyFile.exists(folder + "/var/lib/covey/main/member"))
        #expect(try !setAside().isChanged)
    }

    @Test func `systemd reads its units again when one of them has changed, not for a list of members`() throws {
        backend.name = "systemd"
        _ = try claim("a", 1)
        func render() throws {
            _ = try keeper.render(AgentPB.RenderRequest(header: header("a", 1), inventory: Self.text, host: "kv1"))
        }
        var ledger = Ledger.pending(inventory, token: "main-1")
        _ = try write(ledger)
        try render()
        #expect(backend.reloads == 1)
        ledger.state = .active
        _ = try write(ledger)
        try render()
        #expect(backend.reloads == 1, "only the server's own file says that the cluster is there")
    }

    @Test func `an agent that was killed before systemd read a unit has it read before anything is started`() throws {
        backend.name = "systemd"
        _ = try claim("a", 1)
        func render() throws {
            _ = try keeper.render(AgentPB.RenderRequest(header: header("a", 1), inventory: Self.text, host: "kv1"))
        }
        _ = try write(Ledger.pending(inventory, token: "main-1"))
        try render()
        backend.told = []
        // The files are there, systemd has not read them.
        backend.isStale = true
        try render()
        #expect(backend.told == ["reload"], "although no file has changed")
        backend.isStale = true
        _ = try control([.start])
        backend.isStale = true
        _ = try control([.restart])
        _ = try control([.restart])
        #expect(backend.told == ["reload", "reload", "start", "reload", "restart", "restart"])
    }

    @Test func `units are read again at a look around, and not again and again when that does not help`() throws {
        keeper.haveUnitsRead("main")
        #expect(backend.reloads == 0)
        backend.isStale = true
        keeper.haveUnitsRead("main")
        #expect(backend.reloads == 1 && !backend.isStale)
        backend.isStale = true
        backend.reloadHelps = false
        for _ in 0..<3 { keeper.haveUnitsRead("main") }
        #expect(backend.reloads == 2)
        backend.isStale = false
        keeper.haveUnitsRead("main")
        backend.isStale = true
        for _ in 0..<3 { keeper.haveUnitsRead("main") }
        #expect(backend.reloads == 3, "once each time it was in order before")
    }

    @Test func `what runs with other settings is known also when the agent dies before it says so`() throws {
        backend.name = "systemd"
        _ = try claim("a", 1)
        func render(_ text: String) throws {
            _ = try keeper.render(AgentPB.RenderRequest(header: header("a", 1), inventory: text, host: "kv1"))
        }
        _ = try write(Ledger.pending(inventory, token: "main-1"))
        try render(Self.text)
        backend.process = 4711
        let changed = Self.text + "  storage: {quota: 1GiB}\n"
        let file = try InventoryFile.parse(Array(changed.utf8), "test").inventory
        // Noted and not written.
        let me = try #require(file.hosts.first)
        let files = HostFiles.all(file, me, MemberIdentity(state: .new, token: "main-1", members: []))
        try keeper.noteSettings("main", files.map { RenderedFile(path: folder + $0.path, text: $0.text) })
        #expect(try keeper.observe("main").needsRestart)
        try render(changed)
        #expect(try keeper.observe("main").needsRestart)
        backend.process = 4712
        #expect(try !keeper.observe("main").needsRestart, "another process has read them")
    }

    @Test func `the ledger alone says that a member makes a cluster`() throws {
        _ = try claim("a", 1)
        func render() throws -> String {
            _ = try keeper.render(AgentPB.RenderRequest(header: header("a", 1), inventory: Self.text, host: "kv1"))
            return String(decoding: try KeyFile.read(folder + "/etc/covey/main/server.yaml").bytes, as: UTF8.self)
        }
        #expect(code { try render() } == .failedPrecondition)
        var ledger = Ledger.pending(inventory, token: "main-1")
        _ = try write(ledger)
        #expect(try render().contains("initial-cluster-state: \"new\""))
        ledger.state = .active
        _ = try write(ledger)
        #expect(try render().contains("initial-cluster-state: \"existing\""))
    }

    @Test func `only who makes a cluster gets in until it is there`() throws {
        _ = try claim("a", 1)
        let file = folder + "/etc/covey/main/admitted-clients"
        func render() throws -> String {
            _ = try keeper.render(AgentPB.RenderRequest(header: header("a", 1), inventory: Self.text, host: "kv1"))
            return String(decoding: try KeyFile.read(folder + "/etc/covey/main/server.yaml").bytes, as: UTF8.self)
        }
        var ledger = Ledger.pending(inventory, token: "main-1")
        _ = try write(ledger)
        #expect(try render().contains("client-admission-file: \"\(file)\""))
        #expect(String(decoding: try KeyFile.read(file).bytes, as: UTF8.self) == "root\ncovey-health\n")
        backend.process = 4711
        keeper.openToClients("main", try keeper.ledger("main"))
        #expect(KeyFile.exists(file), "it is not there yet")
        ledger.state = .active
        _ = try write(ledger)
        #expect(KeyFile.exists(file), "an agent that is killed here")
        keeper.openToClients("main", try keeper.ledger("main"))
        #expect(!KeyFile.exists(file), "opens it when it looks around")
        #expect(try !render().contains("client-admission-file"))
        #expect(try !keeper.observe("main").needsRestart, "a running server sees for itself that it may open")
    }

    @Test func `no configuration is rendered for data another engine made`() throws {
        _ = try claim("a", 1)
        _ = try write(Ledger.pending(inventory, token: "main-1"))
        func render() throws -> AgentPB.StepResponse {
            try keeper.render(AgentPB.RenderRequest(header: header("a", 1), inventory: Self.text, host: "kv1"))
        }
        try KeyFile.makeFolder(folder + "/var/lib/covey/main/member/snap")
        try KeyFile.write([], to: folder + "/var/lib/covey/main/member/snap/db", mode: 0o600)
        #expect(code { try render() } == .failedPrecondition)
        #expect(try keeper.observe("main").engine == "etcd")
        try KeyFile.write([], to: folder + "/var/lib/covey/main/member/covey.json", mode: 0o600)
        #expect(try render().isChanged)
    }

    @Test func `names of clusters that would leave their folder are refused`() {
        for name in ["", "..", "../etc", "a/b", "agent", "-x"] {
            #expect(code { try keeper.observe(name) } == .invalidArgument, "\(name)")
        }
    }
}
