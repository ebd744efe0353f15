// All keys in byte order, each with its revisions: what answers "which revision of which keys" without touching a value.
//
// A B+tree of up to 64 entries a node over the blocks of KeyArena:
//
//     leaf   a node (KeyNodes) whose middle 16 bytes are: next 4, previous 4, alive 8 (one bit an entry)
//     inner  a node of the smallest entry below each child; then child references 64 x 4 and the number of alive keys
//            below each 64 x 4
//
// Invariants, checked by `verify`:
// - keys ascend along the leaves; the smallest entry below a child is what its parent says;
// - the alive bit of an entry is clear exactly when its newest revision is a tombstone;
// - the number of alive keys below a child is what its parent says, so that counting a range is two descents;
// - the keys of a node (of an inner one: the smallest below each child) share the prefix, and heads are theirs.

import Foundations

final class KeyIndex {
    typealias Ref = KeyArena.Ref

    /// A place among the leaves; good until the index changes.
    struct Position {
        fileprivate var leaf: Ref
        fileprivate var slot: Int
    }

    let arena = KeyArena()
    let entries: KeyEntries
    private let nodes: KeyNodes

    /// Keys in the index, dead ones that still have a history included.
    private(set) var count = 0
    /// Keys whose newest revision is not a tombstone.
    private(set) var aliveCount = 0

    private var root: Ref
    private var firstLeaf: Ref
    /// Inner levels above the leaves.
    private var height = 0
    /// The way of the last descent: inner node and child number by level, the root first.
    private var pathNode = [Ref](repeating: 0, count: 12)
    private var pathChild = [Int](repeating: 0, count: 12)

    private static let fanout = KeyNodes.fanout
    private static let leafBytes = KeyNodes.bytes
    private static let childrenOffset = KeyNodes.bytes
    private static let aliveOffset = KeyNodes.bytes + 4 * fanout
    private static let innerBytes = KeyNodes.bytes + 8 * fanout
    private static let nextOffset = 8
    private static let previousOffset = 12
    private static let fewEntries = 16
    private static let mergedMax = 48

    init() {
        entries = KeyEntries(arena: arena)
        nodes = KeyNodes(arena: arena, entries: entries)
        root = 0
        firstLeaf = 0
        root = makeLeaf()
        firstLeaf = root
    }

    // MARK: Looking up

    /// The entry of a key, or 0.
    func find(_ key: RawSpan) -> Ref {
        var node = root
        var level = 0
        while level < height {
            node = arena.load32(node, KeyIndex.childrenOffset + 4 * child(of: node, for: key))
            level += 1
        }
        let (slot, found) = nodes.search(node, for: key)
        return found ? entry(node, slot) : 0
    }

    /// The newest revision of a key with main <= `at`, when that is not a tombstone.
    func version(of key: RawSpan, at main: Int64) -> KeyVersion? {
        let ref = find(key)
        guard ref != 0, let version = entries.version(ref, at: main), !version.isTombstone else { return nil }
        return version
    }

    /// The first entry whose key is not before `key`.
    func lowerBound(_ key: RawSpan) -> Position {
        var node = root
        var level = 0
        while level < height {
            node = arena.load32(node, KeyIndex.childrenOffset + 4 * child(of: node, for: key))
            level += 1
        }
        return Position(leaf: node, slot: nodes.search(node, for: key).slot)
    }

    /// A walk over a part of the index; good until the index changes.
    struct Scan {
        fileprivate var position: Position
        /// Where to stop; leaf 0: at the end of the index.
        fileprivate var end: Position
    }

    /// All keys with from <= key, and key < to unless `isOpen`.
    func scan(from: RawSpan, to: RawSpan, isOpen: Bool) -> Scan {
        let first = lowerBound(from)
        if isOpen { return Scan(position: first, end: Position(leaf: 0, slot: 0)) }
        if from.compare(to) >= 0 { return Scan(position: first, end: first) }
        return Scan(position: first, end: lowerBound(to))
    }

