// The segment that is written to. Its bytes go to the disk past the page cache, in whole blocks, where the file system takes
// that: a small write and its sync are then about a tenth quicker, a large one by a quarter and for half the processor's time
// (docs/PERFORMANCE.md), and the log does not push what is read out of the cache. Elsewhere the same blocks go through the cache.
//
// The block that is begun is kept here and written again, longer, by the next write; behind the log's end it holds zeros, as the
// rest of the segment does. What was acknowledged in it is the same bytes again: a write that is torn between sectors leaves them
// as they were. Nothing depends on the way taken: durable is what was synced.

import Foundations
import Glibc
import Linux

struct SegmentFile: ~Copyable {
    /// A longer write goes in pieces.
    private static let bufferBytes = 256 << 10

    private var file: DiskFile
    private var blocks: DiskBlocks
    /// Where the next byte goes.
    private(set) var position: Int

    /// Opens a segment that holds the log up to `position` and nothing behind it.
    init(opening path: String, at position: Int, bypassingCache: Bool) throws(DiskError) {
        var file = try DiskFile(opening: path, O_RDWR)
        var blocks = try DiskBlocks(count: SegmentFile.bufferBytes)
        let begun = DiskBlocks.roundedDown(position)..<position
        if !begun.isEmpty { blocks.copy(try file.read(begun), 0..<begun.count, to: 0) }
        if bypassingCache { file.bypassCache() }
        self.file = file
        self.blocks = blocks
        self.position = position
    }

    var path: String { file.path }
    var bypassesCache: Bool { file.bypassesCache }

    mutating func append(_ bytes: [UInt8], _ range: Range<Int>, _ failpoint: Failpoint) throws(DiskError) {
        let injected = try InjectedWrite(failpoint, range, file.path)
        let end = injected.range.upperBound
        var next = injected.range.lowerBound
        while next < end {
            let begun = position - DiskBlocks.roundedDown(position)
            let count = min(end - next, blocks.count - begun)
            blocks.copy(bytes, next..<(next + count), to: begun)
            let filled = begun + count
            let whole = DiskBlocks.roundedUp(filled)
            blocks.zero(filled..<whole)
            try file.write(blocks, 0..<whole, at: position - begun)
            blocks.moveToStart(DiskBlocks.roundedDown(filled)..<filled)
            position += count
            next += count
        }
        if let error = injected.error { throw error }
    }

    func sync(_ failpoint: Failpoint) throws(DiskError) { try file.syncData(failpoint) }

    /// Cuts the room behind the log's end, or what was not acknowledged when a write failed. The segment is not written to again.
    func cut(to position: Int) throws(DiskError) { try file.truncate(to: position) }

    mutating func wasRenamed(to path: String) { file.path = path }
}
