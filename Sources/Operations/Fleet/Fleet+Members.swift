// 3.2 to 3.5: one member more, one member less. A membership call whose outcome is not known is never repeated blindly: the
// list of members, read from the majority, tells what happened.

import CoveyClient
import Foundations
import GRPC
import Inventory
import Linux
import Wire

extension Fleet {
    /// Performs the plan's steps in order. The plan was made from the same look, under the claim.
    func perform(_ plan: ChangePlan, _ held: Held, attestedDead: Set<String>) async throws(FleetFailure) {
        guard var ledger = plan.ledger else { throw FleetFailure(code: 3, text: "there is no ledger") }
        let behind = plan.steps.compactMap { step in if case .roll(let name, _) = step.action { name } else { nil } }
        // Before anything is changed: a program that is refused leaves everything as it was.
        if !behind.isEmpty { try await stage(held, behind) }
        // Restarts come last, with lines of their own for each member.
        let steps = plan.steps.filter { !$0.action.isRestart }
        // What has no way back is gone on with; before that a learner that is too slow is taken out again.
        var mayGoBack = true
        let progress = Progress(self, held.operation.id, steps.count)
        for step in steps {
            let text = "voters \(step.votersAfter), can lose \(step.toleranceAfter)"
            if step.isOneWay { mayGoBack = false }
            let goesBack = mayGoBack
            try await progress.run(ChangePlan.words(step.action), text) { () async throws(FleetFailure) in
                switch step.action {
                case .prepare(let name):
                    try await self.compareHosts(
                        [name]
                            + (ledger.members.first.map { [$0.name] } ?? []).filter {
                                attestedDead.isEmpty || !attestedDead.contains($0)
                            })
                    try await self.certify(held, [name])
                    try await self.stageAndActivate(held, [name])
                case .remove(let name, let isDead):
                    ledger = try await self.remove(name, isDead, ledger, held, plan)
                case .add(let name):
                    do throws(FleetFailure) { ledger = try await self.add(name, ledger, held) } catch {
                        guard error.isOverBudget && goesBack else { throw error }
                        try await self.abortChange(held)
                        throw FleetFailure(text: error.text + "; it was taken out again, the members are what they were", isTakenBack: true)
                    }
                    mayGoBack = false
                case .render, .restart, .roll: break
                case .makeCluster: throw FleetFailure(code: 3, text: "a cluster that was made is not made again")
                }
            }
        }
        ledger.take(inventory)
        try await publish(ledger, held)
        _ = await distributeAuthorities(held)
        if !behind.isEmpty { try await rollingRestart(held, only: nil, among: Set(behind)) }
        if plan.steps.contains(where: { $0.action == .restart }) { try await restartChanged(held, ledger) }
    }

    /// Every host that answers gets the ledger and the files; a host that does not gets them with the next change.
    func publish(_ ledger: Ledger, _ held: Held) async throws(FleetFailure) {
        let reachable = await agents.observe(inventory.hosts.map(\.name), cluster).keys.sorted()
        // A ledger of another incarnation is not overwritten; such a host was decommissioned.
        let hosts = reachable.filter { held.hosts.contains($0) }
        try await writeLedger(held, ledger, to: hosts)
        try await render(held, hosts)
    }

    private func survivors(_ ledger: Ledger, without: String? = nil) async throws(FleetFailure) -> (
        names: [String], client: Client
    ) {
        let hosts = inventory.hosts.filter { host in
            ledger.members.contains { $0.name == host.name } && host.name != without
        }
        let healthy = await members(hosts).filter { $0.value.isHealthy && $0.value.facts?.isLearner == false }.keys
            .sorted()
        return (healthy, try memberClient(healthy))
    }

