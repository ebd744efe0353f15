// HashKV: a CRC-32C over the stored revisions, equal on all members of a cluster whatever software they run, in pieces so
// that a big store does not stall its member (storage-formats 5).
//
// Over "key" and then every record with main <= R, except: a record at or below the compacted revision C counts only when it
// is the newest of its key at R and no tombstone; a tombstone exactly at C never counts. When no key is alive at R, the
// records at or below C that the compaction at C kept count.
//
// Whether a record is the newest is asked of the index, so the answer does not depend on how far the deletion has come.

import Foundations

/// The hash of a store at a revision.
package struct StoreHash: Sendable, Equatable {
    package var hash: UInt32
    /// Compacted revision the hash is relative to.
    package var compactRevision: Int64
    /// Revision that was hashed.
    package var revision: Int64
}

/// A hash being computed: hand it to `hashStep` until that has a result.
package struct HashJob: Sendable {
    fileprivate var revision: Int64
    fileprivate var compacted: Int64
    /// Set for the hash a compaction takes: later compactions do not disturb it, because the deletion waits for it.
    fileprivate var isForCompaction = false
    fileprivate var crc = CRC32C()
    /// Revision of the last record that was looked at.
    fileprivate var position: [UInt8] = []
    fileprivate var keepsNothing: Bool?

    fileprivate init(_ revision: Int64, compacted: Int64) {
        self.revision = revision
        self.compacted = compacted
        crc.update(Array("key".utf8))
    }
}

extension KeyValueStore {
    /// A hash at a revision; 0 means the current one. A negative one matches no record.
    package func beginHash(_ revision: Int64) throws(KeyValueError) -> HashJob {
        if revision > currentRevision { throw .future }
        if revision > 0 && revision < compactedRevision { throw .compacted }
        return HashJob(revision == 0 ? currentRevision : revision, compacted: compactedRevision)
    }

    /// Goes on over about `budget` records. Nil while there is more to do; a compaction in between starts it over, or ends
    /// it when it took the revision away.
    package func hashStep(_ job: inout HashJob, budget: Int) throws(KeyValueError) -> StoreHash? {
        if job.compacted != compactedRevision && !job.isForCompaction {
            if job.revision > 0 && job.revision < compactedRevision { throw .compacted }
            job = HashJob(job.revision, compacted: compactedRevision)
        }
        if job.revision < 0 { return finished(job) }
        let keepAt = keepRevision(&job)
        let compacted = job.compacted
        var left = budget
        var crc = job.crc
        var stoppedAt: [UInt8]?
        scanRecords(from: job.position, to: RevisionKey.encode(Revision(main: job.revision + 1))) { key, stored in
            if left == 0 {
                stoppedAt = [UInt8](key)
                return false
            }
            left -= 1
            if isHashed(key, stored, compacted: compacted, keepAt: keepAt) {
                crc.update(key)
                crc.update(stored)
            }
            return true
        }
        job.crc = crc
        guard let stoppedAt else { return finished(job) }
        job.position = stoppedAt
        return nil
    }

    /// The whole hash at once; for small stores and tests.
    package func hash(_ revision: Int64) throws(KeyValueError) -> StoreHash {
        var job = try beginHash(revision)
        while true {
            if let hash = try hashStep(&job, budget: .max) { return hash }
        }
    }

    private func finished(_ job: HashJob) -> StoreHash {
        StoreHash(hash: job.crc.value, compactRevision: job.compacted, revision: job.revision)
    }

    /// Revision at which being the newest decides: R, or C when no key is alive at R.
    private func keepRevision(_ job: inout HashJob) -> Int64 {
        if job.keepsNothing == nil {
            var scan = index.scanAll()
            job.keepsNothing = next(&scan, at: job.revision >= currentRevision ? .max : job.revision) == nil
        }
        return job.keepsNothing! ? job.compacted : job.revision
    }

    private func isHashed(_ key: RawSpan, _ value: RawSpan, compacted: Int64, keepAt: Int64) -> Bool {
        guard let (revision, isTombstone) = RevisionKey.decode(key) else { return false }
        if revision.main > compacted { return true }
        guard !isTombstone, let parts = StoredKeyValue(value), !parts.key.isEmpty else { return false }
        return index.version(of: value.extracting(parts.key), at: keepAt)?.revision == revision
    }

    // MARK: Hashes of compactions

    /// How many are remembered.
    private static var rememberedMax: Int { 10 }

    /// The hash that was taken when the store was compacted at `revision`.
    package func compactionHash(_ revision: Int64) -> StoreHash? {
        rememberedHashes.last { $0.revision == revision }
    }

    func beginCompactionHash(_ revision: Int64) {
        // As real members do: only when the compaction before was finished.
        guard remembersCompactionHashes, !isCompacting else {
            compactionHash = nil
            return
        }
        var job = HashJob(revision, compacted: compactedRevision)
        job.isForCompaction = true
        // When nothing is alive there, releases disagree about a tombstone exactly at the revision: better no hash than one
        // that differs from a healthy member's.
        _ = keepRevision(&job)
        compactionHash = job.keepsNothing! ? nil : job
    }

    /// True when there is none, or it is done.
    func compactionHashStep(budget: Int) -> Bool {
        guard var job = compactionHash else { return true }
        compactionHash = nil
        guard let hash = try? hashStep(&job, budget: budget) else {
            // Not an error: a hash for a compaction is never refused, it only is not done yet.
            compactionHash = job
            return false
        }
        rememberedHashes.append(hash)
        if rememberedHashes.count > KeyValueStore.rememberedMax { rememberedHashes.removeFirst() }
        return true
    }
}
