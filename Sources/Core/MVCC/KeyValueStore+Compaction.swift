// Compaction: from the moment it is accepted, history below the revision cannot be read; what is no longer needed is
// deleted in steps, as much at a time as the owner allows.
//
// Nothing is searched for. When a revision is superseded the entry goes into a queue with the revision that did it; when a
// key is deleted the tombstone goes into another. Compacting at C takes from the front of the queues what was superseded
// at or below C, and the tombstones below C. So a step costs what it deletes, whatever the store's size, and a store
// rebuilt after a crash has the same queues, which is how an unfinished compaction goes on.
//
// A tombstone exactly at C stays, so that a watcher that starts at C sees the delete; HashKV leaves it out.

import Foundations

enum MetaKey {
    static let scheduledCompaction = Array("scheduledCompactRev".utf8)
    static let finishedCompaction = Array("finishedCompactRev".utf8)
}

extension KeyValueStore {
    /// Accepts a compaction: everything below `revision` is out of reach from now on.
    package func compact(_ revision: Int64) throws(KeyValueError) {
        if revision <= compactedRevision { throw .compacted }
        if revision > currentRevision { throw .future }
        invariant(!isWriting, "a compaction is between transactions")
        beginCompactionHash(revision)
        compactedRevision = revision
        batch.put(.meta, MetaKey.scheduledCompaction, RevisionKey.encode(Revision(main: revision)))
    }

    /// Whether something below the compacted revision is still to be deleted.
    package var isCompacting: Bool { finishedCompaction < compactedRevision }

    /// Goes on with the compaction: looks at no more than `budget` revisions. True when it is finished.
    @discardableResult
    package func compactionStep(budget: Int) -> Bool {
        guard isCompacting else { return true }
        invariant(!isWriting, "a compaction goes on between transactions")
        if !compactionHashStep(budget: budget) { return false }
        var left = budget
        while let next = superseded.first, next.by <= compactedRevision {
            if left == 0 { return false }
            left -= 1
            superseded.dropFirst()
            let oldest = index.entries.dropOldest(next.entry)
            batch.deleteRevision(oldest.revision, isTombstone: oldest.isTombstone)
        }
        while let next = tombstones.first, next.by < compactedRevision {
            if left == 0 { return false }
            left -= 1
            tombstones.dropFirst()
            // The key may have been written again since: then its tombstone is history, and the other queue's.
            let latest = index.entries.latest(next.entry)
            if latest.isTombstone && latest.revision.main == next.by {
                batch.deleteRevision(latest.revision, isTombstone: true)
                index.remove(next.entry)
            }
        }
        for orphan in orphans where orphan.revision.main <= compactedRevision {
            batch.deleteRevision(orphan.revision, isTombstone: orphan.isTombstone)
        }
        orphans.removeAll { $0.revision.main <= compactedRevision }
        finishedCompaction = compactedRevision
        batch.put(.meta, MetaKey.finishedCompaction, RevisionKey.encode(Revision(main: compactedRevision)))
        return true
    }
}
