// The commands that work on hosts through their agents. Each has the same frame: look, plan, refuse or claim, act, release.
//
// Exit codes: 0 done, 1 failed, 2 usage, 3 refused and nothing changed, 4 stopped midway (with the line that goes on), 5 held
// by another operation.

import CoveyClient
import Flags
import Foundations
import GRPC
import Inventory
import JSON
import Linux
import PKI
import Rendering
import Wire

struct FleetCommand {
    let name: String
    let words: [String]
    let values: OptionValues
    let file: InventoryFile
    let startedAt = Clock.monotonic()

    var inventory: Inventory { file.inventory }

    func run() -> Int32 {
        do {
            let loop = try EventLoop()
            let folder = StateFolder(values.text("state-dir"), cluster: inventory.name)
            let soak = values.option("soak") == nil ? Duration.seconds(0) : .nanoseconds(values.duration("soak"))
            let budget = values.option("budget") == nil ? Fleet.budgetDefault : values.duration("budget")
            let interruption = Interruption()
            let signals = try interruption.watch(loop, EventLines(inventory))
            let fleet = try Fleet(file, folder, loop, soak: soak, budget: budget, interruption: interruption)
            for event in fleet.authorities.events { fleet.events.tell(event) }
            let result = Outcome(loop)
            let mailbox = loop.mailbox
            let command = self
            Task {
                let code = await command.perform(fleet)
                mailbox.post {
                    result.code = code
                    result.loop.stop()
                }
            }
            loop.run()
            withExtendedLifetime(signals) {}
            fleet.gateway.stop()
            return result.code
        } catch let error as FleetFailure {
            Output.error("covey \(name): \(error.text)\n")
            return error.code
        } catch {
            Output.error("covey \(name): \(error)\n")
            return 1
        }
    }

    // Written and read on the loop's thread.
    private final class Outcome: @unchecked Sendable {
        let loop: EventLoop
        var code: Int32 = 1
        init(_ loop: EventLoop) { self.loop = loop }
    }

    private func perform(_ fleet: Fleet) async -> Int32 {
        do throws(FleetFailure) {
            switch name {
            case "apply": return try await apply(fleet)
            case "member add": return try await members(fleet, adding: words, removing: [])
            case "member remove": return try await members(fleet, adding: [], removing: words)
            case "member replace":
                guard words.count == 2 else { throw FleetFailure(code: 2, text: "which is replaced by which: OLD NEW") }
                return try await members(fleet, adding: [words[1]], removing: [words[0]])
            case "member ls": return try await list(fleet)
            case "member move-leader": return try await moveLeader(fleet)
            case "restart": return try await restart(fleet, words, try overrides(), resuming: nil)
            case "certs renew": return try await renew(fleet)
            case "certs repair": return try await repair(fleet)
            case "certs verify": return try await verify(fleet)
            case "certs ls": return await certificates(fleet)
            case "ca ls": return await listAuthorities(fleet)
            case "ca distribute": return try await distributeAuthorities(fleet)
            case "preflight": return try await preflight(fleet)
            case "doctor": return try await doctor(fleet)
            case "pause": return try await pause(fleet, true)
            case "resume": return try await pause(fleet, false)
            case "audit": return try await AuditCommand(values).run(fleet)
            case "artifact ls": return await ArtifactCommand.list(fleet)
            case "op ls": return await operations(fleet)
            case "op show": return try await show(fleet)
            case "op resume", "op abort": return try await goOn(fleet, abort: name == "op abort")
            case "decommission": return try await decommission(fleet)
            default: throw FleetFailure(code: 2, text: "there is no such command")
            }
        } catch {
            Output.error("covey \(name): \(error.text)\n")
            return error.code
        }
    }

    // MARK: The frame

