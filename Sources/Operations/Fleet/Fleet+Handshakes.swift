// What ports show on the wire: every edge host x host x port, and after new certificates were installed.

import Foundations
import Inventory
import Linux
import PKI
import Wire

extension Fleet {
    struct EdgeResult: Sendable {
        var from: String
        var edge: AgentPB.Edge
        var handshake: AgentPB.Handshake
    }

    /// From each of the hosts to the client and peer port of each, and from here to the client ports.
    func shakeHands(_ hosts: [Inventory.Host]) async -> [EdgeResult] {
        let edges = hosts.flatMap { host in
            [
                AgentPB.Edge(host: host.name, address: host.address, port: UInt64(host.clientPort), role: "client"),
                AgentPB.Edge(host: host.name, address: host.address, port: UInt64(host.peerPort), role: "peer"),
            ]
        }
        let toClients = edges.filter { $0.role == "client" }
        let probe = probe
        let own = await EdgeCheck.shake(toClients) { _ in probe }
        var all = zip(toClients, own).map { EdgeResult(from: "operator", edge: $0, handshake: $1) }
        for host in hosts {
            do throws(FleetFailure) {
                let answer = try await shakeHands(from: host.name, edges)
                all += zip(edges, answer).map { EdgeResult(from: host.name, edge: $0, handshake: $1) }
            } catch {
                all += edges.map {
                    EdgeResult(from: host.name, edge: $0, handshake: AgentPB.Handshake(failure: error.text))
                }
            }
        }
        return all
    }

    /// From each host to the agent of each other, and to the ports its member has or will have.
    func reach(_ hosts: [Inventory.Host]) async -> [EdgeResult] {
        await withTaskGroup(of: [EdgeResult].self) { group in
            for from in hosts {
                let edges = hosts.filter { $0.name != from.name }.flatMap { host in
                    [(HostRecord.defaultPort, EdgeCheck.agent), (host.clientPort, EdgeCheck.port), (host.peerPort, EdgeCheck.port)].map {
                        AgentPB.Edge(host: host.name, address: host.address, port: UInt64($0.0), role: $0.1)
                    }
                }
                group.addTask { [self] in await tried(from: from.name, edges) }
            }
            return await Self.inOrder(group)
        }
    }

    /// With the certificates members have, from the host of each to both ports of each other.
    func shakeHands(among hosts: [Inventory.Host]) async -> [EdgeResult] {
        await withTaskGroup(of: [EdgeResult].self) { group in
            for from in hosts {
                let edges = hosts.filter { $0.name != from.name }.flatMap { host in
                    [(host.clientPort, AuthorityRole.client), (host.peerPort, .peer)].map {
                        AgentPB.Edge(host: host.name, address: host.address, port: UInt64($0.0), role: $0.1.rawValue)
                    }
                }
                group.addTask { [self] in await tried(from: from.name, edges) }
            }
            return await Self.inOrder(group)
        }
    }

    private static func inOrder(_ group: TaskGroup<[EdgeResult]>) async -> [EdgeResult] {
        var all: [EdgeResult] = []
        for await results in group { all += results }
        return all.sorted { ($0.from, $0.edge.host, $0.edge.port) < ($1.from, $1.edge.host, $1.edge.port) }
    }

    /// As many as an agent tries at a time. Who does not answer has tried none.
    private func tried(from host: String, _ edges: [AgentPB.Edge]) async -> [EdgeResult] {
        var results: [EdgeResult] = []
        for start in stride(from: 0, to: edges.count, by: EdgeCheck.edgesMax) {
            let some = Array(edges[start..<min(start + EdgeCheck.edgesMax, edges.count)])
            do throws(FleetFailure) {
                results += zip(some, try await shakeHands(from: host, some)).map {
                    EdgeResult(from: host, edge: $0, handshake: $1)
                }
            } catch {
                results += some.map { EdgeResult(from: host, edge: $0, handshake: AgentPB.Handshake(failure: error.text)) }
            }
        }
        return results
    }

    /// Every way between these hosts: of all from agent to agent, and to the ports their members have or will have; of those that
    /// have a member also the handshakes of members. A way that fails is tried once more: a host may have been busy.
    func ways(members: [Inventory.Host], coming: [Inventory.Host]) async -> GateFacts.Ways {
        let all = members + coming
        guard all.count > 1 else { return GateFacts.Ways() }
        async let reached = reach(all)
        async let shaken = shakeHands(among: members)
        let first = await reached + shaken
        let failed = first.filter { !$0.handshake.failure.isEmpty }
        var ways = GateFacts.Ways(tried: first.count)
        for one in failed {
            let again = await tried(from: one.from, [one.edge])
            guard let failure = again.first?.handshake.failure, !failure.isEmpty else { continue }
            ways.closed.append("\(one.from) does not reach \(one.edge.host) port \(one.edge.port): \(failure)")
        }
        return ways
    }

