// Whether this agent may make the cluster what the file on its host says, or what it waits for. Pure: what all agents said
// goes in, a decision comes out. Every agent decides alike from the same answers, so that at most one of them acts; epochs
// see to it where their answers differ.
//
// Nothing is begun unless every host the file names answers and has the same file, of the same generation. What has no way
// back, and what changes who is a member of what was agreed otherwise, is left to an operator.

import Inventory
import Wire

/// The operations agents carry out among themselves.
enum Converging {
    static let kind = "converge"
    static func name(_ host: String) -> String { "agent:\(host)" }
}

extension AgentPB.Operation {
    /// Carried out by an agent, not by an operator who took it over.
    var isAgents: Bool { kind == Converging.kind && owner.hasPrefix("agent:") }

    /// As `covey op abort` leaves it.
    var wasGivenUp: Bool { state == "aborted" && outcome.hasPrefix(Self.givenUp) }
    static let givenUp = "by "
}

struct ConvergenceRules: Sendable {
    /// What one agent says.
    struct Agent: Sendable, Equatable {
        var digest = ""
        var generation: Int64 = 0
        var problem = ""
        var isConducting = false
        var ledger: Ledger?
        /// Of the inventory in effect there.
        var digestInEffect = ""
        var generationInEffect: Int64 = 0
        var operation: AgentPB.Operation?
        /// Nil: not paused.
        var paused: String?
        var needsRestart = false
        var hadLedger = false
        /// Tokens of what was set aside there.
        var voided: Set<String> = []
        var holds: Set<AuthorityRole> = []
    }

    enum Decision: Sendable, Equatable {
        /// All is as the file says.
        case settled(String)
        /// Nothing is done until something else changes.
        case waiting(String)
        /// Nothing is done until a person does something.
        case needsOperator(String)
        case follows(String)
        case conducts(resuming: AgentPB.Operation?)
    }

    let host: String
    let path: String
    let inventory: Inventory
    /// Those that answered, this one among them.
    let agents: [String: Agent]

    private var digest: String { inventory.digest.hex }

    func decide() -> Decision {
        guard inventory.hosts.contains(where: { $0.name == host }) else {
            return .waiting("\(path) does not name this host, \(host)")
        }
        let voided = agents.values.reduce(into: Set<String>()) { $0.formUnion($1.voided) }
        if let old = sorted().first(where: { $0.agent.ledger.map { voided.contains($0.token) } ?? false })?.name {
            return .needsOperator("\(old) has what was given up or ended while it was away; covey apply -f \(path) sets it aside")
        }
        if Set(agents.values.compactMap { $0.ledger?.token }).count > 1 {
            return .needsOperator("hosts have ledgers of different clusters; look: covey status")
        }
        let differences = differences()
        guard differences.isEmpty else { return .waiting(differences.joined(separator: "; ")) }
        if let (name, reason) = sorted().compactMap({ name, agent in agent.paused.map { (name, $0) } }).first {
            return .waiting("paused on \(name): \(reason)")
        }
        let open = openOperation()
        if let open, !open.isAgents {
            return .waiting("operation \(open.id) of \(open.owner) has not ended; covey op resume or op abort")
        }
        if let ended = lastEnded(), ended.kind == Converging.kind, ended.wasGivenUp, open == nil,
            isOf(ended)
        {
            return .needsOperator("\(ended.id) was given up \(ended.outcome); give the file a higher generation, or covey apply")
        }
        let ledger = Ledger.newest(agents.values.compactMap(\.ledger))
        if let ledger, ledger.state == .active { return change(ledger, open) }
        return make(ledger, open)
    }

    // MARK: Who says what

    private func sorted() -> [(name: String, agent: Agent)] { agents.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }

    /// What keeps the hosts from being of one mind.
    private func differences() -> [String] {
        var found: [String] = []
        for name in inventory.hosts.map(\.name) {
            guard let agent = agents[name] else {
                found.append("the agent of \(name) does not answer")
                continue
            }
            if !agent.problem.isEmpty {
                found.append("the file on \(name) cannot be used: \(agent.problem)")
            } else if agent.digest.isEmpty {
                found.append("\(name) has no such file")
            } else if agent.digest != digest {
                found.append(
                    "\(name) has another file: digest \(short(agent.digest)), generation \(agent.generation), here "
                        + "\(short(digest)), generation \(inventory.generation)")
            } else if agent.generation != inventory.generation {
                found.append("\(name) has generation \(agent.generation) of the file, here it is \(inventory.generation)")
            }
        }
        return found
    }

    private func short(_ digest: String) -> String { String(digest.prefix(12)) }

    /// One that any host holds open; one that ended elsewhere is one whose end a host has slept through.
    private func openOperation() -> AgentPB.Operation? {
        let all = sorted().compactMap(\.agent.operation)
        let open = all.filter { one in
            one.state == "open"
                && !(one.isAgents && all.contains { $0.id == one.id && $0.epoch >= one.epoch && $0.state != "open" })
        }
        return open.max { ($0.epoch, $0.id) < ($1.epoch, $1.id) }
    }

    private func lastEnded() -> AgentPB.Operation? {
        sorted().compactMap(\.agent.operation).max { ($0.epoch, $0.id) < ($1.epoch, $1.id) }
    }

    private func isOf(_ operation: AgentPB.Operation) -> Bool {
        HostInventory.Content(inventory: inventory, text: "").isSame(as: operation.inventory)
    }

