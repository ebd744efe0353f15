// The write-ahead log, in etcd's own format. Acknowledged means: `sync` returned, or the completion came for a ticket.
//
//   let (log, recovered) = try DiskLog.open(directory, from: snapshot, options) { ticket, error in mailbox.post(...) }
//   log.append(term: 2, index: 7, kind: 0, data: bytes)      into a buffer, encoded and checksummed
//   log.set(LogState(term: 2, vote: me, commit: 6))
//   try log.sync()                                           one write, one fdatasync, for everything waiting
//   log.syncInBackground(ticket: 7)                          the same on the log's thread
//
// One thread owns the object. Inline is cheaper when nothing else waits (no wake-up); the background keeps a slow disk from
// holding up the owner. They may be mixed: order is kept, an inline sync first waits for what is under way.
//
// Cost of an entry of 300 bytes: one checksum, one copy into the buffer; no allocation once the buffer has grown.

import FileFormats
import Foundations
import Glibc
import Linux

import struct Synchronization.Atomic

package struct LogOptions: Sendable {
    /// A segment is followed by the next when it has grown past this.
    package var segmentBytes = 64_000_000
    /// Fill the first segment with zeros when the log is made (later ones are filled in the background).
    package var zeroFillsFirst = true
    /// `isBacklogged` from here on.
    package var backlogBytesMax = 64 << 20
    /// Write past the page cache, where the file system takes that.
    package var bypassesCache = true

    package init() {}
}

