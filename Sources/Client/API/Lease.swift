// Leases: keys that live only as long as somebody says so, and the saying so.
//
// What a lease promises is judged by the clock of this side and from the moment a renewal was *sent*: when `isAlive` says
// yes, the servers cannot have ended it yet. (Clocks may run at different speeds; servers add their own slack.)

import Foundations
import GRPC
import Linux
import Wire

/// A lease, kept alive until it is revoked or let go of. Keys put with ``id`` go when it ends.
///
///     let lease = try await client.grantLease(ttl: .seconds(10))
///     try await client.put("services/web/7", "10.0.0.7:80", lease: lease.id)
///     ...
///     try await lease.revoke()       // the key is gone at once; without this, 10 seconds after the program's end
///
/// Every third of its time it is renewed, at whatever member answers. When none does until the time is over, or the lease
/// was revoked by somebody, it is lost: ``isAlive`` is false for good and ``untilLost()`` returns.
public final class Lease: Sendable {
    private struct State: Sendable {
        var ttl: Duration
        /// Until then the servers keep it.
        var aliveUntil: Deadline
        var isLost = false
        var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0
    }

    public let id: LeaseID
    let client: Client
    private let state: Mutex<State>
    private let keeper = Mutex<Task<Void, Never>?>(nil)

    init(_ client: Client, id: LeaseID, ttl: Duration, sent: Deadline, isKept: Bool) {
        self.client = client
        self.id = id
        state = Mutex(State(ttl: ttl, aliveUntil: sent + ttl))
        if isKept {
            // The task must not keep the lease, or letting go would not end it.
            let task = Task { [me = WeakReference(self), client] in await Lease.keep(id, client, me) }
            keeper.withLock { $0 = task }
        }
    }

    deinit { keeper.withLock { $0?.cancel() } }

    /// What the cluster granted.
    public var ttl: Duration { state.withLock { $0.ttl } }

    /// False when it has ended, or may have.
    public var isAlive: Bool {
        state.withLock { state in
            if state.aliveUntil.hasPassed { state.isLost = true }
            return !state.isLost
        }
    }

