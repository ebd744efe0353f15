// Views of bytes in memory, in one place, because the standard library calls the raw view of typed memory unsafe (padding
// could show). For bytes there is no padding, so this is the safe door.

extension Array where Element == UInt8 {
    /// The bytes, borrowed.
    package var rawSpan: RawSpan {
        @_lifetime(borrow self)
        @inlinable get {
            let view = span
            return unsafe _overrideLifetime(view.bytes, borrowing: self)
        }
    }
}

extension Array where Element == UInt8 {
    /// Owned bytes of a view.
    @inlinable package init(_ bytes: RawSpan) {
        self = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
    }

    /// Appends the bytes of a view.
    @inlinable package mutating func append(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe append(contentsOf: $0) }
    }
}

extension RawSpan {
    /// The byte at an offset, bounds checked.
    @inlinable package subscript(byte offset: Int) -> UInt8 {
        invariant(offset >= 0 && offset < byteCount, "byte \(offset) of \(byteCount)")
        return unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// Same bytes in both views.
    @inlinable package func elementsEqual(_ other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        return compare(other) == 0
    }

    /// Negative, zero or positive as this sorts before, with or after `other`: unsigned bytes, shorter first.
    @inlinable package func compare(_ other: RawSpan) -> Int {
        let shared = min(byteCount, other.byteCount)
        var i = 0
        while i &+ 8 <= shared {
            let a = unsafe unsafeLoadUnaligned(fromByteOffset: i, as: UInt64.self)
            let b = unsafe other.unsafeLoadUnaligned(fromByteOffset: i, as: UInt64.self)
            if a != b { return a.bigEndian < b.bigEndian ? -1 : 1 }
            i &+= 8
        }
        while i < shared {
            let a = unsafe unsafeLoad(fromByteOffset: i, as: UInt8.self)
            let b = unsafe other.unsafeLoad(fromByteOffset: i, as: UInt8.self)
            if a != b { return a < b ? -1 : 1 }
            i &+= 1
        }
        return byteCount - other.byteCount
    }
}
