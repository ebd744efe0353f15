// What `covey up` decides to do, from the inventory, the ledger and what is on disk.

import Foundations
import Inventory
import JSON
import Testing

@testable import Operations

/// Three members of this machine.
let local = """
    metadata: {name: t}
    spec:
      supervisor: processes
      hosts:
        m1: {address: 127.0.0.1, client: 1001, peer: 1002, metrics: 1003}
        m2: {address: 127.0.0.1, client: 2001, peer: 2002, metrics: 2003}
        m3: {address: 127.0.0.1, client: 3001, peer: 3002, metrics: 3003}

    """

@Suite struct LocalPlanTests {
    private typealias Found = LocalPlan.Found

    private func ledger(_ state: Ledger.State, started: [String] = ["m1", "m2", "m3"]) throws -> Ledger {
        var ledger = Ledger.pending(try inventory(local), token: "t-1")
        ledger.state = state
        for i in ledger.members.indices { ledger.members[i].wasStarted = started.contains(ledger.members[i].name) }
        return ledger
    }

    private func found(_ names: String..., token: String = "t-1") -> [String: LocalPlan.Found] {
        var all = ["m1", "m2", "m3"].reduce(into: [:]) { $0[$1] = LocalPlan.Found(hasData: false, token: nil) }
        for name in names { all[name] = LocalPlan.Found(hasData: true, token: token) }
        return all
    }

    private func refusal(_ ledger: Ledger?, _ found: [String: LocalPlan.Found], of yaml: String = local) throws -> String? {
        let inventory = try inventory(yaml)
        do throws(LocalPlan.Refusal) {
            let plan = try LocalPlan.decide(inventory, ledger, found)
            Issue.record("decided: \(plan)")
            return nil
        } catch { return error.what }
    }

    @Test func `nothing there: the cluster is made`() throws {
        let plan = try LocalPlan.decide(inventory(local), nil, found())
        #expect(plan == LocalPlan(kind: .bootstrap, members: ["m1", "m2", "m3"]))
    }

    @Test func `data without a ledger is nobody's`() throws {
        #expect(try refusal(nil, found("m2"))?.contains("data of m2 but no ledger") == true)
    }

    @Test func `an active cluster starts with its data`() throws {
        let plan = try LocalPlan.decide(inventory(local), ledger(.active), found("m1", "m2", "m3"))
        #expect(plan == LocalPlan(kind: .start, members: ["m1", "m2", "m3"]))
    }

    @Test func `a member that lost its data is not started empty`() throws {
        let plan = try LocalPlan.decide(inventory(local), ledger(.active), found("m1", "m3"))
        #expect(plan.members == ["m1", "m3"] && plan.leftOut.map(\.name) == ["m2"])
    }

    @Test func `data of another life is not started`() throws {
        var state = found("m1", "m2")
        state["m3"] = LocalPlan.Found(hasData: true, token: "t-0")
        let plan = try LocalPlan.decide(inventory(local), ledger(.active), state)
        #expect(plan.members == ["m1", "m2"] && plan.leftOut.first?.reason.contains("another cluster") == true)
    }

    @Test func `without a majority nothing starts`() throws {
        #expect(try refusal(ledger(.active), found("m1"))?.hasPrefix("only 1 of 3 members can start") == true)
    }

    @Test func `an interrupted bootstrap goes on when all that was begun is there`() throws {
        #expect(try LocalPlan.decide(inventory(local), ledger(.pending), found("m1", "m2", "m3")).kind == .resume)
        #expect(try LocalPlan.decide(inventory(local), ledger(.pending, started: []), found()).kind == .resume)
    }

    @Test func `an interrupted bootstrap that lost something begins again`() throws {
        let plan = try LocalPlan.decide(inventory(local), ledger(.pending), found("m1", "m3"))
        #expect(plan == LocalPlan(kind: .restart(quarantine: ["m1", "m3"]), members: ["m1", "m2", "m3"]))
    }

    @Test(arguments: [
        (local + "    m4: {address: 127.0.0.1, client: 4001, peer: 4002, metrics: 4003}\n  policy: {evenVoters: true}\n", "m4 is new"),
        (String(local.split(separator: "\n").dropLast().joined(separator: "\n")) + "\n  policy: {evenVoters: true}\n", "m3 is gone"),
        (local.replacing("peer: 3002", with: "peer: 3009"), "m3 moved from https://127.0.0.1:3002 to https://127.0.0.1:3009"),
        (local.replacing("name: t", with: "name: u"), "the ledger is of cluster t, the inventory of u"),
    ])
    func `a change of membership is refused`(_ yaml: String, _ reason: String) throws {
        let what = try refusal(ledger(.active), found("m1", "m2", "m3"), of: yaml)
        #expect(what?.contains(reason) == true, "\(what ?? "nothing")")
    }

    @Test func `a change of a client port is none of the membership`() throws {
        let plan = try LocalPlan.decide(
            inventory(local.replacing("client: 3001", with: "client: 3009")), ledger(.active), found("m1", "m2", "m3"))
        #expect(plan.members.count == 3)
    }

    @Test func `an older inventory is refused`() throws {
        var newer = try ledger(.active)
        newer.generation = 5
        let what = try refusal(
            newer, found("m1", "m2", "m3"), of: local.replacing("{name: t}", with: "{name: t, generation: 4}"))
        #expect(what == "the inventory is generation 4, but 5 is in effect")
    }
}

@Suite struct LedgerTests {
    @Test func `what is written is read`() throws {
        var ledger = Ledger.pending(try inventory(local), token: "t-1")
        ledger.clusterID = "0a"
        ledger.members[1].wasStarted = true
        ledger.members[2].id = "ff"
        ledger.bootstrapped = 17
        #expect(Ledger(ledger.json) == ledger)
    }

    @Test(arguments: ["{}", "[]", "{\"format\":2}", "{\"format\":1,\"cluster\":\"t\"}"]) func `what is no ledger is not taken for one`(
        _ text: String
    ) throws {
        #expect(Ledger(try JSONValue(parsing: text)) == nil)
    }

    @Test func `generations count the inventories that were in effect`() throws {
        var ledger = Ledger.pending(try inventory(local), token: "t-1")
        #expect(ledger.generation == 1)
        ledger.take(try inventory(local))
        #expect(ledger.generation == 1)
        ledger.take(try inventory(local + "  log: {level: debug}\n"))
        #expect(ledger.generation == 2)
        ledger.take(try inventory((local + "  log: {level: warn}\n").replacing("{name: t}", with: "{name: t, generation: 9}")))
        #expect(ledger.generation == 9)
    }
}

@Suite struct RestartPolicyTests {
    @Test func `pauses grow to a bound and a good run forgives`() {
        var policy = RestartPolicy()
        let delays = (0..<9).map { _ in policy.delay(afterRun: 0) / 500_000_000 }
        #expect(delays == [1, 2, 4, 8, 16, 32, 60, 60, 60])
        #expect(policy.delay(afterRun: RestartPolicy.goodRun) == RestartPolicy.firstDelay)
        #expect(policy.delay(afterRun: 0) == 2 * RestartPolicy.firstDelay)
    }
}
