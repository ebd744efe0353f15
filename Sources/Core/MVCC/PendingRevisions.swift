// Revisions that are written but not yet known to be durable in the store: readers find them here, and only here. Their
// bytes are the ones in the batches that carry them, so nothing is kept twice: this is the list of where they are.
//
//     batches    | 7 (submitted) | 8 (submitted) | 9 (being filled, belongs to KeyValueStore) |
//     revisions  | 100.0  101.0  |  102.0 102.1  |  103.0 ...                                  |
//
// Invariant: revisions ascend, and everything from the first one on is here.

import Foundations

struct PendingRevisions {
    struct Item {
        var revision: Revision
        var isTombstone: Bool
        var batch: UInt64
        /// Where the stored bytes are in that batch.
        var stored: Range<Int>
    }

    private var items = Fifo<Item>()
    /// Bytes of submitted batches, in order, numbered without gaps.
    private var sealed = Fifo<(number: UInt64, bytes: [UInt8], lastItem: Revision)>()
    private(set) var sealedBytes = 0

    var count: Int { items.count }
    var firstRevision: Revision? { items.first?.revision }

    subscript(_ i: Int) -> Item { items[i] }

    mutating func append(_ item: Item) { items.append(item) }

    /// The batch being filled was handed to the store.
    mutating func seal(_ number: UInt64, _ bytes: [UInt8]) {
        let last = items.isEmpty ? Revision(main: 0) : items[items.count - 1].revision
        sealed.append((number, bytes, last))
        sealedBytes += bytes.count
    }

    /// Everything up to this batch is durable.
    mutating func drop(through number: UInt64) {
        while let first = sealed.first, first.number <= number {
            sealedBytes -= first.bytes.count
            sealed.dropFirst()
            items.dropFirst(items.prefixCount { $0.batch <= first.number })
        }
    }

    /// Nil when the revision is not pending, that is: when the store has it.
    func find(_ revision: Revision) -> Item? {
        guard let first = items.first, first.revision <= revision else { return nil }
        // Most transactions change one key, so the distance in revisions is a good first guess.
        let guess = Int(revision.main - first.revision.main)
        if guess < items.count && items[guess].revision == revision { return items[guess] }
        let i = items.prefixCount { $0.revision < revision }
        invariant(i < items.count && items[i].revision == revision, "revision \(revision) is pending")
        return items[i]
    }

    /// Number of items before `revision`.
    func index(of revision: Revision) -> Int { items.prefixCount { $0.revision < revision } }

    /// Bytes of a submitted batch.
    func bytes(_ number: UInt64) -> [UInt8] {
        guard let first = sealed.first else { unreachable("batch \(number) is not pending") }
        return sealed[Int(number - first.number)].bytes
    }
}

extension StoreBatch {
    /// Lays out one revision of a key; tells where its stored bytes and, inside them, its key are.
    mutating func putRevision(
        _ revision: Revision, key: RawSpan, value: RawSpan, create: Int64, version: Int64, lease: Int64
    ) -> (key: Range<Int>, stored: Range<Int>) {
        let start = bytes.count
        RevisionKey.append(revision, isTombstone: false, to: &bytes)
        let stored = bytes.count
        StoredKeyValue.append(
            key: key, value: value, create: create, mod: revision.main, version: version, lease: lease, to: &bytes)
        operations.append(.put(.key, key: start..<stored, value: stored..<bytes.count, append: true))
        let keyStart = stored + 1 + FieldWriter.varintCount(UInt64(key.byteCount))
        return (keyStart..<keyStart + key.byteCount, stored..<bytes.count)
    }

    mutating func putTombstone(_ revision: Revision, key: RawSpan) -> (key: Range<Int>, stored: Range<Int>) {
        let start = bytes.count
        RevisionKey.append(revision, isTombstone: true, to: &bytes)
        let stored = bytes.count
        FieldWriter.bytes(0x0a, key, &bytes)
        operations.append(.put(.key, key: start..<stored, value: stored..<bytes.count, append: true))
        let keyStart = bytes.count - key.byteCount
        return (keyStart..<bytes.count, stored..<bytes.count)
    }

    mutating func deleteRevision(_ revision: Revision, isTombstone: Bool) {
        let start = bytes.count
        RevisionKey.append(revision, isTombstone: isTombstone, to: &bytes)
        operations.append(.delete(.key, key: start..<bytes.count))
    }

    /// A batch with room for as much as the one before held, so that it is not moved while it grows.
    init(number: UInt64, like previous: borrowing StoreBatch) {
        self.init(number: number)
        bytes.reserveCapacity(min(previous.bytes.count, 1 << 20))
        operations.reserveCapacity(min(previous.operations.count, 4096))
    }
}
