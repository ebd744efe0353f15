// How watchers that lag behind catch up: a pass takes up to 512 of them, reads a slice of history from the least of their
// revisions on, and gives each what it wants of it in one message (at most 1000 revisions). A watcher that has reached the
// current revision is synced; the others wait for the next pass.
//
// A slice ends between revisions, so that the events of one revision stay together.

import Foundations

extension WatchHub {
    private static var passWatchersMax: Int { 512 }
    /// Distinct revisions in one message of history.
    private static var messageRevisionsMax: Int { 1000 }
    /// Stored bytes that one slice may hold.
    private static var sliceBytesMax: Int { 4 << 20 }

    /// One pass, over about `budget` records of history. True when there is nothing left to do now.
    @discardableResult
    package func catchUp(_ store: KeyValueStore, _ sink: some WatchSink, budget: Int = 10_000) -> Bool {
        let picked = pick(store, sink)
        guard let from = picked.map({ watchers[Int($0)].next }).min() else { return laggingCount == 0 }
        let slice = read(store, from: from, picked, budget: budget)
        serve(picked, slice, store, sink)
        return laggingCount == 0
    }

    /// The watchers of a pass, taken from the front of the queue: those whose stream has room and whose history is there.
    private func pick(_ store: KeyValueStore, _ sink: some WatchSink) -> [Number] {
        var picked: [Number] = []
        while picked.count < WatchHub.passWatchersMax, let number = takeLagging() {
            let stream = Int(watchers[Int(number)].stream)
            if streams[stream].isBlocked { continue }
            guard watchers[Int(number)].next < store.compactedRevision else {
                picked.append(number)
                continue
            }
            let delivery = WatchDelivery(
                stream: streams[stream].tag, watchID: watchers[Int(number)].id, revision: 0,
                content: .compacted(store.compactedRevision))
            if sink.deliver(delivery) { end(number) } else { streams[stream].isBlocked = true }
        }
        return picked
    }

    /// A part of history: the changes some picked watcher wants.
    private struct Slice {
        struct Change {
            var main: Int64
            var isDelete: Bool
            var create: Int64
            var stored: Range<Int>
            var key: Range<Int>
        }

        var bytes: [UInt8] = []
        var changes: [Change] = []
        /// Pairs of watcher and change, in the order of changes.
        var hits: [(watcher: Number, change: Int32)] = []
        /// Everything up to this revision is in the slice.
        var through: Int64 = 0
    }

    private func read(_ store: KeyValueStore, from: Int64, _ picked: [Number], budget: Int) -> Slice {
        for number in picked {
            let (group, place) = passIndex.insert(
                number, key: watchers[Int(number)].key, end: watchers[Int(number)].end)
            watchers[Int(number)].group = group
            passPlaces[number] = place
        }
        var slice = Slice()
        slice.through = store.currentRevision
        var matched: [Number] = []
        var left = budget
        var main: Int64 = 0
        var wantedMains = 0
        var lastWanted: Int64 = 0
        store.scanRecords(
            from: RevisionKey.encode(Revision(main: from)),
            to: RevisionKey.encode(Revision(main: store.currentRevision + 1))
        ) { key, stored in
            guard let (revision, isTombstone) = RevisionKey.decode(key) else { return true }
            if revision.main != main {
                if main != 0
                    && (left <= 0 || wantedMains >= WatchHub.messageRevisionsMax
                        || slice.bytes.count >= WatchHub.sliceBytesMax)
                {
                    slice.through = main
                    return false
                }
                main = revision.main
            }
            left -= 1
            guard let parts = StoredKeyValue(stored) else { unreachable("stored bytes are a KeyValue") }
            matched.removeAll(keepingCapacity: true)
            passIndex.match(stored.extracting(parts.key), into: &matched)
            let dropped: Options = isTombstone ? .dropsDeletes : .dropsPuts
            var isWanted = false
            for number in matched
            where watchers[Int(number)].next <= main && !watchers[Int(number)].options.contains(dropped) {
                slice.hits.append((number, Int32(slice.changes.count)))
                isWanted = true
            }
            if isWanted {
                let start = slice.bytes.count
                slice.bytes.append(stored)
                slice.changes.append(
                    Slice.Change(
                        main: main, isDelete: isTombstone, create: parts.createRevision,
                        stored: start..<slice.bytes.count,
                        key: start + parts.key.lowerBound..<start + parts.key.upperBound))
                if lastWanted != main {
                    wantedMains += 1
                    lastWanted = main
                }
            }
            return true
        }
        for number in picked {
            guard let place = passPlaces[number] else { unreachable("a picked watcher is in the pass") }
            if let moved = passIndex.remove(group: watchers[Int(number)].group, place: place) {
                passPlaces[moved] = place
            }
        }
        passPlaces.removeAll(keepingCapacity: true)
        // By watcher, each one's changes in order.
        slice.hits.sort { $0.watcher != $1.watcher ? $0.watcher < $1.watcher : $0.change < $1.change }
        return slice
    }

    private func serve(_ picked: [Number], _ slice: Slice, _ store: KeyValueStore, _ sink: some WatchSink) {
        var last: (changes: [Int32], withPrevious: Bool, block: WatchEventBlock)?
        for number in picked.sorted() {
            let low = slice.hits.partitioningIndex { $0.watcher >= number }
            var high = low
            while high < slice.hits.count && slice.hits[high].watcher == number { high += 1 }
            if high > low {
                let changes = slice.hits[low..<high].map(\.change)
                let withPrevious = watchers[Int(number)].options.contains(.previousPairs)
                let block: WatchEventBlock
                if let last, last.withPrevious == withPrevious, last.changes == changes {
                    block = last.block
                } else {
                    block = encode(changes, withPrevious, slice, store)
                    last = (changes, withPrevious, block)
                }
                if !deliver(block, to: number, revision: store.currentRevision, sink) {
                    // What lies before its first event is done all the same.
                    watchers[Int(number)].next = slice.changes[Int(changes[0])].main
                    continue
                }
            }
            watchers[Int(number)].next = max(watchers[Int(number)].next, slice.through + 1)
            if watchers[Int(number)].next > store.currentRevision {
                addSynced(number)
            } else {
                addLagging(number)
            }
        }
    }

    private func encode(
        _ changes: [Int32], _ withPrevious: Bool, _ slice: Slice, _ store: KeyValueStore
    ) -> WatchEventBlock {
        var encoder = WatchEventEncoder()
        for i in changes {
            let change = slice.changes[Int(i)]
            let bytes = slice.bytes
            let previous =
                withPrevious
                ? store.previousPair(bytes.rawSpan.extracting(change.key), change.main, create: change.create) : nil
            encoder.append(
                isDelete: change.isDelete, main: change.main, stored: bytes.rawSpan.extracting(change.stored),
                previous: previous)
        }
        return encoder.block()
    }
}

extension Array {
    /// Number of leading elements for which `condition` is false; once true it stays true.
    func partitioningIndex(where condition: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if condition(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
