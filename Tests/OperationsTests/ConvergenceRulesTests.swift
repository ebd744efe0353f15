// When agents act by the file on their hosts, and what they wait for: a table of views, no I/O.

import Foundations
import Inventory
import Testing
import Wire

@testable import Operations

@Suite struct ConvergenceRulesTests {
    private typealias Agent = ConvergenceRules.Agent
    private typealias Decision = ConvergenceRules.Decision

    private static func file(_ generation: Int, _ hosts: [String], quota: String = "1GiB", holders: String = "[kv1]") throws -> Inventory {
        var text =
            "metadata: {name: main, generation: \(generation)}\nspec:\n  storage: {quota: \(quota)}\n  tls: "
            + "{peerCA: {key: {holders: \(holders)}}, clientCA: {key: {holders: \(holders)}}}\n  hosts:\n"
        for host in hosts {
            let name = host.split(separator: " ")[0]
            text += "    \(name): {address: 10.0.0.\(name.last!)\(host.hasSuffix("spare") ? ", role: spare" : "")}\n"
        }
        return try InventoryFile.parse(Array(text.utf8), "test").inventory
    }

    private static let three = ["kv1", "kv2", "kv3"]

    private func ledger(_ inventory: Inventory, _ state: Ledger.State = .active) -> Ledger {
        var ledger = Ledger.pending(inventory, token: "main-1")
        ledger.state = state
        for index in ledger.members.indices { ledger.members[index].wasStarted = state == .active }
        return ledger
    }

    /// All have the file; `inEffect`: what the cluster they are was made by.
    private func agents(_ file: Inventory, inEffect: Inventory? = nil) -> [String: Agent] {
        var all: [String: Agent] = [:]
        for host in file.hosts {
            var agent = Agent(digest: file.digest.hex, generation: file.generation)
            if host.name == "kv1" { agent.holds = [.client, .peer] }
            if let inEffect {
                agent.ledger = ledger(inEffect)
                agent.digestInEffect = inEffect.digest.hex
                agent.generationInEffect = inEffect.generation
            }
            all[host.name] = agent
        }
        return all
    }

    private func decide(_ host: String, _ file: Inventory, _ agents: [String: Agent]) -> Decision {
        ConvergenceRules(host: host, path: "F", inventory: file, agents: agents).decide()
    }

    private func text(_ decision: Decision) -> String {
        switch decision {
        case .settled(let text): "settled: \(text)"
        case .waiting(let text): "waiting: \(text)"
        case .needsOperator(let text): "operator: \(text)"
        case .follows(let host): "follows \(host)"
        case .conducts(let operation): "conducts \(operation?.id ?? "anew")"
        }
    }

    private func all(_ file: Inventory, _ agents: [String: Agent]) -> [String] {
        file.hosts.map { text(decide($0.name, file, agents)) }
    }

    private func operation(
        _ owner: String, kind: String = Converging.kind, state: String = "open", epoch: UInt64 = 3, outcome: String = "",
        inventory: String = ""
    ) -> AgentPB.Operation {
        AgentPB.Operation(
            id: "op-1", kind: kind, owner: owner, epoch: epoch, state: state, inventory: inventory, outcome: outcome)
    }

    @Test func `bare hosts of one mind are made a cluster by exactly one of them`() throws {
        let file = try Self.file(1, Self.three + ["kv4 spare"])
        #expect(all(file, agents(file)) == ["conducts anew", "follows kv1", "follows kv1", "follows kv1"])
    }

