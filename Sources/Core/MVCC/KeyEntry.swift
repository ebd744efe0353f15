// What the index knows of one key, as a block of the arena:
//
//     single   len|flags 4, sub 4, mod 8                                              then the key
//     full     len|flags 4, sub 4, mod 8, create 8, version 8, history 4, count 4     then the key
//
// Most keys of most stores were written once and fit `single`: 16 bytes beside the key. The first change makes the entry
// `full`, and then it does not move any more, so that the queue of superseded revisions can name it.
//
// The newest revision is in the entry; older ones are the history, oldest first, a block of its own:
//
//     capacity 4, start 4, then 12 bytes each: main (top bit: tombstone) 8, sub 4
//
// A key is alive at revision R when its newest revision with main <= R is not a tombstone.

import Foundations

/// One version of a key as the index knows it.
struct KeyVersion: Equatable {
    var revision: Revision
    var isTombstone: Bool
    /// Zero when only the stored bytes know them: older revisions, and tombstones.
    var createRevision: Int64 = 0
    var version: Int64 = 0
}

/// Reads and writes entries. Knows nothing of the order of keys: that is the tree's.
struct KeyEntries {
    typealias Ref = KeyArena.Ref

    let arena: KeyArena

    private static let fullFlag: UInt32 = 1 << 31
    private static let tombstoneFlag: UInt32 = 1 << 30
    private static let lengthMask: UInt32 = (1 << 30) - 1
    private static let singleHeader = 16
    private static let fullHeader = 40
    private static let tombstoneBit: UInt64 = 1 << 63

    // MARK: Reading

    @inline(__always)
    func keyCount(_ ref: Ref) -> Int { Int(arena.load32(ref, 0) & KeyEntries.lengthMask) }

    /// Where the key is in the block.
    @inline(__always)
    func keyOffset(_ ref: Ref) -> Int {
        arena.load32(ref, 0) & KeyEntries.fullFlag != 0 ? KeyEntries.fullHeader : KeyEntries.singleHeader
    }

    /// Negative, zero or positive as the entry's key sorts before, with or after `key`.
    @inline(__always)
    func compareKey(_ ref: Ref, _ key: RawSpan) -> Int {
        let word = arena.load32(ref, 0)
        let header = word & KeyEntries.fullFlag != 0 ? KeyEntries.fullHeader : KeyEntries.singleHeader
        return arena.compare(ref, header, Int(word & KeyEntries.lengthMask), with: key)
    }

    /// Number of leading bytes the entry's key has in common with `key`.
    @inline(__always)
    func sharedPrefix(_ ref: Ref, _ key: RawSpan) -> Int {
        arena.sharedPrefix(ref, keyOffset(ref), keyCount(ref), with: key)
    }

    func sharedPrefix(_ ref: Ref, with other: Ref) -> Int {
        let key = unsafe arena.bytes(other, keyOffset(other), keyCount(other))
        return sharedPrefix(ref, key)
    }

    @inline(__always)
    func isTombstone(_ ref: Ref) -> Bool { arena.load32(ref, 0) & KeyEntries.tombstoneFlag != 0 }

    /// The newest revision, which may be a tombstone.
    @inline(__always)
    func latest(_ ref: Ref) -> KeyVersion {
        let word = arena.load32(ref, 0)
        let mod = Int64(bitPattern: arena.load64(ref, 8))
        let revision = Revision(main: mod, sub: Int64(arena.load32(ref, 4)))
        let isTombstone = word & KeyEntries.tombstoneFlag != 0
        if isTombstone { return KeyVersion(revision: revision, isTombstone: true) }
        if word & KeyEntries.fullFlag == 0 {
            return KeyVersion(revision: revision, isTombstone: false, createRevision: mod, version: 1)
        }
        return KeyVersion(
            revision: revision, isTombstone: false,
            createRevision: Int64(bitPattern: arena.load64(ref, 16)), version: Int64(bitPattern: arena.load64(ref, 24)))
    }

    /// The newest revision with main <= `at`, which may be a tombstone.
    @inline(__always)
    func version(_ ref: Ref, at main: Int64) -> KeyVersion? {
        if Int64(bitPattern: arena.load64(ref, 8)) <= main { return latest(ref) }
        return olderVersion(ref, at: main)
    }

