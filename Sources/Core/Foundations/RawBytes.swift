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

extension OutputSpan where Element == UInt8 {
    /// Appends the bytes of a view, for which there is room.
    @inlinable @inline(__always)
    @_lifetime(self: copy self)
    package mutating func append(_ bytes: RawSpan) {
        let count = bytes.byteCount
        invariant(count <= freeCapacity, "\(count) bytes into room for \(freeCapacity)")
        unsafe bytes.withUnsafeBytes { source in
            unsafe withUnsafeMutableBufferPointer { buffer, initialized in
                guard let from = source.baseAddress, let to = buffer.baseAddress else { return }
                unsafe UnsafeMutableRawPointer(to + initialized).copyMemory(from: from, byteCount: count)
                initialized += count
            }
        }
    }

    /// Appends a number, most significant byte first.
    @inlinable @inline(__always)
    @_lifetime(self: copy self)
    package mutating func append(bigEndian number: UInt64) {
        invariant(freeCapacity >= 8, "8 bytes into room for \(freeCapacity)")
        unsafe withUnsafeMutableBufferPointer { buffer, initialized in
            guard let to = buffer.baseAddress else { return }
            unsafe UnsafeMutableRawPointer(to + initialized).storeBytes(of: number.bigEndian, as: UInt64.self)
            initialized += 8
        }
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
