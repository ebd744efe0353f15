// The memory nghttp2 works with. It allocates and frees half a dozen small blocks for each call (a stream, its frames, what
// it queues), and with some hundred calls under way the general allocator's quick lists are too short for that: a tenth of
// a call's cost. Here a block that was freed is the next one given, by size.
//
// One for all sessions of a loop, used on that loop's thread alone. What is kept for later is bounded.

import CNghttp2
import Foundations
import Glibc

@safe final class BlockPool {
    /// Blocks of up to so many times `step` bytes are kept; larger ones are the allocator's.
    private static let classes = 32
    private static let step = 32
    private static let bytesMax = 2 << 20
    /// Before each block: its size in steps, 0 for a large one. As wide as the alignment that malloc promises.
    private static let header = 16

    @unsafe private struct Kept {
        /// By size in steps: the first free block, whose first word is the address of the next.
        var first: UnsafeMutablePointer<UnsafeMutableRawPointer?>
        var bytes = 0
    }

    /// Owned by this pool, freed in deinit; nghttp2 holds the address as long as a session lives, and each session keeps its
    /// pool.
    private let kept: UnsafeMutablePointer<Kept>

    init() {
        unsafe kept = UnsafeMutablePointer<Kept>.allocate(capacity: 1)
        let first = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: Self.classes + 1)
        unsafe first.initialize(repeating: nil, count: Self.classes + 1)
        unsafe kept.initialize(to: Kept(first: first))
    }

    deinit {
        for size in 0...Self.classes {
            while let block = unsafe Self.take(kept, size) { unsafe Glibc.free(block - Self.header) }
        }
        unsafe kept.pointee.first.deallocate()
        unsafe kept.deallocate()
    }

    /// Valid as long as the pool.
    var functions: nghttp2_mem {
        unsafe nghttp2_mem(
            mem_user_data: UnsafeMutableRawPointer(kept),
            malloc: { size, context in unsafe BlockPool.allocate(BlockPool.of(context), size) },
            free: { block, context in unsafe BlockPool.release(BlockPool.of(context), block) },
            calloc: { count, size, context in
                let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
                guard !overflow, let block = unsafe BlockPool.allocate(BlockPool.of(context), bytes) else { return nil }
                return unsafe memset(block, 0, bytes)
            },
            realloc: { block, size, context in unsafe BlockPool.reallocate(BlockPool.of(context), block, size) })
    }

    // MARK: What nghttp2 calls

    private static func of(_ context: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<Kept> {
        unsafe context.unsafelyUnwrapped.assumingMemoryBound(to: Kept.self)
    }

    @inline(__always)
    private static func take(_ kept: UnsafeMutablePointer<Kept>, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let block = unsafe kept.pointee.first[size] else { return nil }
        unsafe kept.pointee.first[size] = block.load(as: UnsafeMutableRawPointer?.self)
        unsafe kept.pointee.bytes -= size * step
        return unsafe block
    }

    private static func allocate(_ kept: UnsafeMutablePointer<Kept>, _ bytes: Int) -> UnsafeMutableRawPointer? {
        guard bytes >= 0, bytes <= Int.max - header else { return nil }
        let size = max(1, (bytes &+ step &- 1) / step)
        if size > classes { return unsafe marked(Glibc.malloc(header + bytes), 0) }
        if let block = unsafe take(kept, size) { return unsafe block }
        return unsafe marked(Glibc.malloc(header + size * step), size)
    }

    private static func marked(_ start: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let start = unsafe start else { return nil }
        unsafe start.storeBytes(of: size, as: Int.self)
        return unsafe start + header
    }

    private static func release(_ kept: UnsafeMutablePointer<Kept>, _ block: UnsafeMutableRawPointer?) {
        guard let block = unsafe block else { return }
        let size = unsafe (block - header).load(as: Int.self)
        guard size > 0, unsafe kept.pointee.bytes + size * step <= bytesMax else { return unsafe Glibc.free(block - header) }
        unsafe block.storeBytes(of: kept.pointee.first[size], as: UnsafeMutableRawPointer?.self)
        unsafe kept.pointee.first[size] = block
        unsafe kept.pointee.bytes += size * step
    }

    private static func reallocate(
        _ kept: UnsafeMutablePointer<Kept>, _ block: UnsafeMutableRawPointer?, _ bytes: Int
    ) -> UnsafeMutableRawPointer? {
        guard let block = unsafe block else { return unsafe allocate(kept, bytes) }
        guard bytes >= 0, bytes <= Int.max - header else { return nil }
        let size = unsafe (block - header).load(as: Int.self)
        if size == 0 { return unsafe marked(Glibc.realloc(block - header, header + bytes), 0) }
        if bytes <= size * step { return unsafe block }
        guard let larger = unsafe allocate(kept, bytes) else { return nil }
        unsafe memcpy(larger, block, size * step)
        unsafe release(kept, block)
        return unsafe larger
    }
}
