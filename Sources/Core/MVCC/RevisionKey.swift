// The key of a stored revision: main (8 bytes, big endian), '_', sub (8 bytes, big endian), and 't' at the end of a
// tombstone. Byte order is revision order. (storage-formats 3)

import Foundations

package enum RevisionKey {
    package static let putCount = 17
    package static let tombstoneCount = 18

    package static func encode(_ revision: Revision, isTombstone: Bool = false) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(tombstoneCount)
        append(revision, isTombstone: isTombstone, to: &bytes)
        return bytes
    }

    package static func append(_ revision: Revision, isTombstone: Bool, to bytes: inout [UInt8]) {
        bytes.append(addingCapacity: tombstoneCount) { output in
            output.append(bigEndian: UInt64(bitPattern: revision.main))
            output.append(0x5f)
            output.append(bigEndian: UInt64(bitPattern: revision.sub))
            if isTombstone { output.append(0x74) }
        }
    }

    /// Makes `bytes`, which are the key of a put, those of another one.
    @inline(__always)
    static func write(_ revision: Revision, over bytes: inout [UInt8]) {
        invariant(bytes.count == putCount, "a key of \(putCount) bytes is written over")
        unsafe bytes.withUnsafeMutableBytes { place in
            unsafe place.storeBytes(of: UInt64(bitPattern: revision.main).bigEndian, toByteOffset: 0, as: UInt64.self)
            unsafe place[8] = 0x5f
            unsafe place.storeBytes(of: UInt64(bitPattern: revision.sub).bigEndian, toByteOffset: 9, as: UInt64.self)
        }
    }

    /// Nil when the bytes are no revision key.
    package static func decode(_ bytes: RawSpan) -> (revision: Revision, isTombstone: Bool)? {
        guard bytes.byteCount == putCount || bytes.byteCount == tombstoneCount, bytes[byte: 8] == 0x5f else {
            return nil
        }
        let isTombstone = bytes.byteCount == tombstoneCount
        if isTombstone && bytes[byte: 17] != 0x74 { return nil }
        let main = unsafe Int64(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: Int64.self))
        let sub = unsafe Int64(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 9, as: Int64.self))
        guard main >= 0, sub >= 0 else { return nil }
        return (Revision(main: main, sub: sub), isTombstone)
    }
}