    /// When too few voters answer: who is missing, and how the quorum comes back. Nil while there is one.
    func wayBack() async -> String? {
        let view = await look()
        guard let ledger = view.ledger, ledger.state == .active else { return nil }
        let voters = inventory.hosts.filter(ledger.has).filter { view.members[$0.name]?.facts?.isLearner != true }
        // A learner that does not answer yet is in the ledger and has not been started.
        let counted = voters.filter { host in ledger.members.contains { $0.name == host.name && $0.wasStarted } }
        // One that answers and has no leader is there: it waits, too.
        let missing = counted.filter { view.members[$0.name]?.facts == nil }.map(\.name)
        let needed = counted.count / 2 + 1
        let present = counted.count - missing.count
        guard present < needed else { return nil }
        return "NO-QUORUM: \(present) of \(counted.count) voters answer, \(needed) are needed; start \(missing.joined(separator: ", ")) "
            + "(systemctl start covey-server@\(cluster)), no data is lost by waiting"
    }

    private func list(_ client: Client) async throws(FleetFailure) -> [Member] {
        do throws(ClientError) {
            return try await client.cluster.memberList(MemberListRequest(linearizable: true)).members
        } catch { throw FleetFailure(code: 4, text: "the list of members: \(error)") }
    }

    // MARK: Adding

    private func add(_ name: String, _ before: Ledger, _ held: Held) async throws(FleetFailure) -> Ledger {
        let host = try host(name)
        let (_, client) = try await survivors(before, without: name)
        defer { client.close() }
        var found = try await list(client).first { $0.peerURLs.contains(host.peerURL) }
        if found == nil { try await clear(name, held) }
        // The cluster asks for five quiet seconds after a change or a restart; until then it says no.
        let end = Clock.monotonic() + 60_000_000_000
        while found == nil {
            do throws(ClientError) {
                let request = MemberAddRequest(peerURLs: [host.peerURL], isLearner: true)
                found = try await client.cluster.memberAdd(request, CallOptions(deadline: .after(.seconds(10)))).member
            } catch {
                found = try await list(client).first { $0.peerURLs.contains(host.peerURL) }
                guard found != nil || Clock.monotonic() < end else {
                    throw FleetFailure(code: 4, text: "\(name) cannot be added: \(error)")
                }
                try? await Task.sleep(for: .milliseconds(250))  // nobody cancels but by ending the program
            }
        }
        guard let member = found else { throw FleetFailure(code: 4, text: "\(name) was not added") }
        var ledger = before
        ledger.members.removeAll { $0.name == name }
        ledger.members.append(Ledger.Member(name: name, peerURL: host.peerURL, id: hexadecimal(member.id)))
        ledger.members.sort { $0.name < $1.name }
        ledger.generation += 1
        try await writeLedger(held, ledger, to: [name])
        try await render(held, [name])
        try await control(held, [name], [.unmask, .enable, .start])
        try await promote(member.id, name, client)
        if let index = ledger.members.firstIndex(where: { $0.name == name }) { ledger.members[index].wasStarted = true }
        ledger.generation += 1
        try await publish(ledger, held)
        return ledger
    }

    /// What the host has from an earlier membership is another member's: it is no member now, so nobody needs it.
    private func clear(_ name: String, _ held: Held) async throws(FleetFailure) {
        guard let seen = await agents.observe([name], cluster)[name], seen.hasData || !seen.identity.isEmpty else { return }
        try await control(held, [name], [.stop, .disable])
        try await waitUntilDown(name)
        events.tell(name, "data: \(try await setAside(held, name, "returned"))")
    }

