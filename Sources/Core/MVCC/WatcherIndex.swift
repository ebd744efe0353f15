// Which watchers want a key: single keys through a hash table, ranges through an interval tree, so that a change costs what
// it matches and not what is registered. Watchers with the same key and end share a group.
//
// The tree is a treap by (key, end); each node knows the greatest end below it, which is what prunes the search. Nodes are
// groups, in one array; -1 is "none" everywhere.

import Foundations

struct WatcherIndex {
    /// A watcher by its number in the hub.
    typealias Number = Int32

    private struct Group {
        var key: [UInt8]
        /// Empty: the single key. [0]: open.
        var end: [UInt8]
        var hash: UInt64
        var members: [Number]
        var left: Int32 = -1
        var right: Int32 = -1
        var priority: UInt64
        /// Group with the greatest end in this subtree.
        var greatest: Int32
    }

    private var groups: [Group] = []
    private var freeGroups: [Int32] = []
    /// Open addressing: group numbers, -1 free. A power of two, at most half full.
    private var table = [Int32](repeating: -1, count: 16)
    private var root: Int32 = -1
    private var random: SeededRandom
    private let seed: UInt64

    private(set) var count = 0
    private(set) var groupCount = 0

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        self.seed = random.next()
    }

    /// Adds a watcher; returns its group and its place there, by which `remove` finds it.
    mutating func insert(_ watcher: Number, key: [UInt8], end: [UInt8]) -> (group: Int32, place: Int32) {
        let hash = hash(key.rawSpan, end.rawSpan)
        var group = find(hash, key.rawSpan, end.rawSpan)
        if group < 0 {
            group = makeGroup(key, end, hash)
            if !end.isEmpty { root = insertNode(root, group) }
        }
        groups[Int(group)].members.append(watcher)
        count += 1
        return (group, Int32(groups[Int(group)].members.count - 1))
    }

    /// Takes a watcher out. The last member of the group moves to its place: when that is another watcher it is returned.
    mutating func remove(group: Int32, place: Int32) -> Number? {
        let last = groups[Int(group)].members.removeLast()
        count -= 1
        if Int(place) < groups[Int(group)].members.count {
            groups[Int(group)].members[Int(place)] = last
            return last
        }
        if groups[Int(group)].members.isEmpty { drop(group) }
        return nil
    }

    /// Appends the watchers that want a key.
    func match(_ key: RawSpan, into found: inout [Number]) {
        if count == 0 { return }
        let none: [UInt8] = []
        let single = find(hash(key, none.rawSpan), key, none.rawSpan)
        if single >= 0 { found.append(contentsOf: groups[Int(single)].members) }
        if root >= 0 { stab(root, key, &found) }
    }

    // MARK: The table of groups

    private func hash(_ key: RawSpan, _ end: RawSpan) -> UInt64 {
        WatcherIndex.mix(end, WatcherIndex.mix(key, seed))
    }

    private static func mix(_ bytes: RawSpan, _ start: UInt64) -> UInt64 {
        var h = start ^ UInt64(bytes.byteCount) &* 0x9E37_79B9_7F4A_7C15
        var i = 0
        while i &+ 8 <= bytes.byteCount {
            h = step(h, unsafe bytes.unsafeLoadUnaligned(fromByteOffset: i, as: UInt64.self))
            i &+= 8
        }
        var rest: UInt64 = 0
        while i < bytes.byteCount {
            rest = rest << 8 | UInt64(unsafe bytes.unsafeLoad(fromByteOffset: i, as: UInt8.self))
            i &+= 1
        }
        return step(h, rest)
    }

    @inline(__always)
    private static func step(_ h: UInt64, _ word: UInt64) -> UInt64 {
        let product = (h ^ word ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
        return product.high ^ product.low &+ h
    }

    private func find(_ hash: UInt64, _ key: RawSpan, _ end: RawSpan) -> Int32 {
        let mask = table.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while table[slot] >= 0 {
            let group = Int(table[slot])
            if groups[group].hash == hash, groups[group].key.compare(key) == 0, groups[group].end.compare(end) == 0 {
                return table[slot]
            }
            slot = (slot + 1) & mask
        }
        return -1
    }

    private mutating func makeGroup(_ key: [UInt8], _ end: [UInt8], _ hash: UInt64) -> Int32 {
        let number: Int32
        if let free = freeGroups.popLast() {
            number = free
            groups[Int(number)] = Group(
                key: key, end: end, hash: hash, members: [], priority: random.next(), greatest: number)
        } else {
            number = Int32(groups.count)
            groups.append(
                Group(key: key, end: end, hash: hash, members: [], priority: random.next(), greatest: number))
        }
        groupCount += 1
        if groupCount * 2 > table.count { resize(table.count * 2) }
        place(number)
        return number
    }

    private mutating func place(_ group: Int32) {
        let mask = table.count - 1
        var slot = Int(truncatingIfNeeded: groups[Int(group)].hash) & mask
        while table[slot] >= 0 { slot = (slot + 1) & mask }
        table[slot] = group
    }

    private mutating func resize(_ size: Int) {
        let old = table
        table = [Int32](repeating: -1, count: size)
        for group in old where group >= 0 { place(group) }
    }

    private mutating func drop(_ group: Int32) {
        if !groups[Int(group)].end.isEmpty { root = removeNode(root, group) }
        let mask = table.count - 1
        var slot = Int(truncatingIfNeeded: groups[Int(group)].hash) & mask
        while table[slot] != group { slot = (slot + 1) & mask }
        // Close the gap: move back what was pushed past it.
        table[slot] = -1
        var next = (slot + 1) & mask
        while table[next] >= 0 {
            let home = Int(truncatingIfNeeded: groups[Int(table[next])].hash) & mask
            if (next - home) & mask >= (next - slot) & mask {
                table[slot] = table[next]
                table[next] = -1
                slot = next
            }
            next = (next + 1) & mask
        }
        groups[Int(group)].key = []
        groups[Int(group)].end = []
        groups[Int(group)].members = []
        freeGroups.append(group)
        groupCount -= 1
        if table.count > 1024 && groupCount * 16 < table.count { resize(table.count / 4) }
    }

    // MARK: The interval tree

    private func stab(_ node: Int32, _ key: RawSpan, _ found: inout [Number]) {
        var node = node
        while node >= 0 {
            let group = Int(node)
            if !isBefore(key, endOf: groups[group].greatest) { return }
            if groups[group].left >= 0 { stab(groups[group].left, key, &found) }
            // Everything to the right starts later still.
            if groups[group].key.compare(key) > 0 { return }
            if isBefore(key, endOf: node) { found.append(contentsOf: groups[group].members) }
            node = groups[group].right
        }
    }

    private func isBefore(_ key: RawSpan, endOf group: Int32) -> Bool {
        isOpen(group) || groups[Int(group)].end.compare(key) > 0
    }

    private func isOpen(_ group: Int32) -> Bool {
        groups[Int(group)].end.count == 1 && groups[Int(group)].end[0] == 0
    }

    private func precedes(_ a: Int32, _ b: Int32) -> Bool {
        let order = groups[Int(a)].key.compare(groups[Int(b)].key)
        return order != 0 ? order < 0 : groups[Int(a)].end.compare(groups[Int(b)].end) < 0
    }

    private mutating func update(_ node: Int32) {
        var greatest = node
        for child in [groups[Int(node)].left, groups[Int(node)].right] where child >= 0 {
            let other = groups[Int(child)].greatest
            if isOpen(greatest) { break }
            if isOpen(other) || groups[Int(other)].end.compare(groups[Int(greatest)].end) > 0 { greatest = other }
        }
        groups[Int(node)].greatest = greatest
    }

    private mutating func insertNode(_ node: Int32, _ new: Int32) -> Int32 {
        if node < 0 { return new }
        if groups[Int(new)].priority > groups[Int(node)].priority {
            (groups[Int(new)].left, groups[Int(new)].right) = split(node, new)
            update(new)
            return new
        }
        if precedes(new, node) {
            groups[Int(node)].left = insertNode(groups[Int(node)].left, new)
        } else {
            groups[Int(node)].right = insertNode(groups[Int(node)].right, new)
        }
        update(node)
        return node
    }

    /// What comes before `new`, and what after it.
    private mutating func split(_ node: Int32, _ new: Int32) -> (Int32, Int32) {
        if node < 0 { return (-1, -1) }
        if precedes(node, new) {
            let (low, high) = split(groups[Int(node)].right, new)
            groups[Int(node)].right = low
            update(node)
            return (node, high)
        }
        let (low, high) = split(groups[Int(node)].left, new)
        groups[Int(node)].left = high
        update(node)
        return (low, node)
    }

    private mutating func removeNode(_ node: Int32, _ old: Int32) -> Int32 {
        invariant(node >= 0, "a group that is dropped is in the tree")
        if node == old { return merge(groups[Int(node)].left, groups[Int(node)].right) }
        if precedes(old, node) {
            groups[Int(node)].left = removeNode(groups[Int(node)].left, old)
        } else {
            groups[Int(node)].right = removeNode(groups[Int(node)].right, old)
        }
        update(node)
        return node
    }

    private mutating func merge(_ a: Int32, _ b: Int32) -> Int32 {
        if a < 0 { return b }
        if b < 0 { return a }
        if groups[Int(a)].priority > groups[Int(b)].priority {
            groups[Int(a)].right = merge(groups[Int(a)].right, b)
            update(a)
            return a
        }
        groups[Int(b)].left = merge(a, groups[Int(b)].left)
        update(b)
        return b
    }
}
