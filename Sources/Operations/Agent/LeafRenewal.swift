// 3.8 on a host, without an operator: keys made here, certificates from a holder's agent, the switch, and the proof on the
// wire. One at a time; every piece that touches the host runs on its thread.

import CoveyClient
import Foundations
import GRPC
import Inventory
import Linux
import PKI
import Wire

struct LeafRenewal: Sendable {
    let service: AgentService
    let folders: AgentFolders
    let host: String

    /// How long the ports may take to show the new certificates.
    private static let proofNanoseconds: UInt64 = 30_000_000_000

    enum Failure: Error, CustomStringConvertible {
        case waiting(String)
        case failed(String)

        var description: String {
            switch self {
            case .waiting(let text), .failed(let text): text
            }
        }
    }

    func run(_ order: RenewalOrder) async {
        do throws(Failure) {
            let requests = try await onHost { keeper throws(GRPCStatus) in try keeper.beginRenewal(order) }
            let issued = try await ask(order, requests)
            let proof = try await onHost { keeper throws(GRPCStatus) in try keeper.switchLeaves(order, issued.certificates) }
            try await prove(proof, order.inventory)
        } catch { await tell(order.cluster, error, order.retrySeconds) }
    }

    /// What a crash left between the switch and its proof.
    func goOn(_ proof: LeafProof, _ inventory: Inventory) async {
        do throws(Failure) { try await prove(proof, inventory) } catch { await tell(proof.cluster, error, 300) }
    }

    private func tell(_ cluster: String, _ failure: Failure, _ retrySeconds: Int64) async {
        await service.host { keeper in
            switch failure {
            case .waiting(let text):
                keeper.renewalFailed(cluster, text, retrySeconds: 20, isWaiting: true)
            case .failed(let text):
                keeper.renewalFailed(cluster, text, retrySeconds: retrySeconds, isWaiting: false)
            }
        }
    }

    func onHost<Value: Sendable>(
        _ body: @escaping @Sendable (HostKeeper) throws(GRPCStatus) -> Value
    ) async throws(Failure) -> Value {
        let result: Result<Value, GRPCStatus> = await service.host { keeper in
            do throws(GRPCStatus) { return .success(try body(keeper)) } catch { return .failure(error) }
        }
        switch result {
        case .success(let value): return value
        case .failure(let status): throw .failed(status.message)
        }
    }

    // MARK: Asking

    /// The next holder is asked when one does not answer or cannot issue; a turn is waited for.
    func ask(_ order: RenewalOrder, _ requests: [AgentPB.SigningRequestFile]) async throws(Failure)
        -> AgentPB.IssueCertificatesResponse
    {
        var issued = AgentPB.IssueCertificatesResponse()
        for role in AuthorityRole.allCases {
            let own = requests.filter { LeafKind(rawValue: $0.name)?.authority == role }
            if own.isEmpty { continue }
            let names = role.settings(order.inventory).holders
            let answer = try await ask(order.holders.filter { names.contains($0.name) }, order.cluster, own)
            issued.certificates += answer.certificates
            issued.authorities += answer.authorities
        }
        return issued
    }

    /// One after the other, until one issues.
    func ask(
        _ holders: [Inventory.Host], _ cluster: String, _ requests: [AgentPB.SigningRequestFile]
    ) async throws(Failure) -> AgentPB.IssueCertificatesResponse {
        var failures: [String] = []
        for holder in holders {
            do throws(GRPCStatus) { return try await ask(holder, cluster, requests) } catch {
                if error.message.hasPrefix(HostKeeper.waiting) { throw .waiting(error.message) }
                failures.append("\(holder.name): \(error.message)")
            }
        }
        throw .failed(failures.isEmpty ? "the inventory names no holder" : failures.joined(separator: "; "))
    }

