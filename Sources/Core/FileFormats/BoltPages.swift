// The page format of bbolt, the database file that etcd keeps its state in and that snapshot files carry. All numbers are
// little-endian. Page n begins at n * page size.
//
//   header   id u64 | flags u16 | count u16 | overflow u32            16 bytes; overflow: further pages it runs over
//   leaf     { flags u32, pos u32, key bytes u32, value bytes u32 }... then keys and values; flag 1: a bucket
//   branch   { pos u32, key bytes u32, child u64 }...                 then keys; pos counts from its element
//   meta     magic, version, page size, flags, root, sequence, freelist, high-water mark, transaction, FNV-1a checksum
//   freelist count ids (count 0xFFFF: the first id is the real count)

import Foundations

package struct BoltDamage: Error, Equatable, Sendable, CustomStringConvertible {
    package var page: UInt64?
    package var what: String

    package init(page: UInt64? = nil, _ what: String) {
        self.page = page
        self.what = what
    }

    package var description: String {
        "the database file is damaged: " + (page.map { "page \($0): " } ?? "") + what + ". Use another copy or backup."
    }
}

enum Bolt {
    static let headerBytes = 16
    static let elementBytes = 16
    static let metaBytes = 64
    static let magic: UInt32 = 0xED0C_DAED
    static let version: UInt32 = 2
    static let noFreelist = UInt64.max
    static let keyBytesMax = 32768
    static let pageBytes = 4096
    static let bucketHeaderBytes = 16

    static let branch: UInt16 = 0x01
    static let leaf: UInt16 = 0x02
    static let meta: UInt16 = 0x04
    static let freelist: UInt16 = 0x10
    static let bucketFlag: UInt32 = 0x01

    static func appendHeader(id: UInt64, flags: UInt16, count: Int, overflow: Int, to page: inout Bytes) {
        page.appendLittleEndian(id)
        page.appendLittleEndian(flags)
        page.appendLittleEndian(UInt16(count))
        page.appendLittleEndian(UInt32(overflow))
    }

    static func fnv1a(_ bytes: RawSpan) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for i in 0..<bytes.byteCount {
            hash ^= UInt64(bytes[byte: i])
            hash = hash &* 0x100_0000_01b3
        }
        return hash
    }
}

/// The root of the file; two copies, the valid one with the larger transaction counts.
package struct BoltMeta: Equatable, Sendable {
    package var pageBytes: Int
    package var root: UInt64
    package var freelist: UInt64
    package var highWater: UInt64
    package var transaction: UInt64

    package init(pageBytes: Int, root: UInt64, freelist: UInt64, highWater: UInt64, transaction: UInt64) {
        self.pageBytes = pageBytes
        self.root = root
        self.freelist = freelist
        self.highWater = highWater
        self.transaction = transaction
    }

    /// The whole page with this number.
    func encoded(asPage id: UInt64) -> Bytes {
        var body: Bytes = []
        body.appendLittleEndian(Bolt.magic)
        body.appendLittleEndian(Bolt.version)
        body.appendLittleEndian(UInt32(pageBytes))
        body.appendLittleEndian(UInt32(0))
        for number in [root, 0, freelist, highWater, transaction] { body.appendLittleEndian(number) }
        body.appendLittleEndian(Bolt.fnv1a(body.rawSpan))
        var page: Bytes = []
        Bolt.appendHeader(id: id, flags: Bolt.meta, count: 0, overflow: 0, to: &page)
        page += body
        page += Bytes(repeating: 0, count: pageBytes - page.count)
        return page
    }

    /// Nil unless magic, version and checksum are right. `page` begins with the page header.
    init?(_ page: Bytes) {
        guard page.count >= Bolt.headerBytes + Bolt.metaBytes else { return nil }
        let body = page.rawSpan.extracting(Bolt.headerBytes..<(Bolt.headerBytes + Bolt.metaBytes))
        guard body.littleEndian32(at: 0) == Bolt.magic, body.littleEndian32(at: 4) == Bolt.version,
            body.littleEndian64(at: 56) == Bolt.fnv1a(body.extracting(first: 56))
        else { return nil }
        let size = Int(body.littleEndian32(at: 8))
        guard size >= 512, size <= 1 << 20, size & (size - 1) == 0 else { return nil }
        self.init(
            pageBytes: size, root: body.littleEndian64(at: 16), freelist: body.littleEndian64(at: 32),
            highWater: body.littleEndian64(at: 40), transaction: body.littleEndian64(at: 48))
    }
}

/// One page with its overflow, checked so far that every element lies inside it.
struct BoltPage {
    let bytes: Bytes
    let id: UInt64
    let flags: UInt16
    let count: Int
    let overflow: Int

    /// `start`: where the page begins in `bytes` (an inline bucket's page lies inside a value).
    init(_ bytes: Bytes, id expected: UInt64) throws(BoltDamage) {
        guard bytes.count >= Bolt.headerBytes else { throw BoltDamage(page: expected, "it is cut off") }
        self.bytes = bytes
        id = bytes.rawSpan.littleEndian64(at: 0)
        flags = bytes.rawSpan.littleEndian16(at: 8)
        count = Int(bytes.rawSpan.littleEndian16(at: 10))
        overflow = Int(bytes.rawSpan.littleEndian32(at: 12))
        guard id == expected else { throw BoltDamage(page: expected, "it says it is page \(id)") }
        guard flags == Bolt.leaf || flags == Bolt.branch else { return }
        guard Bolt.headerBytes + count * Bolt.elementBytes <= bytes.count else {
            throw BoltDamage(page: expected, "\(count) elements do not fit")
        }
    }

    var isLeaf: Bool { flags == Bolt.leaf }
    var isBranch: Bool { flags == Bolt.branch }

    func leafElement(_ i: Int) throws(BoltDamage) -> (isBucket: Bool, key: Range<Int>, value: Range<Int>) {
        let at = Bolt.headerBytes + i * Bolt.elementBytes
        let span = bytes.rawSpan
        let flags = span.littleEndian32(at: at)
        let keyStart = at + Int(span.littleEndian32(at: at + 4))
        let keyEnd = keyStart + Int(span.littleEndian32(at: at + 8))
        let valueEnd = keyEnd + Int(span.littleEndian32(at: at + 12))
        guard flags <= 1, keyStart >= Bolt.headerBytes + count * Bolt.elementBytes, valueEnd <= bytes.count else {
            throw BoltDamage(page: id, "element \(i) points outside the page")
        }
        guard keyEnd > keyStart, keyEnd - keyStart <= Bolt.keyBytesMax else {
            throw BoltDamage(page: id, "element \(i) has a key of \(keyEnd - keyStart) bytes")
        }
        return (flags == Bolt.bucketFlag, keyStart..<keyEnd, keyEnd..<valueEnd)
    }

    func branchElement(_ i: Int) throws(BoltDamage) -> (key: Range<Int>, child: UInt64) {
        let at = Bolt.headerBytes + i * Bolt.elementBytes
        let span = bytes.rawSpan
        let keyStart = at + Int(span.littleEndian32(at: at))
        let keyEnd = keyStart + Int(span.littleEndian32(at: at + 4))
        guard keyStart >= Bolt.headerBytes + count * Bolt.elementBytes, keyEnd <= bytes.count else {
            throw BoltDamage(page: id, "element \(i) points outside the page")
        }
        return (keyStart..<keyEnd, span.littleEndian64(at: at + 8))
    }
}
