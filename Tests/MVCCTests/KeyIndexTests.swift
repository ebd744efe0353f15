// The tree alone, large enough to have several levels: keys come in every order, are deleted and compacted away, and at
// all times the index is the sorted list it stands for.

import Foundations
import Testing

@testable import MVCC

@Suite struct KeyIndexTests {
    enum Order: CaseIterable { case ascending, descending, random, nested }

    static func keys(_ order: Order, _ count: Int, _ random: inout SeededRandom) -> [[UInt8]] {
        switch order {
        case .ascending: return (0..<count).map { Array("/registry/pods/default/\(1_000_000 + $0)".utf8) }
        case .descending: return (0..<count).map { Array("k\(9_999_999 - $0)".utf8) }
        case .random:
            return (0..<count).map { _ in
                let length = Int.random(in: 1...12, using: &random)
                return (0..<length).map { _ in [0, 1, 0x61, 0x62, 0xff].randomElement(using: &random)! }
            }
        case .nested:
            // Each key is the beginning of many others, so that heads are padded and prefixes end inside keys.
            return (0..<count).map { i in
                Array(repeating: 0x61, count: i % 50) + [UInt8](repeating: 0, count: i / 50 % 40) + [
                    UInt8(i / 2000 % 256)
                ]
            }
        }
    }

    @Test(arguments: Order.allCases)
    func `the index is the sorted list of its keys`(order: Order) {
        var random = SeededRandom(seed: 42)
        let index = KeyIndex()
        var model: [[UInt8]: Int64] = [:]
        var main: Int64 = 1
        for (i, key) in KeyIndexTests.keys(order, 8000, &random).enumerated() {
            main += 1
            let change = index.put(key.rawSpan, Revision(main: main))
            #expect((change.before == nil) == (model[key] == nil))
            model[key] = main
            if i % 4096 == 0 { index.verify() }
        }
        index.verify()
        check(index, model, &random)

        // Delete in random order and take the keys out, until a few are left, then all.
        for key in model.keys.sorted(by: StoreModel.less).shuffled(using: &random) {
            main += 1
            let before = index.find(key.rawSpan)
            let change = index.delete(key.rawSpan, Revision(main: main))
            #expect(index.find(key.rawSpan) == change.entry && before != 0)
            while index.entries.historyCount(change.entry) > 0 { _ = index.entries.dropOldest(change.entry) }
            if !random.chance(1, in: 8) {
                index.remove(change.entry)
                #expect(index.find(key.rawSpan) == 0)
            }
            model[key] = nil
            if model.count % 2048 == 0 { index.verify() }
            if model.count == 300 { check(index, model, &random) }
        }
        index.verify()
        #expect(index.aliveCount == 0)
        var scan = index.scanAll()
        var dead: [KeyIndex.Ref] = []
        while true {
            let ref = index.next(&scan)
            if ref == 0 { break }
            dead.append(ref)
        }
        #expect(dead.count == index.count)
        for ref in dead.shuffled(using: &random) { index.remove(ref) }
        index.verify()
        #expect(index.count == 0)
        // What is left is the root.
        #expect(index.arena.usedBytes == KeyArena.capacity(KeyNodes.bytes))
    }

    func check(_ index: KeyIndex, _ model: [[UInt8]: Int64], _ random: inout SeededRandom) {
        let sorted = model.keys.sorted(by: StoreModel.less)
        var scan = index.scanAll()
        var i = 0
        while true {
            let ref = index.nextAlive(&scan)
            if ref == 0 { break }
            #expect([UInt8](index.key(ref)) == sorted[i] && index.entries.latest(ref).revision.main == model[sorted[i]])
            i += 1
        }
        #expect(i == sorted.count && index.aliveCount == i)
        for _ in 0..<40 {
            var from = sorted.randomElement(using: &random)!
            var to = sorted.randomElement(using: &random)!
            if random.chance(1, in: 2) { from.append(0) }
            if random.chance(1, in: 3) { to.removeLast() }
            if random.chance(1, in: 3) { to.append(UInt8.random(in: 0...255, using: &random)) }
            let wanted = sorted.filter { !StoreModel.less($0, from) && StoreModel.less($0, to) }
            var found: [[UInt8]] = []
            var scan = index.scan(from: from.rawSpan, to: to.rawSpan, isOpen: false)
            while true {
                let ref = index.nextAlive(&scan)
                if ref == 0 { break }
                found.append([UInt8](index.key(ref)))
            }
            #expect(found == wanted)
            #expect(index.countAlive(from: from.rawSpan, to: to.rawSpan) == wanted.count || !StoreModel.less(from, to))
            #expect(index.countAlive(from: from.rawSpan) == sorted.filter { !StoreModel.less($0, from) }.count)
            #expect((index.version(of: to.rawSpan, at: .max) != nil) == (model[to] != nil))
        }
    }

    @Test func `a long history is found by revision and freed from its old end`() {
        let index = KeyIndex()
        let key = Array("hot".utf8)
        let count: Int64 = 60_000
        for main in 1...count { _ = index.put(key.rawSpan, Revision(main: main * 2)) }
        let ref = index.find(key.rawSpan)
        for main in stride(from: Int64(1), through: count * 2 + 3, by: 997) {
            #expect(
                index.entries.version(ref, at: main)?.revision.main == (main < 2 ? nil : min(main, count * 2) / 2 * 2))
        }
        let full = index.arena.usedBytes
        for main in 1..<count {
            #expect(index.entries.dropOldest(ref).revision.main == main * 2)
            if main % 10_000 == 0 {
                #expect(index.entries.version(ref, at: main * 2 + 2)?.revision.main == main * 2 + 2)
            }
        }
        #expect(index.entries.historyCount(ref) == 0)
        #expect(index.arena.usedBytes < full / 100)
    }

    @Test(arguments: 0..<8)
    func `blocks of the arena keep their bytes`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let arena = KeyArena()
        var blocks: [(ref: KeyArena.Ref, bytes: Int, mark: UInt64)] = []
        for _ in 0..<3000 {
            if blocks.isEmpty || random.chance(5, in: 9) {
                let bytes =
                    random.chance(1, in: 200)
                    ? Int.random(in: 8...3_000_000, using: &random) : Int.random(in: 8...2000, using: &random)
                let block = (ref: arena.allocate(bytes), bytes: bytes, mark: random.next())
                arena.store64(block.ref, 0, block.mark)
                arena.store64(block.ref, bytes - 8, block.mark)
                blocks.append(block)
            } else {
                let block = blocks.remove(at: Int.random(in: 0..<blocks.count, using: &random))
                #expect(arena.load64(block.ref, block.bytes - 8) == block.mark, "seed \(seed)")
                if block.bytes >= 16 { #expect(arena.load64(block.ref, 0) == block.mark, "seed \(seed)") }
                arena.free(block.ref, block.bytes)
            }
        }
        for block in blocks { arena.free(block.ref, block.bytes) }
        #expect(arena.usedBytes == 0, "seed \(seed)")
    }
}