    func scanAll() -> Scan {
        Scan(position: Position(leaf: firstLeaf, slot: 0), end: Position(leaf: 0, slot: 0))
    }

    /// The next entry, or 0.
    @inline(__always)
    func next(_ scan: inout Scan) -> Ref {
        while true {
            let leaf = scan.position.leaf
            let limit = leaf == scan.end.leaf ? scan.end.slot : Int(arena.load32(leaf, 0))
            if scan.position.slot < limit {
                let ref = entry(leaf, scan.position.slot)
                scan.position.slot += 1
                return ref
            }
            if !advance(&scan) { return 0 }
        }
    }

    /// The next entry whose key is alive now, or 0.
    @inline(__always)
    func nextAlive(_ scan: inout Scan) -> Ref {
        while true {
            let leaf = scan.position.leaf
            let limit = leaf == scan.end.leaf ? scan.end.slot : KeyIndex.fanout
            if scan.position.slot < limit {
                let rest = arena.load64(leaf, 16) >> UInt64(scan.position.slot)
                let slot = scan.position.slot + rest.trailingZeroBitCount
                if rest != 0 && slot < limit {
                    scan.position.slot = slot + 1
                    return entry(leaf, slot)
                }
            }
            if !advance(&scan) { return 0 }
        }
    }

    private func advance(_ scan: inout Scan) -> Bool {
        let leaf = scan.position.leaf
        let following = leaf == scan.end.leaf ? 0 : arena.load32(leaf, KeyIndex.nextOffset)
        if following == 0 {
            scan.end = scan.position
            return false
        }
        scan.position = Position(leaf: following, slot: 0)
        return true
    }

    /// The key, borrowed: good until this entry changes.
    @inline(__always)
    @_lifetime(borrow self)
    func key(_ ref: Ref) -> RawSpan {
        let view = unsafe arena.bytes(ref, entries.keyOffset(ref), entries.keyCount(ref))
        return unsafe _overrideLifetime(view, borrowing: self)
    }

    /// Number of keys alive now with from <= key < to; `to` nil: to the end.
    func countAlive(from: RawSpan, to: RawSpan) -> Int { max(0, aliveBefore(to) - aliveBefore(from)) }

    func countAlive(from: RawSpan) -> Int { aliveCount - aliveBefore(from) }

    private func aliveBefore(_ key: RawSpan) -> Int {
        var node = root
        var total = 0
        var level = 0
        while level < height {
            let child = child(of: node, for: key)
            for i in 0..<child { total += Int(arena.load32(node, KeyIndex.aliveOffset + 4 * i)) }
            node = arena.load32(node, KeyIndex.childrenOffset + 4 * child)
            level += 1
        }
        let slot = nodes.search(node, for: key).slot
        let before: UInt64 = slot == 64 ? ~0 : (1 << UInt64(slot)) - 1
        return total + (arena.load64(node, 16) & before).nonzeroBitCount
    }

    // MARK: Changing

    /// What writing a revision did.
    struct Change {
        var entry: Ref
        /// The newest revision before, if the key was in the index.
        var before: KeyVersion?
        var after: KeyVersion
    }

    /// Records a put.
    func put(_ key: RawSpan, _ revision: Revision) -> Change {
        let (leaf, slot, found) = descend(key)
        if !found {
            let version = KeyVersion(
                revision: revision, isTombstone: false, createRevision: revision.main, version: 1)
            let ref = entries.make(key, version)
            insert(ref, isAlive: true, leaf: leaf, slot: slot)
            return Change(entry: ref, before: nil, after: version)
        }
        let ref = entry(leaf, slot)
        let before = entries.latest(ref)
        let version =
            before.isTombstone
            ? KeyVersion(revision: revision, isTombstone: false, createRevision: revision.main, version: 1)
            : KeyVersion(
                revision: revision, isTombstone: false, createRevision: before.createRevision,
                version: before.version + 1)
        return advance(ref, before, version, leaf: leaf, slot: slot)
    }

