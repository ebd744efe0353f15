// Locks and elections: the cluster's queues of who comes next, held by a lease that is kept alive.

import Foundations
import GRPC
import Wire

/// A lock that is held. Comes from ``Client/lock(_:ttl:timeout:)``.
public final class Lock: Sendable {
    /// The key that stands for holding it; exists exactly as long.
    public let key: Blob
    /// The lease it is held by.
    public let lease: Lease
    private let client: Client

    init(_ client: Client, key: Blob, lease: Lease) {
        self.client = client
        self.key = key
        self.lease = lease
    }

    /// False when it is, or may be, somebody else's by now. Look before each act that must not happen twice, or better let
    /// the cluster look: ``condition``.
    public var isHeld: Bool { lease.isAlive }

    /// For a transaction that must only happen while the lock is held.
    public var condition: Transaction.Condition { .exists(key) }

    /// Gives it up.
    public func unlock(timeout: Duration? = nil) async throws(ClientError) {
        // With the lease goes the key.
        try await lease.revoke(timeout: timeout)
    }
}

extension Client {
    /// Waits for a lock, for as long as it takes or `timeout` allows.
    ///
    /// - Parameter ttl: How long others wait after this program has died.
    public func lock(_ name: Blob, ttl: Duration = .seconds(10), timeout: Duration? = nil) async throws(ClientError) -> Lock {
        let deadline = Deadline.after(timeout)
        let lease = try await grantLease(ttl: ttl)
        // The same lease asking twice stands in the queue once: safe to repeat.
        let request = LockRequest(name: name.bytes, lease: lease.id.number)
        do throws(ClientError) {
            let answer = try await locks.lock(request, CallOptions(deadline: deadline, isSafe: true))
            return Lock(self, key: Blob(answer.key), lease: lease)
        } catch {
            await letGo(lease)
            throw error
        }
    }

    /// Runs `body` while holding a lock. When the lock is lost, `body` is cancelled and the call throws.
    ///
    ///     try await client.withLock("deploy") { lock in
    ///         try await client.transaction().when(lock.condition).then(.put("deployed", "7")).commit()
    ///     }
    @discardableResult
    public func withLock<Result: Sendable>(
        _ name: Blob, ttl: Duration = .seconds(10), timeout: Duration? = nil,
        _ body: @escaping @Sendable (Lock) async throws -> Result
    ) async throws -> Result {
        let lock = try await lock(name, ttl: ttl, timeout: timeout)
        let result = await holding(lock.lease) { try await body(lock) }
        await letGo(lock.lease)
        return try result.get()
    }

    /// The body's result, or an error as soon as the lease is lost.
    private func holding<Result: Sendable>(
        _ lease: Lease, _ body: @escaping @Sendable () async throws -> Result
    ) async -> Swift.Result<Result, any Error> {
        await withTaskGroup(of: Swift.Result<Result, any Error>?.self) { group in
            group.addTask {
                do { return .success(try await body()) } catch { return .failure(error) }
            }
            group.addTask {
                // An error means that the wait was cancelled, because the body has ended.
                do { try await lease.untilLost() } catch { return nil }
                return .failure(ClientError(EtcdError.sessionExpired))
            }
            defer { group.cancelAll() }
            for await result in group { if let result { return result } }
            return .failure(CancellationError())
        }
    }

    /// Without an error: what cannot be revoked ends by itself. Also when the caller's task is cancelled.
    private func letGo(_ lease: Lease) async {
        await Task { try? await lease.revoke() }.value
    }

    /// Runs for leader of an election and waits until it is won.
    ///
    ///     let leadership = try await client.campaign(in: "scheduler", value: "host-7")
    ///     ... while leadership.isLeader ...
    ///     try await leadership.resign()
    ///
    /// - Parameters:
    ///   - value: What others see as the leader's.
    ///   - ttl: How long the others wait after this program has died.
    public func campaign(
        in election: Blob, value: Blob, ttl: Duration = .seconds(10), timeout: Duration? = nil
    ) async throws(ClientError) -> Leadership {
        let deadline = Deadline.after(timeout)
        let lease = try await grantLease(ttl: ttl)
        let request = CampaignRequest(name: election.bytes, lease: lease.id.number, value: value.bytes)
        do throws(ClientError) {
            let answer = try await elections.campaign(request, CallOptions(deadline: deadline, isSafe: true))
            guard let key = answer.leader else { throw ClientError(code: .internal, message: "a victory without a key") }
            return Leadership(self, key, lease)
        } catch {
            await letGo(lease)
            throw error
        }
    }

