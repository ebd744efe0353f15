// Compaction: from the moment it is accepted, history below the revision cannot be read; what is no longer needed is
// deleted in steps, as much at a time as the owner allows.
//
// Nothing is searched for. When a revision is superseded the entry goes into a queue with the revision that did it; when a
// key is deleted the tombstone goes into another. Compacting at C takes from the front of the queues what was superseded
// at or below C, and the tombstones below C (also of keys that were written again since: they would count in a hash). So
// a step costs what it deletes, whatever the store's size, and a store rebuilt after a crash has the same queues, which
// is how an unfinished compaction goes on.
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
        while let (next, isTombstone) = nextGarbage() {
            if left == 0 { return false }
            left -= 1
            if isTombstone { tombstones.dropFirst() } else { superseded.dropFirst() }
            let latest = index.entries.latest(next.entry)
            operations.compacted += 1
            if isTombstone && latest.revision == next.revision {
                batch.deleteRevision(latest.revision, isTombstone: true)
                index.remove(next.entry)
            } else {
                // Everything older of this key came up before, so what is meant is now the oldest.
                let oldest = index.entries.dropOldest(next.entry)
                batch.deleteRevision(oldest.revision, isTombstone: oldest.isTombstone)
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

    /// The front of the queue that is behind, if the compacted revision has reached it. Both are in the order of
    /// revisions; a delete is in both, and the pair it deleted goes first.
    private func nextGarbage() -> (Garbage, isTombstone: Bool)? {
        let pair = superseded.first.flatMap { $0.main <= compactedRevision ? $0 : nil }
        let tombstone = tombstones.first.flatMap { $0.main < compactedRevision ? $0 : nil }
        guard let tombstone else { return pair.map { ($0, false) } }
        if let pair, pair.revision <= tombstone.revision { return (pair, false) }
        return (tombstone, true)
    }
}
