// The streams of one session: plain structs in chunks that never move, reached by slot number, with a free list. What a
// reused slot keeps is the memory of its buffers.

import Foundations

@safe @usableFromInline struct StreamSlab<Stream: ~Copyable>: ~Copyable {
    @inlinable static var chunkShift: Int { 4 }
    @inlinable static var chunkCount: Int { 1 << chunkShift }

    /// Each allocated once and initialised whole; freed in deinit.
    @usableFromInline var chunks: [UnsafeMutablePointer<Stream>] = unsafe []
    private var free: [Int32] = []
    private let blank: () -> Stream

    init(_ blank: @escaping () -> Stream) { self.blank = blank }

    deinit {
        // (By index: the formatter joins the words of `for unsafe chunk in`.)
        for i in unsafe chunks.indices {
            unsafe chunks[i].deinitialize(count: Self.chunkCount)
            unsafe chunks[i].deallocate()
        }
    }

    @inlinable var slotCount: Int { unsafe chunks.count << Self.chunkShift }

    mutating func take() -> Int {
        if let slot = free.popLast() { return Int(slot) }
        let base = slotCount
        let chunk = UnsafeMutablePointer<Stream>.allocate(capacity: Self.chunkCount)
        for i in 0..<Self.chunkCount { unsafe (chunk + i).initialize(to: blank()) }
        unsafe chunks.append(chunk)
        for i in (1..<Self.chunkCount).reversed() { free.append(Int32(base + i)) }
        return base
    }

    mutating func giveBack(_ slot: Int) { free.append(Int32(slot)) }

    /// Stays valid as long as the slab; the caller knows that the slot is its own.
    @inlinable @inline(__always)
    func pointer(_ slot: Int) -> UnsafeMutablePointer<Stream> {
        unsafe chunks[slot >> Self.chunkShift] + (slot & (Self.chunkCount - 1))
    }
}
