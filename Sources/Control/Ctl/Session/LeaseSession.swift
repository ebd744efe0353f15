// A lease that is kept alive for as long as a command runs: locks and candidacies hang on it, so that they end when the
// command does, however it ends.

import CoveyClient
import Foundations
import Wire

struct LeaseSession: Sendable {
    let client: Client
    let id: Int64
    private let keeping: Task<Void, Never>

    init(_ client: Client, ttl: Int64) async throws(ClientError) {
        let lease = try await client.leases.grant(LeaseGrantRequest(ttl: ttl), CallOptions(requireLeader: true))
        self.client = client
        id = lease.id
        let keeper = LeaseKeeper(client, id: lease.id)
        keeping = Task { while await keeper.renewed() != nil {} }
    }

    /// Returns when the lease is lost.
    func lost() async { await keeping.value }

    /// Gives the lease back at once instead of letting it run out; what hangs on it goes too.
    func end() async {
        keeping.cancel()
        // It runs out by itself if nobody can be told.
        _ = try? await client.leases.revoke(LeaseRevokeRequest(id: id), CallOptions(deadline: .after(.seconds(2))))
    }
}
