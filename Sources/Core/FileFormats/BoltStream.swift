// Reads a bbolt image that comes in file order, page by page, with the memory of one page: for a snapshot that is used
// while it arrives. Only images whose writer says where each bucket's pages are can be read so (`BoltTree`): a page does
// not name its bucket. `BoltImageWriter` writes the pairs of a bucket in order and says it.
//
// What a reader with the whole file would find by walking the trees is checked another way: pages come without a gap,
// every pair lies in its bucket's pages and ascends, and there are as many as the writer counted.

import Foundations

/// A bucket's pages and how many pairs are in them. Small buckets lie inside the root's pages and have none.
package struct BoltTree: Equatable, Sendable {
    package var bucket: String
    package var pages: Range<UInt64>
    package var pairs: UInt64

    package init(bucket: String, pages: Range<UInt64>, pairs: UInt64) {
        self.bucket = bucket
        self.pages = pages
        self.pairs = pairs
    }

    /// `key=2-900:87381,meta=...`: pages from and to before, and pairs. None: an empty text.
    package static func text(_ trees: [BoltTree]) -> String {
        trees.map { "\($0.bucket)=\($0.pages.lowerBound)-\($0.pages.upperBound):\($0.pairs)" }.joined(separator: ",")
    }

    /// Nil unless it is such a list, in the order of the pages.
    package static func parse(_ text: String) -> [BoltTree]? {
        var trees: [BoltTree] = []
        for part in text.isEmpty ? [] : text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2, !sides[0].isEmpty, trees.count < 64 else { return nil }
            let numbers = sides[1].split(omittingEmptySubsequences: false) { $0 == "-" || $0 == ":" }.map { UInt64($0) }
            guard numbers.count == 3, let first = numbers[0], let end = numbers[1], let pairs = numbers[2],
                first >= trees.last?.pages.upperBound ?? 2, end > first
            else { return nil }
            trees.append(BoltTree(bucket: String(sides[0]), pages: first..<end, pairs: pairs))
        }
        return trees
    }
}