    /// 3.1: before a cluster is made of hosts, and before it is said to be one.
    func refuse(_ ways: GateFacts.Ways, _ held: Held, code: Int32) throws(FleetFailure) {
        let gate = Gate.certificates.rawValue
        guard !ways.closed.isEmpty, !Overrides(recorded: held.operation.arguments).gates.contains(gate) else { return }
        throw FleetFailure(
            code: code,
            text: "\(gate): \(ways.complaints.joined(separator: "; "))\n\(GateFacts.Ways.remedy) covey preflight\n"
                + "Or answer for it: --override \(gate) --reason TEXT")
    }

    /// A check for each host and kind.
    static func reachChecks(_ results: [EdgeResult]) -> [(host: String, check: AgentPB.Check)] {
        var checks: [(host: String, check: AgentPB.Check)] = []
        for from in Set(results.map(\.from)).sorted() {
            for (role, name, remedy) in [
                (EdgeCheck.agent, "agents.handshake", "compare the clocks, and what names mean on each host; covey certs ls; covey enroll"),
                (EdgeCheck.port, "ports.reach", "let hosts reach each other's ports for clients and members, both ways: firewall, routes"),
            ] {
                let own = results.filter { $0.from == from && $0.edge.role == role }
                let failed = own.filter { !$0.handshake.failure.isEmpty }
                let told = failed.map { "\($0.edge.host) port \($0.edge.port): \($0.handshake.failure)" }
                checks.append(
                    (
                        from,
                        AgentPB.Check(
                            name: name, verdict: failed.isEmpty ? .pass : .fail,
                            evidence: failed.isEmpty ? "\(own.count) of \(own.count)" : told.joined(separator: "; "),
                            remedy: failed.isEmpty ? "" : remedy)
                    ))
            }
        }
        return checks
    }

    func shakeHands(from host: String, _ edges: [AgentPB.Edge]) async throws(FleetFailure) -> [AgentPB.Handshake] {
        let request = AgentPB.ShakeHandsRequest(cluster: cluster, edges: edges)
        let answer: AgentPB.ShakeHandsResponse = try await agents.call(host, RPC.Agent.shakeHands, request)
        guard answer.handshakes.count == edges.count else { throw FleetFailure(text: "\(host) did not try every port") }
        return answer.handshakes
    }

    /// Both ports of a host show what is on its disk. One whose member does not run shows nothing, and that is said.
    func proveCertificates(_ name: String) async throws(FleetFailure) {
        guard let seen = await agents.observe([name], cluster)[name] else {
            throw FleetFailure(code: 4, text: "the agent of \(name) does not answer")
        }
        if let problem = seen.certificates.first(where: { !$0.problem.isEmpty }) {
            throw FleetFailure(code: 4, text: "\(name): certificate \(problem.name) \(problem.problem)")
        }
        guard seen.unit?.active == "active" else {
            events.tell(name, "its member is \(seen.unit?.active ?? "not known"); it will show them when it runs")
            return
        }
        func serial(_ kind: LeafKind) -> String { seen.certificates.first { $0.name == kind.rawValue }?.serial ?? "-" }
        let host = try host(name)
        let address = inventory.dialledLocally(host)
        let wanted = [serial(.server), serial(.peer)]
        let edges = [(host.clientPort, "client"), (host.peerPort, "peer")].map {
            AgentPB.Edge(host: name, address: address, port: UInt64($0.0), role: $0.1, name: host.address)
        }
        try await wait(seconds: 30, "\(name) goes on showing its old certificate", every: .milliseconds(300)) { [self] in
            // Whatever stands in the way, the certificates have not been seen.
            let shown = try? await shakeHands(from: name, edges)
            return shown?.map(\.serial) == wanted
        }
    }

    /// 3.8 over the agents' channel, when certificates have expired or are wrong already.
    func repairCertificates(_ held: Held, _ names: [String]) async throws(FleetFailure) {
        let progress = Progress(self, held.operation.id, names.count)
        for name in names {
            try await progress.run("repair \(name)", "new keys and certificates") { () async throws(FleetFailure) in
                try await self.certify(held, [name])
                try await self.proveCertificates(name)
            }
        }
    }
}