    /// Records the deletion of a key that is alive.
    func delete(_ key: RawSpan, _ revision: Revision) -> Change {
        let (leaf, slot, found) = descend(key)
        invariant(found, "a key that is deleted is in the index")
        let ref = entry(leaf, slot)
        let before = entries.latest(ref)
        invariant(!before.isTombstone, "a key that is deleted is alive")
        return advance(ref, before, KeyVersion(revision: revision, isTombstone: true), leaf: leaf, slot: slot)
    }

    /// Records a revision as it is found in the store, where revisions come in ascending order.
    func restore(_ key: RawSpan, _ version: KeyVersion) -> Change {
        let (leaf, slot, found) = descend(key)
        if !found {
            let ref = entries.make(key, version)
            insert(ref, isAlive: !version.isTombstone, leaf: leaf, slot: slot)
            return Change(entry: ref, before: nil, after: version)
        }
        let ref = entry(leaf, slot)
        return advance(ref, entries.latest(ref), version, leaf: leaf, slot: slot)
    }

    /// Takes a dead key without history out.
    func remove(_ ref: Ref) {
        invariant(
            entries.isTombstone(ref) && entries.historyCount(ref) == 0, "only a dead key without history is removed")
        let (leaf, slot, found) = descend(key(ref))
        invariant(found && entry(leaf, slot) == ref, "a key that is removed is in the index")
        removeSlot(leaf, slot)
        entries.free(ref)
        count -= 1
    }

    private func advance(_ ref: Ref, _ before: KeyVersion, _ version: KeyVersion, leaf: Ref, slot: Int) -> Change {
        let moved = entries.advance(ref, version)
        if moved != ref {
            nodes.move(leaf, slot, to: moved)
            if slot == 0 { moveSmallest(moved) }
        }
        if before.isTombstone != version.isTombstone {
            let bit: UInt64 = 1 << UInt64(slot)
            let alive = arena.load64(leaf, 16)
            arena.store64(leaf, 16, version.isTombstone ? alive & ~bit : alive | bit)
            addAlive(version.isTombstone ? -1 : 1)
        }
        return Change(entry: moved, before: before, after: version)
    }

    // MARK: The tree

    @inline(__always)
    private func entry(_ leaf: Ref, _ slot: Int) -> Ref { nodes.entry(leaf, slot) }

    /// The child that holds `key` if any does: the last one whose smallest key is not after it.
    @inline(__always)
    private func child(of node: Ref, for key: RawSpan) -> Int {
        let (slot, found) = nodes.search(node, for: key)
        return found ? slot : max(0, slot - 1)
    }

    private func descend(_ key: RawSpan) -> (leaf: Ref, slot: Int, found: Bool) {
        var node = root
        var level = 0
        while level < height {
            let child = child(of: node, for: key)
            pathNode[level] = node
            pathChild[level] = child
            node = arena.load32(node, KeyIndex.childrenOffset + 4 * child)
            level += 1
        }
        let (slot, found) = nodes.search(node, for: key)
        return (node, slot, found)
    }

    private func makeLeaf() -> Ref {
        let leaf = arena.allocate(KeyIndex.leafBytes)
        for offset in stride(from: 0, to: 24, by: 8) { arena.store64(leaf, offset, 0) }
        return leaf
    }

    private func makeInner() -> Ref {
        let inner = arena.allocate(KeyIndex.innerBytes)
        for offset in stride(from: 0, to: 24, by: 8) { arena.store64(inner, offset, 0) }
        return inner
    }

    private func addAlive(_ delta: Int) {
        aliveCount += delta
        for level in 0..<height {
            let offset = KeyIndex.aliveOffset + 4 * pathChild[level]
            arena.store32(pathNode[level], offset, UInt32(Int(arena.load32(pathNode[level], offset)) + delta))
        }
    }