package final class DiskLog {
    package let directory: String
    package let identity: LogIdentity
    /// Called on the log's thread, in order and once for each sync: everything up to the ticket is durable, or, with an error,
    /// never will be. Tickets that were synced together are not told one by one.
    package typealias Completion = @Sendable (_ ticket: UInt64, _ error: LogError?) -> Void

    private let options: LogOptions
    private var encoder: WALEncoder
    private var state: LogState?
    private var lastIndex: LogIndex
    /// Segments on the disk, oldest first, with the ones opened by chunks under way.
    private var segments: [SegmentName]
    private var segmentUsed: Int
    private var spareAsked = false

    /// Handed to the disk since the log was opened.
    package private(set) var writtenBytes = 0

    private var buffer: Bytes = []
    private var bufferOpens: SegmentName?
    /// True when the buffer holds what must be durable before anything is said about it.
    package private(set) var needsSync = false

    private let shared: Shared
    private let thread: BackgroundThread

    // MARK: Making and opening

    /// Makes a log that holds nothing but whose it is and the empty snapshot. The directory must not exist, or be empty.
    package static func create(_ directory: String, identity: LogIdentity, _ options: LogOptions = LogOptions())
        throws(LogError)
    {
        var encoder = WALEncoder()
        var head: Bytes = []
        WALEncoder.appendChecksum(0, to: &head)
        encoder.append(identity, to: &head)
        encoder.append(LogSnapshot(), to: &head)
        try create(directory, firstSegment: head, options)
    }

    /// Makes a log from prepared records (restore and import write their own). `firstSegment` is one segment's bytes.
    package static func create(_ directory: String, firstSegment: Bytes, _ options: LogOptions = LogOptions())
        throws(LogError)
    {
        if Disk.exists(directory) {
            let names = try disk { () throws(DiskError) in try Disk.names(in: directory) }
            guard names.isEmpty else { throw .exists(directory) }
        }
        try disk { () throws(DiskError) in
            // Built beside and renamed, so that a crash leaves no half log behind.
            let building = directory + ".tmp"
            if try !Disk.makeDirectory(building) {
                for name in try Disk.names(in: building) { try Disk.remove(building + "/" + name) }
            }
            let name = SegmentName(sequence: 0, firstIndex: 0)
            do {
                let path = building + "/" + name.description
                try prepare(path, options)
                var segment = try SegmentFile(opening: path, at: 0, bypassingCache: options.bypassesCache)
                try segment.append(firstSegment, firstSegment.indices, .logWrite)
                try segment.sync(.logSync)
            }
            try Disk.syncDirectory(building)
            if unsafe rmdir(directory) != 0, errno != ENOENT { throw DiskError("rmdir", directory, errno) }
            try Disk.rename(building, to: directory)
            try Disk.syncDirectory(Disk.parent(of: directory))
        }
    }

    /// A file with room for the first segment.
    private static func prepare(_ path: String, _ options: LogOptions) throws(DiskError) {
        var file = try DiskFile(opening: path, O_RDWR | O_CREAT | O_EXCL)
        let bytes = DiskBlocks.roundedUp(options.segmentBytes)
        try file.allocate(bytes)
        guard options.zeroFillsFirst else { return }
        if options.bypassesCache { file.bypassCache() }
        try file.fillWithZeros(0..<bytes)
    }

    package static func exists(_ directory: String) -> Bool {
        // An unreadable directory is no log yet; opening it will say why.
        ((try? LogSegments.list(directory)) ?? []).isEmpty == false
    }

    /// Reads a log without changing anything: for tools and checks. A torn tail is left out.
    package static func read(_ directory: String, from snapshot: LogSnapshot) throws(LogError) -> RecoveredLog {
        let names = try LogSegments.select(try LogSegments.list(directory), from: snapshot.index, in: directory)
        let replay = try LogSegments.replay(names, in: directory, from: snapshot)
        return recovered(replay, nil)
    }

    /// Opens a log for writing: validates it from the snapshot on, cuts a torn tail (a copy is kept), and makes sure that
    /// everything it returns is on the disk.
    package static func open(
        _ directory: String, from snapshot: LogSnapshot, _ options: LogOptions = LogOptions(),
        completion: @escaping Completion = { _, _ in }
    ) throws(LogError) -> (log: DiskLog, recovered: RecoveredLog) {
        let all = try LogSegments.list(directory)
        let names = try LogSegments.select(all, from: snapshot.index, in: directory)
        let replay = try LogSegments.replay(names, in: directory, from: snapshot)
        let path = directory + "/" + all[all.count - 1].description
        var repair: TailRepair?
        if replay.end == .torn { repair = try LogSegments.repair(path, keep: replay.validEnd) }

        let spares = SpareSegments(directory, options)
        let file = try disk { () throws(DiskError) in
            let file = try DiskFile(opening: path, O_RDWR)
            if try file.size() < options.segmentBytes { try file.allocate(options.segmentBytes) }
            // What a killed process wrote but did not sync has been read just now, and must not be lost any more.
            try file.syncData()
            try spares.removeLeftovers()
            return try SegmentFile(opening: path, at: replay.validEnd, bypassingCache: options.bypassesCache)
        }
        let writer = LogWriter(directory, options, spares, file: file)
        let result = recovered(replay, repair)
        let log = DiskLog(directory, options, all, replay, result.identity, Shared(writer, spares, completion))
        return (log, result)
    }

    /// Opens a log from the newest snapshot whose mark it holds: a crash between saving a `.snap` file and writing its mark
    /// leaves a file the log does not know. Without any, from the beginning.
    package static func open(
        _ directory: String, newestOf snapshots: SnapDirectory, _ options: LogOptions = LogOptions(),
        completion: @escaping Completion = { _, _ in }
    ) throws(LogError) -> (log: DiskLog, recovered: RecoveredLog, snapshot: SnapFile?, broken: [LogDamage]) {
        var opened: (log: DiskLog, recovered: RecoveredLog)?
        let (snapshot, broken) = try snapshots.newest { file throws(LogError) in
            do throws(LogError) {
                opened = try open(
                    directory, from: LogSnapshot(index: file.index, term: file.term), options, completion: completion)
                return true
            } catch {
                guard case .damage(let damage) = error, case .snapshotNotFound = damage.kind else { throw error }
                return false
            }
        }
        if let opened { return (opened.log, opened.recovered, snapshot, broken) }
        let (log, recovered) = try open(directory, from: LogSnapshot(), options, completion: completion)
        return (log, recovered, nil, broken)
    }

    private static func recovered(_ replay: WALReplay, _ repair: TailRepair?) -> RecoveredLog {
        guard let identity = replay.identity else { unreachable("a replay that finished has an identity") }
        return RecoveredLog(
            identity: identity, state: replay.state, entries: replay.entries, snapshots: replay.snapshots,
            repair: repair)
    }

    private init(
        _ directory: String, _ options: LogOptions, _ segments: [SegmentName], _ replay: WALReplay,
        _ identity: LogIdentity, _ shared: Shared
    ) {
        self.directory = directory
        self.options = options
        self.segments = segments
        self.identity = identity
        self.shared = shared
        encoder = WALEncoder(continuing: replay.checksum ?? 0)
        state = replay.state
        lastIndex = max(replay.lastIndex, replay.snapshots.map(\.index).max() ?? 0)
        segmentUsed = replay.validEnd
        thread = BackgroundThread(name: "log") { shared.run() }
    }

    deinit {
        shared.queue.close()
        thread.join()
    }

    // MARK: Writing

    package func append(term: Term, index: LogIndex, kind: UInt64, data: Bytes?) {
        begin()
        encoder.appendEntry(term: term, index: index, kind: kind, data: data, to: &buffer)
        lastIndex = index
        needsSync = true
    }

    package func append(_ entry: LogEntry) {
        append(term: entry.term, index: entry.index, kind: entry.kind, data: entry.data)
    }

    /// A new commit index alone needs no sync: it can be found again; a term or a vote may never be forgotten.
    package func set(_ new: LogState) {
        if let state, state == new { return }
        begin()
        if state?.term != new.term || state?.vote != new.vote { needsSync = true }
        state = new
        encoder.append(new, to: &buffer)
    }

    /// Everything up to the snapshot is in a .snap file, which must be on the disk by now.
    package func append(_ snapshot: LogSnapshot) {
        begin()
        encoder.append(snapshot, to: &buffer)
        lastIndex = max(lastIndex, snapshot.index)
        needsSync = true
    }

    package var bufferedBytes: Int { buffer.count }

    /// More is on its way to the disk than is healthy: stop taking proposals until completions come.
    package var isBacklogged: Bool {
        shared.queuedBytes.load(ordering: .relaxed) + buffer.count >= options.backlogBytesMax
    }

    /// True while the log's thread has something to write.
    package var isSyncing: Bool { shared.queuedBytes.load(ordering: .acquiring) > 0 }

    /// Writes and syncs everything appended so far, here and now. After an error every later call throws the same.
    package func sync() throws(LogError) {
        if isSyncing { shared.queue.waitUntilDone() }
        guard var chunk = seal(ticket: 0) else {
            if let failure = shared.failure { throw failure }
            return
        }
        try shared.writer.withLock { writer throws(LogError) in try writer.write(chunk) }
        if chunk.bytes.capacity <= DiskLog.keptBufferBytes {
            chunk.bytes.removeAll(keepingCapacity: true)
            swap(&buffer, &chunk.bytes)
        }
    }

    /// The same on the log's thread; the completion says when. Tickets grow.
    package func syncInBackground(ticket: UInt64) {
        guard let chunk = seal(ticket: ticket) else {
            // Nothing to write; the answer must still come behind those under way.
            shared.queue.push(.write(LogChunk(bytes: [], opens: nil, ticket: ticket)))
            return
        }
        shared.queuedBytes.add(chunk.bytes.count, ordering: .relaxed)
        shared.queue.push(.write(chunk))
        if let recycled = shared.recycled.withLock({ box -> Bytes? in
            defer { box = nil }
            return box
        }) {
            buffer = recycled
        }
    }

    /// Where the times of writes and syncs go, inline ones and those of the log's thread.
    package struct DiskTimes: Sendable {
        package var write: @Sendable (_ nanoseconds: UInt64) -> Void
        package var sync: @Sendable (_ nanoseconds: UInt64) -> Void

        package init(write: @escaping @Sendable (UInt64) -> Void, sync: @escaping @Sendable (UInt64) -> Void) {
            self.write = write
            self.sync = sync
        }
    }

    package func observe(_ times: DiskTimes) { shared.writer.withLock { $0.observer = times } }

    /// Writes go past the page cache; not every file system takes that.
    package var bypassesCache: Bool { shared.writer.withLock { $0.bypassesCache } }

    /// The error that stopped the log, if one did.
    package var failure: LogError? { shared.failure }

    /// Segments that hold nothing behind `index` are removed, in the background, but the newest `keeping` stay. Returns
    /// their names.
    @discardableResult
    package func release(upTo index: LogIndex, keeping: Int = 1) -> [SegmentName] {
        guard let needed = segments.lastIndex(where: { $0.firstIndex <= index }) else { return [] }
        let count = min(needed, segments.count - max(1, keeping))
        guard count > 0 else { return [] }
        let released = Array(segments[..<count])
        segments.removeSubrange(..<count)
        shared.queue.push(.remove(released.map { directory + "/" + $0.description }))
        return released
    }

    package var segmentCount: Int { segments.count }

    /// Buffers larger than this are not kept for the next sync.
    private static let keptBufferBytes = 4 << 20

    private var segmentIsFull: Bool { segmentUsed >= options.segmentBytes }

    /// Opens the buffer: a checksum record, and the head of the next segment when this one is full.
    private func begin() {
        guard buffer.isEmpty else { return }
        WALEncoder.appendChecksum(encoder.checksum, to: &buffer)
        invariant(buffer.count == LogWriter.markBytes, "a checksum record takes \(LogWriter.markBytes) bytes")
        guard segmentIsFull, let last = segments.last else { return }
        bufferOpens = SegmentName(sequence: last.sequence + 1, firstIndex: lastIndex + 1)
        encoder.append(identity, to: &buffer)
        if let state { encoder.append(state, to: &buffer) }
    }

    private func seal(ticket: UInt64) -> LogChunk? {
        guard !buffer.isEmpty else { return nil }
        let chunk = LogChunk(bytes: buffer, opens: bufferOpens, ticket: ticket)
        buffer = []
        needsSync = false
        if let name = bufferOpens {
            segments.append(name)
            segmentUsed = 0
            bufferOpens = nil
            spareAsked = false
        }
        segmentUsed += chunk.bytes.count
        writtenBytes += chunk.bytes.count
        if !spareAsked, segmentUsed >= options.segmentBytes / 2 {
            spareAsked = true
            shared.queue.push(.prepareSpare)
        }
        return chunk
    }
}