    /// Claims, acts, releases. What stops midway keeps its claim, so that nothing else begins before it has been dealt with.
    func held(
        _ fleet: Fleet, _ kind: String, _ arguments: [String], resuming: AgentPB.Operation? = nil,
        needsAll: Bool = false, plan: String = "",
        _ act: (Fleet.Held) async throws(FleetFailure) -> Void
    ) async throws(FleetFailure) -> Int32 {
        fleet.interruption.begin()
        defer { fleet.interruption.end() }
        let held = try await fleet.claim(kind, arguments, resuming: resuming, needsAll: needsAll, plan: plan)
        if fleet.interruption.isAsked && resuming == nil {
            await fleet.release(held, "aborted", "interrupted before anything was done")
            throw FleetFailure(text: "interrupted; nothing was changed")
        }
        fleet.events.tell("op \(held.operation.id) · epoch \(held.operation.epoch) · \(held.operation.owner)")
        do throws(FleetFailure) { try await act(held) } catch {
            // What is gone on with was begun before: it stays open, half done as it is, whatever refuses to go on now.
            if error.code == 3 && resuming == nil {
                await fleet.release(held, "failed", error.text)
                throw error
            }
            if error.isTakenBack {
                await fleet.release(held, "aborted", error.text)
                throw error
            }
            let left = await fleet.wayBack().map { "left: \($0)\n" } ?? ""
            let next =
                "next: covey op resume \(held.operation.id) -f \(file.path)   |   covey op abort \(held.operation.id) -f \(file.path)"
            throw FleetFailure(code: 4, text: "STOPPED: \(error.text)\n\(left)\(next)")
        }
        await fleet.release(held, "done", "")
        return 0
    }

    // MARK: Apply and members

    func overrides() throws(FleetFailure) -> Overrides {
        guard values.option("override") != nil else { return Overrides() }
        do throws(Overrides.Misused) {
            return try Overrides(values.list("override"), reason: values.text("reason"))
        } catch { throw FleetFailure(code: 2, text: error.text) }
    }

    func wish(_ voters: [String]? = nil) throws(FleetFailure) -> ChangePlan.Wish {
        var wish = ChangePlan.Wish(
            inventory: inventory, voters: voters, attestedDead: Set(values.list("attest-dead")),
            acceptsAnyCount: values.bool("accept-even"))
        wish.overrides = try overrides()
        return wish
    }

    private func decide(_ wish: ChangePlan.Wish, _ fleet: Fleet, _ view: Fleet.View) throws(FleetFailure) -> ChangePlan {
        do throws(ChangePlan.Refusal) { return try ChangePlan.decide(wish, fleet.seen(view)) } catch {
            throw FleetFailure(code: 3, text: "refused, nothing was changed.\n\(error)")
        }
    }

    private func apply(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        try await carryOut(try wish(), "apply", [], fleet, resuming: nil)
    }

    private func members(_ fleet: Fleet, adding: [String], removing: [String]) async throws(FleetFailure) -> Int32 {
        guard !adding.isEmpty || !removing.isEmpty else { throw FleetFailure(code: 2, text: "which host?") }
        for name in adding + removing { _ = try fleet.host(name) }
        let view = await fleet.look()
        guard let ledger = view.ledger, ledger.state == .active else {
            throw FleetFailure(code: 3, text: "there is no cluster yet; make it: covey apply -f \(file.path)")
        }
        let current = ledger.members.map(\.name)
        let voters = (current.filter { !removing.contains($0) } + adding.filter { !current.contains($0) }).sorted()
        let code = try await carryOut(try wish(voters), "members", voters, fleet, resuming: nil)
        if code == 0 && !values.bool("dry-run") && voters != inventory.voters.map(\.name).sorted() {
            fleet.events.tell(
                "\(file.path) says otherwise: give the role voter to \(voters.joined(separator: ", ")) there, spare to the others"
            )
        }
        return code
    }

    func carryOut(
        _ wish: ChangePlan.Wish, _ kind: String, _ arguments: [String], _ fleet: Fleet, resuming: AgentPB.Operation?
    ) async throws(FleetFailure) -> Int32 {
        var wish = wish
        // Agents deliver no programs: what runs stays.
        wish.program = kind == Converging.kind ? nil : try OperatorArtifact(inventory)?.wish
        let view = await fleet.look()
        fleet.agents.silent.add(wish.attestedDead.filter { view.agents[$0] == nil && view.members[$0]?.isHealthy != true })
        let first = try decide(wish, fleet, view)
        Output.data(first.text(inventory))
        if let program = wish.program, program.isUnsigned, first.kind != .nothing {
            Output.data("! \(program.slot) IS NOT SIGNED by anybody; spec.server.artifact.allowUnsigned lets it run all the same\n")
        }
        if first.kind == .nothing && resuming == nil { return 0 }
        var gates = first.gateContext(inventory, isResuming: resuming != nil)
        if let context = gates {
            let term = try await fleet.pass(context, wish.overrides, view).term
            // What is gone on with had its look before; it is not to end because its own members came back meanwhile.
            if resuming == nil { gates?.termBefore = term }
        }
        if values.bool("dry-run") { return 0 }
        var needsAll = false
        if case .bootstrap = first.kind { needsAll = true }
        let attested =
            wish.attestedDead.sorted().map { "--attest-dead=\($0)" } + (wish.acceptsAnyCount ? ["--accept-even"] : [])
            + wish.overrides.arguments
        let (program, context) = (wish, gates)
        return try await held(fleet, kind, arguments + attested, resuming: resuming, needsAll: needsAll, plan: first.hash) {
            held throws(FleetFailure) in
            let wish = program
            // Again under the claim: the world may have moved while nobody held it.
            let view = await fleet.look()
            let plan = try decide(wish, fleet, view)
            guard plan.hash == first.hash else {
                throw FleetFailure(code: 3, text: "the cluster has changed since the plan was made; plan again")
            }
            if let context { try await fleet.pass(context, wish.overrides, view, isSecondLook: true) }
            try await fleet.clearVoid(held, view)
            switch plan.kind {
            case .bootstrap:
                try await fleet.bootstrap(held, plan.ledger, startedAt: startedAt)
            case .change, .refresh, .roll: try await fleet.perform(plan, held, attestedDead: wish.attestedDead)
            case .nothing: break
            }
        }
    }

