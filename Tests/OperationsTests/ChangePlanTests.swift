import Foundations
import Inventory
import Testing
import Wire

@testable import Operations

/// What is to be done, from what should be and what is: no I/O.
@Suite struct ChangePlanTests {
    private static func inventory(_ hosts: [String: String]) throws -> Inventory {
        var text = "metadata: {name: main}\nspec:\n  hosts:\n"
        for (name, rest) in hosts.sorted(by: { $0.key < $1.key }) { text += "    \(name): {\(rest)}\n" }
        return try InventoryFile.parse(Array(text.utf8), "test").inventory
    }

    private let inventory: Inventory

    init() throws {
        inventory = try Self.inventory([
            "kv1": "address: 10.0.0.1", "kv2": "address: 10.0.0.2", "kv3": "address: 10.0.0.3",
            "kv4": "address: 10.0.0.4, role: spare",
        ])
    }

    private func ledger(_ names: [String], _ state: Ledger.State = .active, token: String = "main-1") -> Ledger {
        var ledger = Ledger.pending(inventory, token: token)
        ledger.state = state
        ledger.members = inventory.hosts.filter { names.contains($0.name) }.map {
            Ledger.Member(name: $0.name, peerURL: $0.peerURL, wasStarted: true, id: "1")
        }
        return ledger
    }

    /// A healthy cluster of these, all agents answering.
    private func seen(_ members: [String], leader: String = "kv1") -> [String: ChangePlan.Seen] {
        let ledger = ledger(members)
        var all: [String: ChangePlan.Seen] = [:]
        for host in inventory.hosts {
            let isMember = members.contains(host.name)
            all[host.name] = ChangePlan.Seen(
                ledger: ledger, hasData: isMember, isHealthy: isMember, isLeader: host.name == leader,
                inventoryDigest: inventory.digest.hex)
        }
        return all
    }

    private func decide(
        _ voters: [String]?, _ seen: [String: ChangePlan.Seen], dead: Set<String> = [], anyCount: Bool = false
    ) throws -> ChangePlan {
        try ChangePlan.decide(
            .init(inventory: inventory, voters: voters, attestedDead: dead, acceptsAnyCount: anyCount), seen)
    }

    private func decide(_ seen: [String: ChangePlan.Seen]) throws -> ChangePlan { try decide(nil, seen) }

    private func refusal(_ body: () throws -> ChangePlan) -> String? {
        do {
            _ = try body()
            return nil
        } catch { return (error as? ChangePlan.Refusal)?.gate }
    }

    private func bare() -> [String: ChangePlan.Seen] {
        Dictionary(uniqueKeysWithValues: inventory.hosts.map { ($0.name, ChangePlan.Seen()) })
    }

    @Test func `what was given up while a host was away is as if it were not there`() throws {
        var seen = bare()
        seen["kv3"] = .init(ledger: ledger(["kv1", "kv2", "kv3"], .pending, token: "main-0"), isVoid: true, hasData: true)
        #expect(try decide(seen).kind == .bootstrap(resuming: nil))
        seen = self.seen(["kv1", "kv2", "kv3"])
        seen["kv4"]?.ledger = ledger(["kv4"], token: "main-0")
        #expect(refusal { try decide(seen) } == "LEDGER")
        seen["kv4"]?.isVoid = true
        #expect(try decide(seen).kind == .nothing)
    }

    @Test func `a cluster that serves is not void, whatever an agent says was given up`() {
        func agent(_ token: String?, voided: [String] = []) -> AgentPB.ObserveResponse {
            AgentPB.ObserveResponse(
                ledger: token.map { PrettyJSON.text(ledger(["kv1", "kv2"], token: $0).json) } ?? "", voided: voided)
        }
        let down = MemberView(health: .unreachable("refused"), facts: nil)
        var view = Fleet.View(
            agents: ["kv1": agent("main-1"), "kv2": agent("main-0"), "kv3": agent(nil, voided: ["main-0", "main-1"])],
            members: ["kv1": MemberView(health: .healthy, facts: nil), "kv2": down])
        #expect(!view.isVoid(ledger(["kv1"], token: "main-1")))
        #expect(view.isVoid(ledger(["kv1"], token: "main-0")))
        view.members["kv1"] = down
        #expect(view.isVoid(ledger(["kv1"], token: "main-1")))
        #expect(!view.isVoid(ledger(["kv1"], token: "main-2")))
    }

    @Test func `leadership goes to who comes, then to who stays, never to who is removed as well`() throws {
        let plan = try decide(["kv3", "kv4"], seen(["kv1", "kv2", "kv3"]), anyCount: true)
        #expect(["kv4", "kv3", "kv2", "kv1"].map(plan.permanence) == [2, 1, 0, 0])
    }

