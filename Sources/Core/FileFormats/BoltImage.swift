// Reads a bbolt file page by page through a closure, so that a file of any size needs the memory of one path through
// the tree (and, for the full check, one bit a page).
//
// The check is the one the tools make: every page below the high-water mark is reached once, or free, or a meta; keys
// ascend within pages and across them; each element lies inside its page.

import Foundations

package struct BoltImage {
    package let meta: BoltMeta
    private let fileBytes: Int
    private let read: (Int, Int) throws(BoltDamage) -> Bytes

    /// `read` turns its own troubles into a BoltDamage that says so.
    package init(fileBytes: Int, read: @escaping (_ offset: Int, _ count: Int) throws(BoltDamage) -> Bytes)
        throws(BoltDamage)
    {
        self.fileBytes = fileBytes
        self.read = read
        meta = try BoltImage.chooseMeta(fileBytes, read)
        guard meta.highWater <= UInt64(fileBytes / meta.pageBytes), meta.highWater > 2 else {
            throw BoltDamage("\(meta.highWater) pages are in use, the file has \(fileBytes / meta.pageBytes)")
        }
    }

    /// A file that is in memory.
    package init(_ bytes: Bytes) throws(BoltDamage) {
        try self.init(fileBytes: bytes.count) { (offset: Int, count: Int) throws(BoltDamage) -> Bytes in
            guard offset >= 0, offset <= bytes.count else { return [] }
            return Bytes(bytes[offset..<min(bytes.count, offset + count)])
        }
    }

    /// The second meta page begins where the first says pages do; when the first is bad, at one of the usual places.
    private static func chooseMeta(
        _ fileBytes: Int, _ read: (Int, Int) throws(BoltDamage) -> Bytes
    ) throws(BoltDamage) -> BoltMeta {
        let wanted = Bolt.headerBytes + Bolt.metaBytes
        let first = BoltMeta(try read(0, wanted))
        var candidates: [BoltMeta] = first.map { [$0] } ?? []
        let places = first.map { [$0.pageBytes] } ?? (9...16).map { 1 << $0 }
        for place in places {
            if let second = BoltMeta(try read(place, wanted)), second.pageBytes == place { candidates.append(second) }
        }
        guard let best = candidates.max(by: { $0.transaction < $1.transaction }) else {
            throw BoltDamage("neither meta page is valid; it is not a database file, or its head is lost")
        }
        return best
    }

    /// Top-level buckets in order of their names.
    package func buckets() throws(BoltDamage) -> [(name: Bytes, bucket: BoltBucket)] {
        var found: [(Bytes, BoltBucket)] = []
        try walk(BoltBucket(root: meta.root)) { page, isBucket, key, value throws(BoltDamage) in
            guard isBucket else { throw BoltDamage(page: page.id, "a plain record lies beside the buckets") }
            found.append((Bytes(page.bytes[key]), try BoltBucket(Bytes(page.bytes[value]), in: page.id)))
        }
        return found
    }

    /// The bucket with the name; nil when there is none.
    package func bucket(_ name: String) throws(BoltDamage) -> BoltBucket? {
        try buckets().first { $0.name == Bytes(name.utf8) }?.bucket
    }

    /// Every pair of the bucket in order, borrowed from the page.
    package func forEach(
        _ bucket: BoltBucket, _ body: (_ key: RawSpan, _ value: RawSpan) throws(BoltDamage) -> Void
    ) throws(BoltDamage) {
        try walk(bucket) { page, isBucket, key, value throws(BoltDamage) in
            guard !isBucket else { throw BoltDamage(page: page.id, "a bucket lies inside a bucket") }
            let bytes = page.bytes.rawSpan
            try body(bytes.extracting(key), bytes.extracting(value))
        }
    }

    private typealias Visit = (BoltPage, Bool, Range<Int>, Range<Int>) throws(BoltDamage) -> Void

    private func walk(_ bucket: BoltBucket, _ visit: Visit) throws(BoltDamage) {
        var order = KeyOrder()
        var pagesLeft = meta.highWater
        if let inline = bucket.inline {
            try elements(of: BoltPage(inline, id: 0), &order, upper: nil, visit)
        } else {
            try walk(page: bucket.root, depth: 0, &order, &pagesLeft, lower: nil, upper: nil, visit)
        }
    }

    /// `pagesLeft`: no tree has more than the file. Empty leaves and branches that lead back to themselves would otherwise be
    /// walked for ever.
    private func walk(
        page id: UInt64, depth: Int, _ order: inout KeyOrder, _ pagesLeft: inout UInt64, lower: Bytes?, upper: Bytes?,
        _ visit: Visit
    ) throws(BoltDamage) {
        guard depth < 64, pagesLeft > 0 else { throw BoltDamage(page: id, "the tree has no end") }
        pagesLeft -= 1
        let page = try self.page(id)
        guard page.isBranch else { return try elements(of: page, &order, upper: upper, visit) }
        guard page.count > 0 else { throw BoltDamage(page: id, "a branch without children") }
        var keys: [(Bytes, UInt64)] = []
        for i in 0..<page.count {
            let (key, child) = try page.branchElement(i)
            let bytes = Bytes(page.bytes[key])
            if let last = keys.last, !last.0.lexicographicallyPrecedes(bytes) {
                throw BoltDamage(page: id, "keys do not ascend")
            }
            keys.append((bytes, child))
        }
        for (i, (key, child)) in keys.enumerated() {
            try order.require(atLeast: key, page: id)
            try walk(
                page: child, depth: depth + 1, &order, &pagesLeft, lower: key, upper: i + 1 < keys.count ? keys[i + 1].0 : upper,
                visit)
        }
    }

    private func elements(
        of page: BoltPage, _ order: inout KeyOrder, upper: Bytes?, _ visit: Visit
    ) throws(BoltDamage) {
        guard page.isLeaf else { throw BoltDamage(page: page.id, "flags \(page.flags) where a leaf belongs") }
        for i in 0..<page.count {
            let (isBucket, key, value) = try page.leafElement(i)
            try order.advance(to: page.bytes.rawSpan.extracting(key), page: page.id)
            if let upper, page.bytes.rawSpan.extracting(key).compare(upper.rawSpan) >= 0 {
                throw BoltDamage(page: page.id, "a key belongs to the next page")
            }
            try visit(page, isBucket, key, value)
        }
    }

    func page(_ id: UInt64) throws(BoltDamage) -> BoltPage {
        guard id >= 2, id < meta.highWater else { throw BoltDamage(page: id, "it is outside the file") }
        let offset = Int(id) * meta.pageBytes
        var bytes = try read(offset, meta.pageBytes)
        guard bytes.count == meta.pageBytes else { throw BoltDamage(page: id, "it is cut off") }
        let overflow = UInt64(bytes.rawSpan.littleEndian32(at: 12))
        guard overflow < meta.highWater - id else { throw BoltDamage(page: id, "it runs over the end") }
        if overflow > 0 { bytes += try read(offset + bytes.count, Int(overflow) * meta.pageBytes) }
        guard bytes.count == (Int(overflow) + 1) * meta.pageBytes else { throw BoltDamage(page: id, "it is cut off") }
        return try BoltPage(bytes, id: id)
    }

    /// The full check of every page and key. Nested buckets, which etcd has none of, are an error.
    package func check() throws(BoltDamage) {
        var seen = PageSet(Int(meta.highWater))
        try mark(0, 2, in: &seen)
        if meta.freelist != Bolt.noFreelist { try markFreelist(&seen) }
        try checkReachable(meta.root, depth: 0, &seen)
        for (_, bucket) in try buckets() {
            if bucket.inline == nil { try checkReachable(bucket.root, depth: 0, &seen) }
            try forEach(bucket) { _, _ in }
        }
        guard meta.freelist != Bolt.noFreelist, let lost = seen.firstMissing else { return }
        throw BoltDamage(page: UInt64(lost), "it is neither used nor free")
    }

    private func checkReachable(_ id: UInt64, depth: Int, _ seen: inout PageSet) throws(BoltDamage) {
        guard depth < 64 else { throw BoltDamage(page: id, "the tree has no end") }
        let page = try self.page(id)
        try mark(id, page.overflow + 1, in: &seen)
        guard page.isBranch else {
            guard page.isLeaf else { throw BoltDamage(page: id, "flags \(page.flags) where a tree page belongs") }
            return
        }
        for i in 0..<page.count { try checkReachable(page.branchElement(i).child, depth: depth + 1, &seen) }
    }

    private func markFreelist(_ seen: inout PageSet) throws(BoltDamage) {
        let page = try self.page(meta.freelist)
        guard page.flags == Bolt.freelist else { throw BoltDamage(page: page.id, "it is no freelist") }
        try mark(page.id, page.overflow + 1, in: &seen)
        let bytes = page.bytes.rawSpan
        var count = page.count
        var start = Bolt.headerBytes
        if count == 0xffff {
            guard let real = Int(exactly: bytes.littleEndian64(at: start)) else {
                throw BoltDamage(page: page.id, "the freelist's length makes no sense")
            }
            count = real
            start += 8
        }
        guard count <= (bytes.byteCount - start) / 8 else { throw BoltDamage(page: page.id, "the freelist is cut off") }
        for i in 0..<count {
            let id = bytes.littleEndian64(at: start + 8 * i)
            guard id >= 2, id < meta.highWater else { throw BoltDamage(page: id, "a page outside the file is free") }
            try mark(id, 1, in: &seen)
        }
    }

    private func mark(_ id: UInt64, _ count: Int, in seen: inout PageSet) throws(BoltDamage) {
        for page in Int(id)..<(Int(id) + count) where !seen.insert(page) {
            throw BoltDamage(page: UInt64(page), "it is used twice")
        }
    }
}