    private func restart(
        _ fleet: Fleet, _ names: [String], _ overrides: Overrides, resuming: AgentPB.Operation?
    ) async throws(FleetFailure) -> Int32 {
        let view = await fleet.look()
        guard let ledger = view.ledger, ledger.state == .active else {
            throw FleetFailure(code: 3, text: "there is no cluster yet")
        }
        let context = GateContext(
            inventory: inventory, ledger: ledger, restarting: names.first, isResuming: resuming != nil, gates: Gate.rolling)
        try await fleet.pass(context, overrides, view)
        return try await held(fleet, "restart", names + overrides.arguments, resuming: resuming) {
            held throws(FleetFailure) in
            let before = resuming == nil ? [] : await fleet.restarted(held)
            try await fleet.rollingRestart(held, only: names.first, except: before)
        }
    }

    private func moveLeader(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let overrides = try overrides()
        let view = await fleet.look()
        guard let ledger = view.ledger, ledger.state == .active else {
            throw FleetFailure(code: 3, text: "there is no cluster yet")
        }
        let to = values.text("to")
        let target = try fleet.successor(to, ledger, view)
        guard let target else {
            fleet.events.tell("\(to) leads already")
            return 0
        }
        try await fleet.pass(GateContext(inventory: inventory, ledger: ledger, gates: Gate.rolling), overrides, view)
        return try await held(fleet, "move-leader", [target] + overrides.arguments) { held throws(FleetFailure) in
            let leader = try await fleet.moveLeader(to: target, ledger)
            fleet.events.tell("\(target) leads; before: \(leader)")
        }
    }

    private func list(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let view = await fleet.look()
        guard let ledger = view.ledger else {
            throw FleetFailure(code: 3, text: "no agent knows a cluster \(inventory.name)")
        }
        var rows = [["HOST", "ID", "PEER", "STATE", "ROLE"]]
        for member in ledger.members {
            let seen = view.members[member.name]
            let role = seen?.facts.map { $0.isLeader ? "leader" : $0.isLearner ? "learner" : "voter" } ?? "-"
            let state =
                switch seen?.health {
                case .healthy?: "ok"
                case .unhealthy(let reason)?: reason
                case .unreachable?, nil: "down"
                }
            rows.append([member.name, member.id, member.peerURL, state, role])
        }
        Output.data(Columns.text(rows))
        return 0
    }

    // MARK: Operations

    private func openOperation(_ fleet: Fleet) async throws(FleetFailure) -> AgentPB.Operation {
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        let all = seen.values.compactMap(\.operation).filter { words.isEmpty || $0.id == words[0] }
        guard let newest = all.max(by: { $0.epoch < $1.epoch }) else {
            throw FleetFailure(code: 3, text: "no agent knows the operation \(words.first ?? "")")
        }
        return newest
    }

    private func operations(_ fleet: Fleet) async -> Int32 {
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        var rows = [["OPERATION", "KIND", "STATE", "EPOCH", "OWNER", "HOSTS"]]
        let all = seen.compactMap { host, seen in seen.operation.map { (host, $0) } }
        for id in Set(all.map(\.1.id)).sorted() {
            let same = all.filter { $0.1.id == id }
            guard let newest = same.map(\.1).max(by: { $0.epoch < $1.epoch }) else { continue }
            let state = same.contains { $0.1.state == "open" } ? "open" : newest.state
            rows.append([
                id, newest.kind, state, String(newest.epoch), newest.owner,
                same.map(\.0).sorted().joined(separator: ","),
            ])
        }
        Output.data(rows.count == 1 ? "no operation was recorded\n" : Columns.text(rows))
        return 0
    }