    /// Who leads now; nil when nobody does.
    public func leader(of election: Blob, timeout: Duration? = nil) async throws(ClientError) -> KeyValuePair? {
        do throws(ClientError) {
            return try await elections.leader(LeaderRequest(name: election.bytes), options(timeout)).kv.map { KeyValuePair($0) }
        } catch {
            if error.message == EtcdError.electionNoLeader.message { return nil }
            throw error
        }
    }

    /// The leader now and each one that follows, with what they proclaim. Goes on through the loss of connections.
    public func leaders(of election: Blob) -> Leaders { Leaders(client: self, election: election) }
}

/// An election that is won, until it is resigned or lost. Comes from ``Client/campaign(in:value:ttl:timeout:)``.
public final class Leadership: Sendable {
    /// The key that stands for it.
    public var key: Blob { Blob(leader.key) }
    public let lease: Lease
    private let client: Client
    private let leader: LeaderKey

    init(_ client: Client, _ leader: LeaderKey, _ lease: Lease) {
        self.client = client
        self.leader = leader
        self.lease = lease
    }

    /// False when somebody else leads, or may.
    public var isLeader: Bool { lease.isAlive }

    /// For a transaction that only the leader may make.
    public var condition: Transaction.Condition { .createRevision(of: .key(key), .equal, leader.rev) }

    /// Changes the value that others see.
    public func proclaim(_ value: Blob, timeout: Duration? = nil) async throws(ClientError) {
        // The same value twice is one value: safe to repeat.
        var options = client.options(timeout)
        options.isSafe = true
        _ = try await client.elections.proclaim(ProclaimRequest(leader: leader, value: value.bytes), options)
    }

    /// Steps down.
    public func resign(timeout: Duration? = nil) async throws(ClientError) {
        try await lease.revoke(timeout: timeout)
    }
}

/// The leaders of an election, one after the other; see ``Client/leaders(of:)``.
public struct Leaders: AsyncSequence, Sendable {
    let client: Client
    let election: Blob

    public struct Iterator: AsyncIteratorProtocol {
        let client: Client
        let election: Blob
        var stream: RawStream<LeaderRequest, LeaderResponse>?
        var last: KeyValuePair?
        var failures = 0

        public mutating func next(isolation actor: isolated (any Actor)?) async throws(ClientError) -> KeyValuePair? {
            while true {
                do throws(ClientError) {
                    let open = stream ?? client.elections.observe(LeaderRequest(name: election.bytes))
                    stream = open
                    guard let answer = try await open.next() else {
                        throw ClientError(code: .unavailable, message: "the stream of leaders ended")
                    }
                    failures = 0
                    let leader = answer.kv.map { KeyValuePair($0) }
                    // A new stream begins with what may have been told.
                    guard let leader, leader != last else { continue }
                    last = leader
                    return leader
                } catch {
                    stream = nil
                    failures += 1
                    if Task.isCancelled { throw .cancelled }
                    if client.hasCredentials && RetryRules.meansNewToken(error.status)
                        && failures <= RetryRules.authenticationsMax
                    {
                        await client.forgetToken()
                        continue
                    }
                    guard error != .closed, RetryRules.meansElsewhere(error.status) || error.code == .internal else {
                        throw error
                    }
                    let pause = RetryRules.pause(
                        beforeAttempt: failures + 1, endpoints: client.configuration.endpoints.count)
                    guard (try? await Task.sleep(for: pause)) != nil else { throw .cancelled }
                }
            }
        }
    }

    public func makeAsyncIterator() -> Iterator { Iterator(client: client, election: election) }
}
