// Leases: the rules one by one, then long random runs against a model that simply scans.

import Foundations
import GRPC
import MVCC
import Testing

@testable import State

@Suite struct LessorTests {
    private func leader(_ settings: Lessor.Settings = Lessor.Settings()) -> Lessor {
        var lessor = Lessor(settings)
        lessor.promote(now: 0)
        return lessor
    }

    private func grant(_ lessor: inout Lessor, _ id: Int64, _ ttl: Int64, now: Nanoseconds = 0) throws -> Int64 {
        var batch = StoreBatch(number: 1)
        return try lessor.grant(LeaseID(id), ttl: ttl, now: now, into: &batch)
    }

    @Test(arguments: [(10, 100, 2), (10, 500, 8), (50, 100, 8), (5, 100, 1), (11, 100, 2)])
    func `the smallest TTL comes from raft's timing`(ticks: Int, heartbeatMilliseconds: Int64, expected: Int64) {
        #expect(Lessor.Settings.minimumTTL(electionTicks: ticks, heartbeat: heartbeatMilliseconds * .millisecond) == expected)
    }

    @Test(arguments: [(100, 100), (1, 2), (0, 2), (-5, 2), (9_000_000_000, 9_000_000_000)] as [(Int64, Int64)])
    func `a grant's TTL`(asked: Int64, granted: Int64) throws {
        var lessor = leader()
        #expect(try grant(&lessor, 7, asked) == granted)
    }

    @Test func `grants that are refused, in the order of the checks`() throws {
        var lessor = leader()
        #expect(throws: EtcdError.leaseNotFound) { try grant(&lessor, 0, 9_000_000_001) }
        _ = try grant(&lessor, 7, 10)
        #expect(throws: EtcdError.leaseTTLTooLarge) { try grant(&lessor, 7, 9_000_000_001) }
        #expect(throws: EtcdError.leaseExists) { try grant(&lessor, 7, 10) }
        #expect(try grant(&lessor, -7, 10) == 10)
    }

    @Test func `a renewal moves the end, without a trace in the queue`() throws {
        var lessor = leader()
        _ = try grant(&lessor, 7, 10)
        for second in 1...30 as ClosedRange<Int64> {
            #expect(lessor.renew(LeaseID(7), now: second * .second) == .renewed(ttl: 10, clearCheckpoint: false))
        }
        #expect(lessor.takeExpired(now: 39 * .second, max: 10) == [])
        #expect(lessor.takeExpired(now: 40 * .second, max: 10) == [LeaseID(7)])
        #expect(lessor.renew(LeaseID(7), now: 40 * .second) == .expiring)
        // Offered again when the revoke does not come.
        #expect(lessor.takeExpired(now: 42 * .second, max: 10) == [])
        #expect(lessor.takeExpired(now: 43 * .second, max: 10) == [LeaseID(7)])
        var batch = StoreBatch(number: 1)
        lessor.remove(LeaseID(7), into: &batch)
        #expect(lessor.renew(LeaseID(7), now: 43 * .second) == .unknown)
        #expect(lessor.takeExpired(now: 99 * .second, max: 10) == [])
    }

    @Test func `a lease under an id that was used before has its own time`() throws {
        var lessor = leader()
        _ = try grant(&lessor, 7, 2)
        var batch = StoreBatch(number: 1)
        lessor.remove(LeaseID(7), into: &batch)
        _ = try grant(&lessor, 7, 100)
        #expect(lessor.takeExpired(now: 99 * .second, max: 10) == [])
        #expect(lessor.takeExpired(now: 100 * .second, max: 10) == [LeaseID(7)])
    }

    @Test func `followers expire nothing and renew nothing`() throws {
        var lessor = Lessor(Lessor.Settings())
        _ = try grant(&lessor, 7, 2)
        #expect(lessor.takeExpired(now: 1000 * .second, max: 10) == [])
        #expect(lessor.renew(LeaseID(7), now: 0) == .notLeader)
        #expect(lessor.timeToLive(LeaseID(7), now: 0)?.remaining == nil)
        lessor.promote(now: 1000 * .second)
        // The full TTL and an election timeout more.
        #expect(lessor.takeExpired(now: 1003 * .second - 1, max: 10) == [])
        #expect(lessor.takeExpired(now: 1003 * .second, max: 10) == [LeaseID(7)])
        lessor.demote()
        #expect(lessor.takeExpired(now: 9000 * .second, max: 10) == [])
    }