    private func show(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let operation = try await openOperation(fleet)
        Output.data(
            "\(operation.id)  \(operation.kind) \(operation.arguments.joined(separator: " "))  \(operation.state)  "
                + "epoch \(operation.epoch)  \(operation.owner)\n"
        )
        for host in inventory.hosts {
            let request = AgentPB.ReadJournalRequest(cluster: inventory.name, limit: 200)
            // A host that does not answer has nothing to show.
            let answer: AgentPB.ReadJournalResponse? = try? await fleet.agents.call(
                host.name, RPC.Agent.readJournal, request, seconds: 4)
            guard let answer else {
                Output.data("\(host.name): no answer\n")
                continue
            }
            if !answer.damage.isEmpty { Output.data("\(host.name): DAMAGED: \(answer.damage)\n") }
            for record in answer.records {
                guard let json = try? JSONValue(parsing: record), json["op"]?.string == operation.id else { continue }
                let time = UInt64(clamping: json["time"]?.int64 ?? 0) * 1_000_000_000
                Output.data(
                    "\(host.name)  \(EventLines.time(time).prefix(8))  \(json["step"]?.string ?? "")  "
                        + "\(json["phase"]?.string ?? "")  \(json["evidence"]?.string ?? "")\n"
                )
            }
        }
        return 0
    }

    private func goOn(_ fleet: Fleet, abort: Bool) async throws(FleetFailure) -> Int32 {
        let operation = try await openOperation(fleet)
        guard operation.state == "open" else {
            throw FleetFailure(code: 3, text: "operation \(operation.id) has ended: \(operation.state)")
        }
        guard operation.inventory.isEmpty || operation.inventory == fleet.text else {
            throw FleetFailure(
                code: 6, text: "\(operation.id) was begun with another inventory than \(file.path); give that one")
        }
        let options = operation.arguments.filter { $0.hasPrefix("--") }
        let names = operation.arguments.filter { !$0.hasPrefix("--") }
        if abort { return try await giveUp(operation, fleet) }
        var wish = try wish(operation.kind == "members" ? names : nil)
        if wish.overrides.gates.isEmpty { wish.overrides = Overrides(recorded: options) }
        wish.attestedDead.formUnion(
            options.compactMap { $0.hasPrefix("--attest-dead=") ? String($0.dropFirst(14)) : nil })
        wish.acceptsAnyCount = wish.acceptsAnyCount || options.contains("--accept-even")
        switch operation.kind {
        case "apply", "members", Converging.kind:
            return try await carryOut(
                wish, operation.kind, operation.arguments.filter { !$0.hasPrefix("--") }, fleet, resuming: operation)
        case "restart":
            return try await restart(fleet, names, wish.overrides, resuming: operation)
        case "move-leader":
            return try await held(fleet, "move-leader", names, resuming: operation) { held throws(FleetFailure) in
                guard let target = names.first, let ledger = await fleet.look().ledger else { return }
                _ = try await fleet.moveLeader(to: target, ledger)
            }
        case "certs":
            return try await held(fleet, "certs", names, resuming: operation) { held throws(FleetFailure) in
                try await fleet.renewEverything(held, names)
            }
        case "repair":
            return try await held(fleet, "repair", names, resuming: operation) { held throws(FleetFailure) in
                try await fleet.repairCertificates(held, names)
            }
        case "ca":
            return try await held(fleet, "ca", names, resuming: operation) { held async throws(FleetFailure) in
                _ = await fleet.distributeAuthorities(held)
            }
        default: return try await giveUp(operation, fleet)
        }
    }

    private func giveUp(_ operation: AgentPB.Operation, _ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let held = try await fleet.claim(operation.kind, operation.arguments, resuming: operation)
        if ["apply", "members", Converging.kind].contains(operation.kind) {
            let ledger = await fleet.look().ledger
            if ledger?.state == .active {
                try await fleet.abortChange(held)
            } else if ledger != nil {
                try await fleet.abortBootstrap(held)
            }
        }
        await fleet.release(held, "aborted", AgentPB.Operation.givenUp + held.operation.owner)
        fleet.events.tell("operation \(operation.id) was given up")
        return 0
    }

