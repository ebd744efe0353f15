// A bbolt image as the store of a KeyValueStore that is only read from. Scans walk the file; looking up a single key does
// too, so it is for the small tables and for scans from one end to the other.

import FileFormats
import Foundations
import MVCC

final class ImageStore: OrderedStore, StoreView {
    private let image: BoltImage
    private var buckets: [StoreTable: BoltBucket] = [:]
    /// What was found wrong on the way; what was read since is worth nothing.
    private(set) var damage: BoltDamage?

    init(_ image: BoltImage) throws(BoltDamage) {
        self.image = image
        let found = try image.buckets()
        for table in StoreTable.allCases {
            buckets[table] = found.first { $0.name == Bytes(table.bucketName.utf8) }?.bucket
        }
        guard buckets[.key] != nil, buckets[.meta] != nil else {
            throw BoltDamage("it has no keys: it is no database of etcd")
        }
    }

    func view() -> any StoreView { self }
    func submit(_ batch: StoreBatch) { invariant(batch.isEmpty, "an image is only read") }
    var committedBatch: UInt64 { 0 }
    var allocatedBytes: Int { Int(image.meta.highWater) * image.meta.pageBytes }
    var usedBytes: Int { allocatedBytes }

    func get(_ table: StoreTable, _ key: RawSpan, _ body: (RawSpan?) -> Void) {
        var found: Bytes?
        let wanted = Bytes(key)
        scan(table, from: wanted, to: wanted + [0]) { _, value in
            found = Bytes(value)
            return false
        }
        if let found { body(found.rawSpan) } else { body(nil) }
    }

    func scan(_ table: StoreTable, from: [UInt8], to: [UInt8]?, _ body: (_ key: RawSpan, _ value: RawSpan) -> Bool) {
        guard let bucket = buckets[table], damage == nil else { return }
        var isOver = false
        do throws(BoltDamage) {
            try image.forEach(bucket) { key, value in
                if isOver || key.compare(from.rawSpan) < 0 { return }
                if let to, key.compare(to.rawSpan) >= 0 {
                    isOver = true
                } else {
                    isOver = !body(key, value)
                }
            }
        } catch { damage = error }
    }

    func count(_ table: StoreTable) -> Int {
        var count = 0
        scan(table, from: [], to: nil) { _, _ in
            count += 1
            return true
        }
        return count
    }
}
