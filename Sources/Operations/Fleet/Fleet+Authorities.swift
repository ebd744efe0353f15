// Holders get an issuing authority: the key is made on the host, the operator's authority certifies it, over the agents'
// mutual TLS. Hosts the inventory does not name any more lose theirs.

import Foundations
import Inventory
import Linux
import PKI
import Wire

extension Fleet {
    /// Part of every `apply` that changes something, and `covey ca distribute`. Looks first. Agents' identities that are due
    /// become new on the way. The hosts that do not have what they should afterwards, with the reason.
    func distributeAuthorities(_ held: Held) async -> [String: String] {
        // An agent has none to give.
        guard identity.authorities != nil else { return [:] }
        let seen = await agents.observe(inventory.hosts.map(\.name), cluster)
        var missing = await renewIdentities(held, inventory.hosts.map(\.name), onlyDue: true)
        for host in inventory.hosts {
            for role in HeldAuthority.allCases {
                let isHolder = role.holders(inventory).contains(host.name)
                guard let agent = seen[host.name], held.hosts.contains(host.name) else {
                    if isHolder { missing[host.name] = "its agent does not answer" }
                    continue
                }
                let has = agent.authorities.first { $0.name == role.rawValue }
                do throws(FleetFailure) {
                    if isHolder && !isGood(has, role) {
                        try await hand(role, to: host, held)
                        events.tell(host.name, "holds an issuing authority for \(role.rawValue)s")
                    } else if !isHolder && has != nil {
                        try await install(role, host, [], held)
                        events.tell(host.name, "holds no authority for \(role.rawValue)s any more")
                    }
                } catch { missing[host.name] = error.text }
            }
        }
        for (host, reason) in missing.sorted(by: { $0.key < $1.key }) {
            events.tell(host, "did not get what it should: \(reason); later: covey ca distribute -f \(file.path)")
        }
        return missing
    }

    /// One of an earlier root, or that ends before a leaf would, is replaced.
    func isGood(_ held: AgentPB.CertificateState?, _ role: HeldAuthority) -> Bool {
        guard let root = authorities.own(role)?.certificate, let held, held.issuer == root.subject, held.notBefore >= root.notBefore
        else { return false }
        return held.notAfter == root.notAfter
    }

    private func hand(_ role: HeldAuthority, to host: Inventory.Host, _ held: Held) async throws(FleetFailure) {
        let request: AgentPB.SigningRequestFile = try await agents.call(
            host.name, RPC.Agent.requestAuthority,
            AgentPB.AuthorityRequest(header: held.header(cluster, "authority-key"), role: role.rawValue))
        let certificate: Certificate
        do throws(PKIError) { certificate = try authorities.issueAuthority(role, host, request.pem) } catch {
            throw FleetFailure(text: "\(error)")
        }
        try await install(role, host, certificate.pem, held)
    }

    private func install(_ role: HeldAuthority, _ host: Inventory.Host, _ pem: [UInt8], _ held: Held)
        async throws(FleetFailure)
    {
        let request = AgentPB.InstallAuthorityRequest(
            header: held.header(cluster, "authority"), role: role.rawValue, pem: pem, bundle: authorities.bundle(role))
        let _: AgentPB.StepResponse = try await agents.call(
            host.name, RPC.Agent.installAuthority, request, isSafe: false)
    }
}