    /// Along the last descent: `ref` is now the smallest entry below.
    private func setSmallest(_ ref: Ref, below top: Int? = nil) {
        var level = (top ?? height) - 1
        while level >= 0 {
            nodes.set(pathNode[level], pathChild[level], ref)
            if pathChild[level] > 0 { return }
            level -= 1
        }
    }

    /// Along the last descent: the smallest entry below is now at `ref`, with the same key.
    private func moveSmallest(_ ref: Ref) {
        var level = height - 1
        while level >= 0 {
            nodes.move(pathNode[level], pathChild[level], to: ref)
            if pathChild[level] > 0 { return }
            level -= 1
        }
    }

    private func insert(_ ref: Ref, isAlive: Bool, leaf: Ref, slot: Int) {
        count += 1
        if isAlive { addAlive(1) }
        let size = Int(arena.load32(leaf, 0))
        if size < KeyIndex.fanout {
            insertSlot(ref, isAlive, leaf, slot)
            if slot == 0 { setSmallest(ref) }
            return
        }
        let right = makeLeaf()
        let following = arena.load32(leaf, KeyIndex.nextOffset)
        arena.store32(right, KeyIndex.nextOffset, following)
        arena.store32(right, KeyIndex.previousOffset, leaf)
        arena.store32(leaf, KeyIndex.nextOffset, right)
        if following != 0 { arena.store32(following, KeyIndex.previousOffset, right) }
        // Keys that arrive in order leave full leaves behind instead of half full ones.
        let kept = slot == size && following == 0 ? size : size / 2
        let alive = arena.load64(leaf, 16)
        if kept < size {
            nodes.split(leaf, at: kept, to: right)
            arena.store64(right, 16, alive >> UInt64(kept))
            arena.store64(leaf, 16, alive & ((1 << UInt64(kept)) - 1))
        }
        if slot < kept || (slot == kept && kept < size) {
            insertSlot(ref, isAlive, leaf, slot)
            if slot == 0 { setSmallest(ref) }
        } else {
            insertSlot(ref, isAlive, right, slot - kept)
        }
        addSibling(
            right, smallest: entry(right, 0), alive: arena.load64(right, 16).nonzeroBitCount, above: height)
    }

    private func insertSlot(_ ref: Ref, _ isAlive: Bool, _ leaf: Ref, _ slot: Int) {
        nodes.insert(leaf, slot, ref)
        let bits = arena.load64(leaf, 16)
        let below: UInt64 = (1 << UInt64(slot)) - 1
        arena.store64(leaf, 16, (bits & below) | ((bits & ~below) << 1) | (isAlive ? 1 << UInt64(slot) : 0))
    }

    /// Hangs a new node beside the one the last descent went through at level `level`, splitting upwards as needed.
    private func addSibling(_ sibling: Ref, smallest: Ref, alive: Int, above level: Int) {
        if level == 0 {
            let old = root
            let inner = makeInner()
            let oldSmallest = height == 0 ? entry(old, 0) : nodes.entry(old, 0)
            insertChild(inner, 0, old, oldSmallest, aliveCount - alive)
            insertChild(inner, 1, sibling, smallest, alive)
            root = inner
            height += 1
            invariant(height < pathNode.count, "the tree has \(height) levels")
            return
        }
        let node = pathNode[level - 1]
        let place = pathChild[level - 1]
        let offset = KeyIndex.aliveOffset + 4 * place
        arena.store32(node, offset, UInt32(Int(arena.load32(node, offset)) - alive))
        let size = Int(arena.load32(node, 0))
        if size < KeyIndex.fanout {
            insertChild(node, place + 1, sibling, smallest, alive)
            return
        }
        let right = makeInner()
        let kept = place == size - 1 ? size - 1 : size / 2
        for array in [KeyIndex.childrenOffset, KeyIndex.aliveOffset] {
            arena.copy(node, array + 4 * kept, to: right, array, 4 * (size - kept))
        }
        nodes.split(node, at: kept, to: right)
        if place < kept {
            insertChild(node, place + 1, sibling, smallest, alive)
        } else {
            insertChild(right, place + 1 - kept, sibling, smallest, alive)
        }
        var moved = 0
        for i in 0..<Int(arena.load32(right, 0)) { moved += Int(arena.load32(right, KeyIndex.aliveOffset + 4 * i)) }
        addSibling(right, smallest: nodes.entry(right, 0), alive: moved, above: level - 1)
    }

