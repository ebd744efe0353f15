// Random operations on the store and on the model beside it: writes, deletes, ranges with every option, history,
// compaction in small steps, batches that are durable late, restarts and power losses at any moment.

import Foundations
import Testing

@testable import MVCC

@Suite struct StoreModelTests {
    @Test(arguments: 0..<60)
    func `the store answers as the model does`(seed: UInt64) throws {
        var run = try StoreRun(seed: seed)
        for _ in 0..<400 { try run.step() }
        try run.checkEverything()
    }
}

struct StoreRun {
    var random: SeededRandom
    let seed: UInt64
    var disk = InMemoryStore()
    var store: KeyValueStore
    var model = StoreModel()
    var keys: [[UInt8]]

    init(seed: UInt64) throws {
        self.seed = seed
        random = SeededRandom(seed: seed)
        disk.holdsCommits = true
        store = try KeyValueStore(disk)
        // Few keys so that they meet often, many so that the tree splits and joins.
        let count = seed % 3 == 0 ? 400 : 12
        var random = random.fork()
        keys = (0..<count).map { i in
            let length = Int.random(in: 1...(i % 7 == 0 ? 40 : 4), using: &random)
            return (0..<length).map { _ in UInt8.random(in: 0x61...0x66, using: &random) }
        }
        keys.append([0])
        keys.append([0xff, 0xff])
    }

    mutating func key() -> [UInt8] { keys.randomElement(using: &random)! }