    private func ask(_ holder: Inventory.Host, _ cluster: String, _ requests: [AgentPB.SigningRequestFile])
        async throws(GRPCStatus) -> AgentPB.IssueCertificatesResponse
    {
        let endpoint = "https://\(AddressText.inURL(holder.address)):\(HostRecord.defaultPort)"
        var configuration = ClientConfiguration(endpoints: [endpoint], timeout: .seconds(10))
        configuration.tls = .init(
            trustedCA: folders.authority, certificate: folders.certificate, key: folders.key)
        configuration.checksHealth = false
        configuration.connectionWait = .seconds(5)
        do throws(ClientError) {
            let client = try Client(configuration)
            defer { client.close() }
            let request = AgentPB.IssueCertificatesRequest(cluster: cluster, host: host, requests: requests)
            // Signing twice costs a serial; so it may be asked again.
            let options = CallOptions(deadline: .after(.seconds(10)), isSafe: true)
            let answer: AgentPB.IssueCertificatesResponse = try await client.unary(
                RPC.Agent.issueCertificates, request, options)
            return answer
        } catch { throw GRPCStatus(.unavailable, error.message) }
    }

    // MARK: The proof

    private func prove(_ proof: LeafProof, _ inventory: Inventory) async throws(Failure) {
        let active = try await onHost { keeper throws(GRPCStatus) in
            try keeper.perform { () throws(BackendError) in try keeper.backend.state(proof.cluster).active }
        }
        guard active == "active" || active == "activating" || active == "reloading" else {
            let evidence = "serial \(proof.serials["server"] ?? "kept"); the member is \(active), its ports show nothing"
            return try await onHost { keeper throws(GRPCStatus) in try keeper.endRenewal(proof, evidence, failure: nil) }
        }
        let end = Clock.monotonic() + Self.proofNanoseconds
        var problem = await onOwnThread { [self] in unproven(proof, inventory) }
        while problem != nil && Clock.monotonic() < end {
            // Nobody cancels a renewal but by ending the agent.
            try? await Task.sleep(for: .milliseconds(500))
            problem = await onOwnThread { [self] in unproven(proof, inventory) }
        }
        let failure = problem
        let evidence = "serial \(proof.serials["server"] ?? proof.serials["peer"] ?? "") on the wire"
        try await onHost { keeper throws(GRPCStatus) in try keeper.endRenewal(proof, evidence, failure: failure) }
    }

    /// Why the ports of this host's member do not show what they should yet. Blocks.
    private func unproven(_ proof: LeafProof, _ inventory: Inventory) -> String? {
        guard let me = inventory.hosts.first(where: { $0.name == host }) else { return "\(host) is not in the inventory" }
        let dialled = inventory.dialledLocally(me)
        for (kind, port) in [(LeafKind.server, me.clientPort), (.peer, me.peerPort)] {
            guard let wanted = proof.serials[kind.rawValue] else { continue }
            do throws(HandshakeProbe.Failure) {
                let probe = HandshakeProbe.of(kind.authority, folders.tls(proof.cluster))
                let shown = Hexadecimal.encode(try probe.shake(dialled, port, name: me.address, confirmed: true).serial)
                if shown != wanted { return "port \(port) shows serial \(shown), not \(wanted)" }
            } catch { return "port \(port): \(error)" }
        }
        return nil
    }
}

extension HandshakeProbe {
    /// As the member of this host that has the folder would dial others.
    static func of(_ role: AuthorityRole, _ folder: String) -> HandshakeProbe {
        HandshakeProbe(
            trustedCA: "\(folder)/\(role.bundle)", certificate: "\(folder)/\(role.rawValue).crt",
            key: "\(folder)/\(role.rawValue).key")
    }
}

extension Inventory {
    /// Where a host finds its own member.
    func dialledLocally(_ host: Host) -> String {
        guard let listenAddress else { return host.address }
        guard AddressText.isWildcard(listenAddress) else { return listenAddress }
        return listenAddress == "::" ? "::1" : "127.0.0.1"
    }
}

/// Runs what blocks on a thread of its own, because the pool may not wait.
func onOwnThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
        BackgroundThread(name: "handshake") { continuation.resume(returning: body()) }.detach()
    }
}