/// What the owner and the log's thread share.
private final class Shared: Sendable {
    enum Task: Sendable {
        case write(LogChunk)
        case remove([String])
        case prepareSpare
    }

    let writer: Mutex<LogWriter>
    let queue = BlockingQueue<Task>()
    let queuedBytes = Atomic<Int>(0)
    /// A written chunk's buffer, for the next one.
    let recycled = Mutex<Bytes?>(nil)
    private let spares: SpareSegments
    private let completion: DiskLog.Completion

    init(_ writer: consuming LogWriter, _ spares: SpareSegments, _ completion: @escaping DiskLog.Completion) {
        self.writer = Mutex(writer)
        self.spares = spares
        self.completion = completion
    }

    var failure: LogError? { writer.withLock { $0.failure } }

    func run() {
        while true {
            // The spare is filled only while nothing waits.
            var tasks = queue.takeWaiting()
            if tasks.isEmpty {
                if spares.fillPiece() { continue }
                guard let all = queue.takeAll() else { return }
                tasks = all
            }
            perform(tasks)
        }
    }

    private func perform(_ tasks: [Task]) {
        var chunks: [LogChunk] = []
        for task in tasks {
            if case .write(let chunk) = task { chunks.append(chunk) }
        }
        if !chunks.isEmpty { write(chunks) }
        for task in tasks {
            // A segment that stays because it cannot be removed costs space, nothing else; it is released again after a
            // restart.
            if case .remove(let paths) = task { for path in paths { try? Disk.remove(path) } }
            if case .prepareSpare = task { spares.prepare() }
        }
    }

    private func write(_ chunks: [LogChunk]) {
        let filled = chunks.filter { !$0.bytes.isEmpty }
        var failure: LogError?
        do throws(LogError) {
            try writer.withLock { writer throws(LogError) in
                if let failure = writer.failure { throw failure }
                if !filled.isEmpty { try writer.write(filled) }
            }
        } catch { failure = error }
        queuedBytes.subtract(filled.reduce(0) { $0 + $1.bytes.count }, ordering: .releasing)
        if let last = chunks.last { completion(last.ticket, failure) }
        if var spent = filled.last?.bytes, spent.capacity <= 4 << 20 {
            spent.removeAll(keepingCapacity: true)
            recycled.withLock { $0 = spent }
        }
    }
}
