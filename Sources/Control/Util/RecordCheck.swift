// What must hold of every record that goes into a store of ours. A member checks the same when it starts, and refuses; a
// tool that makes a store says so first.

import Foundations
import MVCC
import State

enum RecordCheck {
    /// What is wrong with a record; nil when nothing is.
    static func wrong(_ table: StoreTable, _ key: RawSpan, _ value: RawSpan) -> String? {
        switch table {
        case .key: wrongRevision(key, value)
        case .lease where key.byteCount != 8: "the lease bucket holds a key of \(key.byteCount) bytes, which is no lease"
        default: nil
        }
    }

    private static func wrongRevision(_ key: RawSpan, _ value: RawSpan) -> String? {
        guard let (revision, isTombstone) = RevisionKey.decode(key) else {
            return "the key bucket holds \(Hexadecimal.encode(Bytes(key))), which is no revision"
        }
        guard let parts = StoredKeyValue(value) else { return "the pair stored at revision \(shown(revision)) cannot be decoded" }
        // A restore that raised the revision left a record without a key.
        if isTombstone || parts.key.isEmpty { return nil }
        guard parts.modRevision == revision.main, parts.version >= 1, parts.createRevision >= 1 else {
            return "the pair stored at revision \(shown(revision)) says it is of revision \(parts.modRevision), "
                + "created at \(parts.createRevision), version \(parts.version)"
        }
        return nil
    }

    static func shown(_ revision: Revision) -> String { "\(revision.main).\(revision.sub)" }
}

/// What a walk over an image finds out on its way.
struct ImageFacts {
    var revision: Int64 = 1
    var consistentIndex: LogIndex?
    var term: Term?
    var clusterVersion: String?
    /// Of 3.6 and later.
    var storageVersion: String?

    mutating func note(_ table: StoreTable, _ key: RawSpan, _ value: RawSpan) {
        switch table {
        case .key: if let decoded = RevisionKey.decode(key) { revision = max(revision, decoded.revision.main) }
        case .meta:
            switch String(decoding: Bytes(key), as: UTF8.self) {
            case "consistent_index": consistentIndex = bigEndianNumber(value)
            case "term": term = bigEndianNumber(value)
            case "storageVersion": storageVersion = text(value)
            case "scheduledCompactRev", "finishedCompactRev":
                if let decoded = RevisionKey.decode(value) { revision = max(revision, decoded.revision.main) }
            default: break
            }
        case .cluster where text(key) == "clusterVersion": clusterVersion = text(value)
        default: break
        }
    }

    private func text(_ value: RawSpan) -> String { String(decoding: Bytes(value), as: UTF8.self) }
}