    /// The first by name of those that may; all of them answer, so all choose the same.
    private func conduct(_ candidates: [String], _ open: AgentPB.Operation?) -> Decision {
        if let busy = sorted().first(where: { $0.agent.isConducting && $0.name != host })?.name { return .follows(busy) }
        guard let chosen = candidates.sorted().first else { return .waiting("no host can conduct") }
        return chosen == host ? .conducts(resuming: open) : .follows(chosen)
    }

    // MARK: A cluster that is not there yet

    private func make(_ ledger: Ledger?, _ open: AgentPB.Operation?) -> Decision {
        if ledger == nil, let old = sorted().first(where: { $0.agent.hadLedger })?.name {
            return .needsOperator(
                "a cluster \(inventory.name) was here before (a ledger on \(old) was set aside), and no second one is made "
                    + "by itself: covey apply -f \(path)")
        }
        if let missing = whatNewMembersLack() { return missing }
        return conduct(inventory.voters.map(\.name), open)
    }

    /// Certificates of new members are issued by holders, because nobody else is there; and nobody else has programs to give.
    private func whatNewMembersLack() -> Decision? {
        if let program = inventory.artifact.file {
            return .needsOperator("new members are to run \(program), which an operator delivers: covey apply -f \(path)")
        }
        for role in AuthorityRole.allCases where role.settings(inventory).leaves == nil {
            let named = role.settings(inventory).holders
            if named.contains(where: { agents[$0]?.holds.contains(role) == true }) { continue }
            let what = "nobody here can issue certificates for \(role.rawValue)s: "
            return .needsOperator(
                what
                    + (named.isEmpty
                        ? "name holders in spec.tls.\(role.rawValue)CA.key.holders, then covey ca distribute; or covey apply"
                        : "\(named.joined(separator: ", ")) should hold the authority; covey ca distribute -f \(path)"))
        }
        return nil
    }

    // MARK: A cluster that is there

    private func change(_ ledger: Ledger, _ open: AgentPB.Operation?) -> Decision {
        let inEffect = agents.values.filter { $0.digestInEffect == ledger.digest.hex }.map(\.generationInEffect).max() ?? 0
        // One that was never started is what an interrupted addition left: it is still to come.
        let started = ledger.members.filter(\.wasStarted)
        func isMember(_ host: Inventory.Host) -> Bool { started.contains { $0.peerURL == host.peerURL } }
        let members = inventory.hosts.filter(isMember).map(\.name)
        let isInEffect = ledger.digest == inventory.digest
        let wanted = Set(inventory.voters.map(\.peerURL))
        let leaving = started.filter { !wanted.contains($0.peerURL) }.map(\.name)
        let coming = inventory.voters.filter { !isMember($0) }.map(\.name)
        guard isInEffect || inventory.generation > inEffect else {
            let than =
                inventory.generation == inEffect ? "is in effect with other settings" : "is older than \(inEffect), which is in effect"
            return .needsOperator(
                "generation \(inventory.generation) of \(path) \(than): write a generation above \(inEffect), or covey apply")
        }
        let byHand = coming.map { "without \($0)" } + leaving.map { "with \($0)" }
        if open == nil && isInEffect && (!leaving.isEmpty || !coming.isEmpty) {
            return .settled(
                "\(ConvergenceNews.inEffect); members were changed by hand since: \(byHand.joined(separator: ", "))")
        }
        guard leaving.isEmpty else {
            return .needsOperator(
                "it takes \(leaving.joined(separator: ", ")) out, and there is no way back from that: covey apply -f \(path)")
        }
        if !isInEffect, let program = inventory.artifact.file {
            // Another one may have no way back; whether it is another one only its file tells, which the operator has.
            return .needsOperator("it names the program \(program), and programs an operator changes: covey apply -f \(path)")
        }
        if !coming.isEmpty, let missing = whatNewMembersLack() { return missing }
        let isStale = members.contains { name in
            guard let agent = agents[name] else { return false }
            return agent.digestInEffect != digest || agent.ledger != ledger || agent.needsRestart
        }
        let isDown = started.count == 1 && members.contains { agents[$0]?.needsRestart == true }
        if isInEffect && open == nil && isDown && !members.contains(where: { agents[$0]?.digestInEffect != digest }) {
            return .needsOperator("in effect after a restart of the only member, which nobody is served meanwhile: covey restart")
        }
        guard open != nil || isStale || !coming.isEmpty || !isInEffect else {
            return .settled("\(ConvergenceNews.inEffect), generation \(inventory.generation), digest \(inventory.digest.short)")
        }
        return conduct(members, open)
    }
}

extension ConvergenceRules.Agent {
    init(_ seen: AgentPB.ObserveResponse) {
        digest = seen.file?.digest ?? ""
        generation = seen.file?.generation ?? 0
        problem = seen.file?.problem ?? ""
        isConducting = seen.file?.isConducting ?? false
        ledger = Ledger(text: seen.ledger)
        digestInEffect = seen.inventoryDigest
        generationInEffect = seen.inventoryGeneration
        operation = seen.operation
        paused = seen.isPaused ? seen.pausedReason : nil
        needsRestart = seen.needsRestart
        hadLedger = seen.hadLedger
        voided = Set(seen.voided)
        holds = Set(seen.authorities.compactMap { AuthorityRole(rawValue: $0.name) })
    }
}
