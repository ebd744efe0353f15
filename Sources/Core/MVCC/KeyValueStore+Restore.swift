// Start: one scan of the stored revisions, in order, rebuilds the index, the queues of compaction and the attachment of
// keys to leases. What the scan meets was written by us or came in a snapshot of another server, so it is checked: a store
// that cannot be right is refused with the place, not repaired by guessing.

import Foundations

/// Why a store cannot be used.
package enum RestoreError: Error, Equatable, Sendable, CustomStringConvertible {
    case badRevisionKey([UInt8])
    case badKeyValue(Revision)
    case outOfOrder(Revision)
    case badCompactionRecord(String)

    package var description: String {
        let what =
            switch self {
            case .badRevisionKey(let key): "its key table holds \(Hexadecimal.encode(key)), which is no revision"
            case .badKeyValue(let revision): "the pair stored at revision \(revision) cannot be decoded"
            case .outOfOrder(let revision): "the pair stored at revision \(revision) does not follow the one before it"
            case .badCompactionRecord(let name): "its record \(name) is no revision"
            }
        return "the store is damaged: \(what). Replace the member from a healthy one, or restore a backup."
    }
}

extension KeyValueStore {
    func restore(_ attach: (_ key: [UInt8], _ lease: Int64) -> Void) throws(RestoreError) {
        let view = store.view()
        let scheduled = try compactionRecord(MetaKey.scheduledCompaction, view)
        let finished = try compactionRecord(MetaKey.finishedCompaction, view)

        var failure: RestoreError?
        var leases: [[UInt8]: Int64] = [:]
        view.scan(.key, from: [], to: nil) { key, value in
            failure = restore(key, value, &leases)
            return failure == nil
        }
        if let failure { throw failure }

        compactedRevision = max(scheduled ?? -1, finished ?? -1)
        finishedCompaction = finished ?? -1
        // The newest record can be one that a compaction of another server deleted.
        currentRevision = max(currentRevision, 1, compactedRevision)
        for (key, lease) in leases.sorted(by: { $0.key.rawSpan.compare($1.key.rawSpan) < 0 }) { attach(key, lease) }
    }

    private func compactionRecord(_ name: [UInt8], _ view: any StoreView) throws(RestoreError) -> Int64? {
        var isThere = false
        var revision: Int64?
        view.get(.meta, name.rawSpan) { value in
            guard let value else { return }
            isThere = true
            revision = RevisionKey.decode(value)?.revision.main
        }
        if isThere && revision == nil { throw .badCompactionRecord(String(decoding: name, as: UTF8.self)) }
        return revision
    }

    private func restore(_ key: RawSpan, _ value: RawSpan, _ leases: inout [[UInt8]: Int64]) -> RestoreError? {
        guard let (revision, isTombstone) = RevisionKey.decode(key) else { return .badRevisionKey([UInt8](key)) }
        guard let parts = StoredKeyValue(value) else { return .badKeyValue(revision) }
        currentRevision = max(currentRevision, revision.main)
        if parts.key.isEmpty {
            // A restore that raises the revision leaves such a record to mark the new one.
            orphans.append((revision, isTombstone))
            return nil
        }
        let name = value.extracting(parts.key)
        let version =
            isTombstone
            ? KeyVersion(revision: revision, isTombstone: true)
            : KeyVersion(
                revision: revision, isTombstone: false, createRevision: parts.createRevision, version: parts.version)
        if !isTombstone && (parts.modRevision != revision.main || parts.version < 1 || parts.createRevision < 1) {
            return .badKeyValue(revision)
        }
        let change = index.restore(name, version)
        if let before = change.before, !before.isTombstone { superseded.append(Garbage(revision, change.entry)) }
        if isTombstone { tombstones.append(Garbage(revision, change.entry)) }
        if parts.lease != 0 {
            leases[[UInt8](name)] = parts.lease
        } else if !leases.isEmpty && change.before != nil {
            leases.removeValue(forKey: [UInt8](name))
        }
        return nil
    }
}
