// Leases: a promise to delete keys unless somebody keeps renewing it.
//
// What is replicated is small: grant, revoke, attachment of keys (through puts), and now and then a checkpoint of the
// time that is left. *When* a lease ends is known to the leader alone: it keeps deadlines in memory, renews them when a
// client calls, and proposes a revoke when one has passed. A follower's leases never expire by themselves.
//
//                 promote(now)                      takeExpired -> revoke proposed
//     follower ------------------> leader: deadline ------------------------------> revoke applied: gone
//              <------------------         ^      |
//                    demote                +------+ renew: deadline := now + TTL; a dictionary look-up and a store
//
// Costs: grant O(log n), renew O(1) (the heap is lazy, see ExpiryQueue), taking an expired lease O(log n), nothing per
// tick for leases that are not due. About 100 bytes a lease beside its keys.

import Foundations
import GRPC
import MVCC
import Wire

package struct Lessor {
    /// What is fixed when a member starts.
    package struct Settings: Sendable {
        /// Shorter TTLs are raised to this many seconds. See `minimumTTL`.
        package var minimumTTL: Int64 = 2
        /// Added to every lease when this member becomes leader, so that nobody loses a lease to an election.
        package var electionTimeout: Nanoseconds = .second
        /// Replicate the time that is left, so that a change of leader does not start long leases again.
        package var checkpoints = false
        /// Write checkpoints to the store as well (cluster version 3.6 and later, or by option).
        package var persistCheckpoints = false

        package init() {}

        /// The smallest TTL a member grants, from its raft timing: 1.5 election timeouts, rounded up to seconds.
        package static func minimumTTL(electionTicks: Int, heartbeat: Nanoseconds) -> Int64 {
            let minimum = Nanoseconds(3 * electionTicks / 2) * heartbeat
            return (minimum + .second - 1) / .second
        }
    }

    package enum Renewal: Equatable, Sendable {
        /// Renewed; the answer carries the granted TTL. With `clearCheckpoint` a checkpoint with remaining time 0 must
        /// be proposed, since the replicated remaining time no longer holds.
        case renewed(ttl: Int64, clearCheckpoint: Bool)
        /// The deadline has passed and the revoke is on its way: answer "unknown" once it is applied.
        case expiring
        case unknown
        /// Only the leader knows deadlines.
        case notLeader
    }

    package static let ttlMax: Int64 = 9_000_000_000
    /// At most so many leases are handed out for revoking in one `expiryInterval`.
    package static let expiredPerIntervalMax = 500
    package static let expiryInterval: Nanoseconds = 500 * .millisecond
    /// A revoke that did not apply by then is proposed again.
    package static let revokeRetry: Nanoseconds = 3 * .second
    package static let checkpointInterval: Nanoseconds = 300 * .second
    package static let checkpointBatchMax = 1000
    /// After a promotion at most so many leases may end within any second.
    package static let expirationsPerSecondMax = 750

    struct Record {
        var id: Int64
        var ttl: Int64
        /// Seconds left at the last checkpoint; 0: the full TTL.
        var remainingTTL: Int64
        /// `distantFuture` unless this member is the leader.
        var deadline: Nanoseconds
        /// Counts the leases that lived in this slot, to recognise stale heap entries.
        var generation: UInt32
        var isLive: Bool
        /// Has an entry in `checkpointTimes`; never more than one.
        var isCheckpointScheduled = false
        var keys: Set<Bytes>
    }

    /// Since the start, for metrics.
    package struct Counts: Sendable {
        package var granted: UInt64 = 0
        package var revoked: UInt64 = 0
        package var renewed: UInt64 = 0
        /// Of the leases granted, by the power of two that their time to live does not exceed: 1, 2, 4... seconds; the last
        /// is for all above.
        package var timesToLive = [UInt64](repeating: 0, count: 25)
        package var timesToLiveSum: UInt64 = 0

        mutating func granted(ttl: Int64) {
            granted += 1
            let bucket = ttl <= 1 ? 0 : 64 - (ttl - 1).leadingZeroBitCount
            timesToLive[min(bucket, timesToLive.count - 1)] += 1
            timesToLiveSum &+= UInt64(clamping: ttl)
        }
    }

    package private(set) var counts = Counts()
    package let settings: Settings
    package private(set) var isLeader = false

    private var slots: [Int64: UInt32] = [:]
    private var records: [Record] = []
    private var free: [UInt32] = []
    /// The lease of each key that has one; the same keys as in the records.
    private var leaseOfKey: [Bytes: Int64] = [:]
    /// One live entry per lease while leader, not later than the lease's deadline (or its revoke's retry).
    private var deadlines = ExpiryQueue()
    private var checkpointTimes = ExpiryQueue()
    private var intervalStart: Nanoseconds = .min
    private var takenInInterval = 0

    package init(_ settings: Settings) { self.settings = settings }

    // MARK: replicated changes

    /// Grants a lease; the effective TTL is returned. Order of checks as apply-semantics 4.
    package mutating func grant(
        _ id: LeaseID, ttl: Int64, now: Nanoseconds, into batch: inout StoreBatch
    ) throws(GRPCStatus) -> Int64 {
        guard id != .none else { throw EtcdError.leaseNotFound }
        guard ttl <= Lessor.ttlMax else { throw EtcdError.leaseTTLTooLarge }
        guard slots[id.rawValue] == nil else { throw EtcdError.leaseExists }
        let effective = max(ttl, settings.minimumTTL)
        counts.granted(ttl: effective)
        let deadline = isLeader ? now.adding(seconds: effective) : .distantFuture
        let slot = insert(id.rawValue, ttl: effective, remainingTTL: 0, deadline: deadline)
        if isLeader { schedule(slot, now: now) }
        persist(slot, into: &batch)
        return effective
    }

    /// Forgets the lease after its keys are gone. The caller deletes `sortedKeys(of:)` first, in the same transaction.
    package mutating func remove(_ id: LeaseID, into batch: inout StoreBatch) {
        guard let slot = slots.removeValue(forKey: id.rawValue) else { return }
        counts.revoked += 1
        let i = Int(slot)
        invariant(records[i].keys.isEmpty, "lease \(id) still has \(records[i].keys.count) keys")
        records[i].isLive = false
        records[i].generation &+= 1
        free.append(slot)
        batch.delete(.lease, Lessor.storeKey(id))
    }

    /// The keys that go with the lease, in byte order (the order matters: it decides their sub-revisions).
    package func sortedKeys(of id: LeaseID) -> [Bytes]? {
        guard let slot = slots[id.rawValue] else { return nil }
        return records[Int(slot)].keys.sorted(by: precedes)
    }

    /// The keys that go with the lease, in no order, without copying.
    package func keys(of id: LeaseID) -> Set<Bytes>? {
        slots[id.rawValue].map { records[Int($0)].keys }
    }

    /// A key was written with this lease (`none`: without one), or deleted. It leaves the lease it had.
    package mutating func setLease(of key: RawSpan, to id: LeaseID) {
        // The common case, a store that uses no leases for its keys, costs nothing.
        if id == .none && leaseOfKey.isEmpty { return }
        let owned = Bytes(key)
        let previous = id == .none ? leaseOfKey.removeValue(forKey: owned) : leaseOfKey.updateValue(id.rawValue, forKey: owned)
        guard previous != id.rawValue else { return }
        if let previous, let slot = slots[previous] { records[Int(slot)].keys.remove(owned) }
        if id != .none, let slot = slots[id.rawValue] { records[Int(slot)].keys.insert(owned) }
    }

    /// Some key has a lease.
    package var hasKeys: Bool { !leaseOfKey.isEmpty }

    package func lease(of key: Bytes) -> LeaseID { leaseOfKey[key].map(LeaseID.init) ?? .none }

    /// Takes over the time left that a leader wrote into the log. Unknown leases are ignored.
    package mutating func checkpoint(
        _ id: LeaseID, remainingTTL: Int64, now: Nanoseconds, into batch: inout StoreBatch
    ) {
        guard let slot = slots[id.rawValue] else { return }
        let i = Int(slot)
        records[i].remainingTTL = remainingTTL
        if settings.persistCheckpoints { persist(slot, into: &batch) }
        if isLeader { scheduleCheckpoint(slot, now: now) }
    }

    // MARK: queries

    package var count: Int { slots.count }

    package func contains(_ id: LeaseID) -> Bool { slots[id.rawValue] != nil }

    /// Granted TTL, and whole seconds left (nil unless this member is the leader).
    package func timeToLive(_ id: LeaseID, now: Nanoseconds) -> (granted: Int64, remaining: Int64?)? {
        guard let slot = slots[id.rawValue] else { return nil }
        let record = records[Int(slot)]
        guard isLeader else { return (record.ttl, nil) }
        return (record.ttl, max(0, record.deadline - now) / .second)
    }

    /// All leases: by the time left on the leader, by id elsewhere.
    package func all() -> [LeaseID] {
        let live = records.filter(\.isLive)
        let ordered =
            isLeader
            ? live.sorted { ($0.deadline, $0.id) < ($1.deadline, $1.id) }
            : live.sorted { $0.id < $1.id }
        return ordered.map { LeaseID($0.id) }
    }

    // MARK: the leader's clock

    /// A client's keep-alive. Not replicated.
    package mutating func renew(_ id: LeaseID, now: Nanoseconds) -> Renewal {
        guard isLeader else { return .notLeader }
        guard let slot = slots[id.rawValue] else { return .unknown }
        let i = Int(slot)
        guard records[i].deadline > now else { return .expiring }
        let clear = settings.checkpoints && records[i].remainingTTL > 0
        // The remaining time no longer holds, also when the checkpoint that says so should get lost.
        if records[i].remainingTTL > 0 { records[i].remainingTTL = 0 }
        records[i].deadline = now.adding(seconds: records[i].ttl)
        scheduleCheckpoint(slot, now: now)
        counts.renewed += 1
        return .renewed(ttl: records[i].ttl, clearCheckpoint: clear)
    }

    /// This member leads now (call after it applied the first entry of its term): every lease starts again with its
    /// remaining or full TTL and one election timeout, and pile-ups are spread out.
    package mutating func promote(now: Nanoseconds) {
        isLeader = true
        takenInInterval = 0
        intervalStart = .min
        var live: [UInt32] = []
        for i in records.indices where records[i].isLive {
            let seconds = records[i].remainingTTL > 0 ? records[i].remainingTTL : records[i].ttl
            records[i].deadline = now.adding(seconds: seconds).adding(settings.electionTimeout)
            live.append(UInt32(i))
        }
        live.sort {
            let (a, b) = (records[Int($0)], records[Int($1)])
            return (a.deadline, a.id) < (b.deadline, b.id)
        }
        // Of any `expirationsPerSecondMax + 1` in a row the last ends a second or more after the first: revoking a
        // hundred thousand leases at once would stall the cluster that has just lost its leader.
        let stride = Lessor.expirationsPerSecondMax
        for position in live.indices.dropFirst(stride) {
            let earliest = records[Int(live[position - stride])].deadline.adding(.second)
            let i = Int(live[position])
            records[i].deadline = max(records[i].deadline, earliest)
        }
        deadlines.rebuild(live.map { entry($0, at: records[Int($0)].deadline) })
        checkpointTimes.removeAll()
        for i in records.indices { records[i].isCheckpointScheduled = false }
        for slot in live { scheduleCheckpoint(slot, now: now) }
    }

    /// This member no longer leads: nothing expires here.
    package mutating func demote() {
        isLeader = false
        deadlines.removeAll()
        checkpointTimes.removeAll()
        for i in records.indices {
            records[i].deadline = .distantFuture
            records[i].isCheckpointScheduled = false
        }
    }

    /// When `takeExpired` or `takeCheckpoints` may next have something; nil: never.
    package var nextDeadline: Nanoseconds? {
        switch (deadlines.earliest, checkpointTimes.earliest) {
        case (let a?, let b?): min(a, b)
        case (let a, let b): a ?? b
        }
    }

    /// Up to `max` leases to revoke now. Each is offered again after `revokeRetry` unless it is removed meanwhile. Rate
    /// limited over all calls.
    package mutating func takeExpired(now: Nanoseconds, max: Int) -> [LeaseID] {
        guard isLeader, max > 0 else { return [] }
        if intervalStart == .min || now - intervalStart >= Lessor.expiryInterval {
            intervalStart = now
            takenInInterval = 0
        }
        var expired: [LeaseID] = []
        while expired.count < max, takenInInterval < Lessor.expiredPerIntervalMax, let due = deadlines.popDue(now) {
            let i = Int(due.slot)
            guard records[i].isLive, records[i].generation == due.generation else { continue }
            if records[i].deadline > now {
                deadlines.push(entry(due.slot, at: records[i].deadline))
                continue
            }
            deadlines.push(entry(due.slot, at: now.adding(Lessor.revokeRetry)))
            expired.append(LeaseID(records[i].id))
            takenInInterval += 1
        }
        return expired
    }

    /// Leases whose time left should be written to the log now, as (id, seconds).
    package mutating func takeCheckpoints(now: Nanoseconds) -> [(id: LeaseID, remainingTTL: Int64)] {
        guard isLeader, settings.checkpoints else { return [] }
        var due: [(id: LeaseID, remainingTTL: Int64)] = []
        while due.count < Lessor.checkpointBatchMax, let entry = checkpointTimes.popDue(now) {
            let i = Int(entry.slot)
            guard records[i].isLive, records[i].generation == entry.generation else { continue }
            records[i].isCheckpointScheduled = false
            let left = records[i].deadline - now
            guard left > 0 else { continue }
            let seconds = left / .second + (left % .second > 0 ? 1 : 0)
            scheduleCheckpoint(entry.slot, now: now)
            if seconds < records[i].ttl { due.append((LeaseID(records[i].id), seconds)) }
        }
        return due
    }

    // MARK: restart

    /// Loads the leases of a store, as follower. Keys follow with `setLease`, from the live key-values.
    package mutating func restore(_ view: any StoreView) {
        self = Lessor(settings)
        view.scan(.lease, from: [], to: nil) { _, value in
            guard let stored = try? LeasePB.Lease(decoding: value) else {
                unreachable("the lease table holds a record that does not decode: \(Hexadecimal.encode(Bytes(value)))")
            }
            let ttl = max(stored.ttl, settings.minimumTTL)
            _ = insert(stored.id, ttl: ttl, remainingTTL: stored.remainingTTL, deadline: .distantFuture)
            return true
        }
    }

    // MARK: private

    private mutating func insert(_ id: Int64, ttl: Int64, remainingTTL: Int64, deadline: Nanoseconds) -> UInt32 {
        let slot: UInt32
        if let reused = free.popLast() {
            slot = reused
            let generation = records[Int(reused)].generation
            records[Int(reused)] = Record(
                id: id, ttl: ttl, remainingTTL: remainingTTL, deadline: deadline, generation: generation, isLive: true,
                keys: [])
        } else {
            slot = UInt32(records.count)
            records.append(
                Record(
                    id: id, ttl: ttl, remainingTTL: remainingTTL, deadline: deadline, generation: 0, isLive: true,
                    keys: []))
        }
        slots[id] = slot
        return slot
    }

    private func entry(_ slot: UInt32, at time: Nanoseconds) -> ExpiryQueue.Entry {
        ExpiryQueue.Entry(time: time, slot: slot, generation: records[Int(slot)].generation)
    }

    private mutating func schedule(_ slot: UInt32, now: Nanoseconds) {
        deadlines.push(entry(slot, at: records[Int(slot)].deadline))
        scheduleCheckpoint(slot, now: now)
    }

    /// Leases with less than an interval left are not worth a log entry.
    private mutating func scheduleCheckpoint(_ slot: UInt32, now: Nanoseconds) {
        let i = Int(slot)
        guard settings.checkpoints, !records[i].isCheckpointScheduled,
            records[i].deadline.adding(-now) > Lessor.checkpointInterval
        else { return }
        records[i].isCheckpointScheduled = true
        checkpointTimes.push(entry(slot, at: now.adding(Lessor.checkpointInterval)))
    }

    private func persist(_ slot: UInt32, into batch: inout StoreBatch) {
        let record = records[Int(slot)]
        var message = LeasePB.Lease()
        message.id = record.id
        message.ttl = record.ttl
        message.remainingTTL = settings.persistCheckpoints ? record.remainingTTL : 0
        batch.put(.lease, Lessor.storeKey(LeaseID(record.id)), message.encoded())
    }

    static func storeKey(_ id: LeaseID) -> Bytes { bigEndian(UInt64(bitPattern: id.rawValue)) }
}

/// Eight bytes, most significant first, as numbers stand in the store.
package func bigEndian(_ number: UInt64) -> Bytes {
    [56, 48, 40, 32, 24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
}

/// The number in eight bytes; nil for another length.
package func bigEndianNumber(_ bytes: RawSpan) -> UInt64? {
    guard bytes.byteCount == 8 else { return nil }
    var number: UInt64 = 0
    for i in 0..<8 { number = number << 8 | UInt64(bytes[byte: i]) }
    return number
}
