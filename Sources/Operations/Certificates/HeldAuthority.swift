// The authorities a host may hold to issue in the operator's name: for leaves of members, and for the agents themselves. A
// holder of any of the former holds the latter, too, so that where members' certificates renew by themselves agents' do.
//
// What a holder issues for agents is good among agents. An operator's certificate is taken only from the authority itself,
// which never leaves the operator's machine: whoever breaks into a holder is not an operator.

import Inventory
import PKI

enum HeldAuthority: String, Sendable, CaseIterable {
    case client, peer, agent

    init(_ role: AuthorityRole) { self = role == .client ? .client : .peer }

    /// In the order they are asked.
    func holders(_ inventory: Inventory) -> [String] {
        switch self {
        case .client: return inventory.clientCA.holders
        case .peer: return inventory.peerCA.holders
        case .agent:
            var seen: Set<String> = []
            return (inventory.clientCA.holders + inventory.peerCA.holders).filter { seen.insert($0).inserted }
        }
    }
}

/// The certificate by which an agent is known to operators and to other agents, and they to it.
enum AgentIdentity {
    static let lifetime: Int64 = 365 * 86_400
    /// In requests and answers, beside `server`, `peer` and `client`.
    static let name = "agent"

    static func commonName(_ host: String) -> String { "agent:\(host)" }

    static func profile(_ host: Inventory.Host, _ cluster: String, now: Int64) -> CertificateProfile {
        CertificateProfile(
            commonName: commonName(host.name), organizations: [cluster], hosts: [host.address, host.name], now: now,
            validitySeconds: lifetime)
    }

    static func rules(_ inventory: Inventory?, _ host: String) -> RenewalRules {
        let hosts = inventory?.hosts ?? []
        return RenewalRules(
            lifetime: lifetime, renewAt: 2.0 / 3, place: hosts.firstIndex { $0.name == host } ?? 0, count: max(1, hosts.count))
    }

    /// What is wrong with one of this host; nil when it is as it should be.
    static func problem(
        _ chain: [Certificate], _ key: PrivateKey?, trusted: [Certificate], _ host: HostRecord, now: Int64
    ) -> String? {
        guard let leaf = chain.first else { return "cannot be read" }
        guard let key else { return "has no key here" }
        if !leaf.belongs(to: key) { return "its key is another one" }
        if leaf.notAfter <= now { return "has expired" }
        if leaf.notBefore > now { return "is not valid yet; compare the clocks" }
        if leaf.commonName != commonName(host.name) { return "is of \(leaf.commonName)" }
        if !leaf.isValid(forHost: host.address) { return "lacks \(host.address)" }
        return CertificateChain.problem(chain, trusted: trusted, usages: [.server, .client], at: now)
    }

    /// What is said of one that ended: there is no channel left by which it could be renewed.
    static func wayBack(_ host: String) -> String {
        "give it a new one: covey enroll \(host) (ssh), or covey enroll --token \(host)"
    }
}
