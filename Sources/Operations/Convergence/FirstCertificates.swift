// Certificates of a host that is about to be a member, when no operator is there to issue them: keys made here, certified by
// the agents of the holders, whom this host asks itself, under its own name.

import GRPC
import Wire

struct FirstCertificates: Sendable {
    let service: AgentService
    let folders: AgentFolders
    let host: String
    /// Who orders it.
    let caller: AuditCaller

    func obtain(_ request: AgentPB.ObtainCertificatesRequest) async throws(GRPCStatus) -> AgentPB.StepResponse {
        let name = caller.name
        let begun = try await onHost { keeper throws(GRPCStatus) in try keeper.beginCertificates(request, by: name) }
        guard let begun else { return AgentPB.StepResponse(evidence: "there already") }
        let renewal = LeafRenewal(service: service, folders: folders, host: host)
        let issued: AgentPB.IssueCertificatesResponse
        do throws(LeafRenewal.Failure) { issued = try await renewal.ask(begun.order, begun.requests) } catch {
            throw GRPCStatus(.unavailable, "\(host): no certificates: \(error)")
        }
        return try await onHost { keeper throws(GRPCStatus) in
            try keeper.installCertificates(request, begun.order, issued)
        }
    }

    private func onHost<Value: Sendable>(
        _ body: @escaping @Sendable (HostKeeper) throws(GRPCStatus) -> Value
    ) async throws(GRPCStatus) -> Value {
        let caller = caller
        let result: Result<Value, GRPCStatus> = await service.host { keeper in
            keeper.caller = caller
            defer { keeper.caller = nil }
            do throws(GRPCStatus) { return .success(try body(keeper)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