    private func pause(_ fleet: Fleet, _ on: Bool) async throws(FleetFailure) -> Int32 {
        try await held(fleet, on ? "pause" : "resume", []) { held throws(FleetFailure) in
            try await fleet.control(held, held.hosts, [on ? .pause : .resume], reason: on ? values.text("reason") : "")
        }
    }

    // MARK: Checks

    private func checks(_ fleet: Fleet, measuringDisks: Bool) async -> [(host: String, check: AgentPB.Check)] {
        var found: [(host: String, check: AgentPB.Check)] = []
        var silent: Set<String> = []
        for host in inventory.hosts {
            let request = AgentPB.DescribeRequest(
                cluster: inventory.name, ports: [host.clientPort, host.peerPort].map { UInt64($0) },
                address: inventory.listenAddress ?? host.address, dataDirectory: inventory.dataDirectory,
                measureDisk: measuringDisks, program: inventory.installedProgram ?? "")
            do throws(FleetFailure) {
                let answer: AgentPB.DescribeResponse = try await fleet.agents.call(
                    host.name, RPC.Agent.describe, request, seconds: 30)
                found += answer.checks.map { (host.name, judged($0, answer.syncTime)) }
            } catch {
                found.append(
                    (
                        host.name,
                        AgentPB.Check(
                            name: "agent", verdict: .fail, evidence: error.text,
                            remedy: "is the host on? there: systemctl status covey-agent; never enrolled: covey enroll \(host.name)")
                    ))
                silent.insert(host.name)
            }
        }
        for (host, end) in await fleet.agents.endedIdentities(silent.sorted()) {
            let evidence = "the identity of its agent expired on \(UTCTime.text(end))"
            let check = AgentPB.Check(name: "certs.agent", verdict: .fail, evidence: evidence, remedy: AgentIdentity.wayBack(host))
            found.append((host, check))
        }
        let answering = inventory.hosts.map(\.name).filter { !silent.contains($0) }
        for (host, seen) in await fleet.agents.observe(answering, inventory.name).sorted(by: { $0.key < $1.key }) where seen.syncTime > 0 {
            let time = "\(seen.syncTime / 1_000_000).\(seen.syncTime / 100_000 % 10) ms"
            let own = AgentPB.Check(name: Self.memberSyncs, evidence: "its member waits for its disk: p99 \(time) in the last minute")
            found.append((host, judged(own, seen.syncTime)))
        }
        do throws(FleetFailure) { if !answering.isEmpty { try await fleet.compareHosts(answering) } } catch {
            found.append(("*", AgentPB.Check(name: "hosts.alike", verdict: .fail, evidence: error.text)))
        }
        return found
    }

    private static let memberSyncs = "disk.member"

    /// How slow a disk may be is the inventory's word, as it is for the gate DISK.
    private func judged(_ check: AgentPB.Check, _ syncTime: UInt64) -> AgentPB.Check {
        guard check.name == "disk.fdatasync" || check.name == Self.memberSyncs, syncTime > 0 else { return check }
        let most = UInt64(clamping: inventory.syncTimeMax)
        var check = check
        check.verdict = syncTime > inventory.syncTimeRefused ? .fail : syncTime > most ? .warn : .pass
        check.remedy =
            check.verdict == .pass
            ? "" : "at most \(most / 1_000_000) ms is wanted (storage.maxFsyncP99): a faster disk, or one of its own"
        return check
    }

    private func tell(_ found: [(host: String, check: AgentPB.Check)]) -> Int32 {
        func count(_ verdict: AgentPB.Check.Verdict) -> Int { found.filter { $0.check.verdict == verdict }.count }
        Output.data("PASS \(count(.pass))  WARN \(count(.warn))  FAIL \(count(.fail))\n")
        for verdict in [AgentPB.Check.Verdict.fail, .warn] {
            for (host, check) in found where check.verdict == verdict {
                let remedy = check.remedy.isEmpty ? "" : "      fix: \(check.remedy)"
                Output.data("\(verdict == .fail ? "FAIL" : "WARN") \(check.name) \(host): \(check.evidence)\(remedy)\n")
            }
        }
        return count(.fail) > 0 ? 1 : 0
    }

    private func preflight(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let found = await checks(fleet, measuringDisks: true)
        // Who does not answer has been told by then.
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        return tell(found + Fleet.reachChecks(await fleet.reach(inventory.hosts.filter { seen[$0.name] != nil })))
    }

