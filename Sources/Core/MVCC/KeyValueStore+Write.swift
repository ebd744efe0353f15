// Write transactions. Between `beginWrite` and `endWrite` all changes share one new revision; reads see them at once.
//
// One put costs: an index descent, the stored bytes (the one copy of key and value), three small appends.

import Foundations

extension KeyValueStore {
    package func beginWrite() {
        invariant(!isWriting, "transactions do not nest")
        isWriting = true
        operationsBefore = operations.sum
        changes.removeAll(keepingCapacity: true)
    }

    /// Closes the transaction; true when it changed something, which then has the revision `currentRevision`.
    @discardableResult
    package func endWrite() -> Bool {
        invariant(isWriting, "a transaction that is closed was opened")
        isWriting = false
        if operations.sum > operationsBefore + 1 { operations.transactions += 1 }
        if changes.isEmpty { return false }
        currentRevision += 1
        return true
    }

    /// The revision that reads see: inside a transaction that has changed something, already the new one.
    package var visibleRevision: Int64 { isWriting && !changes.isEmpty ? currentRevision + 1 : currentRevision }

    /// Writes a new version of a key.
    package func put(_ key: RawSpan, _ value: RawSpan, lease: Int64) {
        invariant(isWriting, "puts are inside a transaction")
        operations.puts += 1
        operations.putBytes += UInt64(key.byteCount + value.byteCount)
        let revision = Revision(main: currentRevision + 1, sub: Int64(changes.count))
        let change = index.put(key, revision)
        if let before = change.before, !before.isTombstone { superseded.append(Garbage(revision, change.entry)) }
        let place = batch.putRevision(
            revision, key: key, value: value, create: change.after.createRevision, version: change.after.version,
            lease: lease)
        record(revision, change.after, lease, place)
    }

    /// Writes a new version that keeps the value (and the lease, when `lease` is nil) of the current one.
    package func putKeepingValue(_ key: RawSpan, lease: Int64?) throws(KeyValueError) {
        guard let (current, parts) = currentParts(key) else { throw .keyNotFound }
        put(key, current.rawSpan.extracting(parts.value), lease: lease ?? parts.lease)
    }

    /// Writes a new version that keeps the lease of the current one.
    package func putKeepingLease(_ key: RawSpan, _ value: RawSpan) throws(KeyValueError) {
        guard let (_, parts) = currentParts(key) else { throw .keyNotFound }
        put(key, value, lease: parts.lease)
    }

    /// Deletes all keys of a range, in key order, and returns how many. `end` as in `range`. With a `previousField` the
    /// pairs as they were are appended to `previous` as that field.
    package func deleteRange(
        _ key: RawSpan, _ end: RawSpan, previousField: UInt8? = nil, previous: inout [UInt8]
    ) -> Int {
        invariant(isWriting, "deletes are inside a transaction")
        operations.deletes += 1
        if end.byteCount == 0 {
            let ref = index.find(key)
            guard ref != 0, !index.entries.isTombstone(ref) else { return 0 }
            if let tag = previousField {
                appendStored(index.entries.latest(ref).revision, field: tag, to: &previous)
            }
            delete(key)
            return 1
        }
        var found = takeRefs()
        var scan = index.scan(from: key, to: end, isOpen: KeyValueStore.isOpenEnd(end))
        while true {
            let ref = index.nextAlive(&scan)
            if ref == 0 { break }
            found.append(ref)
        }
        let index = index
        for ref in found {
            if let tag = previousField {
                appendStored(index.entries.latest(ref).revision, field: tag, to: &previous)
            }
            delete(index.key(ref))
        }
        let count = found.count
        giveBack(&found)
        return count
    }

    package func deleteRange(_ key: RawSpan, _ end: RawSpan) -> Int {
        var unused: [UInt8] = []
        return deleteRange(key, end, previous: &unused)
    }

    /// Deletes a key that exists.
    private func delete(_ key: RawSpan) {
        let revision = Revision(main: currentRevision + 1, sub: Int64(changes.count))
        // Before the index changes: the key may be borrowed from it.
        let place = batch.putTombstone(revision, key: key)
        let change = index.delete(key, revision)
        superseded.append(Garbage(revision, change.entry))
        tombstones.append(Garbage(revision, change.entry))
        record(revision, change.after, 0, place)
    }

    private func record(
        _ revision: Revision, _ version: KeyVersion, _ lease: Int64, _ place: (key: Range<Int>, stored: Range<Int>)
    ) {
        pending.append(
            PendingRevisions.Item(
                revision: revision, isTombstone: version.isTombstone, batch: batch.number, stored: place.stored))
        changes.append(
            Change(
                revision: revision, isDelete: version.isTombstone, createRevision: version.createRevision,
                version: version.version, lease: lease, key: place.key, stored: place.stored, batch: batch.number))
    }

    private func currentParts(_ key: RawSpan) -> (bytes: [UInt8], parts: StoredKeyValue)? {
        guard let version = index.version(of: key, at: .max) else { return nil }
        var bytes: [UInt8] = []
        appendStored(version.revision, to: &bytes)
        guard let parts = StoredKeyValue(bytes.rawSpan) else { unreachable("stored bytes are a KeyValue") }
        return (bytes, parts)
    }

    /// One 0x00 byte as the end of a range means "no end".
    @inline(__always)
    static func isOpenEnd(_ end: RawSpan) -> Bool { end.byteCount == 1 && end[byte: 0] == 0 }

    func takeRefs() -> [KeyIndex.Ref] {
        var taken: [KeyIndex.Ref] = []
        swap(&taken, &refs)
        return taken
    }

    func giveBack(_ list: inout [KeyIndex.Ref]) {
        // A range over everything does not leave its list behind.
        if list.capacity > 65_536 { return }
        list.removeAll(keepingCapacity: true)
        swap(&list, &refs)
    }
}