    @Test func `the time left, in whole seconds`() throws {
        var lessor = leader()
        _ = try grant(&lessor, 7, 10)
        #expect(lessor.timeToLive(LeaseID(7), now: 1)?.remaining == 9)
        #expect(lessor.timeToLive(LeaseID(7), now: 10 * .second)?.remaining == 0)
        #expect(lessor.timeToLive(LeaseID(7), now: 11 * .second)?.remaining == 0)
        #expect(lessor.timeToLive(LeaseID(8), now: 0) == nil)
    }

    @Test func `the longest leases do not overflow`() throws {
        var lessor = Lessor(Lessor.Settings())
        _ = try grant(&lessor, 7, Lessor.ttlMax)
        lessor.promote(now: 9_000_000_000 * .second)
        #expect(lessor.takeExpired(now: .max - 1, max: 10) == [])
        #expect(lessor.renew(LeaseID(7), now: 10) == .renewed(ttl: Lessor.ttlMax, clearCheckpoint: false))
    }

    @Test func `listed by the time left on the leader, by id elsewhere`() throws {
        var lessor = leader()
        for (id, ttl) in [(1, 30), (2, 10), (3, 20)] as [(Int64, Int64)] { _ = try grant(&lessor, id, ttl) }
        #expect(lessor.all().map(\.rawValue) == [2, 3, 1])
        lessor.demote()
        #expect(lessor.all().map(\.rawValue) == [1, 2, 3])
    }

    @Test func `no more than 500 leases in half a second, each once`() throws {
        var lessor = leader()
        for id in 1...1200 as ClosedRange<Int64> { _ = try grant(&lessor, id, 2) }
        var seen: [LeaseID] = []
        let start = 2 * .second as Nanoseconds
        for _ in 0..<100 { seen += lessor.takeExpired(now: start, max: 16) }
        #expect(seen.count == 500)
        for _ in 0..<100 { seen += lessor.takeExpired(now: start + 499 * .millisecond, max: 16) }
        #expect(seen.count == 500)
        for _ in 0..<100 { seen += lessor.takeExpired(now: start + 500 * .millisecond, max: 16) }
        for _ in 0..<100 { seen += lessor.takeExpired(now: start + 1000 * .millisecond, max: 16) }
        #expect(seen.count == 1200)
        #expect(Set(seen).count == 1200)
    }

    @Test func `after a promotion a pile of leases ends spread out`() throws {
        var lessor = Lessor(Lessor.Settings())
        for id in 1...5000 as ClosedRange<Int64> { _ = try grant(&lessor, id, id <= 4000 ? 60 : 100) }
        lessor.promote(now: 0)
        var ends: [Nanoseconds] = []
        var now: Nanoseconds = 60 * .second
        while ends.count < 5000 {
            now += 100 * .millisecond
            while true {
                let some = lessor.takeExpired(now: now, max: 1000)
                if some.isEmpty { break }
                for id in some {
                    ends.append(now)
                    var batch = StoreBatch(number: 1)
                    lessor.remove(id, into: &batch)
                }
            }
            if now > 200 * .second { break }
        }
        #expect(ends.count == 5000)
        for i in ends.indices.dropFirst(Lessor.expirationsPerSecondMax) {
            #expect(ends[i] - ends[i - Lessor.expirationsPerSecondMax] >= 900 * .millisecond)
        }
        // The late ones were not held up by the early ones.
        #expect(ends[4999] <= 104 * .second)
    }

    @Test func `checkpoints: who is due, once per interval, at most a thousand`() throws {
        var settings = Lessor.Settings()
        settings.checkpoints = true
        var lessor = leader(settings)
        for id in 1...1500 as ClosedRange<Int64> { _ = try grant(&lessor, id, 1000) }
        _ = try grant(&lessor, 5000, 300)
        #expect(lessor.takeCheckpoints(now: 299 * .second).isEmpty)
        let first = lessor.takeCheckpoints(now: 300 * .second)
        let second = lessor.takeCheckpoints(now: 300 * .second)
        #expect(first.count == 1000 && second.count == 500)
        #expect(first.allSatisfy { $0.remainingTTL == 700 })
        #expect(lessor.takeCheckpoints(now: 301 * .second).isEmpty)
        var batch = StoreBatch(number: 1)
        for (id, remaining) in first + second {
            lessor.checkpoint(id, remainingTTL: remaining, now: 300 * .second, into: &batch)
        }
        #expect(lessor.takeCheckpoints(now: 600 * .second).count == 1000)
        // The leader changes: what is left counts, not the full time.
        lessor.demote()
        lessor.promote(now: 0)
        #expect(lessor.timeToLive(LeaseID(1), now: 0)?.remaining == 701)
        #expect(lessor.renew(LeaseID(1), now: 0) == .renewed(ttl: 1000, clearCheckpoint: true))
        #expect(lessor.renew(LeaseID(1), now: 0) == .renewed(ttl: 1000, clearCheckpoint: false))
    }

