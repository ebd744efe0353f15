// The multi-version key-value store of one member: an index of keys and revisions in memory, the versions themselves as
// encoded KeyValue bytes in an OrderedStore, and between the two the revisions that are written but not yet durable.
//
//     put  ->  index (which revision)  +  batch (the bytes, once)  ->  takeBatch -> OrderedStore -> batchCommitted
//     read ->  index -> pending revisions, or a view of the OrderedStore -> bytes copied into the answer
//
// Owned by one thread. The owner groups calls into turns: it ends each with `endTurn`, so that no view of the store is
// kept; it decides when a batch is big or old enough, takes it, submits it, and reports when it is durable.
//
// Promises: a write transaction takes effect as a whole, under one revision; what is read is what was written, durable
// or not; after a restart from the store the same index, revisions and hashes come back.
//
// Parts: +Write (transactions), +Range (reads), +Compaction, +Restore, +Hash; the tree is KeyIndex.

import Foundations

/// What a request cannot have.
package enum KeyValueError: Error, Equatable, Sendable {
    /// The wanted revision has been compacted.
    case compacted
    /// The wanted revision is greater than the current one.
    case future
    /// A put that keeps the value or the lease of a key that does not exist; or an operation without a request.
    case keyNotFound
    /// A put names a lease that does not exist.
    case leaseNotFound
}

package struct OperationCounts: Sendable {
    package var ranges: UInt64 = 0
    package var puts: UInt64 = 0
    /// Of keys and values.
    package var putBytes: UInt64 = 0
    package var deletes: UInt64 = 0
    /// Transactions of more than one operation.
    package var transactions: UInt64 = 0
    /// Revisions that compactions deleted.
    package var compacted: UInt64 = 0

    var sum: UInt64 { ranges + puts + deletes }
}

