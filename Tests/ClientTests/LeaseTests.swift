// Leases, locks and elections against a real etcd.

import CoveyClient
import GRPC
import Linux
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct LeaseTests {
    @Test func `a lease that is kept outlives its time, and ends when it is let go of`() async throws {
        let client = try await SharedEtcd.client()
        var lease: Lease? = try await client.grantLease(ttl: .seconds(6))
        let id = lease!.id
        try await client.put("lease/kept", "1", lease: id)
        await timePasses(milliseconds: 9000)
        #expect(lease!.isAlive)
        let info = try #require(try await client.lease(id, keys: true))
        #expect(info.keys == ["lease/kept"] && info.granted == .seconds(6))
        #expect(try await client.leaseIDs().contains(id))
        lease = nil
        #expect(try await comesTrue { try await client.get("lease/kept") == nil })
    }

    @Test func `a lease that is not kept ends, and says so`() async throws {
        let client = try await SharedEtcd.client()
        let lease = try await client.grantLease(ttl: .seconds(5), keptAlive: false)
        #expect(try await lease.renew() == .seconds(5))
        try await lease.untilLost()
        #expect(!lease.isAlive)
        #expect(try await comesTrue { try await client.lease(lease.id) == nil })
        let error = await #expect(throws: ClientError.self) { try await lease.renew() }
        #expect(error?.isLeaseNotFound == true)
    }

    @Test func `a lease that somebody revokes is lost`() async throws {
        let client = try await SharedEtcd.client()
        let lease = try await client.grantLease(ttl: .seconds(6))
        try await client.put("lease/revoked", "1", lease: lease.id)
        try await client.revokeLease(lease.id)
        #expect(try await client.get("lease/revoked") == nil)
        try await lease.untilLost()
        #expect(!lease.isAlive)
    }

    @Test func `a lease whose server is gone is lost when its time is over`() async throws {
        let server = await EtcdProcess(RealTools.etcd35! + "/etcd").start()
        let client = try Client(ClientConfiguration(endpoints: [server.endpoint]))
        let lease = try await client.grantLease(ttl: .seconds(2))
        await server.kill()
        try await lease.untilLost()
        #expect(!lease.isAlive)
    }

    @Test func `a lease survives the restart of its server`() async throws {
        let server = await EtcdProcess(RealTools.etcd35! + "/etcd").start()
        var configuration = ClientConfiguration(endpoints: [server.endpoint])
        configuration.reconnectDelay = .milliseconds(10) ... .milliseconds(100)
        let client = try Client(configuration)
        let lease = try await client.grantLease(ttl: .seconds(15))
        try await client.put("l", "1", lease: lease.id)
        await server.kill()
        await server.start()
        #expect(lease.isAlive)
        #expect(await comesTrue { (try? await lease.renew(timeout: .seconds(5))) != nil })
        #expect(try await client.get("l", timeout: .seconds(20))?.lease == lease.id)
    }

    @Test func `waiting for a lease's end can be cancelled`() async throws {
        let client = try await SharedEtcd.client()
        let lease = try await client.grantLease(ttl: .seconds(30))
        // Many, and from a thread of its own, so that some are cancelled in the middle of beginning to wait.
        let begun = BlockingQueue<(Int, Counter, Task<Void, any Error>)>()
        let canceller = BackgroundThread(name: "canceller") {
            while let waiters = begun.takeAll() {
                for (round, counter, waiter) in waiters {
                    while counter.value == 0 {}
                    for _ in 0..<round % 1000 { _ = counter.value }
                    waiter.cancel()
                }
            }
        }
        for round in 0..<20_000 {
            let counter = Counter()
            let waiter = Task {
                counter.add()
                try await lease.untilLost()
            }
            begun.push((round, counter, waiter))
            let error = await #expect(throws: ClientError.self) { try await waiter.value }
            #expect(error?.isCancelled == true)
        }
        begun.close()
        canceller.join()
        try await lease.revoke()
        #expect(!lease.isAlive)
    }
}

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct LockTests {
    @Test func `a lock has one holder at a time`() async throws {
        let client = try await SharedEtcd.client()
        let inside = Counter(), most = Counter(), total = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let client = try await SharedEtcd.client()
                    try await client.withLock("lock/one") { lock in
                        inside.add()
                        if inside.value - total.value > 1 { most.add() }
                        let done = try await client.transaction().when(lock.condition).then(.put("lock/seen", "x")).commit()
                        #expect(done.succeeded && lock.isHeld)
                        total.add()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect((total.value, most.value) == (8, 0))
        #expect(try await client.list(.prefix("lock/one/")).pairs.isEmpty)
    }

    @Test func `a wait for a lock ends in time, and leaves the queue`() async throws {
        let client = try await SharedEtcd.client()
        let lock = try await client.lock("lock/two")
        let error = await #expect(throws: ClientError.self) {
            try await client.lock("lock/two", timeout: .milliseconds(200))
        }
        #expect(error?.code == .deadlineExceeded)
        #expect(try await comesTrue { try await client.count(.prefix("lock/two/")) == 1 })
        try await lock.unlock()
        #expect(!lock.isHeld)
        let next = try await client.lock("lock/two", timeout: .seconds(10))
        try await next.unlock()
    }

    @Test func `who loses the lock is stopped`() async throws {
        let client = try await SharedEtcd.client()
        let error = await #expect(throws: ClientError.self) {
            try await client.withLock("lock/three", ttl: .seconds(6)) { lock in
                try await client.revokeLease(lock.lease.id)
                while !Task.isCancelled { await timePasses(milliseconds: 1) }
                throw CancellationError()
            }
        }
        #expect(error?.message == "mutex: session is expired")
    }

    @Test func `an error of the body is the caller's, and the lock is free`() async throws {
        struct Mine: Error {}
        let client = try await SharedEtcd.client()
        await #expect(throws: Mine.self) { try await client.withLock("lock/four") { _ in throw Mine() } }
        try await client.lock("lock/four", timeout: .seconds(10)).unlock()
    }

    @Test func `an election has one leader, and others see who`() async throws {
        let client = try await SharedEtcd.client()
        #expect(try await client.leader(of: "election/one") == nil)
        let first = try await client.campaign(in: "election/one", value: "a")
        #expect(first.isLeader)
        #expect(try await client.leader(of: "election/one")?.value == "a")
        let second = Task { try await client.campaign(in: "election/one", value: "b") }
        var leaders = client.leaders(of: "election/one").makeAsyncIterator()
        #expect(try await leaders.next(isolation: nil)?.value == "a")
        try await first.proclaim("a2")
        #expect(try await leaders.next(isolation: nil)?.value == "a2")
        let guarded = try await client.transaction().when(first.condition).then(.put("election/work", "1")).commit()
        #expect(guarded.succeeded)
        try await first.resign()
        #expect(!first.isLeader)
        let leader = try await second.value
        #expect(try await leaders.next(isolation: nil)?.value == "b")
        let late = try await client.transaction().when(first.condition).then(.put("election/work", "2")).commit()
        #expect(!late.succeeded)
        try await leader.resign()
    }
}