    @Test func `nothing begins while one host is silent, has no file, another one, or one with an error`() throws {
        let file = try Self.file(2, Self.three + ["kv4 spare"])
        let other = try Self.file(1, Self.three + ["kv4 spare"], quota: "2GiB")
        for changed in ["kv3", "kv4"] {
            var seen = agents(file)
            seen[changed] = nil
            #expect(text(decide("kv1", file, seen)) == "waiting: the agent of \(changed) does not answer")
            seen = agents(file)
            seen[changed]?.digest = ""
            #expect(text(decide("kv1", file, seen)) == "waiting: \(changed) has no such file")
            seen[changed]?.problem = "F:3:5: error: x"
            #expect(text(decide("kv1", file, seen)).contains("the file on \(changed) cannot be used: F:3:5"))
            seen = agents(file)
            seen[changed]?.digest = other.digest.hex
            seen[changed]?.generation = 1
            #expect(
                text(decide("kv1", file, seen)).hasPrefix(
                    "waiting: \(changed) has another file: digest \(other.digest.short), generation 1"))
            seen = agents(file)
            seen[changed]?.generation = 7
            #expect(text(decide("kv1", file, seen)).hasPrefix("waiting: \(changed) has generation 7"))
        }
        var seen = agents(file)
        seen["kv2"] = nil
        seen["kv3"]?.digest = ""
        #expect(text(decide("kv1", file, seen)).contains("kv2 does not answer; kv3 has no such file"), "all are named")
    }

    @Test func `what is in effect is left alone, and only a higher generation changes it`() throws {
        let old = try Self.file(4, Self.three)
        #expect(text(decide("kv1", old, agents(old, inEffect: old))).hasPrefix("settled: in effect, generation 4"))
        for (generation, expected) in [
            (3, "operator: generation 3 of F is older than 4"), (4, "operator: generation 4 of F is in effect with other settings"),
            (5, "conducts anew"),
        ] {
            let new = try Self.file(generation, Self.three, quota: "2GiB")
            #expect(text(decide("kv1", new, agents(new, inEffect: old))).hasPrefix(expected))
        }
        var seen = agents(old, inEffect: old)
        seen["kv3"]?.digestInEffect = "another"
        #expect(all(old, seen) == ["conducts anew", "follows kv1", "follows kv1"], "a host that was away gets it")
        seen = agents(old, inEffect: old)
        seen["kv2"]?.needsRestart = true
        #expect(text(decide("kv1", old, seen)) == "conducts anew")
        let single = try Self.file(4, ["kv1"])
        seen = agents(single, inEffect: single)
        seen["kv1"]?.needsRestart = true
        #expect(text(decide("kv1", single, seen)).contains("covey restart"), "downtime is an operator's decision")
    }

    @Test func `members are added, and never taken out`() throws {
        let old = try Self.file(1, ["kv1"])
        let wider = try Self.file(2, Self.three)
        var seen = agents(wider, inEffect: old)
        #expect(all(wider, seen) == ["conducts anew", "follows kv1", "follows kv1"], "the member conducts")
        var halfway = ledger(old)
        halfway.generation += 1
        halfway.members.append(Ledger.Member(name: "kv2", peerURL: wider.hosts[1].peerURL))
        seen["kv2"]?.ledger = halfway
        #expect(text(decide("kv1", wider, seen)) == "conducts anew", "an addition that was interrupted is still to be made")
        #expect(text(decide("kv2", wider, seen)) == "follows kv1")
        let program = try InventoryFile.parse(
            Array(
                ("metadata: {name: main, generation: 2}\nspec:\n  server: {artifact: {file: /root/covey-2, allowUnsigned: true}}\n"
                    + "  hosts: {kv1: 10.0.0.1}\n").utf8), "test"
        ).inventory
        #expect(text(decide("kv1", program, agents(program, inEffect: old))).contains("programs an operator changes"))
        seen["kv1"]?.holds = []
        #expect(text(decide("kv1", wider, seen)).contains("kv1 should hold the authority; covey ca distribute"))
        let three = try Self.file(2, Self.three + ["kv4 spare"])
        let replaced = try Self.file(3, ["kv1", "kv2", "kv3 spare", "kv4"])
        #expect(text(decide("kv1", replaced, agents(replaced, inEffect: three))).hasPrefix("operator: it takes kv3 out"))
        // Somebody replaced a member by hand: the file is in effect, and does not undo that.
        seen = agents(three, inEffect: three)
        var byHand = ledger(three)
        byHand.members[2] = Ledger.Member(name: "kv4", peerURL: three.hosts[3].peerURL, wasStarted: true)
        for name in seen.keys { seen[name]?.ledger = byHand }
        #expect(text(decide("kv1", three, seen)) == "settled: in effect; members were changed by hand since: without kv3, with kv4")
    }

    @Test func `a paused cluster, and one an operator holds, converges nothing`() throws {
        let file = try Self.file(1, Self.three)
        var seen = agents(file)
        seen["kv2"]?.paused = "the disk is being moved"
        #expect(text(decide("kv1", file, seen)) == "waiting: paused on kv2: the disk is being moved")
        seen = agents(file)
        seen["kv3"]?.operation = operation("root@bastion", kind: "apply")
        #expect(text(decide("kv1", file, seen)).contains("operation op-1 of root@bastion has not ended"))
        seen["kv3"]?.operation = operation("root@bastion")
        #expect(text(decide("kv1", file, seen)).contains("has not ended"), "an operator has resumed what agents began")
    }

    @Test func `the conductor's death leaves an operation that is gone on with`() throws {
        let file = try Self.file(1, Self.three)
        var seen = agents(file)
        for name in seen.keys {
            seen[name]?.operation = operation("agent:kv1")
            seen[name]?.ledger = ledger(file, .pending)
        }
        #expect(all(file, seen) == ["conducts op-1", "follows kv1", "follows kv1"])
        seen["kv1"]?.isConducting = true
        #expect(text(decide("kv2", file, seen)) == "follows kv1")
        // One that another agent carries out is left to it, whoever would be chosen.
        seen["kv1"]?.isConducting = false
        seen["kv2"]?.isConducting = true
        #expect(text(decide("kv1", file, seen)) == "follows kv2")
        seen["kv2"] = nil
        #expect(text(decide("kv1", file, seen)).hasPrefix("waiting"), "not by a part of the hosts")
        // A host that was away when it ended does not keep the others.
        seen = agents(file, inEffect: file)
        seen["kv3"]?.operation = operation("agent:kv1", epoch: 3)
        seen["kv1"]?.operation = operation("agent:kv1", state: "done", epoch: 4)
        #expect(text(decide("kv1", file, seen)).hasPrefix("settled"))
    }

    @Test func `no second cluster is made where one was, nor without who issues, nor after it was given up`() throws {
        let file = try Self.file(1, Self.three)
        var seen = agents(file)
        seen["kv2"]?.hadLedger = true
        #expect(text(decide("kv1", file, seen)).contains("a ledger on kv2 was set aside"))
        let nobody = try Self.file(1, Self.three, holders: "[]")
        #expect(text(decide("kv1", nobody, agents(nobody))).contains("name holders in spec.tls.clientCA.key.holders"))
        seen = agents(file)
        let given =
            "metadata: {name: main, generation: 1}\nspec: {storage: {quota: 1GiB}, hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3}, "
            + "tls: {peerCA: {key: {holders: [kv1]}}, clientCA: {key: {holders: [kv1]}}}}\n"
        seen["kv3"]?.operation = operation("agent:kv1", state: "aborted", outcome: "by root@bastion", inventory: given)
        #expect(text(decide("kv1", file, seen)).contains("op-1 was given up by root@bastion"))
        seen["kv3"]?.operation = operation("agent:kv1", state: "aborted", outcome: "not granted by kv2", inventory: given)
        #expect(text(decide("kv1", file, seen)) == "conducts anew")
        let next = try Self.file(2, Self.three)
        seen = agents(next)
        seen["kv3"]?.operation = operation("agent:kv1", state: "aborted", outcome: "by root@bastion", inventory: given)
        #expect(text(decide("kv1", next, seen)) == "conducts anew", "another file is another matter")
        seen["kv2"]?.ledger = ledger(file)
        var foreign = ledger(file)
        foreign.token = "main-2"
        seen["kv3"]?.ledger = foreign
        #expect(text(decide("kv1", next, seen)).contains("ledgers of different clusters"))
    }

    @Test func `a host the file does not name does nothing`() throws {
        let file = try Self.file(1, Self.three)
        #expect(text(decide("kv9", file, agents(file))).contains("does not name this host"))
    }

    @Test func `what fails is tried again later each time, and never later than the most`() {
        var backoff = ConvergenceBackoff()
        var last: UInt64 = 0
        for _ in 0..<12 {
            let pause = backoff.failed(chance: 0.5)
            #expect(pause >= last && pause <= ConvergenceBackoff.secondsMax * 1_250_000_000)
            last = pause
        }
        #expect(last == ConvergenceBackoff.secondsMax * 1_000_000_000)
        backoff.reset()
        #expect(backoff.failed(chance: 0) == 1_500_000_000)
    }
}
