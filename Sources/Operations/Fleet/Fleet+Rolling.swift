// 3.6 and 3.8: what is done to the members one after the other: restarting them, giving them new certificates.

import CoveyClient
import Foundations
import GRPC
import Inventory
import JSON
import Linux
import Wire

extension Fleet {
    /// Those whose settings have changed since they began, by their agents' word. The files are where they belong by then, so
    /// a gate that does not pass stops midway.
    func restartChanged(_ held: Held, _ ledger: Ledger) async throws(FleetFailure) {
        let view = await look()
        let changed = ledger.members.map(\.name).filter { view.agents[$0]?.needsRestart == true }
        guard !changed.isEmpty else { return events.tell("no setting has changed for which a member must be restarted") }
        let context = GateContext(inventory: inventory, ledger: ledger, gates: Gate.rolling)
        do throws(FleetFailure) {
            try await pass(context, Overrides(recorded: held.operation.arguments), view)
            try await rollingRestart(held, only: nil, among: Set(changed))
        } catch {
            throw FleetFailure(
                code: 4, text: "\(changed.joined(separator: ", ")) run with their earlier settings: \(error.text)")
        }
    }

    /// Unhealthy ones first, then followers, the leader last; never with one down.
    /// Each into the program of the inventory, or of its host's package. `among`: nobody else is touched; `except`: healthy ones
    /// of these are not, either.
    func rollingRestart(
        _ held: Held, only: String?, among: Set<String>? = nil, except: Set<String> = []
    ) async throws(FleetFailure) {
        let view = await look()
        guard let ledger = view.ledger, ledger.state == .active else {
            throw FleetFailure(code: 3, text: "there is no cluster yet")
        }
        let names = ledger.members.map(\.name)
        let unhealthy = names.filter { view.members[$0]?.isHealthy != true }
        let leader = names.first { view.members[$0]?.facts?.isLeader == true }
        guard unhealthy.count <= 1 else {
            throw FleetFailure(
                code: 3, text: "MARGIN: \(unhealthy.joined(separator: ", ")) are not healthy; nothing is restarted")
        }
        let healthyAfterOneLess = names.count - unhealthy.count - 1
        guard names.count == 1 || !unhealthy.isEmpty || healthyAfterOneLess >= names.count / 2 + 1 else {
            throw FleetFailure(code: 3, text: "MARGIN: with one member down there is no quorum")
        }
        var order = unhealthy + names.filter { !unhealthy.contains($0) && $0 != leader } + (leader.map { [$0] } ?? [])
        var seen: Set<String> = []
        order = order.filter { seen.insert($0).inserted }
        if let only { order = order.filter { $0 == only } }
        if let among {
            order = order.filter { among.contains($0) }
            if let broken = unhealthy.first, !among.contains(broken) {
                throw FleetFailure(code: 3, text: "MARGIN: \(broken) is not healthy; no other is restarted")
            }
        }
        guard !order.isEmpty else { throw FleetFailure(code: 2, text: "\(only ?? "") is no member") }
        let done = order.filter { except.contains($0) && !unhealthy.contains($0) }
        if !done.isEmpty { events.tell("restarted before: \(done.joined(separator: ", "))") }
        order = order.filter { !done.contains($0) }
        if let only, let broken = unhealthy.first, broken != only {
            throw FleetFailure(code: 3, text: "MARGIN: \(broken) is not healthy; restart that first")
        }
        let progress = Progress(self, held.operation.id, order.count)
        // On all of them, before the first is touched.
        let slots = try await stage(held, order)
        for name in order {
            let slot = slots[name].map { ", \($0)" } ?? ""
            try await progress.run("restart \(name)", (name == leader ? "the leader, after handing over" : "follower") + slot) {
                () async throws(FleetFailure) in
                try await self.restart(held, name, names, into: slots[name])
            }
            if name != order.last { try await rest(soak) }
        }
    }

    /// By this operation, before it stopped, as their hosts have written down.
    func restarted(_ held: Held) async -> Set<String> {
        var done: Set<String> = []
        for name in held.hosts {
            let request = AgentPB.ReadJournalRequest(cluster: cluster, limit: 200)
            // Who does not answer is restarted again: that does no harm.
            let answer: AgentPB.ReadJournalResponse? = try? await agents.call(name, RPC.Agent.readJournal, request, seconds: 4)
            let isDone = answer?.records.contains { record in
                guard let json = try? JSONValue(parsing: record) else { return false }
                return json["op"]?.string == held.operation.id && json["step"]?.string == "restart" && json["phase"]?.string == "done"
            }
            if isDone == true { done.insert(name) }
        }
        return done
    }

    /// A pause that nobody has to wait for who wants to stop.
    func rest(_ duration: Duration, before next: String = "the next restart") async throws(FleetFailure) {
        let end = Clock.monotonic() + UInt64(duration / .nanoseconds(1))
        while Clock.monotonic() < end {
            try goOn(before: next)
            try? await Task.sleep(for: min(.milliseconds(200), .nanoseconds(end &- Clock.monotonic())))  // tasks are not cancelled
        }
    }

    private func restart(_ held: Held, _ name: String, _ names: [String], into slot: String?) async throws(FleetFailure) {
        let others = inventory.hosts.filter { names.contains($0.name) && $0.name != name }
        let healthy = await members(others).filter(\.value.isHealthy).map(\.key)
        let me = try host(name)
        let isUp = await members([me])[name]?.isHealthy == true
        guard healthy.count >= names.count / 2 + 1 || names.count == 1 || !isUp else {
            throw FleetFailure(code: 4, text: "MARGIN: only \(healthy.count) others are healthy; \(name) is left alone")
        }
        if names.count > 1 { try await moveLeaderAway(from: name, to: healthy) }
        let before = await agents.observe([name], cluster)[name]?.unit?.mainProcess ?? 0
        try await activate(held, name, slot)
        try await control(held, [name], [.restart])
        try await wait(seconds: 120, "\(name) does not come back") { [self] in
            guard let unit = await agents.observe([name], cluster, isPatient: false)[name]?.unit, unit.active == "active",
                unit.mainProcess != before, unit.mainProcess != 0
            else { return false }
            let views = await members(others + [me])
            guard views[name]?.isHealthy == true, let lag = views.lag(of: name) else { return false }
            return lag <= MemberView.lagMax
        }
    }

    /// New keys and certificates, one host after the other, without a restart; proven by what the ports show.
    func renewCertificates(_ held: Held, _ names: [String]) async throws(FleetFailure) {
        let progress = Progress(self, held.operation.id, names.count)
        for name in names {
            try await progress.run("renew \(name)", "the member shows the new certificate") {
                () async throws(FleetFailure) in
                try await self.certify(held, [name])
                try await self.proveCertificates(name)
            }
        }
    }

    /// Of members, and the identities of the agents.
    func renewEverything(_ held: Held, _ names: [String]) async throws(FleetFailure) {
        let members = await look().ledger?.members.map(\.name) ?? []
        try await renewCertificates(held, names.filter { members.contains($0) })
        let failed = await renewIdentities(held, names, onlyDue: false).sorted { $0.key < $1.key }
        guard let first = failed.first else { return }
        throw FleetFailure(code: 4, text: "\(first.key): \(first.value)")
    }
}