    @Test func `bare hosts become a cluster in one step with no way back`() throws {
        let plan = try decide(bare())
        #expect(plan.kind == .bootstrap(resuming: nil))
        #expect(plan.steps.map(\.action) == [.makeCluster(["kv1", "kv2", "kv3"])])
        #expect(plan.steps[0].isOneWay && plan.steps[0].toleranceAfter == 1)
    }

    @Test func `members that run another program are restarted into it, the leader last, and not while members change`() throws {
        let program = ChangePlan.Program(slot: "1.1.0-new", sha256: "new", isUnsigned: false)
        func plan(_ hosts: [String: ChangePlan.Seen], _ voters: [String]? = nil) throws -> ChangePlan {
            try ChangePlan.decide(.init(inventory: inventory, program: program, voters: voters), hosts)
        }
        var hosts = seen(["kv1", "kv2", "kv3"])
        for name in hosts.keys {
            hosts[name]?.runs = "old"
            hosts[name]?.startsWith = "old"
        }
        let all = try plan(hosts)
        #expect(all.kind == .roll)
        #expect(all.steps.map(\.action) == ["kv2", "kv3", "kv1"].map { .roll($0, slot: "1.1.0-new") })
        #expect(all.gateContext(inventory, isResuming: false)?.gates.contains(.version) == true)
        #expect(refusal { try plan(hosts, ["kv1", "kv3", "kv4"]) } == "ARTIFACT")
        // One was switched and not restarted, one is done.
        hosts["kv2"]?.startsWith = "new"
        hosts["kv3"]?.startsWith = "new"
        hosts["kv3"]?.runs = "new"
        let rest = try plan(hosts)
        #expect(rest.steps.map(\.action) == ["kv2", "kv1"].map { .roll($0, slot: "1.1.0-new") })
        #expect(rest.gateContext(inventory, isResuming: false)?.gates.contains(.version) == false, "versions differ meanwhile")
        hosts["kv1"]?.hasAgent = false
        #expect(refusal { try plan(hosts) } == "AGENTS")
        for name in hosts.keys {
            hosts[name]?.hasAgent = true
            hosts[name]?.runs = "new"
            hosts[name]?.startsWith = "new"
        }
        #expect(try plan(hosts).kind == .nothing)
        #expect(try decide(seen(["kv1", "kv2", "kv3"])).kind == .nothing, "nobody said which program")
    }

    @Test func `an old data directory stops a bootstrap, and so does an agent that is silent`() {
        var hosts = bare()
        hosts["kv1"]?.hasData = true
        #expect(refusal { try decide(hosts) } == "DATA")
        hosts = bare()
        hosts["kv2"]?.hasAgent = false
        #expect(refusal { try decide(hosts) } == "AGENTS")
    }

    @Test func `an interrupted bootstrap goes on with its own token`() throws {
        var hosts = bare()
        hosts["kv1"]?.ledger = ledger(["kv1", "kv2", "kv3"], .pending, token: "main-7")
        #expect(try decide(hosts).kind == .bootstrap(resuming: "main-7"))
        hosts["kv2"]?.ledger = ledger(["kv1", "kv2", "kv3"], .pending, token: "main-8")
        #expect(refusal { try decide(hosts) } == "LEDGER")
    }

    @Test func `one active ledger is enough to know that the cluster was made`() throws {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv2"]?.ledger = ledger(["kv1", "kv2", "kv3"], .pending)
        #expect(try decide(hosts).kind == .refresh)
    }

    @Test func `what is as it should be is left alone`() throws {
        let plan = try decide(seen(["kv1", "kv2", "kv3"]))
        #expect(plan.kind == .nothing && plan.steps.isEmpty)
    }

    @Test func `a host that was replaced while it was away gets the ledger, and one that never had any does not ask for it`() throws {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv4"]?.ledger?.generation -= 1
        let plan = try decide(hosts)
        #expect(plan.kind == .refresh && plan.steps.map(\.action) == [.render])
        hosts["kv4"]?.hasAgent = false
        #expect(try decide(hosts).kind == .nothing, "nobody is there to take it")
        hosts["kv4"] = ChangePlan.Seen()
        #expect(try decide(hosts).kind == .nothing)
        hosts["kv4"]?.ledger = ledger(["kv1"], token: "main-2")
        #expect(refusal { try decide(hosts) } == "LEDGER", "of another cluster")
    }

    @Test func `another name for the same address is no change of members`() throws {
        let renamed = try Self.inventory([
            "a": "address: 10.0.0.3", "b": "address: 10.0.0.1", "c": "address: 10.0.0.2",
        ])
        let plan = try ChangePlan.decide(.init(inventory: renamed), seen(["kv1", "kv2", "kv3"]))
        #expect(plan.kind == .refresh)
    }

