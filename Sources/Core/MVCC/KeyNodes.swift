// What leaves and inner nodes of the key index have in common: up to 64 entries in key order, and the search among them.
//
//     count 4, prefix 4, 16 bytes that differ, entry references 64 x 4, heads 64 x 4, then what only inner nodes have
//
// A head is the four bytes of a key that follow the prefix which all keys of the node share. Most comparisons of a search
// are between heads, which lie side by side in the node; only ties and the end of the search look at a key, which is a
// cache miss. Where the prefix is shorter than it could be there are more ties, and nothing else.
//
// Invariant: all keys of a node share its prefix, and its heads are theirs. Keys are in order, so the first and the last
// key sharing it is enough.

import Foundations

struct KeyNodes {
    typealias Ref = KeyArena.Ref

    static let fanout = 64
    static let prefixOffset = 4
    static let entriesOffset = 24
    static let headsOffset = entriesOffset + 4 * fanout
    static let bytes = headsOffset + 4 * fanout

    let arena: KeyArena
    let entries: KeyEntries

    @inline(__always)
    func count(_ node: Ref) -> Int { Int(arena.load32(node, 0)) }

    @inline(__always)
    func entry(_ node: Ref, _ slot: Int) -> Ref { arena.load32(node, KeyNodes.entriesOffset + 4 * slot) }

    @inline(__always)
    private func head(_ node: Ref, _ slot: Int) -> UInt32 { arena.load32(node, KeyNodes.headsOffset + 4 * slot) }

    /// Where the key is, or would be inserted.
    func search(_ node: Ref, for key: RawSpan) -> (slot: Int, found: Bool) {
        let count = count(node)
        if count == 0 { return (0, false) }
        let prefix = Int(arena.load32(node, KeyNodes.prefixOffset))
        let wanted = KeyNodes.head(key, prefix)
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) >> 1
            if head(node, middle) < wanted { low = middle + 1 } else { high = middle }
        }
        // Ties, if any, are decided by the keys.
        high = low
        while high < count && head(node, high) == wanted { high += 1 }
        while low < high {
            let middle = (low + high) >> 1
            let order = entries.compareKey(entry(node, middle), key)
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        // Heads are only comparable when the key shares the prefix. If not, it is before all keys or after all.
        if prefix > 0 && entries.sharedPrefix(entry(node, 0), key) < prefix {
            return (entries.compareKey(entry(node, 0), key) > 0 ? 0 : count, false)
        }
        return (low, false)
    }

    /// The four bytes at an offset as a number, zeros beyond the end.
    @inline(__always)
    private static func head(_ key: RawSpan, _ offset: Int) -> UInt32 {
        if offset + 4 <= key.byteCount {
            return unsafe key.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self).bigEndian
        }
        var head: UInt32 = 0
        for i in offset..<offset + 4 {
            head =
                head << 8 | (i < key.byteCount ? UInt32(unsafe key.unsafeLoad(fromByteOffset: i, as: UInt8.self)) : 0)
        }
        return head
    }

    // MARK: Changing

    func insert(_ node: Ref, _ slot: Int, _ ref: Ref) {
        let count = count(node)
        for array in [KeyNodes.entriesOffset, KeyNodes.headsOffset] {
            arena.copy(node, array + 4 * slot, to: node, array + 4 * slot + 4, 4 * (count - slot))
        }
        arena.store32(node, 0, UInt32(count + 1))
        set(node, slot, ref)
    }

    func remove(_ node: Ref, _ slot: Int) {
        let count = count(node)
        for array in [KeyNodes.entriesOffset, KeyNodes.headsOffset] {
            arena.copy(node, array + 4 * slot + 4, to: node, array + 4 * slot, 4 * (count - slot - 1))
        }
        arena.store32(node, 0, UInt32(count - 1))
    }

    /// Makes an entry the one at `slot`, where its key is in order.
    func set(_ node: Ref, _ slot: Int, _ ref: Ref) {
        arena.store32(node, KeyNodes.entriesOffset + 4 * slot, ref)
        let count = count(node)
        let prefix = Int(arena.load32(node, KeyNodes.prefixOffset))
        if slot == 0 || slot == count - 1 {
            // At an edge the key need not share the prefix: the other edge tells.
            let other = entry(node, slot == 0 ? count - 1 : 0)
            if count <= 2 || entries.sharedPrefix(ref, with: other) < prefix { return rebuild(node) }
        }
        arena.store32(node, KeyNodes.headsOffset + 4 * slot, head(of: ref, prefix))
    }

    /// The entry at `slot` moved; its key is the same.
    @inline(__always)
    func move(_ node: Ref, _ slot: Int, to ref: Ref) {
        arena.store32(node, KeyNodes.entriesOffset + 4 * slot, ref)
    }

    /// Moves entries from `kept` on to an empty node.
    func split(_ node: Ref, at kept: Int, to right: Ref) {
        let moved = count(node) - kept
        for array in [KeyNodes.entriesOffset, KeyNodes.headsOffset] {
            arena.copy(node, array + 4 * kept, to: right, array, 4 * moved)
        }
        arena.store32(right, KeyNodes.prefixOffset, arena.load32(node, KeyNodes.prefixOffset))
        arena.store32(node, 0, UInt32(kept))
        arena.store32(right, 0, UInt32(moved))
        sharpen(node)
        sharpen(right)
    }

    /// Appends everything of the right neighbour.
    func join(_ node: Ref, _ right: Ref) {
        let count = count(node)
        let added = self.count(right)
        arena.copy(right, KeyNodes.entriesOffset, to: node, KeyNodes.entriesOffset + 4 * count, 4 * added)
        arena.store32(node, 0, UInt32(count + added))
        rebuild(node)
    }

    /// Heads that hardly differ are made anew, with a longer prefix.
    private func sharpen(_ node: Ref) {
        let count = count(node)
        if count > 1 && (head(node, 0) ^ head(node, count - 1)) >> 16 == 0 { rebuild(node) }
    }

    private func rebuild(_ node: Ref) {
        let count = count(node)
        // The prefix of one key is the whole key, which the next key would only shorten.
        let prefix = count < 2 ? 0 : entries.sharedPrefix(entry(node, 0), with: entry(node, count - 1))
        arena.store32(node, KeyNodes.prefixOffset, UInt32(prefix))
        for slot in 0..<count {
            arena.store32(node, KeyNodes.headsOffset + 4 * slot, head(of: entry(node, slot), prefix))
        }
    }

    private func head(of ref: Ref, _ prefix: Int) -> UInt32 {
        let key = unsafe arena.bytes(ref, entries.keyOffset(ref), entries.keyCount(ref))
        return KeyNodes.head(key, prefix)
    }

    /// Stops the process when heads or prefix are wrong.
    func verify(_ node: Ref) {
        let prefix = Int(arena.load32(node, KeyNodes.prefixOffset))
        let count = count(node)
        for slot in 0..<count {
            invariant(head(node, slot) == head(of: entry(node, slot), prefix), "heads are those of the keys")
            if slot > 0 {
                invariant(
                    entries.sharedPrefix(entry(node, 0), with: entry(node, slot)) >= prefix, "keys share the prefix")
            }
        }
    }
}