/// Where a bucket's pairs are: a tree, or a page inside the bucket's own record.
package struct BoltBucket: Sendable {
    let root: UInt64
    let inline: Bytes?

    init(root: UInt64) {
        self.root = root
        inline = nil
    }

    init(_ value: Bytes, in page: UInt64) throws(BoltDamage) {
        guard value.count >= Bolt.bucketHeaderBytes else {
            throw BoltDamage(page: page, "a bucket's record is cut off")
        }
        root = value.rawSpan.littleEndian64(at: 0)
        if root != 0 {
            inline = nil
            return
        }
        guard value.count >= Bolt.bucketHeaderBytes + Bolt.headerBytes else {
            throw BoltDamage(page: page, "an inline bucket is cut off")
        }
        inline = Bytes(value[Bolt.bucketHeaderBytes...])
    }
}

struct KeyOrder {
    private var last: Bytes = []
    private var any = false

    mutating func advance(to key: RawSpan, page: UInt64) throws(BoltDamage) {
        guard !any || last.rawSpan.compare(key) < 0 else { throw BoltDamage(page: page, "keys do not ascend") }
        last.removeAll(keepingCapacity: true)
        last.append(key)
        any = true
    }

    /// The key of a branch element may be smaller than its child's first key, not smaller than what came before.
    func require(atLeast key: Bytes, page: UInt64) throws(BoltDamage) {
        guard !any || last.rawSpan.compare(key.rawSpan) < 0 else {
            throw BoltDamage(page: page, "a branch key is not behind the page before")
        }
    }
}

private struct PageSet {
    private var words: [UInt64]
    private let count: Int

    init(_ count: Int) {
        self.count = count
        words = [UInt64](repeating: 0, count: (count + 63) / 64)
    }

    /// False when it was there.
    mutating func insert(_ page: Int) -> Bool {
        guard page < count, words[page / 64] & (1 << UInt64(page % 64)) == 0 else { return false }
        words[page / 64] |= 1 << UInt64(page % 64)
        return true
    }

    var firstMissing: Int? {
        (0..<count).first { words[$0 / 64] & (1 << UInt64($0 % 64)) == 0 }
    }
}