    @Test func `a living member is replaced by adding first`() throws {
        let plan = try decide(["kv1", "kv3", "kv4"], seen(["kv1", "kv2", "kv3"]))
        #expect(plan.steps.map(\.action) == [.prepare("kv4"), .add("kv4"), .remove("kv2", isDead: false)])
        #expect(plan.steps.map(\.votersAfter) == [3, 4, 3])
        #expect(plan.steps.map(\.toleranceAfter) == [1, 1, 1])
    }

    @Test func `a dead member is removed first, after the spare is prepared, and only when it is fenced or attested`()
        throws
    {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv2"]?.isHealthy = false
        hosts["kv2"]?.hasAgent = false
        #expect(refusal { try decide(["kv1", "kv3", "kv4"], hosts) } == "FENCE")
        let plan = try decide(["kv1", "kv3", "kv4"], hosts, dead: ["kv2"])
        #expect(plan.steps.map(\.action) == [.prepare("kv4"), .remove("kv2", isDead: true), .add("kv4")])
        #expect(plan.steps.map(\.toleranceAfter) == [0, 0, 1])
        #expect(plan.steps[1].isOneWay)
    }

    @Test func `nothing is changed while another member is ill or quorum is gone`() {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv3"]?.isHealthy = false
        #expect(refusal { try decide(["kv1", "kv3", "kv4"], hosts) } == "QUORUM")
        hosts["kv2"]?.isHealthy = false
        #expect(refusal { try decide(["kv1", "kv4"], hosts, dead: ["kv2", "kv3"], anyCount: true) } == "QUORUM")
    }

    @Test func `a member that lags stops a change, at the bound and not before`() throws {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv3"]?.lag = MemberView.lagMax
        #expect(try decide(["kv1", "kv3", "kv4"], hosts).kind == .change)
        hosts["kv3"]?.lag = MemberView.lagMax + 1
        #expect(refusal { try decide(["kv1", "kv3", "kv4"], hosts) } == "CAUGHTUP")
    }

    @Test func `a learner that an interrupted addition left is still to come`() throws {
        var hosts = seen(["kv1", "kv2", "kv3"])
        var ledger = ledger(["kv1", "kv2", "kv3", "kv4"])
        ledger.generation += 1
        ledger.members[3].wasStarted = false
        hosts["kv4"]?.ledger = ledger
        let plan = try decide(["kv1", "kv3", "kv4"], hosts)
        #expect(plan.steps.map(\.action) == [.prepare("kv4"), .add("kv4"), .remove("kv2", isDead: false)])
        #expect(plan.steps.map(\.votersAfter) == [3, 4, 3])
    }

    @Test func `a cluster keeps its engine`() throws {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv2"]?.engine = "covey"
        #expect(try decide(hosts).kind == .nothing)
        hosts["kv2"]?.engine = "etcd"
        #expect(refusal { try decide(hosts) } == "ENGINE")
    }

    @Test func `who answers for a gate passes it`() throws {
        var hosts = seen(["kv1", "kv2", "kv3"])
        hosts["kv3"]?.lag = MemberView.lagMax + 1
        var wish = ChangePlan.Wish(inventory: inventory, voters: ["kv1", "kv3", "kv4"])
        wish.overrides = try Overrides(["CAUGHTUP"], reason: "test")
        #expect(try ChangePlan.decide(wish, hosts).kind == .change)
    }

    @Test func `an even number of voters must be meant`() throws {
        #expect(refusal { try decide(["kv1", "kv2"], seen(["kv1", "kv2", "kv3"])) } == "COUNT")
        #expect(try decide(["kv1", "kv2"], seen(["kv1", "kv2", "kv3"]), anyCount: true).kind == .change)
    }

    @Test func `the leader leaves last`() throws {
        let plan = try decide(["kv3"], seen(["kv1", "kv2", "kv3"], leader: "kv1"))
        #expect(plan.steps.map(\.action) == [.remove("kv2", isDead: false), .remove("kv1", isDead: false)])
    }

    @Test func `a member does not move to another address under its name`() throws {
        let moved = try Self.inventory([
            "kv1": "address: 10.0.0.9", "kv2": "address: 10.0.0.2", "kv3": "address: 10.0.0.3",
        ])
        #expect(refusal { try ChangePlan.decide(.init(inventory: moved), seen(["kv1", "kv2", "kv3"])) } == "MEMBERS")
    }

    @Test func `the hash of a plan tells plans apart`() throws {
        let one = try decide(["kv1", "kv3", "kv4"], seen(["kv1", "kv2", "kv3"]))
        let other = try decide(["kv1", "kv2", "kv4"], seen(["kv1", "kv2", "kv3"]))
        #expect(one.hash != other.hash)
        #expect(one.hash == (try decide(["kv1", "kv3", "kv4"], seen(["kv1", "kv2", "kv3"])).hash))
    }
}
