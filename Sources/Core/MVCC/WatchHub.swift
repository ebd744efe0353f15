// Watchers: who wants to know which changes, and how far each has been told.
//
//               create (start <= current)            caught up
//     (new) ----------------------------> lagging -------------> synced
//       |          create (start 0 or later)            sink full  |  ^
//       +--------------------------------------------------------> |  |
//                     resume                                       v  |
//     lagging <---------------------- parked <---------------------+  | (nothing missed)
//
// - synced: has everything up to the current revision; gets a change when it is made (`notify`), found by key.
// - lagging: reads its way up from the store, in slices (`catchUp`), many watchers in one pass.
// - parked: its stream has no room; waits for `resume`, then lags.
//
// Promises to each watcher: every change in its range from its start on, once, in revision order; all events of a revision
// in one delivery; or one cancel, when compaction took what it needs. `next` is the revision up to which (exclusive)
// everything was delivered; it moves only when the sink took a delivery. That is why nothing is lost, repeated or
// reordered, however often a stream is full.
//
// The owner calls `notify` after each transaction and `catchUp` in turns while it says there is more. No clocks here:
// the owner calls `progressTick` when a stream's interval has passed.

import Foundations
import Wire

package enum WatchError: Error, Equatable, Sendable {
    case duplicateID
    case emptyRange
    /// The start revision is negative.
    case negativeStart
}

package struct WatcherRequest: Sendable {
    /// An empty key means the smallest one.
    package var key: [UInt8] = []
    /// As in a range.
    package var end: [UInt8] = []
    /// 0: from the next change on.
    package var startRevision: Int64 = 0
    /// 0: the hub chooses.
    package var watchID: Int64 = 0
    package var previousPairs = false
    package var fragments = false
    package var progress = false
    package var dropsPuts = false
    package var dropsDeletes = false

    package init() {}

    package init(_ create: WatchCreateRequest) {
        key = create.key
        end = create.rangeEnd
        startRevision = create.startRevision
        watchID = create.watchId
        previousPairs = create.prevKv
        fragments = create.fragment
        progress = create.progressNotify
        dropsPuts = create.filters.contains(.noput)
        dropsDeletes = create.filters.contains(.nodelete)
    }
}

