// Where the key index keeps its bytes: keys, tree nodes and histories, each a block named by a 32-bit reference. A million
// keys as Swift objects would cost a header, a retain and a cache miss each; as blocks they cost their own bytes.
//
// This is the one file of MVCC with raw memory. What makes it sound:
// - A reference is (chunk number << 17 | offset in 8-byte units) and comes only from `allocate`; reference 0 is never given
//   out, so it means "none".
// - A block stays where it is until `free`, and its owner (KeyIndex) keeps exactly one owning reference to it.
// - Every load and store names an offset inside the block that was allocated; debug builds check it against the chunk.
// - Views of a block do not outlive the call they are taken for, and nobody frees that block meanwhile.

import Foundations

@safe final class KeyArena {
    typealias Ref = UInt32

    private static let chunkShift: UInt32 = 17
    private static let chunkUnits = 1 << 17
    private static let chunkBytes = chunkUnits * 8
    /// References reach this many chunks of 1 MiB: 32 GiB of index.
    private static let chunksMax = 1 << 15
    private static let exactUnits = 64
    /// Larger blocks get chunks of their own, which are given back when freed.
    private static let smallUnitsMax = chunkUnits / 4

    /// Base address by chunk number; the pages of this table are touched only as chunks come.
    private let chunks: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private var chunkCount = 0
    private var ownedChunks: [(first: Int, count: Int)] = []
    /// Next unused unit of the chunk that small blocks are cut from, and its end; both full references.
    private var cut: Int = 0
    private var cutEnd: Int = 0
    /// Heads of the lists of freed blocks by size class; the next reference is in the block's first four bytes.
    private var freed: [Ref]
    /// Chunk numbers of freed large blocks, by how many chunks they span.
    private var freedLarge: [Int: [Int]] = [:]

    /// Bytes in blocks that are in use, rounded as allocated.
    private(set) var usedBytes = 0
    private(set) var allocatedBytes = 0

    init() {
        unsafe chunks = .allocate(capacity: KeyArena.chunksMax)
        freed = [Ref](repeating: 0, count: KeyArena.sizeClass(KeyArena.smallUnitsMax).index + 1)
    }

    deinit {
        for owned in ownedChunks {
            if let base = unsafe chunks[owned.first] { unsafe base.deallocate() }
        }
        unsafe chunks.deallocate()
    }

    // MARK: Blocks

    /// A block of at least `bytes` bytes with undefined content.
    func allocate(_ bytes: Int) -> Ref {
        let units = max(1, (bytes + 7) >> 3)
        if units > KeyArena.smallUnitsMax { return allocateLarge(units) }
        let size = KeyArena.sizeClass(units)
        usedBytes += size.units * 8
        let head = freed[size.index]
        if head != 0 {
            freed[size.index] = load32(head, 0)
            return head
        }
        if cut + size.units > cutEnd {
            // The rest of the old chunk is lost: less than the wanted block, usually a few hundred bytes of a MiB.
            let chunk = addChunks(1)
            cut = chunk << Int(KeyArena.chunkShift)
            cutEnd = cut + KeyArena.chunkUnits
            if chunk == 0 { cut += 1 }
        }
        let ref = Ref(cut)
        cut += size.units
        return ref
    }

    /// Gives back a block; `bytes` as it was allocated with.
    func free(_ ref: Ref, _ bytes: Int) {
        invariant(ref != 0, "a block is freed")
        let units = max(1, (bytes + 7) >> 3)
        if units > KeyArena.smallUnitsMax { return freeLarge(ref, units) }
        let size = KeyArena.sizeClass(units)
        usedBytes -= size.units * 8
        store32(ref, 0, freed[size.index])
        freed[size.index] = ref
    }

    /// Bytes a block really has when this many are asked for.
    static func capacity(_ bytes: Int) -> Int {
        let units = max(1, (bytes + 7) >> 3)
        return units > smallUnitsMax ? units * 8 : sizeClass(units).units * 8
    }

    /// Exact sizes up to 512 bytes, then four classes a doubling.
    private static func sizeClass(_ units: Int) -> (index: Int, units: Int) {
        if units <= exactUnits { return (units - 1, units) }
        let exponent = Int.bitWidth - 1 - (units - 1).leadingZeroBitCount
        let step = 1 << (exponent - 2)
        let rounded = (units + step - 1) & ~(step - 1)
        let quarter = (rounded - (1 << exponent)) >> (exponent - 2)
        return (exactUnits + (exponent - 6) * 4 + quarter - 1, rounded)
    }

    private func addChunks(_ count: Int) -> Int {
        let first = chunkCount
        invariant(first + count <= KeyArena.chunksMax, "the key index outgrew its \(KeyArena.chunksMax) MiB")
        chunkCount += count
        ownedChunks.append((first, count))
        mapChunks(first, count)
        return first
    }

