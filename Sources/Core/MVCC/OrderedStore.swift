// Where the state machine keeps its durable bytes. The store is a set of tables, each an ordered map from bytes to
// bytes; LMDBStore is the real one, InMemoryStore serves tests and the simulator.
//
// Writing is asynchronous and in order: the owner collects changes in a StoreBatch and submits it; the store commits
// batches one after the other, each atomically and durably, on its own thread. Reading sees what is committed when the
// reader is taken; what is submitted but not yet committed stays with the owner (see MVCC's pending revisions), which
// drops it when told that the batch is committed. So a batch carries the consistent index beside the data it belongs to.

import Foundations

/// The tables, named and ordered like the buckets of the file format that snapshots use.
package enum StoreTable: UInt8, CaseIterable, Sendable {
    case alarm, auth, authRoles, authUsers, cluster, key, lease, members, membersRemoved, meta

    package var bucketName: String {
        switch self {
        case .membersRemoved: "members_removed"
        default: "\(self)"
        }
    }
}

/// Changes to be committed together. Bytes are laid out once, in order, in one buffer, so that handing a batch to
/// another thread moves one allocation.
package struct StoreBatch: Sendable {
    package enum Operation: Sendable {
        /// Put, at the end of the table when `append` is set: the key is greater than every key in it.
        case put(StoreTable, key: Range<Int>, value: Range<Int>, append: Bool)
        case delete(StoreTable, key: Range<Int>)
        case clear(StoreTable)
    }

    package internal(set) var bytes: [UInt8] = []
    package internal(set) var operations: [Operation] = []
    /// The owner's number for this batch; comes back when it is committed.
    package var number: UInt64

    package init(number: UInt64) { self.number = number }

    package var isEmpty: Bool { operations.isEmpty }

    package mutating func put(_ table: StoreTable, _ key: RawSpan, _ value: RawSpan, append: Bool = false) {
        let keyRange = write(key)
        let valueRange = write(value)
        operations.append(.put(table, key: keyRange, value: valueRange, append: append))
    }

    package mutating func put(_ table: StoreTable, _ key: [UInt8], _ value: [UInt8], append: Bool = false) {
        put(table, key.rawSpan, value.rawSpan, append: append)
    }

    package mutating func delete(_ table: StoreTable, _ key: RawSpan) {
        let range = write(key)
        operations.append(.delete(table, key: range))
    }

    package mutating func delete(_ table: StoreTable, _ key: [UInt8]) { delete(table, key.rawSpan) }

    package mutating func clear(_ table: StoreTable) { operations.append(.clear(table)) }

    private mutating func write(_ span: RawSpan) -> Range<Int> {
        let start = bytes.count
        bytes.append(span)
        return start..<bytes.count
    }
}

/// A consistent view of what was committed when it was taken. Short-lived: a view that is kept holds up the reuse of
/// pages, so take one a turn and let it go. Used by one thread.
package protocol StoreView: AnyObject {
    /// Calls `body` with the value, borrowed for the call, or with nil.
    func get(_ table: StoreTable, _ key: RawSpan, _ body: (RawSpan?) -> Void)

    /// The same for many keys, which lie one behind the other, `keyBytes` each: `body` is called for each in turn.
    func get(_ table: StoreTable, each keyBytes: Int, of keys: RawSpan, _ body: (RawSpan?) -> Void)

    /// Calls `body` for each pair with from <= key < to (to nil: to the end), ascending, until it returns false.
    func scan(_ table: StoreTable, from: [UInt8], to: [UInt8]?, _ body: (_ key: RawSpan, _ value: RawSpan) -> Bool)

    /// Number of pairs in the table.
    func count(_ table: StoreTable) -> Int
}

extension StoreView {
    package func get(_ table: StoreTable, each keyBytes: Int, of keys: RawSpan, _ body: (RawSpan?) -> Void) {
        for start in stride(from: 0, to: keys.byteCount, by: keyBytes) {
            get(table, keys.extracting(start..<start + keyBytes), body)
        }
    }
}

package protocol OrderedStore: AnyObject {
    /// A view of everything committed so far.
    func view() -> any StoreView

    /// Hands over changes; they are committed after everything submitted before. Does not wait.
    func submit(_ batch: StoreBatch)

    /// Number of the newest batch known to be committed and durable (0: none yet).
    var committedBatch: UInt64 { get }

    /// Bytes taken from the file system, and bytes of them that hold data.
    var allocatedBytes: Int { get }
    var usedBytes: Int { get }
}