package final class WatchHub {
    /// A stream of watchers, as `open` named it.
    package typealias StreamNumber = Int32
    typealias Number = WatcherIndex.Number

    enum State: UInt8 { case free, synced, lagging, parked }

    struct Options: OptionSet {
        let rawValue: UInt8
        static let previousPairs = Options(rawValue: 1)
        static let fragments = Options(rawValue: 2)
        static let progress = Options(rawValue: 4)
        static let dropsPuts = Options(rawValue: 8)
        static let dropsDeletes = Options(rawValue: 16)
        /// Got events since the last progress tick.
        static let hadEvents = Options(rawValue: 32)
    }

    struct Watcher {
        var state = State.free
        var options: Options = []
        var stream: StreamNumber = -1
        var id: Int64 = 0
        /// Everything below is delivered. Of a synced watcher: or will be, as it happens.
        var next: Int64 = 0
        /// Synced: group and place in the index. Lagging: its ticket is the place.
        var group: Int32 = -1
        var place: Int32 = -1
        var key: [UInt8] = []
        var end: [UInt8] = []
    }

    struct Stream {
        var tag: UInt64 = 0
        var isOpen = false
        var isBlocked = false
        var nextID: Int64 = 0
        var unsynced = 0
        var watchers: [Int64: Number] = [:]
    }

    /// Messages of watchers that allow it are split to stay below this.
    package var messageBytesMax = 1_572_864 + 524_288
    /// What header and ids add to the events of a message.
    package var envelopeBytes = 40

    var watchers: [Watcher] = []
    private var freeWatchers: [Number] = []
    var streams: [Stream] = []
    private var freeStreams: [StreamNumber] = []

    var synced: WatcherIndex
    /// Lagging watchers in the order of their turns. An entry whose ticket is not the watcher's is of an earlier time.
    private var turns = Fifo<(watcher: Number, ticket: Int32)>()
    private var lastTicket: Int32 = 0
    private(set) var laggingCount = 0
    /// The watchers of a catch-up pass by key, and their places there; empty between passes.
    var passIndex: WatcherIndex
    var passPlaces: [Number: Int32] = [:]

    // Room that is used again.
    private var matched: [Number] = []
    private var hits: [(watcher: Number, change: Int32)] = []

    /// `seed` keeps whoever chooses keys from choosing collisions.
    package init(seed: UInt64) {
        synced = WatcherIndex(seed: seed)
        passIndex = WatcherIndex(seed: seed &+ 1)
    }

    /// Events handed to watchers since the start, for metrics.
    package private(set) var eventsDelivered: UInt64 = 0

    package var watcherCount: Int { watchers.count - freeWatchers.count }
    /// Watchers that have not been told everything.
    package var slowWatcherCount: Int { watcherCount - synced.count }
    package var streamCount: Int { streams.count - freeStreams.count }
    package var hasLagging: Bool { laggingCount > 0 }

    // MARK: Streams

    /// A new stream; `tag` is what deliveries name it by.
    package func open(tag: UInt64) -> StreamNumber {
        let number = freeStreams.popLast() ?? StreamNumber(streams.count)
        if Int(number) == streams.count { streams.append(Stream()) }
        streams[Int(number)] = Stream(tag: tag, isOpen: true)
        return number
    }

    /// Ends a stream and its watchers, without a word to them.
    package func close(_ stream: StreamNumber) {
        check(stream)
        for watcher in streams[Int(stream)].watchers.values { drop(watcher) }
        streams[Int(stream)] = Stream()
        freeStreams.append(stream)
    }

    /// The stream has room again.
    package func resume(_ stream: StreamNumber) {
        check(stream)
        streams[Int(stream)].isBlocked = false
        // In the order of their ids, not in the dictionary's, so that runs repeat.
        for (_, number) in streams[Int(stream)].watchers.sorted(by: { $0.key < $1.key })
        where watchers[Int(number)].state == .parked {
            addLagging(number)
        }
    }

    package func isBlocked(_ stream: StreamNumber) -> Bool { streams[Int(stream)].isBlocked }
    package func watcherCount(_ stream: StreamNumber) -> Int { streams[Int(stream)].watchers.count }

    // MARK: Watchers

    /// Registers a watcher and returns its id. The caller answers "created" before it lets the hub go on.
    package func create(_ request: WatcherRequest, on stream: StreamNumber, _ store: KeyValueStore) throws(WatchError)
        -> Int64
    {
        check(stream)
        let key = request.key.isEmpty ? [0] : request.key
        if !request.end.isEmpty && request.end != [0] && request.end.compare(key) <= 0 { throw .emptyRange }
        if request.startRevision < 0 { throw .negativeStart }
        let id = try chooseID(request.watchID, stream)

        var options: Options = []
        if request.previousPairs { options.insert(.previousPairs) }
        if request.fragments { options.insert(.fragments) }
        if request.progress { options.insert(.progress) }
        if request.dropsPuts { options.insert(.dropsPuts) }
        if request.dropsDeletes { options.insert(.dropsDeletes) }
        let next = request.startRevision == 0 ? store.currentRevision + 1 : request.startRevision
        let watcher = Watcher(
            state: .parked, options: options, stream: stream, id: id, next: next, key: key, end: request.end)

        let number = freeWatchers.popLast() ?? Number(watchers.count)
        if Int(number) == watchers.count { watchers.append(watcher) } else { watchers[Int(number)] = watcher }
        streams[Int(stream)].watchers[id] = number
        streams[Int(stream)].unsynced += 1
        if next > store.currentRevision {
            addSynced(number)
        } else if !streams[Int(stream)].isBlocked {
            addLagging(number)
        }
        return id
    }

    /// Ends a watcher; false when the stream has none of that id.
    package func cancel(_ id: Int64, on stream: StreamNumber) -> Bool {
        check(stream)
        guard let number = streams[Int(stream)].watchers[id] else { return false }
        end(number)
        return true
    }

    private func chooseID(_ wanted: Int64, _ stream: StreamNumber) throws(WatchError) -> Int64 {
        if wanted != 0 {
            if streams[Int(stream)].watchers[wanted] != nil { throw .duplicateID }
            return wanted
        }
        while streams[Int(stream)].watchers[streams[Int(stream)].nextID] != nil { streams[Int(stream)].nextID += 1 }
        defer { streams[Int(stream)].nextID += 1 }
        return streams[Int(stream)].nextID
    }

    // MARK: Live changes

    /// Tells synced watchers of the transaction that was just closed.
    package func notify(_ store: KeyValueStore, _ sink: some WatchSink) {
        if synced.count == 0 || store.changes.isEmpty { return }
        let main = store.changes[0].revision.main
        hits.removeAll(keepingCapacity: true)
        for (i, change) in store.changes.enumerated() {
            matched.removeAll(keepingCapacity: true)
            store.withChange(change) { key, _ in synced.match(key, into: &matched) }
            let dropped: Options = change.isDelete ? .dropsDeletes : .dropsPuts
            for number in matched
            where watchers[Int(number)].next <= main && !watchers[Int(number)].options.contains(dropped) {
                hits.append((number, Int32(i)))
            }
        }
        if hits.isEmpty { return }
        if store.changes.count > 1 {
            hits.sort { $0.watcher != $1.watcher ? $0.watcher < $1.watcher : $0.change < $1.change }
        }
        var blocks = LiveBlocks()
        var i = 0
        while i < hits.count {
            let number = hits[i].watcher
            var j = i + 1
            while j < hits.count && hits[j].watcher == number { j += 1 }
            let withPrevious = watchers[Int(number)].options.contains(.previousPairs)
            let block = blocks.block(hits[i..<j], withPrevious, store)
            if deliver(block, to: number, revision: main, sink) {
                // A synced watcher's `next` matters only while it lies ahead.
                watchers[Int(number)].next = main + 1
            } else {
                unsync(number, next: main)
            }
            i = j
        }
    }

    /// Blocks of one transaction, so that watchers who want the same events share one.
    private struct LiveBlocks {
        private var made: [(changes: [Int32], withPrevious: Bool, block: WatchEventBlock)] = []
        private static let keptMax = 8

        mutating func block(
            _ hits: ArraySlice<(watcher: Number, change: Int32)>, _ withPrevious: Bool, _ store: KeyValueStore
        ) -> WatchEventBlock {
            for known in made
            where known.withPrevious == withPrevious && known.changes.count == hits.count
                && zip(known.changes, hits).allSatisfy({ $0 == $1.change })
            {
                return known.block
            }
            var encoder = WatchEventEncoder()
            for hit in hits {
                let change = store.changes[Int(hit.change)]
                store.withChange(change) { key, stored in
                    encoder.append(
                        isDelete: change.isDelete, main: change.revision.main, stored: stored,
                        previous: withPrevious
                            ? store.previousPair(key, change.revision.main, create: change.createRevision) : nil)
                }
            }
            let block = encoder.block()
            if made.count < LiveBlocks.keptMax { made.append((hits.map(\.change), withPrevious, block)) }
            return block
        }
    }

    /// The store was replaced as a whole, by a snapshot from another member: what happened between `known`, the revision
    /// everybody had been told of, and the new store's revision is history that synced watchers have not seen.
    package func storeReplaced(known: Int64, by store: KeyValueStore) {
        for number in watchers.indices where watchers[number].state == .synced {
            let next = max(watchers[number].next, known + 1)
            if next > store.currentRevision { continue }
            unsync(Number(number), next: next)
            if !streams[Int(watchers[number].stream)].isBlocked { addLagging(Number(number)) }
        }
    }

    // MARK: Progress

    /// Answers a progress request: when everything on the stream is up to date it says so, else nothing.
    package func progressRequest(_ stream: StreamNumber, _ store: KeyValueStore, _ sink: some WatchSink) {
        check(stream)
        let state = streams[Int(stream)]
        if state.watchers.isEmpty || state.unsynced > 0 || state.isBlocked { return }
        let current = store.currentRevision
        if state.watchers.values.contains(where: { watchers[Int($0)].next > current + 1 }) { return }
        send(WatchDelivery(stream: state.tag, watchID: -1, revision: current, content: .progress), stream, sink)
    }

    /// The stream's interval has passed: tells watchers that asked for it and had no events since how far they are.
    package func progressTick(_ stream: StreamNumber, _ store: KeyValueStore, _ sink: some WatchSink) {
        check(stream)
        for (id, number) in streams[Int(stream)].watchers.sorted(by: { $0.key < $1.key }) {
            let options = watchers[Int(number)].options
            guard options.contains(.progress) else { continue }
            watchers[Int(number)].options.remove(.hadEvents)
            if options.contains(.hadEvents) || watchers[Int(number)].state != .synced { continue }
            send(
                WatchDelivery(
                    stream: streams[Int(stream)].tag, watchID: id, revision: store.currentRevision, content: .progress),
                stream, sink)
        }
    }

    /// For what may be lost: progress is asked for again, or comes again.
    private func send(_ delivery: WatchDelivery, _ stream: StreamNumber, _ sink: some WatchSink) {
        if streams[Int(stream)].isBlocked { return }
        if !sink.deliver(delivery) { streams[Int(stream)].isBlocked = true }
    }

    // MARK: States

    /// False when the stream has no room.
    func deliver(_ block: WatchEventBlock, to number: Number, revision: Int64, _ sink: some WatchSink) -> Bool {
        eventsDelivered += UInt64(block.count)
        let watcher = watchers[Int(number)]
        let stream = Int(watcher.stream)
        if streams[stream].isBlocked { return false }
        let cuts =
            watcher.options.contains(.fragments)
            ? block.cuts(messageMax: messageBytesMax, envelope: envelopeBytes) : []
        let delivery = WatchDelivery(
            stream: streams[stream].tag, watchID: watcher.id, revision: revision, content: .events(block, cuts: cuts))
        if !sink.deliver(delivery) {
            streams[stream].isBlocked = true
            return false
        }
        watchers[Int(number)].options.insert(.hadEvents)
        return true
    }

    func addSynced(_ number: Number) {
        let (group, place) = synced.insert(number, key: watchers[Int(number)].key, end: watchers[Int(number)].end)
        watchers[Int(number)].state = .synced
        watchers[Int(number)].group = group
        watchers[Int(number)].place = place
        streams[Int(watchers[Int(number)].stream)].unsynced -= 1
    }

    private func unsync(_ number: Number, next: Int64) {
        removeSynced(number)
        watchers[Int(number)].state = .parked
        watchers[Int(number)].next = next
        streams[Int(watchers[Int(number)].stream)].unsynced += 1
    }

    private func removeSynced(_ number: Number) {
        let place = watchers[Int(number)].place
        if let moved = synced.remove(group: watchers[Int(number)].group, place: place) {
            watchers[Int(moved)].place = place
        }
    }

    /// Behind all that lag already.
    func addLagging(_ number: Number) {
        lastTicket &+= 1
        watchers[Int(number)].state = .lagging
        watchers[Int(number)].place = lastTicket
        turns.append((number, lastTicket))
        laggingCount += 1
    }

    private func removeLagging(_ number: Number) {
        watchers[Int(number)].state = .parked
        watchers[Int(number)].place = -1
        laggingCount -= 1
    }

    /// The lagging watcher whose turn it is, no longer in the queue: it is parked until told otherwise.
    func takeLagging() -> Number? {
        while let turn = turns.first {
            turns.dropFirst()
            let watcher = watchers[Int(turn.watcher)]
            guard watcher.state == .lagging, watcher.place == turn.ticket else { continue }
            removeLagging(turn.watcher)
            return turn.watcher
        }
        return nil
    }

    /// Ends a watcher and takes it off its stream.
    func end(_ number: Number) {
        streams[Int(watchers[Int(number)].stream)].watchers[watchers[Int(number)].id] = nil
        if watchers[Int(number)].state != .synced { streams[Int(watchers[Int(number)].stream)].unsynced -= 1 }
        drop(number)
    }

    private func drop(_ number: Number) {
        switch watchers[Int(number)].state {
        case .synced: removeSynced(number)
        case .lagging: removeLagging(number)
        case .parked, .free: break
        }
        watchers[Int(number)] = Watcher()
        freeWatchers.append(number)
    }

    private func check(_ stream: StreamNumber) {
        invariant(
            stream >= 0 && Int(stream) < streams.count && streams[Int(stream)].isOpen, "watch stream \(stream) is open")
    }
}

extension KeyValueStore {
    /// The pair a change at `main` replaced, for watchers that want it: none for a creation, none when it is compacted.
    func previousPair(_ key: RawSpan, _ main: Int64, create: Int64) -> [UInt8]? {
        if create == main || main - 1 < compactedRevision { return nil }
        return keyValue(key, at: main - 1)
    }
}