    private func insertChild(_ node: Ref, _ place: Int, _ child: Ref, _ smallest: Ref, _ alive: Int) {
        let size = Int(arena.load32(node, 0))
        for array in [KeyIndex.childrenOffset, KeyIndex.aliveOffset] {
            arena.copy(node, array + 4 * place, to: node, array + 4 * place + 4, 4 * (size - place))
        }
        arena.store32(node, KeyIndex.childrenOffset + 4 * place, child)
        arena.store32(node, KeyIndex.aliveOffset + 4 * place, UInt32(alive))
        nodes.insert(node, place, smallest)
    }

    private func removeChild(_ node: Ref, _ place: Int) {
        let size = Int(arena.load32(node, 0))
        for array in [KeyIndex.childrenOffset, KeyIndex.aliveOffset] {
            arena.copy(node, array + 4 * place + 4, to: node, array + 4 * place, 4 * (size - place - 1))
        }
        nodes.remove(node, place)
    }

    private func removeSlot(_ leaf: Ref, _ slot: Int) {
        let size = Int(arena.load32(leaf, 0))
        nodes.remove(leaf, slot)
        let bits = arena.load64(leaf, 16)
        let below: UInt64 = (1 << UInt64(slot)) - 1
        arena.store64(leaf, 16, (bits & below) | ((bits >> 1) & ~below))
        if size > 1 && slot == 0 { setSmallest(entry(leaf, 0)) }
        if size - 1 < KeyIndex.fewEntries { thin(level: height) }
    }

    /// The node below level `level` of the last descent has few entries left: join it with a neighbour under the same
    /// parent when both fit into one node with room to spare, or drop it when it is empty.
    private func thin(level: Int) {
        if level == 0 {
            while height > 0 && arena.load32(root, 0) == 1 {
                let only = arena.load32(root, KeyIndex.childrenOffset)
                arena.free(root, KeyIndex.innerBytes)
                root = only
                height -= 1
            }
            return
        }
        let parent = pathNode[level - 1]
        let place = pathChild[level - 1]
        let node = arena.load32(parent, KeyIndex.childrenOffset + 4 * place)
        let size = Int(arena.load32(node, 0))
        let isLeaf = level == height
        if size == 0 {
            // An empty node has no neighbour to give its place to: its parent has no other child, or the neighbours are big.
            if isLeaf { unlink(node) }
            arena.free(node, isLeaf ? KeyIndex.leafBytes : KeyIndex.innerBytes)
            removeChild(parent, place)
            if place == 0 && arena.load32(parent, 0) > 0 { setSmallest(nodes.entry(parent, 0), below: level - 1) }
        } else {
            let siblings = Int(arena.load32(parent, 0))
            if place + 1 < siblings, canJoin(parent, place) {
                join(parent, place, isLeaf)
            } else if place > 0, canJoin(parent, place - 1) {
                join(parent, place - 1, isLeaf)
            } else {
                return
            }
        }
        if Int(arena.load32(parent, 0)) < KeyIndex.fewEntries { thin(level: level - 1) }
    }

    private func canJoin(_ parent: Ref, _ left: Int) -> Bool {
        let a = arena.load32(parent, KeyIndex.childrenOffset + 4 * left)
        let b = arena.load32(parent, KeyIndex.childrenOffset + 4 * (left + 1))
        return Int(arena.load32(a, 0) + arena.load32(b, 0)) <= KeyIndex.mergedMax
    }

