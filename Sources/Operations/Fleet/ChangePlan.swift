// From what should be and what is to an ordered list of steps, with the voters and the tolerance after each. Pure: nothing
// is asked and nothing done here, so that every rule can be tested with a table.
//
// Order: what is dead is removed first (a member that cannot answer only counts against the quorum), then members are added
// one by one as learners and promoted, then living ones are removed, the leader last.

import Inventory

struct ChangePlan: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        /// 3.1; `token` when it was begun before.
        case bootstrap(resuming: String?)
        case change
        /// Members are as they should be; hosts get the inventory.
        case refresh
        /// As that, and members are restarted into another program, one by one.
        case roll
        case nothing
    }

    enum Action: Sendable, Equatable {
        case prepare(String)
        case add(String)
        case remove(String, isDead: Bool)
        case makeCluster([String])
        case render
        /// Members whose settings have changed, one by one.
        case restart
        /// To this version slot.
        case roll(String, slot: String)

        /// Done at the end, with lines of its own for each member.
        var isRestart: Bool {
            switch self {
            case .restart, .roll: true
            default: false
            }
        }
    }

    struct Step: Sendable, Equatable {
        var action: Action
        var votersAfter: Int
        var toleranceAfter: Int
        /// There is no way back from it.
        var isOneWay = false
        var gates: [String] = []
    }

    struct Refusal: Error, Equatable, CustomStringConvertible {
        var gate: String
        var what: String
        var next: String

        var description: String { "\(gate): \(what).\n\(next)" }
    }

    /// One host, as its agent and its member say.
    struct Seen: Sendable, Equatable {
        var hasAgent = true
        var ledger: Ledger?
        /// What the ledger says was given up or ended while the host was away; the data with it.
        var isVoid = false
        var hasData = false
        /// Whose server made the data: covey or etcd; empty when not known.
        var engine = ""
        /// The member answers and serves.
        var isHealthy = false
        var isLeader = false
        /// Entries behind the most advanced one.
        var lag: UInt64 = 0
        /// Rendered from this inventory.
        var inventoryDigest = ""
        /// SHA-256 of the program the member runs, and of the one it is started with next; empty for what is in no slot.
        var runs = ""
        var startsWith = ""
        /// Its server is down, disabled and masked, by its agent's word.
        var isFenced = false
        /// Its server began with other settings than those on disk.
        var needsRestart = false
    }

    /// The one the inventory names.
    struct Program: Sendable, Equatable {
        var slot: String
        var sha256: String
        var isUnsigned: Bool
    }

    struct Wish: Sendable, Equatable {
        var inventory: Inventory
        /// Nil: whatever runs is right.
        var program: Program?
        /// Names; nil: the inventory's voters.
        var voters: [String]?
        /// Hosts the operator says are dead and will not come back by themselves.
        var attestedDead: Set<String> = []
        /// Gates the operator answers for.
        var overrides = Overrides()
        /// An even number of voters, or one, is meant to stay.
        var acceptsAnyCount = false
    }

    var kind: Kind
    var steps: [Step] = []
    /// The newest one any host has.
    var ledger: Ledger?

    static func decide(_ wish: Wish, _ seen: [String: Seen]) throws(Refusal) -> ChangePlan {
        let wanted = wish.voters ?? wish.inventory.voters.map(\.name)
        // What goes before anything else is done: see Fleet.clearVoid.
        let seen = seen.mapValues { host in
            guard host.isVoid else { return host }
            var host = host
            host.ledger = nil
            host.hasData = false
            host.engine = ""
            return host
        }
        let ledger = try newestLedger(seen)
        try checkCount(wanted.count, wish)
        guard let ledger, ledger.state == .active else { return try bootstrap(wish, wanted, ledger, seen) }
        return try change(wish, wanted, ledger, seen)
    }

    // MARK: What is there

    private static func newestLedger(_ seen: [String: Seen]) throws(Refusal) -> Ledger? {
        let all = seen.sorted { $0.key < $1.key }.compactMap { name, host in host.ledger.map { (name, $0) } }
        guard let first = all.first else { return nil }
        for (name, ledger) in all where ledger.token != first.1.token {
            throw Refusal(
                gate: "LEDGER",
                what: "\(first.0) and \(name) have ledgers of different clusters (\(first.1.token), \(ledger.token))",
                next:
                    "One of them belongs elsewhere: look at both with covey op ls, and decommission the one that is wrong."
            )
        }
        return all.map(\.1).max { rank($0) < rank($1) }
    }

    private static func rank(_ ledger: Ledger) -> (Int, Int64) { (ledger.state == .active ? 1 : 0, ledger.generation) }

    private static func checkCount(_ count: Int, _ wish: Wish) throws(Refusal) {
        guard count > 0 else {
            throw Refusal(gate: "COUNT", what: "no voter is left", next: "covey decommission ends a cluster.")
        }
        guard count % 2 == 0, !wish.acceptsAnyCount else { return }
        throw Refusal(
            gate: "COUNT", what: "\(count) voters tolerate no more failures than \(count - 1)",
            next: "Give an odd number, or say --accept-even.")
    }

    // MARK: 3.1

    private static func bootstrap(
        _ wish: Wish, _ wanted: [String], _ ledger: Ledger?, _ seen: [String: Seen]
    ) throws(Refusal) -> ChangePlan {
        for name in wanted {
            let host = seen[name] ?? Seen(hasAgent: false)
            guard host.hasAgent else {
                throw Refusal(
                    gate: "AGENTS", what: "the agent of \(name) does not answer; all are needed to make a cluster",
                    next: "Enroll it: covey enroll \(name); or look at it: systemctl status covey-agent")
            }
            guard host.ledger != nil || !host.hasData else {
                throw Refusal(
                    gate: "DATA", what: "\(name) holds data that no ledger knows",
                    next: "Nothing was changed. Move it away by hand, on \(name), when it is of no use any more.")
            }
        }
        if let ledger {
            let names = Set(ledger.members.map(\.name))
            guard names == Set(wanted) else {
                throw Refusal(
                    gate: "LEDGER",
                    what: "a bootstrap of \(names.sorted().joined(separator: ", ")) was begun and did not end",
                    next: "Go on with that inventory, or give it up: covey op abort")
            }
        }
        let step = Step(
            action: .makeCluster(wanted), votersAfter: wanted.count, toleranceAfter: (wanted.count - 1) / 2,
            isOneWay: true,
            gates: ["AGENTS", "DATA", "CLOCK", "NOOP"])
        return ChangePlan(kind: .bootstrap(resuming: ledger?.token), steps: [step], ledger: ledger)
    }

    // MARK: 3.2 to 3.5

    private static func change(
        _ wish: Wish, _ wanted: [String], _ ledger: Ledger, _ seen: [String: Seen]
    ) throws(Refusal) -> ChangePlan {
        // A member that was never started is what an interrupted addition left: it is still to come.
        var ledger = ledger
        ledger.members.removeAll { !$0.wasStarted }
        let current = ledger.members
        // By address: a host that was only given another name is the same member.
        let wantedHosts = wish.inventory.hosts.filter { wanted.contains($0.name) }
        let wantedURLs = Set(wantedHosts.map(\.peerURL))
        let currentURLs = Set(current.map(\.peerURL))
        for host in wantedHosts {
            if let member = current.first(where: { $0.name == host.name }), member.peerURL != host.peerURL {
                throw Refusal(
                    gate: "MEMBERS", what: "\(host.name) is at \(member.peerURL) and should be at \(host.peerURL)",
                    next:
                        "A member does not move: give the new place another name, and both are changed one after the other."
                )
            }
        }
        for host in wantedHosts where seen[host.name]?.engine.isEmpty == false {
            guard let made = seen[host.name]?.engine, made != wish.inventory.engine.name else { continue }
            throw Refusal(
                gate: "ENGINE",
                what:
                    "the data on \(host.name) was made by engine \(made), the inventory says \(wish.inventory.engine.name)",
                next: "A cluster keeps its engine: write engine: \(made), or move the data to another cluster.")
        }
        let leaving = current.filter { !wantedURLs.contains($0.peerURL) }
        let coming = wantedHosts.filter { !currentURLs.contains($0.peerURL) }
        if leaving.isEmpty && coming.isEmpty { return try refresh(wish, ledger, seen) }
        let stale = current.filter { member in !leaving.contains(member) && !runs(wish.program, seen[member.name]) }
        if let program = wish.program, let first = stale.first, !coming.isEmpty {
            throw Refusal(
                gate: "ARTIFACT", what: "members change, and \(first.name) does not run \(program.slot) yet",
                next: "One after the other: apply with the members as they are, or with the program that runs.")
        }
        return try members(wish, ledger, leaving.map(\.name), coming.map(\.name), seen)
    }

    private static func runs(_ program: Program?, _ seen: Seen?) -> Bool {
        guard let program else { return true }
        return seen?.runs == program.sha256 && seen?.startsWith == program.sha256
    }

    private static func refresh(
        _ wish: Wish, _ ledger: Ledger, _ seen: [String: Seen]
    ) throws(Refusal) -> ChangePlan {
        let members = Set(ledger.members.map(\.name))
        let stale = seen.contains { name, host in
            guard host.hasAgent else { return false }
            if members.contains(name) { return host.inventoryDigest != wish.inventory.digest.hex || host.ledger != ledger }
            // Replaced while it was away: with the ledger it learns that it is no member, and masks its server.
            guard let known = host.ledger else { return false }
            return known.generation < ledger.generation
        }
        let count = ledger.members.count
        let mayRestart = count > 1 && changesSettings(wish, ledger, seen)
        var plan = ChangePlan(kind: stale || mayRestart ? .refresh : .nothing, ledger: ledger)
        if stale || mayRestart {
            plan.steps.append(Step(action: .render, votersAfter: count, toleranceAfter: (count - 1) / 2, gates: ["NOOP"]))
        }
        try roll(&plan, wish, ledger, seen)
        if mayRestart { plan.steps.append(restart(count)) }
        return plan
    }

    /// Members that run another program than the inventory names, the leader last; 3.6 looks again before each.
    private static func roll(
        _ plan: inout ChangePlan, _ wish: Wish, _ ledger: Ledger, _ seen: [String: Seen]
    ) throws(Refusal) {
        guard let program = wish.program else { return }
        let count = ledger.members.count
        let behind = ledger.members.map(\.name).filter { !runs(program, seen[$0]) }
        for name in behind where seen[name]?.hasAgent != true {
            throw Refusal(
                gate: "AGENTS", what: "the agent of \(name) does not answer, and its member is to run \(program.slot)",
                next: "Look at it: systemctl status covey-agent")
        }
        for name in behind.sorted(by: {
            (seen[$0]?.isLeader == true ? 1 : 0, $0) < (seen[$1]?.isLeader == true ? 1 : 0, $1)
        }) {
            plan.kind = .roll
            plan.steps.append(
                Step(
                    action: .roll(name, slot: program.slot), votersAfter: count, toleranceAfter: (count - 1) / 2,
                    gates: ["QUORUM", "CAUGHTUP", "ARTIFACT"]))
        }
    }

    /// Some server may have to be restarted for it; which, their agents tell when they have written the files.
    private static func changesSettings(_ wish: Wish, _ ledger: Ledger, _ seen: [String: Seen]) -> Bool {
        ledger.members.contains { member in
            guard let host = seen[member.name], host.hasAgent else { return false }
            return host.needsRestart
                || !host.inventoryDigest.isEmpty && host.inventoryDigest != wish.inventory.digest.hex
        }
    }

    private static func restart(_ count: Int) -> Step {
        Step(
            action: .restart, votersAfter: count, toleranceAfter: (count - 1) / 2, gates: Gate.rolling.map(\.rawValue))
    }

    private static func members(
        _ wish: Wish, _ ledger: Ledger, _ leaving: [String], _ coming: [String], _ seen: [String: Seen]
    ) throws(Refusal) -> ChangePlan {
        func isHealthy(_ name: String) -> Bool { seen[name]?.isHealthy == true }
        // A learner that an interrupted operation left is neither healthy by that word nor a reason to stop.
        let voters = ledger.members.map(\.name)
        let dead = leaving.filter { !isHealthy($0) }
        let living = leaving.filter { isHealthy($0) }
        var healthy = voters.filter(isHealthy).count
        let overridden = wish.overrides.gates
        guard healthy >= voters.count / 2 + 1 else {
            throw Refusal(
                gate: "QUORUM", what: "\(healthy) of \(voters.count) voters are healthy: membership cannot be changed",
                next: "Bring back one of: " + voters.filter { !isHealthy($0) }.joined(separator: ", "))
        }
        for name in voters where !isHealthy(name) && !leaving.contains(name) && !overridden.contains("QUORUM") {
            throw Refusal(
                gate: "QUORUM", what: "\(name) is not healthy and is to stay", next: "Heal it, or replace it first.")
        }
        guard dead.count <= 1 else {
            throw Refusal(
                gate: "QUORUM",
                what: "\(dead.joined(separator: " and ")) are both not healthy; one is replaced at a time",
                next: "Wait for one of them, or bring it back.")
        }
        for name in voters
        where isHealthy(name) && (seen[name]?.lag ?? 0) > MemberView.lagMax && !overridden.contains("CAUGHTUP") {
            throw Refusal(
                gate: "CAUGHTUP", what: "\(name) is \(seen[name]?.lag ?? 0) entries behind",
                next: "Wait until it is not.")
        }
        for name in dead where seen[name]?.hasAgent != true && !wish.attestedDead.contains(name) {
            throw Refusal(
                gate: "FENCE", what: "\(name) does not answer, and nobody says that it is off",
                next: "Make sure that it is, then say so: --attest-dead \(name)")
        }
        for name in coming {
            guard let host = seen[name], host.hasAgent else {
                throw Refusal(
                    gate: "AGENTS", what: "the agent of \(name) does not answer", next: "covey enroll \(name)")
            }
            guard !host.hasData || host.ledger != nil else {
                throw Refusal(
                    gate: "DATA", what: "\(name) holds data that no ledger knows",
                    next: "Move it away by hand, on \(name).")
            }
        }
        var plan = ChangePlan(kind: .change, ledger: ledger)
        var count = voters.count
        func step(_ action: Action, oneWay: Bool = false, _ gates: [String]) {
            let tolerance = max(0, healthy - (count / 2 + 1))
            plan.steps.append(
                Step(action: action, votersAfter: count, toleranceAfter: tolerance, isOneWay: oneWay, gates: gates))
        }
        for name in coming { step(.prepare(name), ["CLOCK", "VERSION", "DISK"]) }
        for name in dead {
            count -= 1
            step(.remove(name, isDead: true), oneWay: true, ["QUORUM", "MEMBERS", "FENCE"])
        }
        for name in coming {
            count += 1
            healthy += 1
            step(.add(name), ["QUORUM", "MEMBERS", "CAUGHTUP", "HASH"])
        }
        for name in living.sorted(by: {
            (seen[$0]?.isLeader == true ? 1 : 0, $0) < (seen[$1]?.isLeader == true ? 1 : 0, $1)
        }) {
            count -= 1
            healthy -= 1
            guard healthy >= count / 2 + 1 else {
                throw Refusal(
                    gate: "MARGIN", what: "without \(name) no quorum is left",
                    next: "Add members before this one is removed.")
            }
            step(.remove(name, isDead: false), oneWay: true, ["QUORUM", "MEMBERS", "CAUGHTUP"])
        }
        if count > 1 && changesSettings(wish, ledger, seen) { plan.steps.append(restart(count)) }
        return plan
    }
}

