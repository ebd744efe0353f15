// The cost of the key-value store alone: its OrderedStore here is an array, so what is measured is the index, the encoding,
// the copying and the watchers. Times are CPU time of the process; other load on the machine hardly moves them.

import Foundations
import Glibc
import Linux
import MVCC

enum MVCCBench {
    static func run(keys count: Int) {
        var random = SeededRandom(seed: 1)
        let keys = (0..<count).map { i in
            Array("/registry/pods/n\(100 + i % 900)/".utf8) + Hexadecimal.encode(six(random.next())).utf8
        }
        let value = [UInt8](repeating: 0x78, count: 256)
        let disk = FlatStore()
        guard let store = try? KeyValueStore(disk) else { fatalError("an empty store opens") }
        let before = residentBytes()

        print("\(count) keys of \(keys[0].count) bytes, values of \(value.count) bytes")
        measure("put, new key", count) { put(keys, value, store, disk) }
        print("    index: \(store.indexUsedBytes / count) bytes a key, key included")
        let shuffled = keys.shuffled(using: &random)
        measure("find by key", count) {
            for key in shuffled where store.current(key.rawSpan) == nil { fatalError("a key is missing") }
        }
        var answer: [UInt8] = []
        measure("get", count) {
            for key in shuffled {
                answer.removeAll(keepingCapacity: true)
                guard let result = try? store.range(key.rawSpan, [UInt8]().rawSpan, RangeOptions(), into: &answer),
                    result.count == 1
                else { fatalError("a key is missing") }
            }
        }
        ranges(keys, store, &random)
        measure("put, known key", count) { put(shuffled, value, store, disk) }
        print("    index: \(store.indexUsedBytes / count) bytes a key with one older revision")
        measure("compaction, a revision", count) {
            guard (try? store.compact(store.currentRevision)) != nil else { fatalError("compaction is accepted") }
            while !store.compactionStep(budget: 1000) { commit(store, disk) }
            commit(store, disk)
        }
        print("    index: \(store.indexUsedBytes / count) bytes a key, compacted")
        measure("hash, a record", disk.liveCount) {
            guard var job = try? store.beginHash(0) else { fatalError("a hash begins") }
            while (try? store.hashStep(&job, budget: 1000)).flatMap({ $0 }) == nil { store.endTurn() }
        }
        measure("restore, a record", disk.liveCount) {
            guard let again = try? KeyValueStore(disk), again.keyCount == count else {
                fatalError("a store opens again")
            }
        }
        print("    resident: \((residentBytes() - before) >> 20) MiB with \(disk.byteCount >> 20) MiB of stored bytes")
        watch(keys, value, store, disk)
    }

    private static func put(_ keys: [[UInt8]], _ value: [UInt8], _ store: KeyValueStore, _ disk: FlatStore) {
        for (i, key) in keys.enumerated() {
            store.beginWrite()
            store.put(key.rawSpan, value.rawSpan, lease: 0)
            store.endWrite()
            if i % 1000 == 999 { commit(store, disk) }
        }
        commit(store, disk)
    }

    private static func commit(_ store: KeyValueStore, _ disk: FlatStore) {
        disk.submit(store.takeBatch())
        store.batchCommitted(disk.committedBatch)
    }

    private static func ranges(_ keys: [[UInt8]], _ store: KeyValueStore, _ random: inout SeededRandom) {
        var answer: [UInt8] = []
        var options = RangeOptions()
        options.limit = 1000
        let starts = (0..<200).map { _ in keys.randomElement(using: &random)! }
        var pairs = 0
        for (name, keysOnly) in [("range of 1000, a key", false), ("range of 1000 keys only, a key", true)] {
            options.keysOnly = keysOnly
            pairs = 0
            measure(name, 200 * 1000) {
                for start in starts {
                    answer.removeAll(keepingCapacity: true)
                    pairs += (try? store.range(start.rawSpan, [0].rawSpan, options, into: &answer))?.pairs ?? 0
                }
            }
        }
        options.countOnly = true
        measure("count of a range", 200) {
            for start in starts { _ = try? store.range(start.rawSpan, [0].rawSpan, options, into: &answer) }
        }
    }

    private static func watch(_ keys: [[UInt8]], _ value: [UInt8], _ store: KeyValueStore, _ disk: FlatStore) {
        let watchers = min(100_000, keys.count / 2)
        let sink = CountingSink()
        for isRange in [false, true] {
            let hub = WatchHub(seed: 7)
            let before = residentBytes()
            let name = isRange ? "range" : "key"
            measure("watch a \(name), register", watchers) {
                var stream: WatchHub.StreamNumber = 0
                for i in 0..<watchers {
                    if i % 100 == 0 { stream = hub.open(tag: UInt64(i)) }
                    var request = WatcherRequest()
                    request.key = keys[i]
                    request.end = isRange ? keys[i] + [0xff] : []
                    guard (try? hub.create(request, on: stream, store)) != nil else { fatalError("a watcher is made") }
                }
            }
            print("    resident: \((residentBytes() - before) / watchers) bytes a watcher")
            sink.count = 0
            measure("put with \(watchers) watchers of other \(name)s", watchers) {
                write(keys[watchers..<2 * watchers], value, store, disk, hub, sink)
            }
            if sink.count != 0 { fatalError("watchers of other keys got \(sink.count) events") }
            measure("put that one \(name) watcher of \(watchers) wants", watchers) {
                write(keys[..<watchers], value, store, disk, hub, sink)
            }
            if sink.count != watchers { fatalError("\(sink.count) events for \(watchers) puts") }
        }
        let hub = WatchHub(seed: 7)
        let stream = hub.open(tag: 1)
        for _ in 0..<1000 {
            var request = WatcherRequest()
            request.key = keys[0]
            _ = try? hub.create(request, on: stream, store)
        }
        sink.count = 0
        measure("event to one of 1000 watchers of a key", 1000 * 1000) {
            for _ in 0..<1000 { write(keys[..<1], value, store, disk, hub, sink) }
        }
        if sink.count != 1000 * 1000 { fatalError("\(sink.count) events") }
        history(keys, store, sink)
    }

