// An OrderedStore without a disk, for tests and the simulator. Batches are committed at once, or, with `holdsCommits`, only
// when `commit` is called, so that what is submitted but not durable can be looked at; `crashed` is what a machine that
// lost its power at this moment would find.

import Foundations

package final class InMemoryStore: OrderedStore {
    /// When set, batches wait for `commit`.
    package var holdsCommits = false
    package private(set) var committedBatch: UInt64 = 0

    private var tables = [Table](repeating: Table(), count: StoreTable.allCases.count)
    private var waiting: [StoreBatch] = []

    package init() {}

    package var waitingBatches: Int { waiting.count }

    package func view() -> any StoreView { View(tables) }

    package func submit(_ batch: StoreBatch) {
        invariant(batch.number > (waiting.last?.number ?? committedBatch), "batches come in order: \(batch.number)")
        waiting.append(batch)
        if !holdsCommits { commit() }
    }

    /// Commits the oldest `count` waiting batches, all when not told.
    package func commit(_ count: Int? = nil) {
        let taken = min(count ?? waiting.count, waiting.count)
        for batch in waiting[..<taken] {
            apply(batch)
            committedBatch = batch.number
        }
        waiting.removeFirst(taken)
    }

    /// A store of its own with what is committed.
    package func crashed() -> InMemoryStore {
        let copy = InMemoryStore()
        copy.tables = tables
        return copy
    }

    package var allocatedBytes: Int { usedBytes }
    package var usedBytes: Int { tables.reduce(0) { $0 + $1.byteCount } }

    private func apply(_ batch: StoreBatch) {
        for operation in batch.operations {
            switch operation {
            case .put(let table, let key, let value, let append):
                tables[Int(table.rawValue)].put(Array(batch.bytes[key]), Array(batch.bytes[value]), append: append)
            case .delete(let table, let key): tables[Int(table.rawValue)].delete(Array(batch.bytes[key]))
            case .clear(let table): tables[Int(table.rawValue)] = Table()
            }
        }
    }

    /// Sorted pairs in blocks of a few hundred, so that a change moves little.
    private struct Table {
        typealias Pair = (key: [UInt8], value: [UInt8])

        var blocks: [[Pair]] = []
        var count = 0
        var byteCount = 0

        private static let blockMax = 512

        mutating func put(_ key: [UInt8], _ value: [UInt8], append: Bool) {
            let (block, slot, found) = find(key.rawSpan)
            byteCount += key.count + value.count
            if found {
                byteCount -= key.count + blocks[block][slot].value.count
                blocks[block][slot].value = value
                return
            }
            invariant(
                !append || blocks.isEmpty || (block == blocks.count - 1 && slot == blocks[block].count),
                "an appended key is the greatest")
            count += 1
            if blocks.isEmpty { blocks.append([]) }
            if blocks[block].count >= Table.blockMax {
                if slot == blocks[block].count {
                    blocks.insert([(key, value)], at: block + 1)
                    return
                }
                let upper = Array(blocks[block][(Table.blockMax / 2)...])
                blocks[block].removeLast(upper.count)
                blocks.insert(upper, at: block + 1)
                if slot > blocks[block].count {
                    blocks[block + 1].insert((key, value), at: slot - blocks[block].count)
                    return
                }
            }
            blocks[block].insert((key, value), at: slot)
        }

        mutating func delete(_ key: [UInt8]) {
            let (block, slot, found) = find(key.rawSpan)
            guard found else { return }
            count -= 1
            byteCount -= key.count + blocks[block][slot].value.count
            blocks[block].remove(at: slot)
            if blocks[block].isEmpty { blocks.remove(at: block) }
        }

        /// Where the key is, or would be inserted.
        func find(_ key: RawSpan) -> (block: Int, slot: Int, found: Bool) {
            var low = 0
            var high = blocks.count
            while low < high {
                let middle = (low + high) / 2
                if blocks[middle][0].key.compare(key) <= 0 { low = middle + 1 } else { high = middle }
            }
            if low == 0 { return (0, 0, false) }
            let block = low - 1
            low = 0
            high = blocks[block].count
            while low < high {
                let middle = (low + high) / 2
                let order = blocks[block][middle].key.compare(key)
                if order == 0 { return (block, middle, true) }
                if order < 0 { low = middle + 1 } else { high = middle }
            }
            return (block, low, false)
        }
    }

    private final class View: StoreView {
        private let tables: [Table]

        init(_ tables: [Table]) { self.tables = tables }

        func get(_ table: StoreTable, _ key: RawSpan, _ body: (RawSpan?) -> Void) {
            let table = tables[Int(table.rawValue)]
            let (block, slot, found) = table.find(key)
            guard found else { return body(nil) }
            let value = table.blocks[block][slot].value
            body(value.rawSpan)
        }

        func scan(
            _ table: StoreTable, from: [UInt8], to: [UInt8]?, _ body: (_ key: RawSpan, _ value: RawSpan) -> Bool
        ) {
            let table = tables[Int(table.rawValue)]
            var (block, slot, _) = table.find(from.rawSpan)
            while block < table.blocks.count {
                while slot < table.blocks[block].count {
                    let pair = table.blocks[block][slot]
                    if let to, pair.key.rawSpan.compare(to.rawSpan) >= 0 { return }
                    if !body(pair.key.rawSpan, pair.value.rawSpan) { return }
                    slot += 1
                }
                block += 1
                slot = 0
            }
        }

        func count(_ table: StoreTable) -> Int { tables[Int(table.rawValue)].count }
    }
}
