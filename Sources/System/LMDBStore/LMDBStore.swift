// OrderedStore on LMDB: crash-safe without a log of its own, read without locks while it is written.
//
//   try LMDBStore.create(path)                       once, at bootstrap
//   let store = try LMDBStore.open(path) { number, error in mailbox.post(...) }
//   store.submit(batch)                              returns at once
//
// Batches are committed in order on the store's thread; those that wait together share a transaction. A batch is
// reported when it is on the disk (LMDB syncs data, then writes the page that makes it visible), all of it or nothing.
// After an error nothing more is committed and every later batch is reported with that error.

import CLMDB
import Foundations
import Glibc
import Linux
import MVCC

import struct Synchronization.Atomic

package final class LMDBStore: OrderedStore, Sendable {
    /// Called on the store's thread, in order: batches up to the number are durable, or, with an error, will never be.
    package typealias Completion = @Sendable (_ number: UInt64, _ error: StoreError?) -> Void

    package let path: String
    private let committer: Committer
    private let thread: BackgroundThread

    /// Makes an empty store. A crash leaves either no store or a whole one.
    package static func create(_ path: String) throws(StoreError) {
        let load = try BulkLoad(path)
        try load.finish()
    }

    package static func exists(_ path: String) -> Bool {
        var status = stat()
        return unsafe stat(path, &status) == 0
    }

    package static func open(
        _ path: String, _ options: StoreOptions = StoreOptions(), completion: @escaping Completion = { _, _ in }
    ) throws(StoreError) -> LMDBStore {
        LMDBStore(
            path, Committer(try Environment(path, mapBytes: options.mapBytes, creating: false), options, completion))
    }

    private init(_ path: String, _ committer: Committer) {
        self.path = path
        self.committer = committer
        committer.noteSizes()
        thread = BackgroundThread(name: "store") { committer.run() }
    }

    /// Commits what was submitted, then closes. Views must be gone.
    deinit {
        committer.queue.close()
        thread.join()
    }

    package func view() -> any StoreView {
        do { return try LMDBView(committer.environment) } catch {
            // Only memory or reader slots can be missing here.
            unreachable("\(error)")
        }
    }

    package func submit(_ batch: StoreBatch) {
        committer.queuedBytes.add(batch.bytes.count, ordering: .relaxed)
        committer.queue.push(.batch(batch))
    }

    /// Gives the space of free pages back to the file system, in slices between commits, and says how many bytes it was.
    /// Called on the store's thread.
    package func giveBackSpace(_ done: @escaping @Sendable (Result<Int, StoreError>) -> Void) {
        committer.queue.push(.giveBack(GiveBack(before: committer.environment.allocatedBytes(), done: done)))
    }

    /// Pages of the file that were read are the system's again; on the store's thread.
    package func letGoOfPages() { committer.queue.push(.letGoOfPages) }

    /// Tells how long each commit took, in nanoseconds, on the store's thread.
    package func observeCommits(_ observer: @escaping @Sendable (UInt64) -> Void) {
        committer.commitObserver.withLock { $0 = observer }
    }

    /// Blocks until everything submitted is committed, or failed.
    package func waitUntilCommitted() { committer.queue.waitUntilDone() }

    package var committedBatch: UInt64 { committer.committed.load(ordering: .acquiring) }
    /// Never less than what is used, whatever the file system compresses.
    package var allocatedBytes: Int { max(committer.allocated.load(ordering: .relaxed), usedBytes) }
    package var openReads: Int { committer.environment.openReads }
    package var usedBytes: Int { committer.used.load(ordering: .relaxed) }

    /// More waits than is healthy: stop applying until completions come.
    package var isBacklogged: Bool { committer.isBacklogged }

    /// The error that stopped the store, if one did.
    package var failure: StoreError? { committer.failure.withLock { $0 } }

    /// The whole store as a file that etcd's tools restore; see `SnapshotImage`. Holds what is committed now. Without
    /// `digest` it is the bare image, as members send it to each other.
    package func snapshot(digest: Bool = true) throws(StoreError) -> SnapshotImage {
        try SnapshotImage(committer.environment, hashes: digest)
    }
}

/// Free pages on their way back to the file system.
private struct GiveBack: Sendable {
    let before: Int
    var mark = 0
    let done: @Sendable (Result<Int, StoreError>) -> Void

    init(before: Int, done: @escaping @Sendable (Result<Int, StoreError>) -> Void) {
        self.before = before
        self.done = done
    }
}

private enum Task: Sendable {
    case batch(StoreBatch)
    case giveBack(GiveBack)
    case letGoOfPages
}

/// The store's thread.
private final class Committer: Sendable {
    let environment: Environment
    let queue = BlockingQueue<Task>()
    let queuedBytes = Atomic<Int>(0)
    let committed = Atomic<UInt64>(0)
    let allocated = Atomic<Int>(0)
    let used = Atomic<Int>(0)
    let failure = Mutex<StoreError?>(nil)
    let commitObserver = Mutex<(@Sendable (UInt64) -> Void)?>(nil)
    private let options: StoreOptions
    private let completion: LMDBStore.Completion