extension ChangePlan {
    var hash: String {
        var text = "\(kind)"
        for step in steps { text += "|\(step.action) \(step.votersAfter) \(step.toleranceAfter)" }
        return String(InventoryHash.of(text).prefix(12))
    }

    /// How long somebody will be a member: 2 for who comes, 1 for who stays, 0 for who is removed as well.
    func permanence(_ name: String) -> Int {
        for step in steps {
            switch step.action {
            case .add(name): return 2
            case .remove(name, _): return 0
            default: break
            }
        }
        return 1
    }

    static func words(_ action: Action) -> String {
        switch action {
        case .prepare(let name): "prepare \(name)"
        case .add(let name): "add \(name): learner, sync, promote"
        case .remove(let name, let isDead): "remove \(name)\(isDead ? " (dead)" : "")"
        case .makeCluster(let names): "make the cluster of \(names.joined(separator: ", "))"
        case .render: "give every host the inventory and the ledger"
        case .restart: "restart, one by one, members whose settings have changed"
        case .roll(let name, let slot): "restart \(name) into \(slot)"
        }
    }

    /// For people.
    func text(_ inventory: Inventory) -> String {
        var out = "Cluster \(inventory.name)"
        if let ledger {
            out += "  id \(ledger.clusterID.isEmpty ? "not yet" : ledger.clusterID)  generation \(ledger.generation)"
        }
        out += "  inventory \(inventory.digest.short)\n"
        guard !steps.isEmpty else { return out + "Nothing to do: members and files are as they should be.\n" }
        var rows = [["#", "STEP", "VOTERS", "CAN LOSE", "GATES", ""]]
        for (index, step) in steps.enumerated() {
            rows.append([
                String(index + 1), Self.words(step.action), String(step.votersAfter), String(step.toleranceAfter),
                step.gates.joined(separator: " "), step.isOneWay ? "<- no way back" : "",
            ])
        }
        return out + Columns.text(rows) + "Plan \(hash)\n"
    }
}

extension ChangePlan {
    /// What the gates must know; nil when no member is changed.
    func gateContext(_ inventory: Inventory, isResuming: Bool) -> GateContext? {
        guard let ledger else { return nil }
        if kind == .roll {
            // Some run it already, others do not: that is no reason to stop, it is what is to end.
            let rolls = steps.filter { if case .roll = $0.action { true } else { false } }.count
            let isBegun = isResuming || rolls < ledger.members.count
            return GateContext(
                inventory: inventory, ledger: ledger, isResuming: isResuming,
                gates: Gate.rolling.filter { !isBegun || $0 != .version })
        }
        guard kind == .change else { return nil }
        var context = GateContext(inventory: inventory, ledger: ledger, isResuming: isResuming)
        for step in steps {
            switch step.action {
            case .add(let name): context.coming.append(name)
            case .remove(let name, _): context.leaving.append(name)
            default: break
            }
        }
        return context
    }
}