package final class KeyValueStore {
    /// One change of the last write transaction. Its bytes are in the current batch: see `withChange`.
    package struct Change {
        package var revision: Revision
        package var isDelete: Bool
        /// Zero for a delete.
        package var createRevision: Int64
        package var version: Int64
        package var lease: Int64
        var key: Range<Int>
        var stored: Range<Int>
        var batch: UInt64
    }

    /// A revision that compaction will delete: the oldest of `entry`'s history. In `superseded` it is a pair, garbage when
    /// `main`, which put another in its place or deleted it, is compacted. In `tombstones` it is the tombstone of `main`
    /// itself, garbage when that is below the compacted revision, whether or not the key was written again.
    struct Garbage {
        var main: Int64
        var sub: UInt32
        var entry: KeyIndex.Ref

        init(_ revision: Revision, _ entry: KeyIndex.Ref) {
            main = revision.main
            sub = UInt32(revision.sub)
            self.entry = entry
        }

        var revision: Revision { Revision(main: main, sub: Int64(sub)) }
    }

    /// Revision of the last transaction that changed something; 1 when none has.
    package internal(set) var currentRevision: Int64 = 1
    /// Reads below this revision are refused; -1 before the first compaction.
    package internal(set) var compactedRevision: Int64 = -1
    /// The last compaction whose garbage is gone; its record may still be on its way to the store.
    package internal(set) var finishedCompaction: Int64 = -1

    /// What will be committed next. The owner adds what belongs to the same moment, such as the consistent index.
    package var batch: StoreBatch

    /// Changes of the write transaction that is open or was last closed, in execution order.
    package internal(set) var changes: [Change] = []
    package internal(set) var isWriting = false

    /// Whether compactions remember the hash at their revision, for members that compare those. It costs a scan of
    /// everything below the compacted revision each time.
    package var remembersCompactionHashes = false
    package internal(set) var rememberedHashes: [StoreHash] = []

    let store: any OrderedStore
    /// What was asked since the start, for metrics: operations, not keys.
    package var operations = OperationCounts()
    var operationsBefore: UInt64 = 0
    let index = KeyIndex()
    var pending = PendingRevisions()
    private var turnView: (any StoreView)?

    /// Pairs that were superseded, in the order in which compaction reaches them, and tombstones likewise.
    var superseded = Fifo<Garbage>()
    var tombstones = Fifo<Garbage>()
    /// Stored revisions that belong to no key; deleted by the next compaction at or above them.
    var orphans: [(revision: Revision, isTombstone: Bool)] = []
    /// The hash a compaction takes before it deletes.
    var compactionHash: HashJob?
    var isRestored = false

    // Room that is used again: empty between calls.
    private var revisionKey = [UInt8](repeating: 0, count: RevisionKey.putCount)
    var scratch: [UInt8] = []
    var gatheredKeys: [UInt8] = []
    var refs: [KeyIndex.Ref] = []

    /// A store over what `store` holds: rebuilds the index; `attach` gets each key that is alive with a lease, in key order.
    package init(_ store: any OrderedStore, attach: (_ key: [UInt8], _ lease: Int64) -> Void = { _, _ in })
        throws(RestoreError)
    {
        self.store = store
        batch = StoreBatch(number: store.committedBatch + 1)
        try restore(attach)
        isRestored = true
    }

    /// Keys that exist now.
    package var keyCount: Int { index.aliveCount }
    /// Bytes the index takes, and bytes of them in use.
    package var indexAllocatedBytes: Int { index.arena.allocatedBytes }
    package var indexUsedBytes: Int { index.arena.usedBytes }
    /// Revisions not known to be durable, and the bytes of the submitted batches they are in.
    package var pendingRevisions: Int { pending.count }
    package var pendingBytes: Int { pending.sealedBytes + batch.bytes.count }

    // MARK: Batches

    /// The batch to submit next. Its bytes stay here too, without a copy as long as nobody changes the returned value:
    /// add what belongs to it before, through `batch`.
    package func takeBatch() -> StoreBatch {
        invariant(!isWriting, "a batch is taken between transactions")
        let taken = batch
        pending.seal(taken.number, taken.bytes)
        batch = StoreBatch(number: taken.number + 1, like: taken)
        return taken
    }

    /// Batches up to this number are durable, and every view taken from now on shows them.
    package func batchCommitted(_ number: UInt64) {
        pending.drop(through: number)
        turnView = nil
    }

    /// Lets go of the view of the store that reads of this turn shared.
    package func endTurn() { turnView = nil }

    /// The view that reads of this turn share.
    var view: any StoreView {
        if let turnView { return turnView }
        let view = store.view()
        turnView = view
        return view
    }

    // MARK: Stored bytes

    /// Appends the stored bytes of a revision.
    func appendStored(_ revision: Revision, to bytes: inout [UInt8]) {
        if let item = pending.find(revision) {
            if item.batch == batch.number {
                bytes.append(item.stored, of: batch.bytes)
            } else {
                bytes.append(item.stored, of: pending.bytes(item.batch))
            }
            return
        }
        fetch(revision) { bytes.append($0) }
    }

    /// Appends the stored bytes of a revision as a field with a length: tag, length, bytes.
    func appendStored(_ revision: Revision, field tag: UInt8, to bytes: inout [UInt8]) {
        if let item = pending.find(revision) {
            if item.batch == batch.number {
                FieldWriter.bytes(tag, item.stored, of: batch.bytes, &bytes)
            } else {
                FieldWriter.bytes(tag, item.stored, of: pending.bytes(item.batch), &bytes)
            }
            return
        }
        fetch(revision) { FieldWriter.bytes(tag, $0, &bytes) }
    }

    /// Revisions from this one on are read from `pending`.
    var firstPending: Revision { pending.firstRevision ?? Revision(main: .max) }

    /// Appends the stored bytes of revisions that are not pending, as fields, and empties the list of their keys.
    func appendStored(keys: inout [UInt8], field tag: UInt8, to bytes: inout [UInt8]) {
        if keys.isEmpty { return }
        var missing = 0
        view.get(.key, each: RevisionKey.putCount, of: keys.rawSpan) {
            if let stored = $0 { FieldWriter.bytes(tag, stored, &bytes) } else { missing += 1 }
        }
        invariant(missing == 0, "\(missing) revisions are in the index, so they are in the store")
        keys.removeAll(keepingCapacity: true)
    }

    private func fetch(_ revision: Revision, _ body: (RawSpan) -> Void) {
        RevisionKey.write(revision, over: &revisionKey)
        // A local name, so that the call does not hold on to our field.
        let key = revisionKey
        var isFound = false
        view.get(.key, key.rawSpan) {
            if let stored = $0 {
                isFound = true
                body(stored)
            }
        }
        invariant(isFound, "revision \(revision) is in the index, so it is in the store")
    }

    /// Calls `body` for each record with from <= key < to in revision order, durable or not, until it returns false.
    func scanRecords(from: [UInt8], to: [UInt8], _ body: (_ key: RawSpan, _ stored: RawSpan) -> Bool) {
        // From the first pending revision on records are taken from there: the store may have some of them already.
        var limit = to
        if let first = pending.firstRevision {
            let start = RevisionKey.encode(Revision(main: first.main))
            if start.compare(to.rawSpan) < 0 { limit = start }
        }
        var goesOn = true
        if from.compare(limit.rawSpan) < 0 {
            view.scan(.key, from: from, to: limit) { key, stored in
                goesOn = body(key, stored)
                return goesOn
            }
        }
        guard goesOn, pending.count > 0 else { return }
        var i = RevisionKey.decode(from.rawSpan).map { pending.index(of: $0.revision) } ?? 0
        while i < pending.count {
            let item = pending[i]
            let key = RevisionKey.encode(item.revision, isTombstone: item.isTombstone)
            if key.compare(to.rawSpan) >= 0 { return }
            let bytes = item.batch == batch.number ? batch.bytes : pending.bytes(item.batch)
            if !body(key.rawSpan, bytes.rawSpan.extracting(item.stored)) { return }
            i += 1
        }
    }

    /// Key (as the index keeps it) and stored bytes of a change; until the next transaction begins.
    package func withChange(_ change: Change, _ body: (_ key: RawSpan, _ stored: RawSpan) -> Void) {
        let bytes = change.batch == batch.number ? batch.bytes : pending.bytes(change.batch)
        body(bytes.rawSpan.extracting(change.key), bytes.rawSpan.extracting(change.stored))
    }

    /// The current version of a key.
    package struct Current: Equatable {
        package var modRevision: Int64
        package var createRevision: Int64
        package var version: Int64
        var revision: Revision
    }

    package func current(_ key: RawSpan) -> Current? {
        guard let version = index.version(of: key, at: .max) else { return nil }
        return Current(
            modRevision: version.revision.main, createRevision: version.createRevision, version: version.version,
            revision: version.revision)
    }

    /// Appends the current KeyValue of a key as a field; false when there is none.
    package func appendCurrent(_ key: RawSpan, field tag: UInt8, to bytes: inout [UInt8]) -> Bool {
        guard let version = index.version(of: key, at: .max) else { return false }
        appendStored(version.revision, field: tag, to: &bytes)
        return true
    }

    /// The encoded KeyValue of a key at a revision; nil when it did not exist then.
    package func keyValue(_ key: RawSpan, at main: Int64) -> [UInt8]? {
        guard let version = index.version(of: key, at: main) else { return nil }
        var bytes: [UInt8] = []
        appendStored(version.revision, to: &bytes)
        return bytes
    }
}