    private func olderVersion(_ ref: Ref, at main: Int64) -> KeyVersion? {
        let count = historyCount(ref)
        guard count > 0 else { return nil }
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if historyItem(ref, middle).revision.main <= main { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : historyItem(ref, low - 1)
    }

    func historyCount(_ ref: Ref) -> Int {
        arena.load32(ref, 0) & KeyEntries.fullFlag == 0 ? 0 : Int(arena.load32(ref, 36))
    }

    /// Older revision `i`, the oldest is 0.
    func historyItem(_ ref: Ref, _ i: Int) -> KeyVersion {
        let block = arena.load32(ref, 32)
        let offset = 8 + 12 * (Int(arena.load32(block, 4)) + i)
        let main = arena.load64(block, offset)
        return KeyVersion(
            revision: Revision(
                main: Int64(bitPattern: main & ~KeyEntries.tombstoneBit), sub: Int64(arena.load32(block, offset + 8))),
            isTombstone: main & KeyEntries.tombstoneBit != 0)
    }

    // MARK: Writing

    /// A new entry whose only revision is `version`.
    func make(_ key: RawSpan, _ version: KeyVersion) -> Ref {
        invariant(key.byteCount <= Int(KeyEntries.lengthMask), "a key of \(key.byteCount) bytes")
        // A tombstone is named by the queue of tombstones, so its entry must not move.
        let isSingle = !version.isTombstone && version.version == 1 && version.createRevision == version.revision.main
        let header = isSingle ? KeyEntries.singleHeader : KeyEntries.fullHeader
        let ref = arena.allocate(header + key.byteCount)
        arena.store32(ref, 0, UInt32(key.byteCount) | (isSingle ? 0 : KeyEntries.fullFlag))
        if !isSingle { arena.store64(ref, 32, 0) }
        setLatest(ref, version)
        arena.write(ref, header, key)
        return ref
    }

    /// Makes `version` the newest revision; the one before becomes history. Returns the entry, which may have moved.
    func advance(_ ref: Ref, _ version: KeyVersion) -> Ref {
        let before = latest(ref)
        invariant(before.revision < version.revision, "revision \(version.revision) follows \(before.revision)")
        let full = makeFull(ref)
        appendHistory(full, before)
        setLatest(full, version)
        return full
    }

    /// Forgets the oldest revision of the history and returns it.
    func dropOldest(_ ref: Ref) -> KeyVersion {
        let count = historyCount(ref)
        invariant(count > 0, "an entry with a superseded revision has a history")
        let oldest = historyItem(ref, 0)
        let block = arena.load32(ref, 32)
        let capacity = Int(arena.load32(block, 0))
        arena.store32(ref, 36, UInt32(count - 1))
        if count == 1 {
            arena.free(block, 8 + 12 * capacity)
            arena.store32(ref, 32, 0)
        } else {
            arena.store32(block, 4, arena.load32(block, 4) + 1)
            if capacity >= 8 && (count - 1) * 4 <= capacity { moveHistory(ref, capacity: (count - 1) * 2) }
        }
        return oldest
    }

    func free(_ ref: Ref) {
        let word = arena.load32(ref, 0)
        let isFull = word & KeyEntries.fullFlag != 0
        if isFull {
            let block = arena.load32(ref, 32)
            if block != 0 { arena.free(block, 8 + 12 * Int(arena.load32(block, 0))) }
        }
        arena.free(
            ref, (isFull ? KeyEntries.fullHeader : KeyEntries.singleHeader) + Int(word & KeyEntries.lengthMask))
    }

    private func setLatest(_ ref: Ref, _ version: KeyVersion) {
        let word = arena.load32(ref, 0)
        arena.store32(
            ref, 0,
            version.isTombstone ? word | KeyEntries.tombstoneFlag : word & ~KeyEntries.tombstoneFlag)
        arena.store32(ref, 4, UInt32(version.revision.sub))
        arena.store64(ref, 8, UInt64(bitPattern: version.revision.main))
        if word & KeyEntries.fullFlag != 0 {
            arena.store64(ref, 16, UInt64(bitPattern: version.createRevision))
            arena.store64(ref, 24, UInt64(bitPattern: version.version))
        }
    }

    private func makeFull(_ ref: Ref) -> Ref {
        let word = arena.load32(ref, 0)
        if word & KeyEntries.fullFlag != 0 { return ref }
        let count = Int(word & KeyEntries.lengthMask)
        let full = arena.allocate(KeyEntries.fullHeader + count)
        arena.store32(full, 0, word | KeyEntries.fullFlag)
        arena.store64(full, 32, 0)
        arena.copy(ref, KeyEntries.singleHeader, to: full, KeyEntries.fullHeader, count)
        arena.free(ref, KeyEntries.singleHeader + count)
        return full
    }

    private func appendHistory(_ ref: Ref, _ version: KeyVersion) {
        let count = historyCount(ref)
        if count == 0 {
            let capacity = 1
            let block = arena.allocate(8 + 12 * capacity)
            arena.store32(block, 0, UInt32(capacity))
            arena.store32(block, 4, 0)
            arena.store32(ref, 32, block)
        } else {
            let block = arena.load32(ref, 32)
            let end = Int(arena.load32(block, 4)) + count
            if end == Int(arena.load32(block, 0)) { moveHistory(ref, capacity: max(3, count * 2)) }
        }
        let block = arena.load32(ref, 32)
        let offset = 8 + 12 * (Int(arena.load32(block, 4)) + count)
        arena.store64(
            block, offset,
            UInt64(bitPattern: version.revision.main) | (version.isTombstone ? KeyEntries.tombstoneBit : 0))
        arena.store32(block, offset + 8, UInt32(version.revision.sub))
        arena.store32(ref, 36, UInt32(count + 1))
    }

    private func moveHistory(_ ref: Ref, capacity wanted: Int) {
        let count = historyCount(ref)
        let old = arena.load32(ref, 32)
        let start = Int(arena.load32(old, 4))
        let capacity = (KeyArena.capacity(8 + 12 * wanted) - 8) / 12
        let block = arena.allocate(8 + 12 * capacity)
        arena.store32(block, 0, UInt32(capacity))
        arena.store32(block, 4, 0)
        arena.copy(old, 8 + 12 * start, to: block, 8, 12 * count)
        arena.free(old, 8 + 12 * Int(arena.load32(old, 0)))
        arena.store32(ref, 32, block)
    }
}