package struct BoltStream {
    package typealias Visit = (_ bucket: String, _ key: RawSpan, _ value: RawSpan) throws(BoltDamage) -> Void

    /// A pair lies in one page with what it runs over. Larger ones no server takes.
    private static let pageBytesMax = 512 << 20

    private let trees: [BoltTree]
    private var meta: BoltMeta?
    /// What has come of the pages that are not complete.
    private var pending: Bytes = []
    private var nextPage: UInt64 = 0
    private var tree = 0
    private var pairs: UInt64 = 0
    private var order = KeyOrder()
    /// In the order they are named in the root.
    package private(set) var buckets: [String] = []

    package init(_ trees: [BoltTree]) { self.trees = trees }

    /// The next bytes of the file, in pieces of any size.
    package mutating func feed(_ bytes: RawSpan, _ visit: Visit) throws(BoltDamage) {
        pending.append(bytes)
        var at = 0
        while let count = try pageBytes(at) {
            try take(Bytes(pending[at..<(at + count)]), visit)
            at += count
        }
        if at > 0 { pending.removeFirst(at) }
    }

    /// The file has ended.
    package mutating func finish() throws(BoltDamage) {
        guard pending.isEmpty, let meta, nextPage == meta.highWater else {
            throw BoltDamage(page: nextPage, "the image ends there, \(meta.map { "\($0.highWater)" } ?? "2") pages were announced")
        }
        try closeTrees()
        for tree in trees where !buckets.contains(tree.bucket) { throw BoltDamage("bucket \(tree.bucket) is not in the root") }
    }

    /// Of the page that begins there with what it runs over, once all of it has come.
    private mutating func pageBytes(_ at: Int) throws(BoltDamage) -> Int? {
        let rest = pending.count - at
        guard rest >= Bolt.headerBytes + Bolt.metaBytes else { return nil }
        guard let meta else {
            guard let first = BoltMeta(Bytes(pending[at..<(at + Bolt.headerBytes + Bolt.metaBytes)])) else {
                throw BoltDamage(page: 0, "it is no meta page")
            }
            meta = first
            return try pageBytes(at)
        }
        let overflow = UInt64(pending.rawSpan.littleEndian32(at: at + 12))
        guard nextPage < meta.highWater, overflow < meta.highWater - nextPage else {
            throw BoltDamage(page: nextPage, "it runs over the end")
        }
        let count = (Int(overflow) + 1) * meta.pageBytes
        guard count <= BoltStream.pageBytesMax else { throw BoltDamage(page: nextPage, "it has \(count) bytes") }
        return rest >= count ? count : nil
    }

    private mutating func take(_ bytes: Bytes, _ visit: Visit) throws(BoltDamage) {
        let page = try BoltPage(bytes, id: nextPage)
        nextPage += UInt64(page.overflow) + 1
        guard page.id >= 2 else { return }
        guard page.isLeaf || page.isBranch else { throw BoltDamage(page: page.id, "flags \(page.flags) where a tree page belongs") }
        while tree < trees.count, page.id >= trees[tree].pages.upperBound { try closeTree() }
        let isInTree = tree < trees.count && trees[tree].pages.contains(page.id)
        if isInTree && nextPage > trees[tree].pages.upperBound { throw BoltDamage(page: page.id, "it runs into the next bucket") }
        // Branches only say where the leaves are, which come in order.
        guard page.isLeaf else { return }
        for i in 0..<page.count {
            let (isBucket, key, value) = try page.leafElement(i)
            guard isBucket != isInTree else {
                throw BoltDamage(page: page.id, isBucket ? "a bucket lies inside a bucket" : "a plain record lies beside the buckets")
            }
            if isInTree {
                try pair(page, key, value, trees[tree].bucket, visit)
            } else {
                try bucket(page, key, value, visit)
            }
        }
    }

    private mutating func pair(
        _ page: BoltPage, _ key: Range<Int>, _ value: Range<Int>, _ bucket: String, _ visit: Visit
    ) throws(BoltDamage) {
        let span = page.bytes.rawSpan
        try order.advance(to: span.extracting(key), page: page.id)
        pairs += 1
        try visit(bucket, span.extracting(key), span.extracting(value))
    }

    /// An element of the root: a bucket with its pairs in the record, or one whose pages were here.
    private mutating func bucket(
        _ page: BoltPage, _ key: Range<Int>, _ value: Range<Int>, _ visit: Visit
    ) throws(BoltDamage) {
        try closeTrees()
        let name = String(decoding: page.bytes[key], as: UTF8.self)
        buckets.append(name)
        let record = try BoltBucket(Bytes(page.bytes[value]), in: page.id)
        guard let inline = record.inline else {
            guard let tree = trees.first(where: { $0.bucket == name }), tree.pages.contains(record.root) else {
                throw BoltDamage(page: page.id, "the pages of bucket \(name) were not announced")
            }
            return
        }
        let inner = try BoltPage(inline, id: 0)
        guard inner.isLeaf else { throw BoltDamage(page: page.id, "bucket \(name) is no leaf") }
        order = KeyOrder()
        for i in 0..<inner.count {
            let (isBucket, key, value) = try inner.leafElement(i)
            guard !isBucket else { throw BoltDamage(page: page.id, "a bucket lies inside a bucket") }
            try pair(inner, key, value, name, visit)
        }
    }

    private mutating func closeTrees() throws(BoltDamage) { while tree < trees.count { try closeTree() } }

    private mutating func closeTree() throws(BoltDamage) {
        let closed = trees[tree]
        guard nextPage >= closed.pages.upperBound, pairs == closed.pairs else {
            throw BoltDamage("bucket \(closed.bucket) has \(pairs) pairs, \(closed.pairs) were announced")
        }
        tree += 1
        pairs = 0
        order = KeyOrder()
    }
}