    init(_ environment: Environment, _ options: StoreOptions, _ completion: @escaping LMDBStore.Completion) {
        self.environment = environment
        self.options = options
        self.completion = completion
    }

    var isBacklogged: Bool { queuedBytes.load(ordering: .relaxed) >= options.backlogBytesMax }

    func noteSizes() {
        guard let txn = unsafe try? environment.begin(write: false) else { return }  // sizes are shown, nothing depends on them
        unsafe used.store(environment.usedBytes(txn), ordering: .relaxed)
        unsafe mdb_txn_abort(txn)
        allocated.store(environment.allocatedBytes(), ordering: .relaxed)
    }

    func run() {
        while let tasks = queue.takeAll() {
            var batches: [StoreBatch] = []
            for task in tasks {
                switch task {
                case .batch(let batch): batches.append(batch)
                case .giveBack(let job):
                    commitAll(batches)
                    batches = []
                    giveBack(job)
                // This thread alone moves the map, so it lies where it lay.
                case .letGoOfPages: MappedPages.letGo(of: environment.path + "/" + Environment.dataFile, .data)
                }
            }
            commitAll(batches)
        }
    }

    private func commitAll(_ batches: [StoreBatch]) {
        var rest = batches[...]
        while !rest.isEmpty {
            let group = rest.prefix(groupCount(rest))
            rest = rest.dropFirst(group.count)
            finish(group)
        }
    }

    /// One slice; the rest queues up behind what arrived meanwhile.
    private func giveBack(_ job: GiveBack) {
        var job = job
        do throws(StoreError) {
            if job.mark == 0 { try environment.commitAnew() }
            let free = try environment.freePages(after: job.mark, pagesMax: Committer.pagesInSlice)
            for run in free.runs { try environment.giveBack(run) }
            let size = environment.allocatedBytes()
            allocated.store(size, ordering: .relaxed)
            guard let next = free.next else { return job.done(.success(max(0, job.before - size))) }
            job.mark = next
            queue.push(.giveBack(job))
        } catch { job.done(.failure(error)) }
    }

    /// 16 MiB: a few milliseconds.
    private static let pagesInSlice = 4096

    /// How many batches fit into one transaction; at least one.
    private func groupCount(_ batches: ArraySlice<StoreBatch>) -> Int {
        var operations = 0
        var count = 0
        for batch in batches {
            operations += batch.operations.count
            if count > 0, operations > options.operationsPerCommitMax { break }
            count += 1
        }
        return count
    }

    private func finish(_ group: ArraySlice<StoreBatch>) {
        var error = failure.withLock { $0 }
        if error == nil {
            do throws(StoreError) {
                try commit(group)
                if let last = group.last { committed.store(last.number, ordering: .releasing) }
            } catch let new {
                error = new
                failure.withLock { $0 = new }
            }
        }
        queuedBytes.subtract(group.reduce(0) { $0 + $1.bytes.count }, ordering: .relaxed)
        for batch in group { completion(batch.number, error) }
    }

    private func commit(_ group: ArraySlice<StoreBatch>) throws(StoreError) {
        while true {
            let code = try attempt(group)
            if code == MDB_SUCCESS { break }
            guard code == MDB_MAP_FULL else { throw .failed(call: "commit", path: environment.path, code: code) }
            try grow()
        }
        // Ahead of need, at a moment when nobody reads, so that hardly any commit ever meets a full map.
        allocated.store(environment.allocatedBytes(), ordering: .relaxed)
        if environment.extentBytes() > environment.mapBytes / 2 { _ = try environment.grow() }
    }

    private func attempt(_ group: ArraySlice<StoreBatch>) throws(StoreError) -> Int32 {
        if case .fail(let errno) = Failpoint.storeCommit.hit() { return errno }
        let txn = unsafe try environment.begin(write: true)
        for batch in group {
            let code = unsafe environment.apply(batch, txn)
            if code != MDB_SUCCESS {
                unsafe mdb_txn_abort(txn)
                invariant(code != MDB_KEYEXIST, "batch \(batch.number) appends a key that is not the greatest")
                return code
            }
        }
        let size = unsafe environment.usedBytes(txn)
        if case .fail(let errno) = Failpoint.storeWritten.hit() {
            unsafe mdb_txn_abort(txn)
            return errno
        }
        let start = Clock.monotonic()
        let code = unsafe mdb_txn_commit(txn)
        if code == MDB_SUCCESS {
            let took = Clock.monotonic() - start
            commitObserver.withLock { $0 }?(took)
            used.store(size, ordering: .relaxed)
            if case .fail(let errno) = Failpoint.storeCommitted.hit() { return errno }
        }
        return code
    }

    /// The map is full: waits for the readers, who let go at the end of their turn, and doubles it.
    private func grow() throws(StoreError) {
        if case .fail(let errno) = Failpoint.storeGrow.hit() {
            throw .failed(call: "grow", path: environment.path, code: errno)
        }
        while try !environment.grow() { usleep(1000) }
    }
}
