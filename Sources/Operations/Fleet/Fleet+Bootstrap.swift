// 3.1: a cluster out of bare hosts. Until the ledger is active on all, everything can be given up; afterwards nothing is ever
// made again. Each part looks first, so that the same run goes on where an earlier one ended.

import CoveyClient
import Foundations
import GRPC
import Inventory
import Linux
import PKI
import Wire

extension Fleet {
    func bootstrap(_ held: Held, _ existing: Ledger?, startedAt: UInt64) async throws(FleetFailure) {
        let names = inventory.voters.map(\.name)
        let progress = Progress(self, held.operation.id, 7)
        var ledger =
            existing ?? Ledger.pending(inventory, token: "\(cluster)-\(Hexadecimal.encode(SecureRandom.bytes(8)))")
        try await compareHosts(names)
        let hosts = inventory.voters
        if ledger.state == .pending {
            // An operation that is gone on with has members that run.
            if existing == nil { try refuse(await ways(members: [], coming: hosts), held, code: 3) }
            // First of all: a program that is refused leaves everything as it was.
            try await progress.run("program", "a version slot on each host") { () async throws(FleetFailure) in
                try await self.stage(held, names)
            }
            // Its members and URLs are those of the inventory: the plan has checked that.
            try await progress.run("ledger", "pending on \(names.count) hosts, token \(ledger.token)") {
                [ledger] () async throws(FleetFailure) in
                try await self.writeLedger(held, ledger, to: names)
            }
            try await progress.run("certificates", "made on the hosts, issued for their names and addresses") {
                () async throws(FleetFailure) in
                try await self.certify(held, names)
            }
            try await progress.run("configuration", "a new cluster of \(names.joined(separator: ", "))") {
                () async throws(FleetFailure) in
                try await self.stageAndActivate(held, names)
                try await self.render(held, names)
            }
        }
        try await progress.run("start", "\(names.count) members") { () async throws(FleetFailure) in
            try await self.control(held, names, [.unmask, .enable, .start])
        }
        let written = try await firstWrite(names, ledger.token)
        events.tell("first write acknowledged by a quorum \(EventLines.seconds(written - startedAt)) after apply began")
        let proven = try await prove(ledger, names)
        try refuse(await ways(members: hosts, coming: []), held, code: 4)
        try await progress.run(
            "prove", "cluster \(proven.clusterID): same members by all, canaries through each, hashes equal, every host lets every other in"
        ) {}
        ledger.activate(proven, at: Int64(Clock.wall() / 1_000_000_000))
        for index in ledger.members.indices { ledger.members[index].wasStarted = true }
        ledger.take(inventory)
        let spares = await spares(names)
        try await progress.run("commit", "ledger active on all; configurations say existing") {
            [ledger] () async throws(FleetFailure) in
            try await self.writeLedger(held, ledger, to: names + spares)
            try await self.render(held, names + spares)
        }
        _ = await distributeAuthorities(held)
    }

    /// Hosts whose agents answer and that run no member: they know the ledger too.
    func spares(_ voters: [String]) async -> [String] {
        let others = inventory.hosts.map(\.name).filter { !voters.contains($0) }
        return await agents.observe(others, cluster).keys.sorted()
    }

