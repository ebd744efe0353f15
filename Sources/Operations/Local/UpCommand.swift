// `covey up`: a cluster on this machine, from an inventory whose supervisor is `processes`. Made the first time, started
// with its data from then on; runs in the foreground until Ctrl-C.

import Foundations
import Glibc
import Inventory
import JSON
import Linux
import PKI
import Rendering
import TLSEngine

struct UpCommand {
    struct Refused: Error {
        var code: Int32
        var text: String
    }

    let file: InventoryFile
    let folder: StateFolder
    let readyLimit: UInt64
    /// As it would be typed.
    private let statusCommand: String

    private var inventory: Inventory { file.inventory }

    init(_ file: InventoryFile, stateFolder: String, readyLimit: UInt64) {
        self.file = file
        self.readyLimit = readyLimit
        folder = StateFolder(stateFolder, cluster: file.inventory.name)
        let other = stateFolder == OperatorProgram.stateFolder ? "" : " --state-dir \(stateFolder)"
        statusCommand = "\(CommandLine.arguments.first ?? "covey") status \(file.path)\(other)"
    }

    func run() -> Int32 {
        do throws(Refused) {
            return try prepareAndServe()
        } catch {
            Output.error("covey up: \(error.text)\n")
            return error.code
        }
    }

    private func prepareAndServe() throws(Refused) -> Int32 {
        guard inventory.supervisor == .processes else {
            throw Refused(
                code: 3,
                text:
                    "\(file.path) is for hosts with systemd; a cluster on this machine needs spec.supervisor: processes"
            )
        }
        try system { () throws(PKIError) in try KeyFile.makeFolder(folder.root) }
        let lock = try lock()
        var ledger = try readLedger()
        let plan: LocalPlan
        do throws(LocalPlan.Refusal) {
            plan = try LocalPlan.decide(inventory, ledger, Self.found(inventory, folder))
        } catch {
            throw Refused(code: 3, text: "\(error.what).\nnothing was changed; \(error.next)")
        }
        try checkEngine(plan)
        try checkPorts(plan)
        let events = EventLines(nameWidth: inventory.voters.map(\.name.count).max() ?? 0)
        if inventory.artifact.file != nil { events.tell("spec.server.artifact is for agents: members run this program here") }
        try begin(plan, &ledger, events)
        guard var ledger else { unreachable("there is a ledger from here on") }
        try certificates(events)
        let code = try serve(plan, &ledger, events)
        _ = consume lock
        return code
    }

    // MARK: Before anything is touched

    private func lock() throws(Refused) -> FolderLock {
        do throws(FolderLock.Failure) { return try FolderLock(folder.lock) } catch {
            switch error {
            case .held(let by):
                throw Refused(
                    code: 5, text: "cluster \(inventory.name) is up already (pid \(by)); see: \(statusCommand)"
                )
            case .system(let error): throw Refused(code: 1, text: "\(error)")
            }
        }
    }

    private func readLedger() throws(Refused) -> Ledger? {
        guard KeyFile.exists(folder.ledger) else { return nil }
        guard let ledger = try Ledger.load(folder.ledger) else {
            throw Refused(code: 3, text: "\(folder.ledger) cannot be read as a ledger; put it back from a copy")
        }
        return ledger
    }

    static func found(_ inventory: Inventory, _ folder: StateFolder) -> [String: LocalPlan.Found] {
        var found: [String: LocalPlan.Found] = [:]
        for host in inventory.hosts {
            found[host.name] = LocalPlan.Found(
                hasData: folder.hasData(host.name), token: Identity.token(folder.identity(host.name)))
        }
        return found
    }

    /// A port that is taken would show as a member that ends again and again. Members of a supervisor that was killed a
    /// moment ago may still be ending: they get two seconds.
    private func checkPorts(_ plan: LocalPlan) throws(Refused) {
        let patience = Clock.monotonic() + 2_000_000_000
        for host in inventory.voters where plan.members.contains(host.name) {
            let listen = inventory.listenAddress ?? host.address
            for (kind, address, port) in [
                ("client", listen, host.clientPort), ("peer", listen, host.peerPort),
                ("metrics", "127.0.0.1", host.metricsPort),
            ] {
                do throws(SystemError) {
                    guard let place = try SocketAddress.resolve(host: address, port: String(port), passive: true).first
                    else { continue }
                    close(try UpCommand.patiently(until: patience, place))
                } catch {
                    throw Refused(
                        code: 3,
                        text: "\(host.name) cannot listen on \(kind) port \(port) of \(address): \(error.reason); "
                            + "give another in \(file.path):\(host.place.line)")
                }
            }
        }
    }

    private static func patiently(until deadline: UInt64, _ place: SocketAddress) throws(SystemError) -> Int32 {
        while true {
            do throws(SystemError) { return try Socket.listen(place) } catch {
                guard error.code == EADDRINUSE, Clock.monotonic() < deadline else { throw error }
                usleep(20_000)
            }
        }
    }

    // MARK: What is on disk

    private func checkEngine(_ plan: LocalPlan) throws(Refused) {
        for name in plan.members {
            let made = DataFolder.engine(folder.data(name))
            guard !made.isEmpty, made != inventory.engine.name else { continue }
            throw Refused(
                code: 3,
                text: "the data of \(name) was made by engine \(made), \(file.path) says \(inventory.engine.name): "
                    + "a cluster keeps its engine")
        }
    }