    /// When it has caught up, and not before: within 250 entries, or half a second, of the most advanced one. Then a majority says yes.
    private func promote(_ id: UInt64, _ name: String, _ client: Client) async throws(FleetFailure) {
        let host = try host(name)
        let end = Clock.monotonic() + UInt64(clamping: budget)
        var reason = "it does not answer"
        var timesDown = 0
        var timesLevel = 0
        while true {
            guard let member = try await list(client).first(where: { $0.id == id }) else {
                throw FleetFailure(code: 4, text: "\(name) is no member any more; somebody removed it")
            }
            if !member.isLearner { break }
            guard Clock.monotonic() < end else {
                throw FleetFailure(
                    code: 4, text: "\(name) did not catch up within \(DurationText.format(budget)): \(reason)", isOverBudget: true)
            }
            let views = await members([host] + inventory.voters)
            if views[name]?.facts?.memberID == id, let lag = views.lag(of: name) {
                reason = "\(lag) entries behind"
                timesLevel = lag <= MemberView.lagMax ? timesLevel + 1 : 0
                // Twice in a row: what has caught up for a moment only may fall behind again.
                if timesLevel > 1 {
                    do throws(ClientError) {
                        _ = try await client.cluster.memberPromote(
                            MemberPromoteRequest(id: id), CallOptions(deadline: .after(.seconds(10))))
                        continue
                    } catch { reason = "\(error)" }
                }
            } else if let unit = await agents.observe([name], cluster, isPatient: false)[name]?.unit {
                // Looked at more than once: a start that was ordered may not have begun.
                timesDown = unit.active == "inactive" || unit.active == "failed" ? timesDown + 1 : 0
                guard timesDown < 25 else {
                    throw FleetFailure(
                        code: 4,
                        text:
                            "the member of \(name) has ended (\(unit.active), exit \(unit.exitStatus)); why: "
                            + "journalctl -u covey-server@\(cluster) on \(name)")
                }
            }
            try goOn(before: "\(name) is a voter; \(reason)")
            try? await Task.sleep(for: .milliseconds(200))  // as above
        }
        try await wait(seconds: 60, "\(name) is not healthy as a voter") { [self] in
            await members([host])[name]?.isHealthy == true
        }
    }

    // MARK: Removing

    private func remove(
        _ name: String, _ isDead: Bool, _ before: Ledger, _ held: Held, _ plan: ChangePlan
    ) async throws(FleetFailure) -> Ledger {
        guard let entry = before.members.first(where: { $0.name == name }) else { return before }
        let (names, client) = try await survivors(before, without: name)
        defer { client.close() }
        let answers = held.hosts.contains(name)
        if isDead && answers {
            // Fenced by its own agent: it cannot come back in between.
            try await control(held, [name], [.stop, .disable, .mask])
        }
        if !isDead { try await moveLeaderAway(from: name, to: names, plan) }
        let end = Clock.monotonic() + 60_000_000_000
        while let member = try await list(client).first(where: { $0.peerURLs.contains(entry.peerURL) }) {
            do throws(ClientError) {
                _ = try await client.cluster.memberRemove(
                    MemberRemoveRequest(id: member.id), CallOptions(deadline: .after(.seconds(10))))
            } catch {
                guard Clock.monotonic() < end else {
                    throw FleetFailure(code: 4, text: "\(name) cannot be removed: \(error)")
                }
                try? await Task.sleep(for: .milliseconds(250))  // as above
            }
        }
        var ledger = before
        ledger.members.removeAll { $0.name == name }
        ledger.generation += 1
        if answers {
            try await control(held, [name], [.stop, .disable, .mask])
            try await waitUntilDown(name)
            events.tell(name, "data: \(try await setAside(held, name, "removed"))")
        }
        try await publish(ledger, held)
        return ledger
    }

    /// To a healthy voter that stays and has everything; first of all to one that has just come, since who replaces members one
    /// after the other replaces the old ones.
    func moveLeaderAway(from name: String, to candidates: [String], _ plan: ChangePlan? = nil) async throws(FleetFailure) {
        let views = await members(inventory.hosts.filter { candidates.contains($0.name) || $0.name == name })
        guard views[name]?.facts?.isLeader == true else { return }
        let best = views.filter { $0.key != name && $0.value.isHealthy && $0.value.facts?.isLearner == false }
            .max {
                let (left, right) = (plan?.permanence($0.key) ?? 0, plan?.permanence($1.key) ?? 0)
                return (left, $0.value.facts?.appliedIndex ?? 0) < (right, $1.value.facts?.appliedIndex ?? 0)
            }
        guard let target = best?.value.facts?.memberID else {
            throw FleetFailure(code: 4, text: "\(name) leads and there is no other healthy voter")
        }
        let client = try memberClient([name])
        defer { client.close() }
        // Whether it happened is seen below.
        _ = try? await client.maintenance.moveLeader(
            MoveLeaderRequest(targetID: target), CallOptions(deadline: .after(.seconds(5))))
        try await wait(seconds: 15, "the leader does not move away from \(name)") { [self] in
            let now = await members(inventory.hosts.filter { candidates.contains($0.name) })
            return now.contains { $0.key != name && $0.value.facts?.isLeader == true }
        }
    }