    /// Returns when the lease is lost or revoked; throws when the waiting task is cancelled.
    public func untilLost() async throws(ClientError) {
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let timer = Task { [weak self] in
            while let self, self.isAlive {
                // Cancelled when nobody waits any more.
                guard (try? await Task.sleep(nanoseconds: self.remaining)) != nil else { return }
            }
            self?.lose()
        }
        defer { timer.cancel() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let isOver = state.withLock { state in
                    // Asked once: a cancellation between two questions would find it both kept and resumed.
                    let isOver = state.isLost || Task.isCancelled
                    if !isOver { state.waiters[id] = waiter }
                    return isOver
                }
                if isOver { waiter.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
        }
        if isAlive { throw .cancelled }
    }

    /// Renews it now; for leases that are not kept alive by themselves. Returns what is left.
    @discardableResult
    public func renew(timeout: Duration? = nil) async throws(ClientError) -> Duration {
        let sent = Deadline.after(.zero)
        let left = try await client.renew(id, .after(timeout ?? client.configuration.timeout))
        renewed(left, sent: sent)
        guard left > .zero else { throw ClientError(EtcdError.leaseNotFound) }
        return left
    }

    /// Ends it: its keys are deleted.
    public func revoke(timeout: Duration? = nil) async throws(ClientError) {
        lose()
        keeper.withLock { $0?.cancel() }
        try await client.revokeLease(id, timeout: timeout)
    }

    // MARK: Keeping

    private var remaining: UInt64 { state.withLock { $0.aliveUntil.remaining } }

    private func renewed(_ left: Duration, sent: Deadline) {
        guard left > .zero else { return lose() }
        state.withLock { state in
            state.ttl = left
            state.aliveUntil = max(state.aliveUntil, sent + left)
        }
    }

    private func lose() {
        let waiters = state.withLock { state in
            state.isLost = true
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }

    /// Renewals at a third of the time; after a failure again soon, as long as it can help.
    private static func keep(_ id: LeaseID, _ client: Client, _ lease: WeakReference<Lease>) async {
        var pause = lease.value?.ttl ?? .zero
        pause /= 3
        while (try? await Task.sleep(for: pause)) != nil {
            guard let alive = lease.value, alive.isAlive else {
                lease.value?.lose()
                return
            }
            let ttl = alive.ttl
            // One attempt may not use up the time of the next one.
            let deadline = Deadline.after(ttl / 3)
            let sent = Deadline.after(.zero)
            do throws(ClientError) {
                let left = try await client.renew(id, deadline)
                alive.renewed(left, sent: sent)
                pause = left / 3
            } catch {
                if error == .closed { return alive.lose() }
                pause = min(ttl / 10, .milliseconds(500))
            }
        }
    }
}

/// A lease as the cluster sees it.
public struct LeaseInfo: Sendable {
    public var id: LeaseID
    /// What it was granted.
    public var granted: Duration
    /// What is left.
    public var remaining: Duration
    /// The keys that live by it, if asked for.
    public var keys: [Blob]
}

extension Client {
    /// Makes a lease.
    ///
    /// - Parameters:
    ///   - ttl: Its time in whole seconds; servers raise what is too little.
    ///   - id: Nil: the cluster chooses.
    ///   - keptAlive: Renew it by itself, as long as the ``Lease`` object lives.
    public func grantLease(
        ttl: Duration, id: LeaseID? = nil, keptAlive: Bool = true, timeout: Duration? = nil
    ) async throws(ClientError) -> Lease {
        let sent = Deadline.after(.zero)
        let seconds = Int64(ttl.components.seconds) + (ttl.components.attoseconds > 0 ? 1 : 0)
        let answer = try await leases.grant(LeaseGrantRequest(ttl: seconds, id: id?.number ?? 0), options(timeout))
        return Lease(self, id: LeaseID(number: answer.id), ttl: .seconds(answer.ttl), sent: sent, isKept: keptAlive)
    }

    /// Ends a lease by its number: its keys are deleted.
    public func revokeLease(_ id: LeaseID, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await leases.revoke(LeaseRevokeRequest(id: id.number), options(timeout))
    }

    /// What the cluster knows of a lease; nil when there is none with this number.
    public func lease(_ id: LeaseID, keys: Bool = false, timeout: Duration? = nil) async throws(ClientError) -> LeaseInfo? {
        let answer = try await leases.timeToLive(LeaseTimeToLiveRequest(id: id.number, keys: keys), options(timeout))
        guard answer.ttl >= 0 else { return nil }
        return LeaseInfo(
            id: id, granted: .seconds(answer.grantedTTL), remaining: .seconds(answer.ttl), keys: answer.keys.map { Blob($0) })
    }

    /// The numbers of all leases.
    public func leaseIDs(timeout: Duration? = nil) async throws(ClientError) -> [LeaseID] {
        try await leases.list(LeaseLeasesRequest(), options(timeout)).leases.map { LeaseID(number: $0.id) }
    }

    /// One renewal: a stream with one question and one answer. Harmless twice, so it is tried at every endpoint until one
    /// answers or the time is over. Zero: there is no such lease.
    func renew(_ id: LeaseID, _ deadline: Deadline) async throws(ClientError) -> Duration {
        var attempt = 1
        var authentications = 0
        while true {
            let stream = leases.keepAlive(CallOptions(deadline: deadline))
            do throws(ClientError) {
                try await stream.send(LeaseKeepAliveRequest(id: id.number))
                guard let answer = try await stream.next() else {
                    throw ClientError(code: .unavailable, message: "the keep-alive stream ended")
                }
                return .seconds(answer.ttl)
            } catch {
                if hasCredentials && RetryRules.meansNewToken(error.status) && authentications < RetryRules.authenticationsMax {
                    authentications += 1
                    await forgetToken()
                    continue
                }
                attempt += 1
                guard RetryRules.meansElsewhere(error.status), attempt <= RetryRules.attemptsMax else { throw error }
                let pause = RetryRules.pause(beforeAttempt: attempt, endpoints: configuration.endpoints.count)
                guard pause.nanoseconds < deadline.remaining else { throw error }
                guard (try? await Task.sleep(for: pause)) != nil else { throw .cancelled }
            }
        }
    }
}

extension Deadline {
    static func + (start: Deadline, time: Duration) -> Deadline {
        let (sum, overflow) = start.nanoseconds.addingReportingOverflow(time.nanoseconds)
        return overflow ? .never : Deadline(nanoseconds: sum)
    }
}
