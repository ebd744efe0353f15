// The agent's own certificate, renewed without an operator: as LeafRenewal does it for the member's, by the same holders.

import GRPC
import Wire

struct IdentityRenewal: Sendable {
    let leaves: LeafRenewal

    func run(_ order: IdentityOrder) async {
        do throws(LeafRenewal.Failure) {
            let request = try await leaves.onHost { keeper throws(GRPCStatus) in
                try keeper.noteIdentity(order.cluster, .intent, "")
                return try keeper.beginIdentity()
            }
            let answer = try await leaves.ask(order.holders, order.cluster, [request])
            try await leaves.onHost { keeper throws(GRPCStatus) in
                let serial = try keeper.takeIdentity(answer.certificates.first?.pem ?? [])
                try keeper.noteIdentity(order.cluster, .done, "serial \(serial) on the wire")
            }
        } catch {
            let failure = error
            await leaves.service.host { keeper in
                switch failure {
                case .waiting(let text): keeper.identityFailed(order.cluster, text, retrySeconds: 20, isWaiting: true)
                case .failed(let text):
                    keeper.identityFailed(order.cluster, text, retrySeconds: order.retrySeconds, isWaiting: false)
                }
            }
        }
    }
}
