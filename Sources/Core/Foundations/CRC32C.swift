// CRC-32C (Castagnoli), as the log, snapshot files and HashKV use it. Eight bytes a step by table; the running value can
// be carried from one piece to the next. crc("123456789") == 0xE3069283.

package struct CRC32C: Sendable {
    /// The finished value of everything fed so far.
    package private(set) var value: UInt32

    /// Starts empty, or continues from a finished value.
    package init(_ value: UInt32 = 0) { self.value = value }

    package mutating func update(_ bytes: RawSpan) {
        var crc = ~value
        let count = bytes.byteCount
        // Indices are bytes into tables of 256: no check can fail, and eight of them for each eight bytes cost a third.
        unsafe CRC32C.tables.withUnsafeBufferPointer { tables in
            var i = 0
            while i &+ 8 <= count {
                let word = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: i, as: UInt64.self).littleEndian
                let low = UInt32(truncatingIfNeeded: word) ^ crc
                let high = UInt32(truncatingIfNeeded: word >> 32)
                let a = unsafe tables[unchecked: 7 &* 256 &+ Int(low & 0xff)] ^ tables[unchecked: 6 &* 256 &+ Int((low >> 8) & 0xff)]
                let b = unsafe tables[unchecked: 5 &* 256 &+ Int((low >> 16) & 0xff)] ^ tables[unchecked: 4 &* 256 &+ Int(low >> 24)]
                let c = unsafe tables[unchecked: 3 &* 256 &+ Int(high & 0xff)] ^ tables[unchecked: 2 &* 256 &+ Int((high >> 8) & 0xff)]
                let d = unsafe tables[unchecked: 256 &+ Int((high >> 16) & 0xff)] ^ tables[unchecked: Int(high >> 24)]
                crc = a ^ b ^ (c ^ d)
                i &+= 8
            }
            while i < count {
                let byte = unsafe bytes.unsafeLoad(fromByteOffset: i, as: UInt8.self)
                crc = unsafe tables[unchecked: Int((crc ^ UInt32(byte)) & 0xff)] ^ (crc >> 8)
                i &+= 1
            }
        }
        value = ~crc
    }

    package mutating func update(_ bytes: [UInt8]) { update(bytes.rawSpan) }

    package static func of(_ bytes: [UInt8]) -> UInt32 {
        var crc = CRC32C()
        crc.update(bytes)
        return crc.value
    }

    /// tables[k * 256 + b]: the effect of byte b followed by k zero bytes.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for b in 0..<256 {
            var crc = UInt32(b)
            for _ in 0..<8 { crc = crc & 1 != 0 ? (crc >> 1) ^ 0x82F6_3B78 : crc >> 1 }
            tables[b] = crc
        }
        for k in 1..<8 {
            for b in 0..<256 {
                let previous = tables[(k - 1) * 256 + b]
                tables[k * 256 + b] = tables[Int(previous & 0xff)] ^ (previous >> 8)
            }
        }
        return tables
    }()
}

extension UnsafeBufferPointer {
    @inline(__always)
    fileprivate subscript(unchecked i: Int) -> Element { unsafe baseAddress.unsafelyUnwrapped[i] }
}
