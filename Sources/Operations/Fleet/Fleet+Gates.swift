// Looking, for the gates: every member's own list of members, hash, alarms; every host's disk, clock, version.

import CoveyClient
import Foundations
import Inventory
import JSON
import Linux
import Wire

extension Fleet {
    /// Throws when a gate refuses. The second look is the one under the claim, and does not measure disks again.
    @discardableResult
    func pass(_ context: GateContext, _ overrides: Overrides, _ view: View, isSecondLook: Bool = false)
        async throws(FleetFailure) -> GateReport
    {
        var context = context
        if isSecondLook { context.gates.removeAll { $0 == .disk } }
        var facts = await gateFacts(context, view, isSecondLook: isSecondLook)
        var waited: Int64 = 0
        // Again, while it is not for long: on a busy cluster somebody falls behind for a moment now and then.
        while waited < Self.patience {
            let waits = context.waits(facts).filter { !overrides.gates.contains($0.gate.rawValue) }
            guard let seconds = waits.map(\.seconds).max() else { break }
            for wait in waits { events.tell(wait.text) }
            waited += seconds
            try await rest(.seconds(seconds), before: "anything was changed")
            let before = facts
            facts = await gateFacts(context, await look(), isSecondLook: isSecondLook)
            // An agent that looked later than others takes the same election for a younger one.
            if facts.term == before.term, let age = before.sinceElection { facts.sinceElection = age + seconds }
        }
        let report = GateReport(verdicts: context.verdicts(facts), overrides: overrides, term: facts.term)
        if !isSecondLook { Output.data(report.text) }
        guard report.refusals.isEmpty else {
            throw FleetFailure(code: 3, text: "refused, nothing was changed.\n\(report.refusal)")
        }
        return report
    }

    /// Seconds. Who does not catch up in that time needs somebody to look at it.
    private static let patience: Int64 = 60

    /// What takes long is looked at once, and not again under the claim: disks and the ways between hosts.
    func gateFacts(_ context: GateContext, _ view: View, isSecondLook: Bool) async -> GateFacts {
        let ledger = context.ledger
        let present = inventory.hosts.filter(ledger.has) + ClusterReport.strangers(inventory, ledger)
        let views = await members(present)
        let seen = view.agents
        var facts = GateFacts(voters: [:], hosts: [:])
        for host in present {
            // Who is taken out because it is dead has no say.
            guard let view = views[host.name], view.isHealthy || !context.leaving.contains(host.name) else { continue }
            var voter = GateFacts.Voter(isHealthy: view.isHealthy)
            if let known = view.facts {
                voter.leaderID = known.leaderID
                voter.term = known.term
                voter.version = known.version
                voter.lag = views.lag(of: host.name) ?? 0
                voter.storeBytes = known.storeBytes
            }
            if view.isHealthy {
                voter.members = await memberList(host)
                voter.alarms = await alarms(host, voter.members ?? [])
            }
            if let agent = seen[host.name] {
                let now = Int64(Clock.wall() / 1_000_000_000)
                voter.certificates = Dictionary(
                    agent.certificates.map { ($0.name, $0.notAfter - now) }, uniquingKeysWith: { min($0, $1) })
                if view.isHealthy, let serial = agent.certificates.first(where: { $0.name == "server" })?.serial {
                    let shown = try? probe.shake(host.address, host.clientPort, name: host.address, confirmed: false)
                    voter.showsItsCertificate = shown.map { Hexadecimal.encode($0.serial) } == serial
                }
            }
            facts.voters[host.name] = voter
        }
        await agree(present.filter { views[$0.name]?.isHealthy == true }, &facts)
        if context.gates.contains(.hash) { await hashes(present.filter { views[$0.name]?.isHealthy == true }, &facts) }
        let hosts = present.map(\.name).filter { facts.voters[$0] != nil } + context.coming
        facts.hosts = await describe(
            hosts.filter { seen[$0] != nil }, measuringDisks: !isSecondLook && context.gates.contains(.disk),
            known: seen.compactMapValues { $0.syncTime == 0 ? nil : $0.syncTime })
        guard !isSecondLook else { return facts }
        facts.sinceElection = ElectionWatch.secondsSince(
            term: facts.term, Array(seen.values), now: Int64(Clock.wall() / 1_000_000_000))
        facts.stragglers = LagWatch.stragglers(of: Array(seen.values), among: Set(facts.voters.filter(\.value.isHealthy).keys))
        if context.gates.contains(.certificates) {
            // Who goes may go because nobody gets through to it.
            let staying = present.filter {
                seen[$0.name] != nil && facts.voters[$0.name]?.isHealthy == true && !context.leaving.contains($0.name)
            }
            let coming = inventory.hosts.filter { context.coming.contains($0.name) && seen[$0.name] != nil }
            facts.ways = await ways(members: staying, coming: coming)
        }
        return facts
    }

