// What `snapshot status` says about a snapshot file, and the digest at its end.
//
//   snapshot file = bbolt image, a multiple of 512 bytes | SHA-256 of the image (32 bytes)

import Foundations

package enum SnapshotFile {
    /// Whether a file of this length ends with a digest, and how long the image is.
    package static func layout(fileBytes: Int) -> (imageBytes: Int, hasDigest: Bool) {
        fileBytes % 512 == SHA256.digestBytes ? (fileBytes - SHA256.digestBytes, true) : (fileBytes, false)
    }
}

package struct SnapshotStatus: Equatable, Sendable {
    /// CRC-32C over names, keys and values of all buckets.
    package var hash: UInt32
    /// The newest revision in the key bucket; 0 when it is empty.
    package var revision: Int64
    /// Records in all buckets, as 3.4 and 3.5 count.
    package var totalKeys: Int
    package var totalBytes: Int
    /// The storage version of 3.6 and later; empty before.
    package var version: String

    /// Checks the image in full and computes its status.
    package init(_ image: BoltImage) throws(BoltDamage) {
        try image.check()
        var crc = CRC32C()
        var keys = 0
        var revision: Int64 = 0
        var version = ""
        for (name, bucket) in try image.buckets() {
            crc.update(name)
            let isKey = name == Bytes("key".utf8)
            let isMeta = name == Bytes("meta".utf8)
            try image.forEach(bucket) { (key, value) throws(BoltDamage) in
                crc.update(key)
                crc.update(value)
                keys += 1
                if isKey {
                    guard key.byteCount >= 17 else {
                        throw BoltDamage("the key bucket holds a key of \(key.byteCount) bytes, which is no revision")
                    }
                    revision = Int64(bitPattern: key.littleEndian64(at: 0).byteSwapped)
                }
                if isMeta, Bytes(key) == Bytes("storageVersion".utf8) {
                    version = String(decoding: Bytes(value), as: UTF8.self)
                }
            }
        }
        hash = crc.value
        self.revision = revision
        totalKeys = keys
        totalBytes = Int(image.meta.highWater) * image.meta.pageBytes
        self.version = version
    }
}
