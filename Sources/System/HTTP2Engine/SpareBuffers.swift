// Buffers of large answers, kept for the next ones. Grown anew each time they cost more than the answer: every doubling
// copies what is there, and memory fresh from the kernel is cleared and mapped page by page.
//
// One for all sessions of a loop. What is kept is bounded, so that a burst of large answers does not stay.

package final class SpareBuffers {
    /// Smaller ones stay with their streams; larger ones are rare.
    package static let bufferBytes = 16_384..<(2 << 20)
    package static let bytesMax = 8 << 20

    private var buffers: [[UInt8]] = []
    package private(set) var bytes = 0

    package init() {}

    /// A buffer for an answer that will be large; an empty one when none is kept.
    package func take() -> [UInt8] {
        guard let buffer = buffers.popLast() else { return [] }
        bytes -= buffer.capacity
        return buffer
    }

    /// Takes over the memory of a buffer; its bytes are gone.
    package func give(_ buffer: inout [UInt8]) {
        var mine: [UInt8] = []
        swap(&mine, &buffer)
        guard SpareBuffers.bufferBytes.contains(mine.capacity), bytes + mine.capacity <= SpareBuffers.bytesMax else { return }
        mine.removeAll(keepingCapacity: true)
        bytes += mine.capacity
        buffers.append(mine)
    }
}
