// Writes protobuf fields from the back of a buffer to its front. Going backwards the length of a nested message is known
// when its tag is written, so one pass is enough at any depth; generated code therefore names the last field first.
//
// The same code counts: a writer that stores nothing. So a message cannot be counted one way and written another. A writer
// on scratch memory stores until the memory is full and from there on only counts; most messages fit.

import Foundations

@safe
package struct WireWriter: ~Copyable {
    /// Large enough for every message without a payload, small enough for the stack.
    static let scratchSize = 1024

    private enum Mode { case counting, trying, filling }

    private let base: UnsafeMutablePointer<UInt8>?
    private let capacity: Int
    /// Everything from here on is written. Negative when there is no room: then it only counts.
    private(set) var position: Int
    /// The lowest position that may be written: 0, or above every position when nothing is stored (any more).
    private var limit: Int
    private let mode: Mode

    private init(_ buffer: UnsafeMutableBufferPointer<UInt8>?, _ mode: Mode) {
        unsafe base = buffer?.baseAddress
        capacity = unsafe buffer?.count ?? 0
        position = capacity
        limit = mode == .counting ? .max : 0
        self.mode = mode
    }

    /// Fills the buffer exactly; writing more than fits is an invariant's violation, never a write outside.
    init(filling buffer: UnsafeMutableBufferPointer<UInt8>) { unsafe self.init(buffer, .filling) }

    /// Fills the end of the buffer as far as it goes; see `isComplete`.
    init(trying buffer: UnsafeMutableBufferPointer<UInt8>) { unsafe self.init(buffer, .trying) }

    static func counting() -> WireWriter { unsafe WireWriter(nil, .counting) }

    var count: Int { capacity - position }
    var isComplete: Bool { limit == 0 }

    // MARK: fields left out when they are zero or empty (proto3)

    @inline(never)
    package mutating func field(_ number: UInt32, _ value: UInt64) {
        if value != 0 { required(number, value) }
    }
    package mutating func field(_ number: UInt32, _ value: Int64) { field(number, UInt64(bitPattern: value)) }
    package mutating func field(_ number: UInt32, _ value: UInt32) { field(number, UInt64(value)) }
    package mutating func field(_ number: UInt32, _ value: Int32) {
        field(number, UInt64(bitPattern: Int64(value)))
    }
    package mutating func field(_ number: UInt32, _ value: Bool) { if value { required(number, 1 as UInt64) } }
    package mutating func field<E: WireEnum>(_ number: UInt32, _ value: E) { field(number, value.rawValue) }

    @inline(never)
    package mutating func field(_ number: UInt32, _ value: Bytes) {
        if !value.isEmpty { required(number, value) }
    }

    @inline(never)
    package mutating func field(_ number: UInt32, _ value: String) {
        if !value.isEmpty { required(number, value) }
    }

    @inline(never)
    package mutating func field<M: WireMessage>(_ number: UInt32, _ value: M?) {
        if let value { required(number, value) }
    }

    // MARK: fields left out when they are nil (proto2 optional)

    package mutating func field(_ number: UInt32, _ value: Bytes?) { if let value { required(number, value) } }
    package mutating func field(_ number: UInt32, _ value: Bool?) { if let value { required(number, value) } }

    // MARK: fields written always (proto2 required, members of a oneof)

    @inline(never)
    package mutating func required(_ number: UInt32, _ value: UInt64) {
        varint(value)
        varint(UInt64(number) &<< 3)
    }
    package mutating func required(_ number: UInt32, _ value: Int64) { required(number, UInt64(bitPattern: value)) }
    package mutating func required(_ number: UInt32, _ value: UInt32) { required(number, UInt64(value)) }
    package mutating func required(_ number: UInt32, _ value: Int32) {
        required(number, UInt64(bitPattern: Int64(value)))
    }
    package mutating func required(_ number: UInt32, _ value: Bool) { required(number, value ? 1 : 0 as UInt64) }
    package mutating func required<E: WireEnum>(_ number: UInt32, _ value: E) { required(number, value.rawValue) }

    @inline(never)
    package mutating func required(_ number: UInt32, _ value: Bytes) {
        payload(value)
        header(number, value.count)
    }

    @inline(never)
    package mutating func required(_ number: UInt32, _ value: String) {
        // Native strings are UTF-8 in memory; others (none here) would be copied once.
        var value = value
        let count = value.withUTF8 { utf8 in
            unsafe payload(UnsafeRawBufferPointer(utf8))
            return utf8.count
        }
        header(number, count)
    }

    @inline(never)
    package mutating func required<M: WireMessage>(_ number: UInt32, _ value: M) {
        let end = position
        value.encode(into: &self)
        header(number, end &- position)
    }

    // MARK: lists

    @inline(never)
    package mutating func field<M: WireMessage>(_ number: UInt32, _ list: [M]) {
        for message in list.reversed() { required(number, message) }
    }

    @inline(never)
    package mutating func field(_ number: UInt32, _ list: [Bytes]) {
        for bytes in list.reversed() { required(number, bytes) }
    }

    @inline(never)
    package mutating func field(_ number: UInt32, _ list: [String]) {
        for text in list.reversed() { required(number, text) }
    }

    /// One tag for each number (proto2).
    @inline(never)
    package mutating func unpacked(_ number: UInt32, _ list: [UInt64]) {
        for value in list.reversed() { required(number, value) }
    }

    /// One tag for all (proto3).
    @inline(never)
    package mutating func packed(_ number: UInt32, _ list: [UInt64]) {
        if list.isEmpty { return }
        let end = position
        for value in list.reversed() { varint(value) }
        header(number, end &- position)
    }

    @inline(never)
    package mutating func packed<E: WireEnum>(_ number: UInt32, _ list: [E]) {
        if list.isEmpty { return }
        let end = position
        for value in list.reversed() { varint(UInt64(bitPattern: Int64(value.rawValue))) }
        header(number, end &- position)
    }

    // MARK: primitives

    private mutating func header(_ number: UInt32, _ length: Int) {
        varint(UInt64(truncatingIfNeeded: length))
        varint(UInt64(number) &<< 3 | 2)
    }

    @inline(__always)
    private mutating func varint(_ value: UInt64) {
        if value < 0x80 {
            position &-= 1
            guard hasRoom() else { return }
            unsafe base.unsafelyUnwrapped[position] = UInt8(truncatingIfNeeded: value)
        } else {
            longVarint(value)
        }
    }

    @inline(never)
    private mutating func longVarint(_ value: UInt64) {
        position &-= Varint.size(value)
        guard hasRoom() else { return }
        let base = unsafe base.unsafelyUnwrapped
        var rest = value
        var i = position
        while rest >= 0x80 {
            unsafe base[i] = UInt8(truncatingIfNeeded: rest) | 0x80
            rest &>>= 7
            i &+= 1
        }
        unsafe base[i] = UInt8(truncatingIfNeeded: rest)
    }

    private mutating func payload(_ bytes: Bytes) {
        unsafe bytes.withUnsafeBytes { unsafe payload($0) }
    }

    private mutating func payload(_ bytes: UnsafeRawBufferPointer) {
        position &-= bytes.count
        guard hasRoom(), let source = bytes.baseAddress else { return }
        unsafe UnsafeMutableRawPointer(base.unsafelyUnwrapped + position).copyMemory(
            from: source, byteCount: bytes.count)
    }

    /// What was just made room for lies inside the buffer. (A position below `limit` is also every position once the
    /// limit says "no more", so one comparison guards each store.)
    @inline(__always)
    private mutating func hasRoom() -> Bool {
        if position >= limit { return true }
        full()
        return false
    }

    @inline(never)
    private mutating func full() {
        invariant(mode != .filling, "a message is larger than it was counted")
        limit = .max
    }
}
