// Members as children of the agent. What should run and what must not is kept in a file, so that an agent that was killed
// (its members end with it) starts them again.

import Foundations
import Glibc
import Inventory
import JSON
import Linux
import PKI
import Wire

final class ProcessBackend: ServiceBackend {
    private struct Service {
        var isEnabled = false
        var isMasked = false
        /// Started by hand, or enabled when the agent began.
        var isWanted = false
        var process: SupervisedProcess?
        var exit: SupervisedProcess.Exit?
        var startedAt: UInt64 = 0
        var startAt: UInt64 = 0
        var killAt: UInt64 = 0
        var restarts: UInt32 = 0
        var policy = RestartPolicy()
    }

    let name = "processes"
    private let folders: AgentFolders
    private let program: String
    private var services: [String: Service] = [:]
    private static let stopLimit: UInt64 = 90_000_000_000

    init(_ folders: AgentFolders, program: String) {
        self.folders = folders
        self.program = program
        // Without a readable file nothing was ever enabled here.
        guard let bytes = try? KeyFile.read(file).bytes, let json = try? JSONValue(parsing: bytes) else { return }
        for member in json.members ?? [] {
            var service = Service()
            service.isEnabled = member.value["enabled"]?.bool ?? false
            service.isMasked = member.value["masked"]?.bool ?? false
            service.isWanted = service.isEnabled && !service.isMasked
            services[member.name] = service
        }
    }

    private var file: String { folders.state + "/services.json" }

    private func save() throws(BackendError) {
        let json = JSONValue.object(
            services.sorted { $0.key < $1.key }.map { name, service in
                .init(
                    name,
                    .object([.init("enabled", .bool(service.isEnabled)), .init("masked", .bool(service.isMasked))]))
            })
        do throws(PKIError) {
            try KeyFile.makeFolder(folders.state)
            try KeyFile.write(Array(PrettyJSON.text(json).utf8), to: file, mode: 0o600)
        } catch { throw BackendError(description: "\(error)") }
    }

    func state(_ cluster: String) throws(BackendError) -> AgentPB.UnitState {
        reap(cluster)
        let service = services[cluster] ?? Service()
        var state = AgentPB.UnitState(
            restarts: service.restarts, isEnabled: service.isEnabled, isMasked: service.isMasked)
        if let process = service.process {
            state.active = service.isWanted ? "active" : "deactivating"
            state.sub = service.isWanted ? "running" : "stop-sigterm"
            state.mainProcess = process.id
        } else {
            state.active = service.isWanted ? "activating" : "inactive"
            state.sub = service.isWanted ? "auto-restart" : "dead"
        }
        switch service.exit {
        case .code(let code)?: state.exitStatus = code
        case .signal(let number)?: state.exitStatus = 128 + number
        case nil: break
        }
        return state
    }

    func needsReload(_ cluster: String) throws(BackendError) -> Bool { false }
    func reload() throws(BackendError) {}

    func start(_ cluster: String) throws(BackendError) {
        reap(cluster)
        if services[cluster]?.isMasked == true {
            throw BackendError(description: "the server of \(cluster) is masked on this host")
        }
        services[cluster, default: Service()].isWanted = true
        guard services[cluster]?.process == nil else { return }
        services[cluster]?.startAt = 0
        launch(cluster)
    }

    func stop(_ cluster: String) throws(BackendError) {
        services[cluster]?.isWanted = false
        guard let process = services[cluster]?.process else { return }
        process.send(SIGTERM)
        services[cluster]?.killAt = Clock.monotonic() + Self.stopLimit
    }

    func restart(_ cluster: String) throws(BackendError) {
        guard let process = services[cluster]?.process else { return try start(cluster) }
        services[cluster]?.isWanted = true
        services[cluster]?.startAt = 1
        process.send(SIGTERM)
    }

    func setEnabled(_ cluster: String, _ on: Bool) throws(BackendError) {
        services[cluster, default: Service()].isEnabled = on
        try save()
    }

    func setMasked(_ cluster: String, _ on: Bool) throws(BackendError) {
        services[cluster, default: Service()].isMasked = on
        try save()
    }

    func tick() {
        let now = Clock.monotonic()
        for name in services.keys.sorted() {
            reap(name)
            guard let service = services[name] else { continue }
            if let process = service.process {
                if !service.isWanted && service.killAt > 0 && now > service.killAt { process.send(SIGKILL) }
            } else if service.isWanted && now >= service.startAt {
                launch(name)
            }
        }
    }

    private func reap(_ cluster: String) {
        guard let process = services[cluster]?.process, let exit = process.exit() else { return }
        let now = Clock.monotonic()
        services[cluster]?.process = nil
        services[cluster]?.exit = exit
        guard services[cluster]?.isWanted == true else { return }
        if services[cluster]?.startAt == 1 {
            // It was asked to end, to be started again at once.
            services[cluster]?.startAt = 0
            return launch(cluster)
        }
        let length = now - (services[cluster]?.startedAt ?? now)
        let pause = services[cluster]?.policy.delay(afterRun: length) ?? 0
        services[cluster]?.startAt = now + pause
        services[cluster]?.restarts += 1
    }

    private func launch(_ cluster: String) {
        let configuration = folders.configuration(cluster) + "/server.yaml"
        // What cannot be read was never rendered: then there is no configuration either, and the server says so.
        let inventory = (try? InventoryFile.read(folders.inventory(cluster)))?.inventory
        let flags = ["--config-file=\(configuration)"]
        // Of a version slot, of upstream as installed, or ours.
        let slot = HostKeeper.target(of: folders.program(cluster))
        let isOurs = inventory?.engine.program == nil
        let words = MemberProcess.words(
            (slot.isEmpty || !isOurs ? [] : ["server"]) + flags, program: slot.isEmpty ? inventory?.engine.program : slot)
        do throws(SystemError) {
            let process = try SupervisedProcess.start(program, words, log: folders.records(cluster) + "/server.log")
            services[cluster]?.process = process
            services[cluster]?.startedAt = Clock.monotonic()
        } catch {
            services[cluster]?.startAt = Clock.monotonic() + 1_000_000_000
            Output.error("covey agent: \(error)\n")
        }
    }
}
