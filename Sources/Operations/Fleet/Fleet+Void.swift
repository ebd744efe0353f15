// A host that was away when an attempt was given up, or a cluster ended, comes back with its ledger and perhaps its data. Tokens
// are never used again, so what it has is nobody's: it is set aside as it was on the others.

import Inventory
import Wire

extension Fleet {
    /// Under a claim, before anything else. What goes on with hosts afterwards finds them bare.
    func clearVoid(_ held: Held, _ view: View) async throws(FleetFailure) {
        for name in held.hosts {
            guard let ledger = view.agents[name].flatMap({ Ledger(text: $0.ledger) }), view.isVoid(ledger) else { continue }
            try await control(held, [name], [.stop, .disable])
            try await waitUntilDown(name)
            let data = try await setAside(held, name, "void")
            let _: AgentPB.StepResponse = try await agents.call(
                name, RPC.Agent.writeLedger, AgentPB.WriteLedgerRequest(header: held.header(cluster, "void")), isSafe: false)
            events.tell(name, "\(ledger.token) was given up while it was away; data: \(data)")
        }
    }
}
