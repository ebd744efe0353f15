// Writes protobuf fields from the back of a buffer to its front. Going backwards the length of a nested message is known
// when its tag is written, so one pass is enough at any depth; generated code therefore names the last field first.
//
// The same code counts: a counting writer stores nothing. So the buffer is allocated once, with the exact size, and a
// message cannot be counted one way and written another.

import Foundations

@safe
package struct WireWriter: ~Copyable {
    /// Nil counts.
    private let base: UnsafeMutablePointer<UInt8>?
    /// Everything from here on is written. Negative when counting.
    private var position: Int

    /// Fills the buffer exactly; writing more than fits is an invariant's violation, never a write outside.
    init(filling buffer: UnsafeMutableBufferPointer<UInt8>) {
        unsafe base = buffer.baseAddress
        position = buffer.count
    }

    private init() {
        unsafe base = nil
        position = 0
    }

    static func counting() -> WireWriter { WireWriter() }

    /// Bytes still free in front (filling), or minus the bytes counted.
    var remaining: Int { position }
    var count: Int { -position }

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
            guard let base = unsafe base else { return }
            checkRoom()
            unsafe base[position] = UInt8(truncatingIfNeeded: value)
        } else {
            longVarint(value)
        }
    }

    @inline(never)
    private mutating func longVarint(_ value: UInt64) {
        position &-= Varint.size(value)
        guard let base = unsafe base else { return }
        checkRoom()
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
        guard let base = unsafe base else { return }
        checkRoom()
        guard let source = bytes.baseAddress else { return }
        unsafe UnsafeMutableRawPointer(base + position).copyMemory(from: source, byteCount: bytes.count)
    }

    @inline(__always)
    private func checkRoom() {
        invariant(position >= 0, "a message is larger than it was counted")
    }
}
