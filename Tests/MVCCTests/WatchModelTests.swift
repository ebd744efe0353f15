// Watchers on a store under random writes, with streams that are full at random, late starts in history, compactions, late
// commits: at every moment each watcher has seen exactly the first of the events it should see, in order, revisions whole.

import Foundations
import Testing
import Wire

@testable import MVCC

@Suite struct WatchModelTests {
    @Test(arguments: 0..<60)
    func `every watcher sees its events once and in order`(seed: UInt64) throws {
        var run = try WatchRun(seed: seed)
        for _ in 0..<500 { try run.step() }
        run.drain()
    }
}

@Suite struct WatchHubTests {
    func store(_ puts: Int) throws -> KeyValueStore {
        let store = try KeyValueStore(InMemoryStore())
        for i in 0..<puts {
            store.beginWrite()
            store.put(Array("k\(i % 7)".utf8).rawSpan, Array("\(i)".utf8).rawSpan, lease: 0)
            store.endWrite()
        }
        return store
    }

    func everything(from start: Int64) -> WatcherRequest {
        var request = WatcherRequest()
        request.key = [0]
        request.end = [0]
        request.startRevision = start
        return request
    }

    @Test func `watchers read what a snapshot skipped`() throws {
        let small = try store(10)
        let large = try store(25)
        let hub = WatchHub(seed: 1)
        let sink = TestSink()
        sink.room[9] = .max
        let stream = hub.open(tag: 9)
        _ = try hub.create(everything(from: 0), on: stream, small)
        // Begins later than either store has come.
        _ = try hub.create(everything(from: 40), on: stream, small)
        hub.storeReplaced(known: small.currentRevision, by: large)
        while !hub.catchUp(large, sink) {}
        #expect(sink.taken.count == 1 && hub.slowWatcherCount == 0)
        guard case .events(let block, _) = sink.taken[0].content else { throw KeyValueError.future }
        #expect(block.count == 15 && sink.taken[0].watchID == 0)
    }

    @Test func `one message of history holds at most a thousand revisions`() throws {
        let store = try store(2500)
        let hub = WatchHub(seed: 1)
        let sink = TestSink()
        sink.room[9] = .max
        _ = try hub.create(everything(from: 1), on: hub.open(tag: 9), store)
        while !hub.catchUp(store, sink) {}
        let counts = sink.taken.map { delivery in
            if case .events(let block, _) = delivery.content { block.count } else { 0 }
        }
        #expect(counts == [1000, 1000, 500])
    }

    @Test func `a watcher behind many others is not forgotten`() throws {
        let store = try store(3000)
        let hub = WatchHub(seed: 1)
        let sink = TestSink()
        sink.room[9] = .max
        let stream = hub.open(tag: 9)
        for _ in 0..<1300 { _ = try hub.create(everything(from: 2), on: stream, store) }
        // Three passes see each watcher of three times 512 at least once.
        for _ in 0..<3 { hub.catchUp(store, sink, budget: 100) }
        #expect(Set(sink.taken.map(\.watchID)).count == 1300)
    }

    @Test func `a hundred thousand watchers come and go`() throws {
        let store = try store(1)
        let hub = WatchHub(seed: 1)
        let sink = TestSink()
        sink.room[9] = .max
        let stream = hub.open(tag: 9)
        for i in 0..<100_000 {
            var request = WatcherRequest()
            request.key = Array("key/\(i)".utf8)
            if i % 4 == 0 { request.end = request.key + [0xff] }
            _ = try hub.create(request, on: stream, store)
        }
        for i in stride(from: 0, to: 100_000, by: 3) { #expect(hub.cancel(Int64(i), on: stream)) }
        store.beginWrite()
        for i in 50_000..<50_100 { store.put(Array("key/\(i)".utf8).rawSpan, [UInt8]().rawSpan, lease: 0) }
        store.endWrite()
        hub.notify(store, sink)
        // A watcher with an end gets the longer keys that begin like its own, too.
        var wanted: Set<Int64> = []
        for i in 50_000..<50_100 {
            for digits in 1...5 {
                guard let watcher = Int64(String(i).prefix(digits)) else { continue }
                let isOwn = digits == 5
                if watcher % 3 != 0 && (isOwn || watcher % 4 == 0) { wanted.insert(watcher) }
            }
        }
        let told = Set(sink.taken.map(\.watchID))
        #expect(told == wanted)
        hub.close(stream)
        #expect(hub.watcherCount == 0 && hub.synced.count == 0 && hub.synced.groupCount == 0)
    }
}

final class TestSink: WatchSink {
    var room: [UInt64: Int] = [:]
    var taken: [WatchDelivery] = []

    func deliver(_ delivery: WatchDelivery) -> Bool {
        guard room[delivery.stream, default: 0] > 0 else { return false }
        room[delivery.stream]! -= 1
        taken.append(delivery)
        return true
    }
}

struct WatchRun {
    struct Expectation {
        var request: WatcherRequest
        var start: Int64
        /// Events received.
        var received = 0
        /// Everything up to here was received, as far as deliveries say.
        var seen: Int64
        var isEnded = false
    }

