// Keeps one lease alive: renewed three times in its life, over a stream that is opened again when it breaks, until the
// server says the lease is gone, or so much time has passed that it must be.

import CoveyClient
import Foundations
import Linux
import Wire

actor LeaseKeeper {
    private let client: Client
    private let id: Int64
    private var stream: RawStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>?
    /// When the next renewal is due; nil before the first.
    private var next: ContinuousClock.Instant?
    /// When the lease is over as far as we know.
    private var end: ContinuousClock.Instant?

    init(_ client: Client, id: Int64) {
        self.client = client
        self.id = id
    }

    /// Renews when it is time to; nil when the lease is over or the task is cancelled.
    func renewed() async -> LeaseKeepAliveResponse? {
        while !Task.isCancelled {
            if let next {
                // Cancelled: the loop's condition sees it.
                try? await Task.sleep(until: next, clock: .continuous)
            }
            do throws(ClientError) {
                guard let answer = try await renew() else { continue }
                guard answer.ttl > 0 else { return nil }
                let now = ContinuousClock.now
                end = now + .seconds(answer.ttl)
                next = now + .seconds(answer.ttl) / 3
                return answer
            } catch {
                stream = nil
                if let end, ContinuousClock.now >= end { return nil }
                if error.code == .permissionDenied || error.isLeaseNotFound { return nil }
                next = .now + .milliseconds(500)
            }
        }
        return nil
    }

    private func renew() async throws(ClientError) -> LeaseKeepAliveResponse? {
        let open = stream ?? client.leases.keepAlive(CallOptions(requireLeader: true))
        stream = open
        try await open.send(LeaseKeepAliveRequest(id: id))
        let answer = try await open.next()
        if answer == nil { stream = nil }
        return answer
    }
}
