// Writes a bbolt file in one pass and in file order, with the memory of one page a tree level: for a snapshot that is
// streamed while it is made.
//
// The metas at the front name the root and the number of pages, so the same code runs twice over the same pairs: first a
// `BoltPlan` that only counts (sizes decide where pages end), then the writer, which checks that it arrives at the plan.
//
//   var plan = BoltPlan()                                  var writer = BoltImageWriter(plan.finished())
//   plan.open(bucket)                                      writer.open(bucket)
//   plan.add(keyBytes, valueBytes) ...                     writer.add(key, value) ... take writer.output now and then
//
// A tree grows from its leaves: a full page is written at once and its first key handed to the level above, whose pages
// come out behind their children. A branch never has a single child (bbolt stops when it has to merge below one).

import Foundations

/// What the first pass finds out.
package struct BoltLayout: Equatable, Sendable {
    package var pages: UInt64
    package var root: UInt64
    package var pageBytes: Int
    /// Where each bucket's pages are, for `BoltStream`.
    package var trees: [BoltTree]

    package var imageBytes: Int { Int(pages) * pageBytes }
}

package struct BoltPlan: Sendable {
    private var builder: BoltBuilder

    package init(pageBytes: Int = 4096) { builder = BoltBuilder(pageBytes: pageBytes, writes: false) }

    /// Buckets are opened in the order of their names.
    package mutating func open(_ bucket: String) { builder.open(bucket) }

    package mutating func add(keyBytes: Int, valueBytes: Int) {
        builder.add(keyBytes: keyBytes, valueBytes: valueBytes)
    }

    package mutating func finish() -> BoltLayout { builder.finish() }
}

package struct BoltImageWriter: Sendable {
    private var builder: BoltBuilder
    private let layout: BoltLayout

    /// Bytes ready to be sent; take them whenever there are enough.
    package var output: Bytes {
        get { builder.output }
        _modify { yield &builder.output }
    }

    package init(_ layout: BoltLayout, transaction: UInt64 = 2) {
        self.layout = layout
        builder = BoltBuilder(pageBytes: layout.pageBytes, writes: true)
        for id in 0..<UInt64(2) {
            let meta = BoltMeta(
                pageBytes: layout.pageBytes, root: layout.root, freelist: Bolt.noFreelist, highWater: layout.pages,
                transaction: transaction - id)
            builder.output += meta.encoded(asPage: id)
        }
    }

    package mutating func open(_ bucket: String) { builder.open(bucket) }

    /// Keys ascend within a bucket.
    package mutating func add(_ key: RawSpan, _ value: RawSpan) { builder.add(key, value) }

    package mutating func finish() {
        let found = builder.finish()
        invariant(found == layout, "the second pass came to \(found), the first to \(layout)")
    }
}

/// One page under construction. When only counting, keys and values are sizes without bytes.
private struct BoltPageDraft: Sendable {
    struct Element: Sendable {
        var keyBytes: Int
        var valueBytes: Int
        var child: UInt64
    }

    var elements: [Element] = []
    var data: Bytes = []
    /// With header and elements.
    var bytes = Bolt.headerBytes

    func size(with keyBytes: Int, _ valueBytes: Int) -> Int { bytes + Bolt.elementBytes + keyBytes + valueBytes }

    mutating func append(_ element: Element) {
        elements.append(element)
        bytes += Bolt.elementBytes + element.keyBytes + element.valueBytes
    }

    mutating func removeAll() {
        elements.removeAll(keepingCapacity: true)
        data.removeAll(keepingCapacity: true)
        bytes = Bolt.headerBytes
    }

    var firstKey: Bytes { data.isEmpty ? [] : Bytes(data[..<elements[0].keyBytes]) }

    /// Moves the last element to the front of `next`.
    mutating func giveLast(to next: inout BoltPageDraft) {
        let element = elements.removeLast()
        let size = element.keyBytes + element.valueBytes
        bytes -= Bolt.elementBytes + size
        next.elements.insert(element, at: 0)
        next.bytes += Bolt.elementBytes + size
        if !data.isEmpty {
            next.data.insert(contentsOf: data[(data.count - size)...], at: 0)
            data.removeLast(size)
        }
    }

    func encoded(id: UInt64, flags: UInt16, elementFlags: UInt32, overflow: Int, to output: inout Bytes) {
        Bolt.appendHeader(id: id, flags: flags, count: elements.count, overflow: overflow, to: &output)
        var position = Bolt.elementBytes * elements.count
        for element in elements {
            if flags == Bolt.leaf {
                output.appendLittleEndian(elementFlags)
                output.appendLittleEndian(UInt32(position))
                output.appendLittleEndian(UInt32(element.keyBytes))
                output.appendLittleEndian(UInt32(element.valueBytes))
            } else {
                output.appendLittleEndian(UInt32(position))
                output.appendLittleEndian(UInt32(element.keyBytes))
                output.appendLittleEndian(element.child)
            }
            position += element.keyBytes + element.valueBytes - Bolt.elementBytes
        }
        output += data
    }
}

private struct BoltBuilder: Sendable {
    /// A level of the tree being built: the page before the last is held back until the last has two children.
    struct Level: Sendable {
        var held: BoltPageDraft?
        var draft = BoltPageDraft()
    }

    let pageBytes: Int
    let writes: Bool
    var output: Bytes = []
    private var nextPage: UInt64 = 2
    private var levels: [Level] = [Level()]
    /// Flags of the leaf elements being written: pairs, or the root's buckets.
    private var elementFlags: UInt32 = 0
    private var openBucket: Bytes?
    private var treeStart: UInt64 = 0
    private var pairs: UInt64 = 0
    private var trees: [BoltTree] = []
    private var buckets: [(name: Bytes, recordBytes: Int, record: Bytes)] = []

