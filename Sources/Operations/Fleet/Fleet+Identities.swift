// The agents' own certificates, from the operator's side: new ones over the channel they serve, and a word about those that
// have ended, whose agents can be reached by nobody any more.

import Foundations
import Inventory
import Linux
import PKI
import TLSEngine
import Wire

extension Fleet {
    /// One host after the other; each proves on its own port what it got, or keeps what it had. `onlyDue`: by their own word.
    func renewIdentities(_ held: Held, _ names: [String], onlyDue: Bool) async -> [String: String] {
        // An agent that conducts has no authority; agents ask holders themselves.
        guard identity.authorities != nil else { return [:] }
        let seen = await agents.observe(names, cluster)
        let now = Int64(Clock.wall() / 1_000_000_000)
        var failed: [String: String] = [:]
        for name in names where held.hosts.contains(name) {
            guard let own = seen[name]?.agentCertificate, !onlyDue || own.due <= now else { continue }
            do throws(FleetFailure) {
                let evidence = try await renewIdentity(held, try host(name))
                events.tell(name, "its agent has a new identity, \(evidence)")
            } catch { failed[name] = "its agent's identity: \(error.text)" }
        }
        return failed
    }

    private func renewIdentity(_ held: Held, _ host: Inventory.Host) async throws(FleetFailure) -> String {
        let answer: AgentPB.RequestCertificatesResponse = try await agents.call(
            host.name, RPC.Agent.requestCertificates,
            AgentPB.RequestCertificatesRequest(header: held.header(cluster, "identity-key"), names: [AgentIdentity.name]))
        let leaf: Certificate
        do throws(PKIError) { leaf = try authorities.issueAgent(host, answer.requests.first?.pem ?? []) } catch {
            throw FleetFailure(text: "\(error)")
        }
        let install = AgentPB.InstallCertificatesRequest(
            header: held.header(cluster, "identity"), certificates: [.init(name: AgentIdentity.name, pem: leaf.pem)])
        // Not repeated: the key has moved to its place by then.
        let done: AgentPB.StepResponse = try await agents.call(
            host.name, RPC.Agent.installCertificates, install, isSafe: false)
        return done.evidence
    }
}

extension Agents {
    /// Of hosts that do not answer: since when the certificate has ended that the agent shows, where it does show one.
    func endedIdentities(_ hosts: [String]) async -> [String: Int64] {
        let now = Int64(Clock.wall() / 1_000_000_000)
        return await withTaskGroup(of: (String, Int64?).self) { group in
            for host in hosts where !silent.has(host) {
                guard let address = addresses[host] else { continue }
                var probe = HandshakeProbe(
                    trustedCA: own.trustedCA, certificate: own.certificate, key: own.key, speaksHTTP2: true)
                probe.limit = 1_000_000_000
                probe.verifies = false
                let ready = probe
                group.addTask {
                    // Who shows nothing has another trouble.
                    let shown = await onOwnThread {
                        try? ready.shake(address, HostRecord.defaultPort, name: address, confirmed: false)
                    }
                    return (host, shown?.notAfter)
                }
            }
            var all: [String: Int64] = [:]
            for await (host, end) in group { if let end, end <= now { all[host] = end } }
            return all
        }
    }
}

extension AgentIdentity {
    /// For people.
    static func ended(_ host: String, _ end: Int64) -> String {
        "its agent's identity expired on \(UTCTime.text(end)); \(wayBack(host))"
    }
}
