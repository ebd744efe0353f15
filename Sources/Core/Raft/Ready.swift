// What a member has to do next, as one value.

import Foundations

/// Names a batch of writes; batches are numbered from 1 and become durable in order.
package typealias WriteTicket = UInt64

package struct Ready {
    /// To be written first, and installed in the state machine. It voids every entry written before that it does not
    /// match: a log read back must drop those too.
    package var snapshot: Snapshot?
    /// To be written, in order. The first may lie before the last one written: it then replaces everything from there on.
    package var entries: [Entry] = []
    /// Changed, to be written after the entries.
    package var hardState: HardState?
    /// Changed; nothing to write. Waiting reads fail when the leader changed.
    package var softState: SoftState?
    /// Set when this value holds something that must be synced; tell `persisted(through:)` when it is. A change of the
    /// commit index alone has no ticket: it is written, and need not be synced.
    package var ticket: WriteTicket?
    /// To be applied, in order; then `applied(to:)`.
    package var committed: [Entry] = []
    /// May be sent at once: what depends on a sync is withheld until it is reported.
    package var messages: [Message] = []
    package var readStates: [ReadState] = []

    package var mustSync: Bool { ticket != nil }
}
