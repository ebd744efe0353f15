// What `covey status` says of the agents' own certificates: nothing, while they are good or become new by themselves.

import Inventory
import Linux
import Wire

enum IdentityNews {
    static func lines(
        _ inventory: Inventory, _ seen: [String: AgentPB.ObserveResponse], now: Int64 = Int64(Clock.wall() / 1_000_000_000)
    ) -> [String] {
        let renewsItself = !HeldAuthority.agent.holders(inventory).isEmpty
        return seen.sorted { $0.key < $1.key }.compactMap { host, agent in
            guard let own = agent.agentCertificate else { return nil }
            if !own.problem.isEmpty {
                return "the identity of the agent of \(host) \(own.problem); \(AgentIdentity.wayBack(host))"
            }
            let age = AgentIdentity.rules(inventory, host).age(own.notBefore, own.notAfter, now: now)
            let failed = agent.agentRenewal.hasPrefix("failed")
            if age == .fresh || age == .due && renewsItself && !failed { return nil }
            return "the identity of the agent of \(host) is good for \(ClusterReport.age(own.notAfter - now)) more: "
                + "covey certs renew \(host)" + (failed ? "; renewal \(agent.agentRenewal)" : "")
        }
    }
}