    @Test func `keys belong to one lease, the last they were written with`() throws {
        var lessor = leader()
        _ = try grant(&lessor, 1, 10)
        _ = try grant(&lessor, 2, 10)
        lessor.setLease(of: bytes("b").rawSpan, to: LeaseID(1))
        lessor.setLease(of: bytes("a").rawSpan, to: LeaseID(1))
        lessor.setLease(of: bytes("a").rawSpan, to: LeaseID(1))
        #expect(lessor.sortedKeys(of: LeaseID(1)) == [bytes("a"), bytes("b")])
        lessor.setLease(of: bytes("a").rawSpan, to: LeaseID(2))
        #expect(lessor.sortedKeys(of: LeaseID(1)) == [bytes("b")])
        lessor.setLease(of: bytes("a").rawSpan, to: .none)
        #expect(lessor.sortedKeys(of: LeaseID(2)) == [])
        #expect(lessor.lease(of: bytes("b")) == LeaseID(1))
        #expect(lessor.sortedKeys(of: LeaseID(3)) == nil)
    }

    @Test func `leases survive a restart as they were granted`() throws {
        let store = InMemoryStore()
        var batch = StoreBatch(number: 1)
        var settings = Lessor.Settings()
        settings.persistCheckpoints = true
        var lessor = Lessor(settings)
        _ = try lessor.grant(LeaseID(7), ttl: 100, now: 0, into: &batch)
        _ = try lessor.grant(LeaseID(-9), ttl: 5, now: 0, into: &batch)
        _ = try lessor.grant(LeaseID(8), ttl: 5, now: 0, into: &batch)
        lessor.checkpoint(LeaseID(7), remainingTTL: 40, now: 0, into: &batch)
        lessor.remove(LeaseID(8), into: &batch)
        store.submit(batch)
        settings.minimumTTL = 6
        var restored = Lessor(settings)
        restored.restore(store.view())
        #expect(restored.all().map(\.rawValue) == [-9, 7])
        restored.promote(now: 0)
        #expect(restored.timeToLive(LeaseID(7), now: 0)! == (granted: 100, remaining: 41))
        #expect(restored.timeToLive(LeaseID(-9), now: 0)! == (granted: 6, remaining: 7))
    }

    /// A scan over a plain dictionary.
    private struct Model {
        var deadlines: [Int64: Nanoseconds] = [:]
        var ttls: [Int64: Int64] = [:]
        var retries: [Int64: Nanoseconds] = [:]
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `random lives agree with a scan`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var lessor = leader()
        var model = Model()
        var now: Nanoseconds = 0
        var batch = StoreBatch(number: 1)
        for _ in 0..<2000 {
            now += Nanoseconds.random(in: 0...(800 * .millisecond), using: &random)
            let id = Int64.random(in: 1...40, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0...2:
                let ttl = Int64.random(in: 2...20, using: &random)
                let isNew = model.ttls[id] == nil
                let granted = try? lessor.grant(LeaseID(id), ttl: ttl, now: now, into: &batch)
                #expect((granted != nil) == isNew, "seed \(seed)")
                if isNew {
                    model.ttls[id] = ttl
                    model.deadlines[id] = now + ttl * .second
                }
            case 3:
                lessor.remove(LeaseID(id), into: &batch)
                model.ttls[id] = nil
                model.deadlines[id] = nil
                model.retries[id] = nil
            case 4...6:
                let result = lessor.renew(LeaseID(id), now: now)
                if let deadline = model.deadlines[id], let ttl = model.ttls[id] {
                    if deadline > now {
                        #expect(result == .renewed(ttl: ttl, clearCheckpoint: false), "seed \(seed)")
                        model.deadlines[id] = now + ttl * .second
                    } else {
                        #expect(result == .expiring, "seed \(seed)")
                    }
                } else {
                    #expect(result == .unknown, "seed \(seed)")
                }
            default:
                let due = Set(
                    model.deadlines.filter { $0.value <= now && (model.retries[$0.key] ?? 0) <= now }.map(\.key))
                let taken = lessor.takeExpired(now: now, max: 100).map(\.rawValue)
                #expect(Set(taken) == due, "seed \(seed)")
                #expect(taken.count == due.count, "seed \(seed)")
                for id in taken { model.retries[id] = now + Lessor.revokeRetry }
            }
            #expect(lessor.count == model.ttls.count, "seed \(seed)")
        }
    }
}
