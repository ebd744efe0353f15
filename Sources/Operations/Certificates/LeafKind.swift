// The certificates of a host: what each says, who issues it, and whether one that is there still serves. Names and addresses
// are always the inventory's; what a request asks for does not count.

import Flags
import Inventory
import PKI

enum AuthorityRole: String, Sendable, CaseIterable {
    case client, peer

    func settings(_ inventory: Inventory) -> Inventory.Authority {
        self == .client ? inventory.clientCA : inventory.peerCA
    }

    /// In a folder of certificates.
    var bundle: String { "\(rawValue)-ca.crt" }
}

enum LeafKind: String, Sendable, CaseIterable {
    case server, peer, client

    /// Who signs it, and whom those who are shown it must trust.
    var authority: AuthorityRole { self == .peer ? .peer : .client }
    var usages: [CertificateProfile.Usage] { self == .client ? [.client] : [.server, .client] }

    func names(_ host: Inventory.Host, _ inventory: Inventory) -> [String] {
        var names: [String]
        switch self {
        case .server:
            names = [host.address, host.name, "localhost", "127.0.0.1", "::1"] + (inventory.extraNames[host.name] ?? [])
        case .peer:
            // Members check where they are dialled from; on a machine that is several hosts that is always 127.0.0.1.
            names = [host.address, host.name] + (AddressText.isLoopback(host.address) ? ["127.0.0.1"] : [])
        case .client: names = []
        }
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }
    }

    func profile(_ host: Inventory.Host, _ inventory: Inventory, now: Int64) -> CertificateProfile {
        CertificateProfile(
            commonName: self == .client ? "covey-health" : host.name, organizations: [inventory.name],
            hosts: names(host, inventory), usages: usages, now: now,
            validitySeconds: inventory.leafLifetime / GoDuration.second)
    }

    /// What is wrong with a certificate of this kind on this host; nil when it is as it should be. `key`: nil when it is kept
    /// by somebody else.
    func problem(
        _ chain: [Certificate], _ key: PrivateKey?, trusted: [Certificate], _ host: Inventory.Host,
        _ inventory: Inventory, now: Int64
    ) -> String? {
        guard let leaf = chain.first else { return "there is none" }
        if let key, !leaf.belongs(to: key) { return "its key is another one" }
        if leaf.notAfter <= now { return "has expired" }
        if leaf.notBefore > now { return "is not valid yet; compare the clocks" }
        if let missing = names(host, inventory).first(where: { !leaf.isValid(forHost: $0) }) { return "lacks \(missing)" }
        return CertificateChain.problem(chain, trusted: trusted, usages: usages, at: now)
    }
}