    struct Expected {
        var change: StoreModel.Change
    }

    var base: StoreRun
    let hub: WatchHub
    let sink = TestSink()
    var streams: [UInt64: WatchHub.StreamNumber] = [:]
    var expectations: [UInt64: [Int64: Expectation]] = [:]
    var nextTag: UInt64 = 100
    var seed: UInt64 { base.seed }

    init(seed: UInt64) throws {
        base = try StoreRun(seed: seed)
        hub = WatchHub(seed: seed)
        hub.messageBytesMax = 120
    }

    mutating func chance(_ n: Int, in m: Int) -> Bool { base.random.chance(n, in: m) }
    mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &base.random) }

    mutating func step() throws {
        switch number(0...99) {
        case 0..<45: write()
        case 45..<60: create()
        case 60..<70: catchUp(budget: number(1...30))
        case 70..<85: makeRoom()
        case 85..<88: cancel()
        case 88..<90: base.compact()
        case 90..<92: base.store.compactionStep(budget: 10)
        case 92..<94: base.disk.submit(base.store.takeBatch())
        case 94..<96:
            base.disk.commit(number(1...3))
            base.store.batchCommitted(base.disk.committedBatch)
        case 96: closeStream()
        case 97: progress()
        default: base.store.endTurn()
        }
        receive()
    }

    mutating func write() {
        base.write()
        hub.notify(base.store, sink)
        // Live deliveries carry the revision of their events.
        for delivery in sink.taken {
            if case .events = delivery.content { #expect(delivery.revision == base.model.current, "seed \(seed)") }
        }
    }

    mutating func stream() -> UInt64 {
        if streams.count < 5 && (streams.isEmpty || chance(1, in: 4)) {
            nextTag += 1
            streams[nextTag] = hub.open(tag: nextTag)
            sink.room[nextTag] = number(0...5)
            expectations[nextTag] = [:]
            return nextTag
        }
        return streams.keys.sorted().randomElement(using: &base.random)!
    }

    mutating func create() {
        let tag = stream()
        var request = WatcherRequest()
        request.key = chance(1, in: 10) ? [] : base.key()
        request.end = chance(1, in: 2) ? [] : base.end(request.key.isEmpty ? [0] : request.key)
        let current = base.model.current
        request.startRevision = chance(1, in: 2) ? 0 : Int64(number(-1...Int(current) + 4))
        request.watchID = chance(1, in: 3) ? Int64(number(1...6)) : 0
        request.previousPairs = chance(1, in: 2)
        request.fragments = chance(1, in: 2)
        request.progress = chance(1, in: 3)
        request.dropsPuts = chance(1, in: 6)
        request.dropsDeletes = chance(1, in: 6)
        let key = request.key.isEmpty ? [0] : request.key
        do throws(WatchError) {
            let id = try hub.create(request, on: streams[tag]!, base.store)
            #expect(expectations[tag]![id] == nil, "seed \(seed)")
            if request.watchID != 0 { #expect(id == request.watchID, "seed \(seed)") }
            request.key = key
            let start = request.startRevision == 0 ? current + 1 : request.startRevision
            expectations[tag]![id] = Expectation(request: request, start: start, seen: start - 1)
        } catch {
            switch error {
            case .duplicateID: #expect(expectations[tag]![request.watchID] != nil, "seed \(seed)")
            case .negativeStart: #expect(request.startRevision < 0, "seed \(seed)")
            case .emptyRange:
                #expect(
                    !request.end.isEmpty && request.end != [0] && !StoreModel.less(key, request.end), "seed \(seed)")
            }
        }
    }

    mutating func makeRoom() {
        for tag in streams.keys.sorted() where chance(1, in: 2) {
            sink.room[tag] = number(1...6)
            hub.resume(streams[tag]!)
        }
    }

    func catchUp(budget: Int) { hub.catchUp(base.store, sink, budget: budget) }

    mutating func cancel() {
        guard let tag = streams.keys.sorted().randomElement(using: &base.random) else { return }
        let id = Int64(number(0...6))
        let known = expectations[tag]![id]
        #expect(hub.cancel(id, on: streams[tag]!) == (known != nil && !known!.isEnded), "seed \(seed)")
        expectations[tag]![id] = nil
    }

    mutating func closeStream() {
        guard let tag = streams.keys.sorted().randomElement(using: &base.random), chance(1, in: 3) else { return }
        hub.close(streams[tag]!)
        streams[tag] = nil
        expectations[tag] = nil
        sink.room[tag] = 0
    }

    mutating func progress() {
        guard let tag = streams.keys.sorted().randomElement(using: &base.random) else { return }
        receive()
        let before = sink.taken.count
        hub.progressRequest(streams[tag]!, base.store, sink)
        let all = expectations[tag]!.values.filter { !$0.isEnded }
        if sink.taken.count > before {
            #expect(!all.isEmpty && all.allSatisfy { $0.start <= base.model.current + 1 }, "seed \(seed)")
        }
        hub.progressTick(streams[tag]!, base.store, sink)
    }

    func wanted(_ expectation: Expectation) -> [StoreModel.Change] {
        base.model.changes.filter {
            $0.main >= expectation.start
                && StoreModel.contains($0.pair.key, expectation.request.key, expectation.request.end)
                && !($0.isDelete ? expectation.request.dropsDeletes : expectation.request.dropsPuts)
        }
    }

    /// Checks what the sink took since the last time.
    mutating func receive() {
        for delivery in sink.taken {
            let name: Comment = "seed \(seed) stream \(delivery.stream) watcher \(delivery.watchID)"
            guard var all = expectations[delivery.stream] else {
                Issue.record("a delivery to a closed stream: \(name)")
                continue
            }
            if delivery.watchID == -1 {
                for (_, expectation) in all where !expectation.isEnded {
                    check(expectation, through: delivery.revision, name)
                }
                continue
            }
            guard var expectation = all[delivery.watchID], !expectation.isEnded else {
                Issue.record("a delivery to nobody: \(name)")
                continue
            }
            switch delivery.content {
            case .progress: check(expectation, through: delivery.revision, name)
            case .compacted(let revision):
                #expect(revision == base.model.compacted && delivery.revision == 0, name)
                #expect(expectation.seen < base.model.compacted, name)
                expectation.isEnded = true
                all[delivery.watchID] = nil
                expectations[delivery.stream] = all
                continue
            case .events(let block, let cuts):
                check(block, cuts, &expectation, delivery, name)
            }
            all[delivery.watchID] = expectation
            expectations[delivery.stream] = all
        }
        sink.taken.removeAll()
    }

    func check(_ expectation: Expectation, through revision: Int64, _ name: Comment) {
        let due = wanted(expectation).prefix { $0.main <= revision }.count
        #expect(expectation.received == due, name)
    }

    func check(
        _ block: WatchEventBlock, _ cuts: [Int], _ expectation: inout Expectation, _ delivery: WatchDelivery,
        _ name: Comment
    ) {
        let bytes = block.bytes
        guard let message = try? WatchResponse(decoding: bytes.rawSpan) else {
            Issue.record("events do not decode: \(name)")
            return
        }
        let wanted = wanted(expectation)
        #expect(message.events.count == block.count && block.count > 0, name)
        for event in message.events {
            guard expectation.received < wanted.count else {
                Issue.record("an event too many: \(name)")
                return
            }
            let change = wanted[expectation.received]
            expectation.received += 1
            var kv = change.pair
            if change.isDelete { kv.mod = change.main }
            #expect(event.type == (change.isDelete ? .delete : .put), name)
            #expect(event.kv.map { Pair(encoded: $0.encoded()) } == kv, name)
            let isCreation = !change.isDelete && change.pair.create == change.main
            let isGone = change.main - 1 < base.model.compacted
            let previous =
                isCreation || isGone || !expectation.request.previousPairs
                ? nil : base.model.get(change.pair.key, change.main - 1)
            #expect(event.prevKv.map { Pair(encoded: $0.encoded()) } == previous, name)
            expectation.seen = change.main
        }
        // All events of the last revision are there.
        if expectation.received < wanted.count { #expect(wanted[expectation.received].main > expectation.seen, name) }
        #expect(delivery.revision >= expectation.seen, name)
        checkCuts(block, cuts, expectation.request.fragments, name)
    }

    func checkCuts(_ block: WatchEventBlock, _ cuts: [Int], _ isAllowed: Bool, _ name: Comment) {
        if !isAllowed { return #expect(cuts.isEmpty, name) }
        var start = 0
        for end in cuts + [block.bytes.count] {
            let events = block.ends.filter { $0 > start && $0 <= end }
            #expect(events.last == end && !events.isEmpty, name)
            #expect(events.count == 1 || end - start + hub.envelopeBytes < hub.messageBytesMax, name)
            start = end
        }
    }

    /// With room for everybody, everybody gets everything.
    mutating func drain() {
        for tag in streams.keys.sorted() {
            sink.room[tag] = .max
            hub.resume(streams[tag]!)
        }
        while !hub.catchUp(base.store, sink, budget: 7) { receive() }
        receive()
        #expect(hub.slowWatcherCount == 0, "seed \(seed)")
        var count = 0
        for (tag, all) in expectations {
            for (id, expectation) in all where !expectation.isEnded {
                #expect(expectation.received == wanted(expectation).count, "seed \(seed) stream \(tag) watcher \(id)")
                count += 1
            }
        }
        #expect(hub.watcherCount == count, "seed \(seed)")
    }
}
