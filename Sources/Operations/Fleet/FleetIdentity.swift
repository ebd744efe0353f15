// Who works on a cluster, and by which certificates it is let in: the operator, who has the authorities, or the agent of a
// host that conducts a convergence, which has none and asks nothing of agents but what their own files allow.

import Glibc
import Inventory
import PKI

struct FleetIdentity: Sendable {
    /// As operations record it.
    var owner: String
    var toAgents: StatusCommand.Credentials
    var toMembers: StatusCommand.Credentials
    /// Nil: certificates are issued by holders.
    var authorities: FleetAuthorities?

    /// Makes what is missing of the authorities and of the operator's own certificates.
    static func ofOperator(_ folder: StateFolder, _ inventory: Inventory) throws(PKIError) -> FleetIdentity {
        let authorities = try FleetAuthorities(folder, inventory)
        return FleetIdentity(
            owner: person, toAgents: toAgents(folder),
            toMembers: .init(
                trustedCA: folder.client + "/ca.crt", certificate: folder.client + "/client.crt",
                key: folder.client + "/client.key"),
            authorities: authorities)
    }

    static func toAgents(_ folder: StateFolder) -> StatusCommand.Credentials {
        let identity = FleetAuthorities.operatorFolder(folder)
        return .init(trustedCA: identity + "/ca.crt", certificate: identity + "/agent.crt", key: identity + "/agent.key")
    }

    /// What the agent of a host has anyway: its own identity, and the certificate by which it looks at the host's member.
    static func ofAgent(_ folders: AgentFolders, _ host: String, _ cluster: String) -> FleetIdentity {
        let client = folders.configuration(cluster) + "/client"
        return FleetIdentity(
            owner: Converging.name(host), toAgents: toAgents(folders),
            toMembers: .init(
                trustedCA: client + "/ca.crt", certificate: client + "/client.crt", key: client + "/client.key"))
    }

    static func toAgents(_ folders: AgentFolders) -> StatusCommand.Credentials {
        .init(trustedCA: folders.authority, certificate: folders.certificate, key: folders.key)
    }

    private static var person: String {
        var name = [CChar](repeating: 0, count: 256)
        unsafe gethostname(&name, name.count - 1)
        let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let user = unsafe getpwuid(getuid()).map { unsafe String(cString: $0.pointee.pw_name) } ?? String(getuid())
        return "\(user)@\(host)"
    }
}