    /// Moves everything of the right neighbour into the left one.
    private func join(_ parent: Ref, _ left: Int, _ isLeaf: Bool) {
        let a = arena.load32(parent, KeyIndex.childrenOffset + 4 * left)
        let b = arena.load32(parent, KeyIndex.childrenOffset + 4 * (left + 1))
        let sizeA = Int(arena.load32(a, 0))
        let sizeB = Int(arena.load32(b, 0))
        if isLeaf {
            arena.store64(a, 16, arena.load64(a, 16) | (arena.load64(b, 16) << UInt64(sizeA)))
            unlink(b)
        } else {
            for array in [KeyIndex.childrenOffset, KeyIndex.aliveOffset] {
                arena.copy(b, array, to: a, array + 4 * sizeA, 4 * sizeB)
            }
        }
        nodes.join(a, b)
        let alive =
            arena.load32(parent, KeyIndex.aliveOffset + 4 * left)
            + arena.load32(parent, KeyIndex.aliveOffset + 4 * (left + 1))
        arena.store32(parent, KeyIndex.aliveOffset + 4 * left, alive)
        arena.free(b, isLeaf ? KeyIndex.leafBytes : KeyIndex.innerBytes)
        removeChild(parent, left + 1)
    }

    private func unlink(_ leaf: Ref) {
        let following = arena.load32(leaf, KeyIndex.nextOffset)
        let previous = arena.load32(leaf, KeyIndex.previousOffset)
        if following != 0 { arena.store32(following, KeyIndex.previousOffset, previous) }
        if previous != 0 { arena.store32(previous, KeyIndex.nextOffset, following) } else { firstLeaf = following }
    }

    // MARK: Checking

    /// Stops the process when an invariant of the tree does not hold. For tests: visits everything.
    func verify() {
        var leaves: [Ref] = []
        let alive = verify(root, level: 0, smallest: nil, &leaves)
        invariant(alive == aliveCount, "\(alive) keys are alive, \(aliveCount) counted")
        var leaf = firstLeaf
        var previous: Ref = 0
        var seen = 0
        var last: Ref = 0
        for expected in leaves {
            invariant(leaf == expected, "leaves are linked in order")
            invariant(arena.load32(leaf, KeyIndex.previousOffset) == previous, "leaves are linked backwards")
            for slot in 0..<Int(arena.load32(leaf, 0)) {
                let ref = entry(leaf, slot)
                if last != 0 { invariant(key(last).compare(key(ref)) < 0, "keys ascend") }
                let bit = arena.load64(leaf, 16) >> UInt64(slot) & 1
                invariant((bit == 1) == !entries.isTombstone(ref), "alive bits say what entries say")
                last = ref
                seen += 1
            }
            previous = leaf
            leaf = arena.load32(leaf, KeyIndex.nextOffset)
        }
        invariant(leaf == 0 && seen == count, "\(seen) entries in the leaves, \(count) counted")
    }

    private func verify(_ node: Ref, level: Int, smallest: Ref?, _ leaves: inout [Ref]) -> Int {
        let size = Int(arena.load32(node, 0))
        nodes.verify(node)
        if level == height {
            leaves.append(node)
            invariant(size > 0 || height == 0, "only an empty index has an empty leaf")
            if let smallest { invariant(entry(node, 0) == smallest, "a parent knows a leaf's smallest entry") }
            let bits = arena.load64(node, 16)
            invariant(size == 64 || bits >> UInt64(size) == 0, "no alive bit beyond the entries")
            return bits.nonzeroBitCount
        }
        invariant(size > 0, "an inner node has children")
        if let smallest { invariant(nodes.entry(node, 0) == smallest, "a parent knows a child's smallest entry") }
        var total = 0
        for i in 0..<size {
            let below = verify(
                arena.load32(node, KeyIndex.childrenOffset + 4 * i), level: level + 1, smallest: nodes.entry(node, i),
                &leaves)
            invariant(
                below == Int(arena.load32(node, KeyIndex.aliveOffset + 4 * i)),
                "a parent knows how many keys are alive below")
            total += below
        }
        return total
    }
}
