// One position of the replicated log. The payload is opaque to consensus and shared, never copied: an entry travels from
// the proposer to the log, the disk, the peers and the state machine as the same bytes.

import Foundations

package struct Entry: Equatable, Sendable {
    /// Raw values as on the wire.
    package enum Kind: UInt8, Sendable {
        case normal = 0
        case confChange = 1
        /// Joint consensus. Understood; no etcd server proposes one.
        case confChangeV2 = 2
    }

    package var term: Term
    package var index: LogIndex
    package var kind: Kind
    /// Nil is "no payload" (a leader's first entry), which is encoded differently from an empty one.
    package var data: Bytes?

    @inlinable
    package init(term: Term = 0, index: LogIndex = 0, kind: Kind = .normal, data: Bytes? = nil) {
        self.term = term
        self.index = index
        self.kind = kind
        self.data = data
    }

    /// What this entry counts against byte limits: the payload and the most its other fields can take when encoded.
    @inlinable package var weight: Int { (data?.count ?? 0) + 24 }
}
