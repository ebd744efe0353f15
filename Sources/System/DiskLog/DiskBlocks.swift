// Memory a disk reads from by itself: whole blocks, at addresses that are multiples of a block. Writing past the page cache
// takes nothing else.
//
// Invariant: `memory` is a mapping this value alone owns, until `deinit`; it begins at a page's address, and every range is checked
// against it before it is touched.

import Foundations
import Glibc
import Linux

@safe struct DiskBlocks: ~Copyable, @unchecked Sendable {
    /// A page of memory; no file system here has larger blocks, and no disk larger sectors.
    static let blockBytes = 4096

    private let memory: UnsafeMutableRawBufferPointer

    /// Zeros. What is never written to takes no memory.
    init(count: Int) throws(DiskError) {
        let mapped = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let start = unsafe mapped, unsafe start != MAP_FAILED else { throw DiskError("mmap", "buffer of the log", errno) }
        unsafe memory = UnsafeMutableRawBufferPointer(start: start, count: count)
    }

    deinit { _ = unsafe munmap(memory.baseAddress, memory.count) }

    var count: Int { unsafe memory.count }

    static func isBoundary(_ offset: Int) -> Bool { offset & (blockBytes - 1) == 0 }

    static func roundedDown(_ count: Int) -> Int { count & ~(blockBytes - 1) }

    static func roundedUp(_ count: Int) -> Int { roundedDown(count + blockBytes - 1) }

    mutating func copy(_ bytes: [UInt8], _ range: Range<Int>, to start: Int) {
        check(start..<(start + range.count))
        invariant(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a part of the bytes is copied")
        unsafe bytes.withUnsafeBytes { source in
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
        }
    }

    mutating func zero(_ range: Range<Int>) {
        check(range)
        _ = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[range]).initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Moves a part to the beginning.
    mutating func moveToStart(_ range: Range<Int>) {
        check(range)
        unsafe memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[range]))
    }

    func withBytes<R>(_ range: Range<Int>, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        check(range)
        return unsafe body(UnsafeRawBufferPointer(rebasing: memory[range]))
    }

    private func check(_ range: Range<Int>) {
        invariant(range.lowerBound >= 0 && range.upperBound <= count, "a range of blocks lies within them")
    }
}