    private func begin(_ plan: LocalPlan, _ ledger: inout Ledger?, _ events: EventLines) throws(Refused) {
        switch plan.kind {
        case .start:
            events.tell("cluster \(inventory.name): starting \(plan.members.joined(separator: ", ")) with their data")
        case .resume: events.tell("cluster \(inventory.name): going on with a bootstrap that was interrupted")
        case .bootstrap:
            events.tell("cluster \(inventory.name): making it of \(plan.members.joined(separator: ", "))")
            ledger = Ledger.pending(inventory, token: newToken())
        case .restart(let names):
            events.tell("cluster \(inventory.name): an interrupted bootstrap lost data; beginning again")
            let stamp = String(Clock.wall() / 1_000_000_000)
            for name in names {
                let place = try system { () throws(PKIError) in try folder.quarantine(name, stamp: stamp) }
                events.tell(name, "its data was moved to \(place)")
            }
            ledger = Ledger.pending(inventory, token: newToken())
        }
        for left in plan.leftOut { events.tell(left.name, "is left out: \(left.reason)") }
        guard var record = ledger else { unreachable("only a bootstrap begins without a ledger") }
        try system { () throws(PKIError) in
            if record.state == .pending {
                // The ledger first: data whose owner nobody knows is worse than a promise of data that is not there.
                for index in record.members.indices { record.members[index].wasStarted = true }
                try record.save(folder.ledger)
                for name in plan.members {
                    try KeyFile.makeFolder(folder.member(name))
                    try Identity.write(folder.identity(name), inventory.name, name, token: record.token)
                }
            }
        }
        ledger = record
    }

    private func newToken() -> String { "\(inventory.name)-\(Hexadecimal.encode(SecureRandom.bytes(8)))" }

    private func certificates(_ events: EventLines) throws(Refused) {
        var certificates = LocalCertificates(folder, inventory, now: Int64(Clock.wall() / 1_000_000_000))
        try system { () throws(PKIError) in
            try certificates.ensure()
            let text = ClientEnvironment(inventory, folder).file
            try KeyFile.write(Array(text.utf8), to: folder.environment, mode: 0o600)
        }
        for event in certificates.events { events.tell(event) }
    }

    // MARK: Serving

    private func serve(_ plan: LocalPlan, _ ledger: inout Ledger, _ events: EventLines) throws(Refused) -> Int32 {
        let loop: EventLoop
        let gateway: Gateway
        do {
            loop = try EventLoop()
            let credentials = StatusCommand.Credentials(
                trustedCA: folder.client + "/ca.crt", certificate: folder.client + "/client.crt",
                key: folder.client + "/client.key")
            gateway = try Gateway(loop, credentials)
        } catch { throw Refused(code: 1, text: "\(error)") }
        let program = try ownProgram()
        let isNew = ledger.state == .pending
        let identity = MemberIdentity(
            state: isNew ? .new : .existing, token: ledger.token, members: ledger.members.map { ($0.name, $0.peerURL) })
        let hosts = inventory.voters.filter { plan.members.contains($0.name) }
        let members = hosts.map { host in
            let folders = MemberFolders(data: folder.data(host.name), tls: folder.tls(host.name))
            let flags = ServerSettings(inventory, host, identity, folders).commandLine
            return LocalMember(
                host, words: MemberProcess.words(flags, program: inventory.engine.program), log: folder.log(host.name))
        }
        let proof = BootstrapProof(gateway: gateway, hosts: hosts, ledger: ledger)
        var record = ledger
        let cluster = LocalCluster(
            loop: loop, gateway: gateway, program: program, members: members, events: events, isNew: isNew,
            quorum: inventory.quorum,
            readyLimit: readyLimit,
            prove: { () async -> Result<BootstrapProof.Proven, BootstrapProof.Failure> in
                do throws(BootstrapProof.Failure) { return .success(try await proof.run(withCanary: isNew)) } catch {
                    return .failure(error)
                }
            },
            proven: { facts in
                record.activate(facts, at: Int64(Clock.wall() / 1_000_000_000))
                record.take(inventory)
                do throws(PKIError) { try record.save(folder.ledger) } catch {
                    events.tell("\(error)")
                    return false
                }
                return true
            },
            ready: { _ in Output.data(ClientEnvironment(inventory, folder).instructions(statusCommand)) })
        renewLater(loop, events)
        let code = cluster.run()
        ledger = record
        return code
    }

    /// Members read new files at the next handshake; nothing is restarted.
    private func renewLater(_ loop: EventLoop, _ events: EventLines) {
        loop.schedule(after: 3_600_000_000_000) { [self] in
            do throws(Refused) { try certificates(events) } catch { events.tell("certificates: \(error.text)") }
            renewLater(loop, events)
        }
    }

    private func ownProgram() throws(Refused) -> String {
        guard let path = MemberProcess.ownProgram() else {
            throw Refused(code: 1, text: "cannot find the own program in /proc")
        }
        return path
    }

    private func system<Value>(_ body: () throws(PKIError) -> Value) throws(Refused) -> Value {
        do throws(PKIError) { return try body() } catch { throw Refused(code: 1, text: "\(error)") }
    }
}