    init(pageBytes: Int, writes: Bool) {
        self.pageBytes = pageBytes
        self.writes = writes
    }

    mutating func open(_ bucket: String) {
        closeBucket()
        openBucket = Bytes(bucket.utf8)
        treeStart = nextPage
        pairs = 0
    }

    mutating func add(keyBytes: Int, valueBytes: Int) {
        startLeafIfFull(keyBytes, valueBytes)
        levels[0].draft.append(.init(keyBytes: keyBytes, valueBytes: valueBytes, child: 0))
        pairs += 1
    }

    mutating func add(_ key: RawSpan, _ value: RawSpan) {
        add(keyBytes: key.byteCount, valueBytes: value.byteCount)
        levels[0].draft.data.append(key)
        levels[0].draft.data.append(value)
    }

    mutating func finish() -> BoltLayout {
        closeBucket()
        elementFlags = Bolt.bucketFlag
        for bucket in buckets {
            add(keyBytes: bucket.name.count, valueBytes: bucket.recordBytes)
            if writes {
                levels[0].draft.data += bucket.name
                levels[0].draft.data += bucket.record
            }
        }
        let root = finishTree()
        return BoltLayout(pages: nextPage, root: root, pageBytes: pageBytes, trees: trees)
    }

    private mutating func closeBucket() {
        guard let name = openBucket else { return }
        openBucket = nil
        invariant(buckets.last.map { $0.name.lexicographicallyPrecedes(name) } ?? true, "buckets in order")
        let draft = levels[0].draft
        var record: Bytes = []
        if levels.count == 1, draft.bytes <= pageBytes / 4 {
            record.appendLittleEndian(UInt64(0))
            record.appendLittleEndian(UInt64(0))
            draft.encoded(id: 0, flags: Bolt.leaf, elementFlags: 0, overflow: 0, to: &record)
            buckets.append((name, Bolt.bucketHeaderBytes + draft.bytes, record))
            levels[0].draft.removeAll()
        } else {
            record.appendLittleEndian(finishTree())
            record.appendLittleEndian(UInt64(0))
            buckets.append((name, Bolt.bucketHeaderBytes, record))
            trees.append(BoltTree(bucket: String(decoding: name, as: UTF8.self), pages: treeStart..<nextPage, pairs: pairs))
        }
    }

    private mutating func startLeafIfFull(_ keyBytes: Int, _ valueBytes: Int) {
        guard !levels[0].draft.elements.isEmpty, levels[0].draft.size(with: keyBytes, valueBytes) > pageBytes else {
            return
        }
        emitLeaf()
    }

    private mutating func emitLeaf() {
        let draft = levels[0].draft
        let id = emit(draft, Bolt.leaf)
        let first = draft.firstKey
        let firstBytes = draft.elements.first?.keyBytes ?? 0
        levels[0].draft.removeAll()
        addChild(1, first, firstBytes, id)
    }

    private mutating func addChild(_ level: Int, _ key: Bytes, _ keyBytes: Int, _ child: UInt64) {
        if levels.count == level { levels.append(Level()) }
        let draft = levels[level].draft
        if draft.elements.count >= 2, draft.size(with: keyBytes, 0) > pageBytes {
            // The page held back now has a full one behind it.
            if let held = levels[level].held { emitBranch(level, held) }
            levels[level].held = draft
            levels[level].draft = BoltPageDraft()
        }
        levels[level].draft.append(.init(keyBytes: keyBytes, valueBytes: 0, child: child))
        levels[level].draft.data += key
    }

    private mutating func emitBranch(_ level: Int, _ draft: BoltPageDraft) {
        let id = emit(draft, Bolt.branch)
        addChild(level + 1, draft.firstKey, draft.elements[0].keyBytes, id)
    }

    /// Writes what is left of the tree; the number of its root page.
    private mutating func finishTree() -> UInt64 {
        defer { levels = [Level()] }
        if levels.count == 1 { return emit(levels[0].draft, Bolt.leaf) }
        if !levels[0].draft.elements.isEmpty { emitLeaf() }
        var level = 1
        while true {
            if var held = levels[level].held {
                levels[level].held = nil
                if levels[level].draft.elements.count < 2 {
                    if held.elements.count > 2 {
                        held.giveLast(to: &levels[level].draft)
                    } else {
                        held.giveAll(from: &levels[level].draft)
                    }
                }
                emitBranch(level, held)
                if !levels[level].draft.elements.isEmpty { emitBranch(level, levels[level].draft) }
                level += 1
                continue
            }
            // Nothing was ever held back here, so it is the top: the only page of its level, or a single leaf below it.
            let draft = levels[level].draft
            invariant(level + 1 == levels.count, "level \(level) of \(levels.count) has one page")
            if draft.elements.count == 1 { return draft.elements[0].child }
            return emit(draft, Bolt.branch)
        }
    }

    private mutating func emit(_ draft: BoltPageDraft, _ flags: UInt16) -> UInt64 {
        let id = nextPage
        let pages = max(1, (draft.bytes + pageBytes - 1) / pageBytes)
        nextPage += UInt64(pages)
        if writes {
            let start = output.count
            draft.encoded(id: id, flags: flags, elementFlags: elementFlags, overflow: pages - 1, to: &output)
            output += Bytes(repeating: 0, count: pages * pageBytes - (output.count - start))
        }
        return id
    }
}

extension BoltPageDraft {
    mutating func giveAll(from next: inout BoltPageDraft) {
        for element in next.elements { append(element) }
        data += next.data
        next.removeAll()
    }
}