    private func doctor(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        var found = await checks(fleet, measuringDisks: true)
        let view = await fleet.look()
        func add(
            _ host: String, _ name: String, _ isGood: Bool, _ evidence: String, _ remedy: String, warn: Bool = false
        ) {
            let verdict: AgentPB.Check.Verdict = isGood ? .pass : warn ? .warn : .fail
            found.append(
                (host, AgentPB.Check(name: name, verdict: verdict, evidence: evidence, remedy: isGood ? "" : remedy)))
        }
        let now = Int64(Clock.wall() / 1_000_000_000)
        for member in view.ledger?.members ?? [] {
            let health = view.members[member.name]
            add(
                member.name, "member.health", health?.isHealthy == true, health.map { $0.health.text } ?? "not asked",
                "on \(member.name): journalctl -u covey-server@\(inventory.name)")
            guard let agent = view.agents[member.name] else { continue }
            found += certificateChecks(fleet, member.name, agent, now).map { (member.name, $0) }
            add(
                member.name, "inventory", agent.inventoryDigest == inventory.digest.hex,
                "digest \(agent.inventoryDigest.prefix(12))",
                "covey apply -f \(file.path)", warn: true)
            add(
                member.name, "unit.enabled", agent.unit?.isEnabled == true, agent.unit?.active ?? "",
                "covey apply -f \(file.path)",
                warn: true)
        }
        found += operatorChecks(fleet, now).map { ("operator", $0) }
        for (host, agent) in view.agents.sorted(by: { $0.key < $1.key }) {
            if let check = identityCheck(host, agent, now) { found.append((host, check)) }
            if let operation = agent.operation, operation.state == "open" {
                add(
                    host, "operation", false, "\(operation.id) has not ended", "covey op resume \(operation.id)",
                    warn: true)
            }
            for slot in agent.slots where slot.isUsed {
                add(host, "slot \(slot.name)", slot.problem.isEmpty, slot.problem, "covey restart \(host), with the right program")
            }
            add(
                host, "slot.runs", agent.slot.isEmpty || agent.slot == agent.runningSlot || agent.unit?.active != "active",
                "the member runs \(agent.runningSlot), and is started with \(agent.slot) next", "covey restart \(host)", warn: true)
            if let file = agent.file {
                if !file.problem.isEmpty {
                    add(host, "inventory.file", false, file.problem, "covey validate \(file.path), on \(host)")
                } else if !file.isConducting && !file.news.hasPrefix(ConvergenceNews.inEffect) {
                    let remedy = file.needsOperator ? "what it says" : "covey status"
                    add(host, "inventory.file", false, "\(file.path): \(file.news)", remedy, warn: true)
                } else {
                    add(host, "inventory.file", true, file.news, "")
                }
            }
            add(host, "audit", agent.auditDamage.isEmpty, agent.auditDamage, "covey audit --verify -f \(file.path)")
            if agent.isPaused { add(host, "paused", false, agent.pausedReason, "covey resume", warn: true) }
        }
        return tell(found)
    }

    // MARK: The end

    private func decommission(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        if values.bool("cluster") {
            guard values.text("confirm") == inventory.name else {
                throw FleetFailure(code: 2, text: "this ends the cluster; say so: --confirm \(inventory.name)")
            }
            return try await held(fleet, "decommission", ["--cluster"], needsAll: true) { held throws(FleetFailure) in
                try await endCluster(fleet, held)
            }
        }
        guard let name = words.first, words.count == 1 else {
            throw FleetFailure(code: 2, text: "which host? Or --cluster")
        }
        let view = await fleet.look()
        if view.ledger?.members.contains(where: { $0.name == name }) == true {
            return try await members(fleet, adding: [], removing: [name])
        }
        throw FleetFailure(code: 3, text: "\(name) is no member; nothing of the cluster runs there")
    }

    private func endCluster(_ fleet: Fleet, _ held: Fleet.Held) async throws(FleetFailure) {
        let view = await fleet.look()
        let names = view.ledger?.members.map(\.name) ?? []
        let leader = names.filter { view.members[$0]?.facts?.isLeader == true }
        for name in names.filter({ !leader.contains($0) }) + leader {
            try await fleet.control(held, [name], [.stop, .disable, .mask])
            try await fleet.waitUntilDown(name)
            fleet.events.tell(name, "stopped; data: \(try await fleet.setAside(held, name, "retired"))")
        }
        for name in held.hosts {
            let request = AgentPB.WriteLedgerRequest(header: held.header(inventory.name, "retire"))
            let _: AgentPB.StepResponse = try await fleet.agents.call(
                name, RPC.Agent.writeLedger, request, isSafe: false)
        }
    }
}