    /// `known`: how slow disks are by the word of their members, which write more than any measurement. A hundred syncs beside
    /// theirs would only make them wait.
    private func describe(_ names: [String], measuringDisks: Bool, known: [String: UInt64]) async -> [String: GateFacts.Host] {
        var hosts: [String: GateFacts.Host] = [:]
        for name in names {
            // An agent that has just answered and now does not is told by the steps.
            guard let (plain, offset) = try? await describe(name) else { continue }
            var host = GateFacts.Host(
                agentVersion: plain.version, engineVersion: plain.engineVersion, clockOffset: offset,
                isClockKept: plain.isClockKept)
            if measuringDisks {
                let request = AgentPB.DescribeRequest(
                    cluster: cluster, dataDirectory: inventory.dataDirectory, measureDisk: known[name] == nil)
                guard
                    let measured: AgentPB.DescribeResponse = try? await agents.call(
                        name, RPC.Agent.describe, request, seconds: 30)
                else { continue }
                host.freeBytes = measured.diskFree
                host.diskBytes = measured.diskSize
                host.syncTime = known[name] ?? measured.syncTime
            } else {
                host.freeBytes = UInt64(Int64.max)
            }
            hosts[name] = host
        }
        return hosts
    }

    // MARK: What members say

    private func answer(_ host: Inventory.Host, _ path: String, _ body: [JSONValue.Member] = [], seconds: UInt64 = 5)
        async -> JSONValue?
    {
        guard
            case .success(let answer) = await gateway.ask(
                host.address, host.clientPort, path, .object(body), timeoutSeconds: seconds),
            answer.status == 200
        else { return nil }
        return answer.json
    }

    private func number(_ value: JSONValue?) -> UInt64 { value?.string.flatMap { UInt64($0) } ?? value?.uint64 ?? 0 }

    func memberList(_ host: Inventory.Host) async -> [GateFacts.Listed]? {
        guard let json = await answer(host, "/v3/cluster/member/list"), let list = json["members"]?.array else {
            return nil
        }
        return list.map { member in
            GateFacts.Listed(
                id: number(member["ID"]), name: member["name"]?.string ?? "",
                peerURL: (member["peerURLs"]?.array ?? []).compactMap(\.string).joined(separator: ","),
                isLearner: member["isLearner"]?.bool ?? false)
        }
    }

    /// Lists asked for one after the other while one of them changes (a member that was started tells its name) differ for a moment.
    private func agree(_ hosts: [Inventory.Host], _ facts: inout GateFacts) async {
        for _ in 0..<5 {
            let lists = hosts.compactMap { facts.voters[$0.name]?.members?.sorted { $0.id < $1.id } }
            guard let first = lists.first, !lists.allSatisfy({ $0 == first }) else { return }
            try? await Task.sleep(for: .milliseconds(300))  // tasks are not cancelled
            for host in hosts where facts.voters[host.name] != nil { facts.voters[host.name]?.members = await memberList(host) }
        }
    }

    private func alarms(_ host: Inventory.Host, _ list: [GateFacts.Listed]) async -> [String]? {
        guard let json = await answer(host, "/v3/maintenance/alarm", [.init("action", .string("GET"))]) else {
            return nil
        }
        return (json["alarms"]?.array ?? []).map { alarm in
            let id = number(alarm["memberID"])
            let name = list.first { $0.id == id }?.name ?? String(id, radix: 16)
            return "\(alarm["alarm"]?.string ?? "an alarm of unknown kind") on \(name)"
        }
    }

    /// All at one revision. A compaction in between shows as different compacted revisions; then it is asked again.
    private func hashes(_ hosts: [Inventory.Host], _ facts: inout GateFacts) async {
        for _ in 0..<4 {
            var revision = Int64.max
            for host in hosts {
                // A read that waits for the majority, so that the member has applied what the others have.
                let key = JSONValue.string(Base64.encode([0]))
                guard
                    let json = await answer(
                        host, "/v3/kv/range", [.init("key", key), .init("count_only", .bool(true))])
                else { continue }
                revision = min(revision, Int64(clamping: number(json["header"]?["revision"])))
            }
            guard revision < Int64.max else { return }
            facts.hashRevision = revision
            for host in hosts {
                // By gRPC: the JSON gateways of some servers know only the hash of a whole file, which tells nothing of others.
                // Who does not answer is told by the gate.
                let answer = try? await memberClient([host.name]).maintenance.hashKV(
                    HashKVRequest(revision: revision), CallOptions(deadline: .after(.seconds(60))))
                facts.voters[host.name]?.hash = answer.map {
                    GateFacts.Hash(value: String($0.hash, radix: 16), compacted: $0.compactRevision)
                }
            }
            let all = hosts.compactMap { facts.voters[$0.name]?.hash }
            if all.count == hosts.count && Set(all.map(\.compacted)).count <= 1 { return }
        }
    }
}