    mutating func end(_ key: [UInt8]) -> [UInt8] {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: [0]
        case 1: []
        case 2: [key[0] &+ 1]
        default: self.key()
        }
    }

    mutating func step() throws {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<45: write()
        case 45..<75: try range()
        case 75..<78: compact()
        case 78..<83: store.compactionStep(budget: Int.random(in: 1...8, using: &random))
        case 83..<89: disk.submit(store.takeBatch())
        case 89..<94:
            disk.commit(Int.random(in: 1...3, using: &random))
            store.batchCommitted(disk.committedBatch)
        case 94..<96: store.endTurn()
        case 96: try restart(clean: random.chance(1, in: 2))
        case 97: try hash()
        default: try cursor()
        }
        store.index.verify()
    }

    mutating func write() {
        store.beginWrite()
        var sub: Int64 = 0
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let key = key()
            if random.chance(3, in: 4) {
                let value = (0..<Int.random(in: 0...20, using: &random)).map { _ in
                    UInt8.random(in: 0x41...0x44, using: &random)
                }
                let lease: Int64 = random.chance(1, in: 4) ? Int64.random(in: -2...9, using: &random) : 0
                let before = model.get(key, nil)
                switch Int.random(in: 0..<6, using: &random) {
                case 0:
                    do throws(KeyValueError) {
                        try store.putKeepingValue(key.rawSpan, lease: lease)
                        #expect(before != nil, "seed \(seed)")
                        model.put(key, before!.value, lease, sub: sub)
                    } catch {
                        #expect(before == nil && error == .keyNotFound, "seed \(seed)")
                        continue
                    }
                case 1:
                    do throws(KeyValueError) {
                        try store.putKeepingLease(key.rawSpan, value.rawSpan)
                        #expect(before != nil, "seed \(seed)")
                        model.put(key, value, before!.lease, sub: sub)
                    } catch {
                        #expect(before == nil && error == .keyNotFound, "seed \(seed)")
                        continue
                    }
                default:
                    store.put(key.rawSpan, value.rawSpan, lease: lease)
                    model.put(key, value, lease, sub: sub)
                }
                sub += 1
            } else {
                let end = random.chance(1, in: 2) ? [] : end(key)
                var previous: [UInt8] = []
                let count = store.deleteRange(key.rawSpan, end.rawSpan, previousField: 0x12, previous: &previous)
                let doomed = model.delete(key, end, sub: sub)
                #expect(Pair.list(previous) == doomed, "seed \(seed)")
                #expect(count == doomed.count, "seed \(seed)")
                sub += Int64(count)
            }
            if random.chance(1, in: 3) {
                // Reads inside the transaction see it.
                let key = self.key()
                let value = store.keyValue(key.rawSpan, at: .max)
                #expect(value.map { Pair(encoded: $0) } == model.get(key, nil), "seed \(seed)")
            }
        }
        let changed = store.endWrite()
        #expect(changed == (sub > 0), "seed \(seed)")
        if changed { model.current += 1 }
        #expect(store.currentRevision == model.current, "seed \(seed)")
        #expect(store.changes.count == Int(sub), "seed \(seed)")
        for (change, expected) in zip(store.changes, model.changes.suffix(Int(sub))) {
            store.withChange(change) { key, stored in
                #expect([UInt8](key) == expected.pair.key)
                #expect([UInt8](stored) == expected.pair.encoded)
                #expect(change.isDelete == expected.isDelete)
            }
        }
    }

    mutating func revision() -> Int64 {
        random.chance(1, in: 2) ? 0 : Int64.random(in: -1...model.current + 1, using: &random)
    }

    func expectedError(_ revision: Int64) -> KeyValueError? {
        if revision > model.current { return .future }
        if revision > 0 && revision < model.compacted { return .compacted }
        return nil
    }

    mutating func range() throws {
        var options = RangeOptions()
        let key = key()
        let end = end(key)
        options.revision = revision()
        if random.chance(1, in: 2) { options.limit = Int64.random(in: -1...6, using: &random) }
        if random.chance(1, in: 2) {
            options.order = [.none, .ascend, .descend].randomElement(using: &random)!
            options.target = [.key, .version, .create, .mod, .value].randomElement(using: &random)!
        }
        options.keysOnly = random.chance(1, in: 5)
        options.countOnly = random.chance(1, in: 8)
        if random.chance(1, in: 4) {
            func bound(_ random: inout SeededRandom) -> Int64 {
                random.chance(1, in: 2) ? 0 : Int64.random(in: 1...model.current, using: &random)
            }
            options.minModRevision = bound(&random)
            options.maxModRevision = bound(&random)
            options.minCreateRevision = bound(&random)
            options.maxCreateRevision = bound(&random)
        }
        var bytes: [UInt8] = []
        let result: RangeResult
        do throws(KeyValueError) {
            result = try store.range(key.rawSpan, end.rawSpan, options, into: &bytes)
        } catch {
            #expect(error == expectedError(options.revision), "seed \(seed)")
            return
        }
        #expect(expectedError(options.revision) == nil, "seed \(seed)")
        compare(Pair.list(bytes), result, key, end, options)
    }

    func compare(_ found: [Pair], _ result: RangeResult, _ key: [UInt8], _ end: [UInt8], _ options: RangeOptions) {
        let comment: Comment = "seed \(seed) revision \(model.current) \(options)"
        let all = model.pairs(key, end, options.revision > 0 ? options.revision : nil)
        #expect(result.count == Int64(all.count), comment)
        if options.countOnly {
            #expect(found.isEmpty && !result.more, comment)
            return
        }
        var expected = all
        let limit = options.limit > 0 ? Int(options.limit) : Int.max
        let reorders = options.order == .descend || (options.order == .ascend && options.target != .key)
        if !reorders && !options.filters && limit != .max { expected = Array(expected.prefix(limit + 1)) }
        expected = expected.filter {
            (options.maxModRevision == 0 || $0.mod <= options.maxModRevision)
                && (options.minModRevision == 0 || $0.mod >= options.minModRevision)
                && (options.maxCreateRevision == 0 || $0.create <= options.maxCreateRevision)
                && (options.minCreateRevision == 0 || $0.create >= options.minCreateRevision)
        }
        func precedes(_ a: Pair, _ b: Pair) -> Bool {
            switch options.target {
            case .key: StoreModel.less(a.key, b.key)
            case .version: a.version < b.version
            case .create: a.create < b.create
            case .mod: a.mod < b.mod
            case .value: StoreModel.less(a.value, b.value)
            }
        }
        expected.sort { options.order == .descend ? precedes($1, $0) : precedes($0, $1) }
        #expect(result.more == (expected.count > limit), comment)
        let candidates = expected
        expected = Array(expected.prefix(limit))
        #expect(found.count == expected.count && result.pairs == found.count, comment)
        for (a, b) in zip(found, expected) {
            // Among equals of the sort the order is free: same rank, and one of the candidates.
            guard let original = candidates.first(where: { $0.key == a.key }) else {
                Issue.record("\(a) is not in the range: \(comment)")
                continue
            }
            #expect(!precedes(original, b) && !precedes(b, original), comment)
            var wanted = original
            if options.keysOnly {
                wanted.value = []
            }
            #expect(a == wanted, comment)
        }
        #expect(Set(found.map(\.key)).count == found.count, comment)
    }

    mutating func cursor() throws {
        let key = key()
        let end = end(key)
        var options = RangeOptions()
        options.revision = random.chance(1, in: 2) ? 0 : Int64.random(in: 0...model.current, using: &random)
        if random.chance(1, in: 2) { options.limit = Int64.random(in: 1...9, using: &random) }
        guard expectedError(options.revision) == nil else { return }
        let pinned = options.revision == 0 ? model.current : options.revision
        let expected = model.pairs(key, end, pinned)
        var cursor = try store.openRange(key.rawSpan, end.rawSpan, options)
        var bytes: [UInt8] = []
        while !cursor.isFinished {
            do throws(KeyValueError) {
                _ = try store.read(
                    &cursor, keysMax: Int.random(in: 1...4, using: &random), bytesMax: 100, into: &bytes)
            } catch {
                #expect(error == .compacted && pinned < model.compacted, "seed \(seed)")
                return
            }
            if random.chance(1, in: 3) { write() }
            if random.chance(1, in: 30) { compact() }
        }
        let limit = options.limit > 0 ? Int(options.limit) : Int.max
        #expect(Pair.list(bytes) == Array(expected.prefix(limit)), "seed \(seed)")
        #expect(cursor.count == Int64(expected.count), "seed \(seed)")
        #expect(cursor.more == (expected.count > limit), "seed \(seed)")
    }

    mutating func compact() {
        let revision = Int64.random(in: model.compacted - 1...model.current + 1, using: &random)
        do throws(KeyValueError) {
            try store.compact(revision)
            #expect(revision > model.compacted && revision <= model.current, "seed \(seed)")
            model.compacted = revision
        } catch {
            #expect(error == (revision > model.current ? .future : .compacted), "seed \(seed)")
        }
    }

    mutating func hash() throws {
        let low = max(model.compacted, 1)
        let revision = random.chance(1, in: 3) ? 0 : Int64.random(in: low...model.current, using: &random)
        var job = try store.beginHash(revision)
        var wanted = revision == 0 ? model.current : revision
        while true {
            do throws(KeyValueError) {
                if let hash = try store.hashStep(&job, budget: Int.random(in: 1...20, using: &random)) {
                    #expect(hash.compactRevision == model.compacted && hash.revision == wanted, "seed \(seed)")
                    #expect(hash.hash == model.hash(wanted), "seed \(seed) revision \(wanted) of \(model.current)")
                    return
                }
            } catch {
                #expect(error == .compacted && wanted < model.compacted, "seed \(seed)")
                return
            }
            switch Int.random(in: 0..<12, using: &random) {
            case 0: write()
            case 1: disk.submit(store.takeBatch())
            case 2:
                disk.commit(1)
                store.batchCommitted(disk.committedBatch)
            case 3: store.compactionStep(budget: 3)
            case 4 where random.chance(1, in: 4): compact()
            default: break
            }
            wanted = revision == 0 ? wanted : revision
        }
    }

    mutating func restart(clean: Bool) throws {
        if clean {
            disk.submit(store.takeBatch())
            disk.commit()
        }
        disk = disk.crashed()
        disk.holdsCommits = true
        var attached: [[UInt8]: Int64] = [:]
        store = try KeyValueStore(disk) { attached[$0] = $1 }
        if clean {
            #expect(store.currentRevision == model.current, "seed \(seed)")
            #expect(store.compactedRevision == model.compacted, "seed \(seed)")
        }
        #expect(store.currentRevision <= model.current && store.compactedRevision <= model.compacted, "seed \(seed)")
        model.current = store.currentRevision
        model.compacted = store.compactedRevision
        model.changes.removeAll { $0.main > store.currentRevision }
        var leased: [[UInt8]: Int64] = [:]
        for pair in model.pairs([0], [0], nil) where pair.lease != 0 { leased[pair.key] = pair.lease }
        #expect(attached == leased, "seed \(seed)")
    }

    /// After everything is durable and the compaction finished: each readable revision, and nothing more on the disk.
    mutating func checkEverything() throws {
        while !store.compactionStep(budget: 5) {}
        disk.submit(store.takeBatch())
        disk.commit()
        store.batchCommitted(disk.committedBatch)
        #expect(store.pendingRevisions == 0, "seed \(seed)")
        for revision in max(model.compacted, 1)...model.current {
            var options = RangeOptions()
            options.revision = revision
            var bytes: [UInt8] = []
            let result = try store.range([0].rawSpan, [0].rawSpan, options, into: &bytes)
            #expect(Pair.list(bytes) == model.pairs([0], [0], revision), "seed \(seed) revision \(revision)")
            #expect(result.count == Int64(model.pairs([0], [0], revision).count), "seed \(seed)")
            #expect(try store.hash(revision).hash == model.hash(revision), "seed \(seed) revision \(revision)")
        }
        let kept = model.changes.filter { change in
            guard change.main <= model.compacted else { return true }
            let newest = model.newest(change.pair.key, model.compacted)!
            return newest.main == change.main && newest.sub == change.sub
                && (!change.isDelete || change.main == model.compacted)
        }
        var stored: [Revision] = []
        disk.view().scan(.key, from: [], to: nil) { key, _ in
            stored.append(RevisionKey.decode(key)!.revision)
            return true
        }
        // The tombstone of a key that was put again in the same transaction, the compacted one, goes next time.
        let extra = Set(stored).subtracting(kept.map { Revision(main: $0.main, sub: $0.sub) })
        for revision in extra {
            let change = model.changes.first { $0.main == revision.main && $0.sub == revision.sub }
            #expect(
                change?.isDelete == true && revision.main == model.compacted, "seed \(seed): \(revision) is not needed")
        }
        #expect(Set(stored).isSuperset(of: kept.map { Revision(main: $0.main, sub: $0.sub) }), "seed \(seed)")
    }
}