    private func mapChunks(_ first: Int, _ count: Int) {
        let base = UnsafeMutableRawPointer.allocate(byteCount: count * KeyArena.chunkBytes, alignment: 16)
        for i in 0..<count { unsafe (chunks + first + i).initialize(to: base + i * KeyArena.chunkBytes) }
        allocatedBytes += count * KeyArena.chunkBytes
    }

    private func allocateLarge(_ units: Int) -> Ref {
        let count = (units + KeyArena.chunkUnits) / KeyArena.chunkUnits
        usedBytes += units * 8
        let first: Int
        if let reused = freedLarge[count]?.popLast() {
            first = reused
            mapChunks(first, count)
        } else {
            first = addChunks(count)
        }
        // One unit in, so that chunk 0 does not give out reference 0.
        return Ref(first << Int(KeyArena.chunkShift) + 1)
    }

    private func freeLarge(_ ref: Ref, _ units: Int) {
        let first = Int(ref >> KeyArena.chunkShift)
        let count = (units + KeyArena.chunkUnits) / KeyArena.chunkUnits
        usedBytes -= units * 8
        allocatedBytes -= count * KeyArena.chunkBytes
        if let base = unsafe chunks[first] { unsafe base.deallocate() }
        for i in 0..<count { unsafe chunks[first + i] = nil }
        freedLarge[count, default: []].append(first)
    }

    // MARK: Bytes of a block

    @inline(__always)
    private func address(_ ref: Ref) -> UnsafeMutableRawPointer {
        assert(ref != 0 && Int(ref >> KeyArena.chunkShift) < chunkCount, "reference \(ref)")
        let base = unsafe chunks[Int(ref >> KeyArena.chunkShift)].unsafelyUnwrapped
        return unsafe base + Int(ref & UInt32(KeyArena.chunkUnits - 1)) << 3
    }

    @inline(__always)
    func load32(_ ref: Ref, _ offset: Int) -> UInt32 {
        unsafe address(ref).load(fromByteOffset: offset, as: UInt32.self)
    }

    @inline(__always)
    func store32(_ ref: Ref, _ offset: Int, _ value: UInt32) {
        unsafe address(ref).storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
    }

    /// The offset needs no alignment.
    @inline(__always)
    func load64(_ ref: Ref, _ offset: Int) -> UInt64 {
        unsafe address(ref).loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    @inline(__always)
    func store64(_ ref: Ref, _ offset: Int, _ value: UInt64) {
        unsafe address(ref).storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
    }

    /// The bytes, bound to nothing: the caller ties them to what keeps the block in place.
    @unsafe @inline(__always)
    @_lifetime(immortal)
    func bytes(_ ref: Ref, _ offset: Int, _ count: Int) -> RawSpan {
        let view = unsafe RawSpan(_unsafeStart: address(ref) + offset, byteCount: count)
        return unsafe _overrideLifetime(view, copying: ())
    }

    @inline(__always)
    func compare(_ ref: Ref, _ offset: Int, _ count: Int, with other: RawSpan) -> Int {
        unsafe RawSpan(_unsafeStart: address(ref) + offset, byteCount: count).compare(other)
    }

    /// Number of leading bytes that are the same.
    func sharedPrefix(_ ref: Ref, _ offset: Int, _ count: Int, with other: RawSpan) -> Int {
        let base = unsafe address(ref) + offset
        let shorter = min(count, other.byteCount)
        var i = 0
        while i &+ 8 <= shorter {
            let a = unsafe base.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            let b = unsafe other.unsafeLoadUnaligned(fromByteOffset: i, as: UInt64.self)
            if a != b { return i &+ (a ^ b).littleEndian.trailingZeroBitCount >> 3 }
            i &+= 8
        }
        while i < shorter {
            let a = unsafe base.load(fromByteOffset: i, as: UInt8.self)
            let b = unsafe other.unsafeLoad(fromByteOffset: i, as: UInt8.self)
            if a != b { return i }
            i &+= 1
        }
        return i
    }

    func write(_ ref: Ref, _ offset: Int, _ bytes: RawSpan) {
        let target = unsafe address(ref) + offset
        unsafe bytes.withUnsafeBytes {
            if let source = $0.baseAddress { unsafe target.copyMemory(from: source, byteCount: $0.count) }
        }
    }

    /// Copies inside one block (ranges may overlap) or from one block to another.
    @inline(__always)
    func copy(_ source: Ref, _ from: Int, to target: Ref, _ offset: Int, _ count: Int) {
        if count > 0 { unsafe (address(target) + offset).copyMemory(from: address(source) + from, byteCount: count) }
    }
}
