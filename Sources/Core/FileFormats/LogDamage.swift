// What can be wrong with a log or snapshot file. Damage is never repaired by guessing: only a tail that a crash can have
// left unwritten is cut, everything else is reported and the member refuses to start.

import Foundations

package struct LogDamage: Error, Equatable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        case truncated(needed: Int, have: Int)
        case checksum(expected: UInt32, found: UInt32)
        /// A checksum record does not continue the segment before it.
        case chain(expected: UInt32, found: UInt32)
        case malformed(String)
        /// What looks like a torn write lies before data that was synced after it.
        case syncedDataAfter(offset: Int)
        case identity(expected: LogIdentity, found: LogIdentity)
        case noIdentity
        case gap(after: LogIndex, found: LogIndex)
        /// Another entry where a committed one is, or another one of the same term.
        case rewritten(index: LogIndex)
        case missingSegment(sequence: UInt64)
        case noSegments
        case snapshotNotFound(index: LogIndex, term: Term)
        case commitBeyondEnd(commit: LogIndex, last: LogIndex)
    }

    package var kind: Kind
    package var file: String
    package var offset: Int

    package init(_ kind: Kind, file: String, offset: Int) {
        self.kind = kind
        self.file = file
        self.offset = offset
    }

    package var description: String {
        "\(file) at byte \(offset): \(what). "
            + "The member refuses to start; replace it from a healthy one, or restore a backup."
    }

    private var what: String {
        switch kind {
        case .truncated(let needed, let have): "record needs \(needed) bytes, file has \(have)"
        case .checksum(let expected, let found): "record checksum is \(found), expected \(expected)"
        case .chain(let expected, let found):
            "segment continues checksum \(found), the one before ends with \(expected)"
        case .malformed(let text): text
        case .syncedDataAfter(let offset): "a damaged record lies before byte \(offset), which was synced after it"
        case .identity(let expected, let found): "log of \(found) where \(expected) is expected"
        case .noIdentity: "no record says whose log it is"
        case .gap(let after, let found): "entry \(found) follows entry \(after)"
        case .rewritten(let index): "entry \(index) is there again with other content"
        case .missingSegment(let sequence): "segment \(hex16(sequence)) is missing"
        case .noSegments: "there is no log segment"
        case .snapshotNotFound(let index, let term):
            "the log does not know the snapshot at index \(index), term \(term)"
        case .commitBeyondEnd(let commit, let last): "entries up to \(commit) were committed, the log ends at \(last)"
        }
    }
}
