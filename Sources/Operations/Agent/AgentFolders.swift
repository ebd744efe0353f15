// Where an agent keeps what, below `root`, which is `/` but for tests and machines shared by several agents.
//
//     /etc/covey/agent/                 identity: agent.crt, agent.key, ca.crt, host.json
//     /etc/covey/agent/authorities/CLUSTER/   client.crt, client.key, peer.crt, peer.key: of a holder
//     /etc/covey/inventory.yaml         put there by others, to converge by
//     /etc/covey/CLUSTER/               cluster.yaml, server.yaml, ledger.json (a copy), tls -> tls-GENERATION,
//                                       admitted-clients while the cluster is being made
//     /var/lib/covey-agent/CLUSTER/     ledger.json, operation.json, journal, audit/
//     /var/lib/covey/versions/          a folder a version slot: a program and where it is from
//     /var/lib/covey/CLUSTER            the member's data; beside it CLUSTER.identity.json and quarantine/

import Inventory

struct AgentFolders: Sendable, Equatable {
    /// Empty for `/`.
    let root: String

    init(root: String) { self.root = root.hasSuffix("/") ? String(root.dropLast()) : root }

    var identity: String { root + "/etc/covey/agent" }
    var hostFile: String { identity + "/host.json" }
    var certificate: String { identity + "/agent.crt" }
    var key: String { identity + "/agent.key" }
    var authority: String { identity + "/ca.crt" }
    var state: String { root + "/var/lib/covey-agent" }

    func configuration(_ cluster: String) -> String { "\(root)/etc/covey/\(cluster)" }
    func inventory(_ cluster: String) -> String { configuration(cluster) + "/cluster.yaml" }
    /// What `covey status` on the host reads; the agent itself does not.
    func ledgerCopy(_ cluster: String) -> String { configuration(cluster) + "/ledger.json" }
    /// What the agent makes of the file put on the host.
    func convergenceNews(_ cluster: String) -> String { configuration(cluster) + "/convergence.json" }
    /// Who may come as a client while the cluster is being made.
    func admission(_ cluster: String) -> String { configuration(cluster) + "/admitted-clients" }
    func tls(_ cluster: String) -> String { configuration(cluster) + "/tls" }
    /// Made by the agent itself, beside what an operator's operation makes.
    func renewedTLS(_ cluster: String) -> String { configuration(cluster) + "/tls-renewed" }
    func authorities(_ cluster: String) -> String { identity + "/authorities/" + cluster }
    func nextTLS(_ cluster: String) -> String { configuration(cluster) + "/tls-next" }

    func records(_ cluster: String) -> String { "\(state)/\(cluster)" }
    func ledger(_ cluster: String) -> String { records(cluster) + "/ledger.json" }
    func operation(_ cluster: String) -> String { records(cluster) + "/operation.json" }
    func leafProof(_ cluster: String) -> String { records(cluster) + "/unproven-certificates.json" }
    func startedSlot(_ cluster: String) -> String { records(cluster) + "/started-slot" }
    func audit(_ cluster: String) -> String { records(cluster) + "/audit" }
    func journal(_ cluster: String) -> String { records(cluster) + "/journal" }

    var versions: String { root + "/var/lib/covey/versions" }
    /// A link to the program the cluster's member is started with; not there: the program of the package.
    func program(_ cluster: String) -> String { configuration(cluster) + "/program" }
    func previousProgram(_ cluster: String) -> String { configuration(cluster) + "/program.previous" }
    var releaseKeys: String { root + "/etc/covey/release-keys.d" }

    /// Of the inventory in effect on this host, or the usual one.
    func data(_ cluster: String, _ inventory: Inventory?) -> String {
        root + (inventory?.dataDirectory ?? "/var/lib/covey/\(cluster)")
    }
}

/// Names become parts of paths.
func isPlainName(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 63 && !name.hasPrefix(".") && !name.hasPrefix("-") && name != "agent"
        && name.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
            default: false
            }
        }
}
