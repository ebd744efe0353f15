// The streams of one session: plain structs in chunks that never move, reached by slot number, with a free list. What a
// reused slot keeps is the memory of its buffers.

import Foundations

@safe struct StreamSlab<Stream>: ~Copyable {
    private static var chunkShift: Int { 4 }
    private static var chunkCount: Int { 1 << chunkShift }

    /// Each allocated once and initialised whole; freed in deinit.
    private var chunks: [UnsafeMutablePointer<Stream>] = unsafe []
    private var free: [Int32] = []
    private let blank: Stream

    init(blank: Stream) { self.blank = blank }

    deinit {
        for unsafe chunk in unsafe chunks {
            unsafe chunk.deinitialize(count: Self.chunkCount)
            unsafe chunk.deallocate()
        }
    }

    var slotCount: Int { unsafe chunks.count << Self.chunkShift }

    mutating func take() -> Int {
        if let slot = free.popLast() { return Int(slot) }
        let base = slotCount
        let chunk = UnsafeMutablePointer<Stream>.allocate(capacity: Self.chunkCount)
        unsafe chunk.initialize(repeating: blank, count: Self.chunkCount)
        unsafe chunks.append(chunk)
        for i in (1..<Self.chunkCount).reversed() { free.append(Int32(base + i)) }
        return base
    }

    mutating func giveBack(_ slot: Int) { free.append(Int32(slot)) }

    /// Stays valid as long as the slab; the caller knows that the slot is its own.
    @inline(__always)
    func pointer(_ slot: Int) -> UnsafeMutablePointer<Stream> {
        unsafe chunks[slot >> Self.chunkShift] + (slot & (Self.chunkCount - 1))
    }
}