    /// G-CLOCK and equal versions.
    func compareHosts(_ names: [String]) async throws(FleetFailure) {
        var clocks: [(String, Int64)] = []
        var versions: [String: String] = [:]
        var digests: [String: String] = [:]
        for name in names {
            let (facts, offset) = try await describe(name)
            clocks.append((name, offset))
            versions[name] = facts.version
            digests[name] = facts.programDigest
            guard let program = inventory.installedProgram else { continue }
            guard !facts.engineVersion.isEmpty else {
                throw FleetFailure(
                    code: 3,
                    text:
                        "ENGINE: \(program) on \(name) is no etcd 3.4 or 3.5 that runs.\nInstall it there, or name another in "
                        + "spec.server.program.")
            }
            versions[name] = "\(facts.version), etcd \(facts.engineVersion)"
        }
        let median = clocks.map(\.1).sorted()[clocks.count / 2]
        for (name, offset) in clocks where abs(offset - median) > 500_000_000 {
            throw FleetFailure(
                code: 3,
                text:
                    "CLOCK: the clock of \(name) differs by \((offset - median) / 1_000_000) ms; run a time service there"
            )
        }
        guard Set(versions.values).count == 1 else {
            let list = versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            throw FleetFailure(code: 3, text: "VERSION: the hosts have different versions: \(list)")
        }
        guard Set(digests.values).count == 1 || inventory.engine.program != nil || inventory.artifact.file != nil else {
            let list = digests.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.prefix(12))" }.joined(separator: ", ")
            throw FleetFailure(
                code: 3,
                text: "VERSION: the programs of the hosts' packages differ: \(list).\nInstall the same package everywhere, or name "
                    + "the program: spec.server.artifact.file")
        }
    }

    private func firstWrite(_ names: [String], _ token: String) async throws(FleetFailure) -> UInt64 {
        let client = try memberClient(names)
        defer { client.close() }
        let end = Clock.monotonic() + 60_000_000_000
        while true {
            do throws(ClientError) {
                let options = CallOptions(deadline: .after(.seconds(2)), isSafe: true)
                _ = try await client.kv.put(
                    PutRequest(key: Array("\0covey/first-write".utf8), value: Array(token.utf8)), options)
                return Clock.monotonic()
            } catch {
                guard Clock.monotonic() < end else {
                    throw FleetFailure(code: 4, text: "no write was acknowledged within 60 s: \(error)")
                }
            }
        }
    }

    func prove(_ ledger: Ledger, _ names: [String]) async throws(FleetFailure) -> BootstrapProof.Proven {
        let hosts = inventory.hosts.filter { names.contains($0.name) }
        try await wait(seconds: 60, "not all members became healthy") { [self] in
            await members(hosts).values.allSatisfy(\.isHealthy)
        }
        let proof = BootstrapProof(gateway: gateway, hosts: hosts, ledger: ledger)
        do throws(BootstrapProof.Failure) { return try await proof.run(withCanary: true) } catch {
            throw FleetFailure(code: 4, text: error.description)
        }
    }

    /// Before the commit everything goes back; the token is never used again.
    func abortBootstrap(_ held: Held) async throws(FleetFailure) {
        let view = await look()
        if let ledger = view.ledger, ledger.state == .active {
            throw FleetFailure(
                code: 3, text: "the cluster has been made (\(ledger.clusterID)); it is not unmade: go on with it")
        }
        let names = view.agents.filter { !$0.value.ledger.isEmpty || $0.value.hasData }.keys.sorted()
        try await control(held, names, [.stop, .disable])
        for name in names {
            try await waitUntilDown(name)
            events.tell(name, "data: \(try await setAside(held, name, "aborted"))")
        }
        try await agents.all(names) { [self] host throws(FleetFailure) in
            let _: AgentPB.StepResponse = try await agents.call(
                host, RPC.Agent.writeLedger, AgentPB.WriteLedgerRequest(header: held.header(cluster, "void")),
                isSafe: false)
        }
    }
}

/// A line when a step ends, with the time it took.
final class Progress: @unchecked Sendable {
    // Used by one task after the other.
    private let fleet: Fleet
    private var events: EventLines { fleet.events }
    private let operation: String
    private let count: Int
    private var number = 0

    init(_ fleet: Fleet, _ operation: String, _ count: Int) {
        self.fleet = fleet
        self.operation = operation
        self.count = count
    }

    func run(_ name: String, _ text: String, _ body: () async throws(FleetFailure) -> Void) async throws(FleetFailure) {
        number += 1
        try fleet.goOn(before: "\(number)/\(count) \(name)")
        let start = Clock.monotonic()
        do throws(FleetFailure) { try await body() } catch {
            events.tell("[FAIL] \(number)/\(count) \(name)  \(error)")
            throw error
        }
        events.tell("[ok ] \(number)/\(count) \(name)  \(text)  \(EventLines.seconds(Clock.monotonic() - start))")
    }
}