    /// Who is to lead: the one that is named, or the healthy voter that has the most. Nil when that one leads already.
    func successor(_ wanted: String, _ ledger: Ledger, _ view: View) throws(FleetFailure) -> String? {
        let voters = inventory.hosts.filter(ledger.has).map(\.name)
        func couldLead(_ name: String) -> Bool {
            view.members[name]?.isHealthy == true && view.members[name]?.facts?.isLearner == false
        }
        if wanted.isEmpty {
            let others = voters.filter { couldLead($0) && view.members[$0]?.facts?.isLeader == false }
            let best = others.max {
                (view.members[$0]?.facts?.appliedIndex ?? 0, $1) < (view.members[$1]?.facts?.appliedIndex ?? 0, $0)
            }
            guard let best else { throw FleetFailure(code: 3, text: "there is no other healthy voter that could lead") }
            return best
        }
        guard voters.contains(wanted) else {
            throw FleetFailure(
                code: 2, text: "\(wanted) is no member of \(cluster); members: \(voters.joined(separator: ", "))")
        }
        guard couldLead(wanted) else {
            throw FleetFailure(code: 3, text: "\(wanted) is no healthy voter; nothing was changed. See: covey status")
        }
        return view.members[wanted]?.facts?.isLeader == true ? nil : wanted
    }

    /// Who led before. Whether the call succeeded is seen by who leads then.
    func moveLeader(to name: String, _ ledger: Ledger) async throws(FleetFailure) -> String {
        let hosts = inventory.hosts.filter(ledger.has)
        let views = await members(hosts)
        guard let id = views[name]?.facts?.memberID,
            let leader = views.first(where: { $0.value.facts?.isLeader == true })?.key
        else { throw FleetFailure(code: 4, text: "nobody leads, or \(name) does not answer") }
        if leader == name { return leader }
        let client = try memberClient([leader])
        defer { client.close() }
        _ = try? await client.maintenance.moveLeader(
            MoveLeaderRequest(targetID: id), CallOptions(deadline: .after(.seconds(5))))
        try await wait(seconds: 15, "\(name) does not become the leader") { [self] in
            await members(hosts)[name]?.facts?.isLeader == true
        }
        return leader
    }

    func hexadecimal(_ id: UInt64) -> String {
        let text = String(id, radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }

    /// Takes back an addition that did not end: the learner goes, its data is set aside.
    func abortChange(_ held: Held) async throws(FleetFailure) {
        let view = await look()
        guard var ledger = view.ledger, ledger.state == .active else {
            throw FleetFailure(code: 3, text: "there is no active ledger")
        }
        let (_, client) = try await survivors(ledger)
        defer { client.close() }
        let all = try await list(client)
        for learner in all.filter(\.isLearner) {
            guard let host = inventory.hosts.first(where: { learner.peerURLs.contains($0.peerURL) }) else { continue }
            do throws(ClientError) {
                _ = try await client.cluster.memberRemove(MemberRemoveRequest(id: learner.id))
            } catch {
                throw FleetFailure(code: 4, text: "the learner \(host.name) cannot be removed: \(error)")
            }
            if held.hosts.contains(host.name) {
                try await control(held, [host.name], [.stop, .disable, .mask])
                try await waitUntilDown(host.name)
                events.tell(host.name, "data: \(try await setAside(held, host.name, "aborted"))")
            }
            events.tell(host.name, "the learner was removed")
        }
        let left = try await list(client)
        ledger.members = ledger.members.filter { entry in left.contains { $0.peerURLs.contains(entry.peerURL) } }
        ledger.generation += 1
        try await publish(ledger, held)
    }
}
