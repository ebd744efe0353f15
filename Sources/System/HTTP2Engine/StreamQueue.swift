// Streams that wait for the same thing, the one that has waited longest first: a list through the streams themselves, so that
// one that is closed leaves it at once and no list grows beyond the streams there are.

import Foundations

@safe struct StreamQueue {
    private(set) var first: Int32 = -1
    private var last: Int32 = -1

    @inline(__always)
    var isEmpty: Bool { first < 0 }

    @inline(__always)
    mutating func append(_ slot: Int, _ waits: ServerStream.Waiting, _ streams: inout StreamSlab<ServerStream>) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.waits = waits
        unsafe stream.pointee.previous = last
        unsafe stream.pointee.next = -1
        if last < 0 {
            first = Int32(truncatingIfNeeded: slot)
        } else {
            unsafe streams.pointer(Int(last)).pointee.next = Int32(truncatingIfNeeded: slot)
        }
        last = Int32(truncatingIfNeeded: slot)
    }

    /// One that is in this list.
    @inline(__always)
    mutating func remove(_ slot: Int, _ streams: inout StreamSlab<ServerStream>) {
        let stream = unsafe streams.pointer(slot)
        let (before, after) = unsafe (stream.pointee.previous, stream.pointee.next)
        unsafe stream.pointee.waits = .nowhere
        if before < 0 { first = after } else { unsafe streams.pointer(Int(before)).pointee.next = after }
        if after < 0 { last = before } else { unsafe streams.pointer(Int(after)).pointee.previous = before }
    }
}