    /// One watcher of everything from an old revision on, and 500 of single keys.
    private static func history(_ keys: [[UInt8]], _ store: KeyValueStore, _ sink: CountingSink) {
        for watchers in [1, 500] {
            let hub = WatchHub(seed: 9)
            let stream = hub.open(tag: 1)
            let start = max(store.compactedRevision, 1)
            for i in 0..<watchers {
                var request = WatcherRequest()
                request.key = watchers == 1 ? [0] : keys[i]
                request.end = watchers == 1 ? [0] : []
                request.startRevision = start
                _ = try? hub.create(request, on: stream, store)
            }
            measure("catch up, \(watchers) watchers, a revision", Int(store.currentRevision - start)) {
                while !hub.catchUp(store, sink) { store.endTurn() }
            }
        }
    }

    private static func write(
        _ keys: ArraySlice<[UInt8]>, _ value: [UInt8], _ store: KeyValueStore, _ disk: FlatStore, _ hub: WatchHub,
        _ sink: CountingSink
    ) {
        for (i, key) in keys.enumerated() {
            store.beginWrite()
            store.put(key.rawSpan, value.rawSpan, lease: 0)
            store.endWrite()
            hub.notify(store, sink)
            if i % 1000 == 999 { commit(store, disk) }
        }
        commit(store, disk)
    }

    private static func six(_ bits: UInt64) -> [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) } }

    static func measure(_ name: String, _ count: Int, _ body: () -> Void) {
        let start = cpuNanoseconds()
        body()
        let each = (cpuNanoseconds() - start) / max(1, count)
        let padding = String(repeating: " ", count: max(1, 50 - name.utf8.count))
        print("\(name)\(padding)\(each) ns")
    }

    private static func cpuNanoseconds() -> Int {
        var time = timespec()
        unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    private static func residentBytes() -> Int { OwnProcess.bytes(.resident) ?? 0 }
}

private final class CountingSink: WatchSink {
    var count = 0

    func deliver(_ delivery: WatchDelivery) -> Bool {
        if case .events(let block, _) = delivery.content { count += block.count }
        return true
    }
}

/// Keeps batches as they come and finds a revision by its number: each transaction here makes one.
final class FlatStore: OrderedStore {
    private var batches: [StoreBatch] = []
    /// By revision: batch and operation. -1: deleted or never written.
    private var places: [(batch: Int32, operation: Int32)] = []
    private(set) var committedBatch: UInt64 = 0
    private(set) var byteCount = 0
    private(set) var liveCount = 0

    func view() -> any StoreView { View(self) }

    func submit(_ batch: StoreBatch) {
        committedBatch = batch.number
        byteCount += batch.bytes.count
        for (i, operation) in batch.operations.enumerated() {
            switch operation {
            case .put(.key, let key, _, _):
                let main = FlatStore.main(batch.bytes, key)
                while places.count <= main { places.append((-1, -1)) }
                places[main] = (Int32(batches.count), Int32(i))
                liveCount += 1
            case .delete(.key, let key):
                places[FlatStore.main(batch.bytes, key)] = (-1, -1)
                liveCount -= 1
            default: break
            }
        }
        batches.append(batch)
    }

    var allocatedBytes: Int { byteCount }
    var usedBytes: Int { byteCount }

    static func main(_ bytes: [UInt8], _ key: Range<Int>) -> Int {
        bytes[key].prefix(8).reduce(0) { $0 << 8 | Int($1) }
    }

    private final class View: StoreView {
        private let store: FlatStore

        init(_ store: FlatStore) { self.store = store }

        func get(_ table: StoreTable, _ key: RawSpan, _ body: (RawSpan?) -> Void) {
            guard table == .key else { return body(nil) }
            var main = 0
            for i in 0..<8 { main = main << 8 | Int(key[byte: i]) }
            visit(main) { body($1) }
        }

        func scan(
            _ table: StoreTable, from: [UInt8], to: [UInt8]?, _ body: (_ key: RawSpan, _ value: RawSpan) -> Bool
        ) {
            guard table == .key else { return }
            var main = from.isEmpty ? 0 : FlatStore.main(from, 0..<from.count)
            let end = to.map { FlatStore.main($0, 0..<$0.count) } ?? store.places.count
            var goesOn = true
            while goesOn && main < min(end, store.places.count) {
                visit(main) { goesOn = body($0, $1) }
                main += 1
            }
        }

        func count(_ table: StoreTable) -> Int { table == .key ? store.liveCount : 0 }

        private func visit(_ main: Int, _ body: (RawSpan, RawSpan) -> Void) {
            let place = store.places[main]
            guard place.batch >= 0,
                case .put(_, let key, let value, _) = store.batches[Int(place.batch)].operations[Int(place.operation)]
            else { return }
            let bytes = store.batches[Int(place.batch)].bytes
            body(bytes.rawSpan.extracting(key), bytes.rawSpan.extracting(value))
        }
    }
}
