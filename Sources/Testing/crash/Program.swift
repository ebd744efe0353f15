// The victim of the crash tests: a member reduced to its storage. It recovers, checks that what it was told is
// acknowledged is there, then writes and acknowledges (on standard output) until something kills it.
//
//   covey-crash DIRECTORY SEED ACKNOWLEDGED
//
// Entry i adds a number made from i to a sum in the store, so an entry applied twice or left out shows. Exit statuses:
// 86 killed by a failpoint, 3 stopped because the disk failed, 0 done, 1 the check failed (the reason is on standard error).

import DiskLog
import FileFormats
import Foundations
import Glibc
import LMDBStore
import Linux
import MVCC

@main enum Program {
    static func main() {
        guard CommandLine.arguments.count == 4, let seed = UInt64(CommandLine.arguments[2]),
            let acknowledged = LogIndex(CommandLine.arguments[3])
        else {
            say("usage: covey-crash DIRECTORY SEED ACKNOWLEDGED", to: 2)
            exit(2)
        }
        do {
            let victim = try Victim(CommandLine.arguments[1], seed, acknowledged)
            try victim.work()
        } catch let error as LogError {
            stop("\(error)", isDisk: error.isDisk)
        } catch let error as StoreError {
            stop("\(error)", isDisk: error.isDisk)
        } catch let error as CheckFailed {
            say("CHECK FAILED: \(error.what)", to: 2)
            exit(1)
        } catch {
            stop("\(error)", isDisk: false)
        }
    }

    static func stop(_ message: String, isDisk: Bool) -> Never {
        say(message, to: 2)
        exit(isDisk ? 3 : 1)
    }
}

struct CheckFailed: Error { var what: String }

extension LogError {
    var isDisk: Bool { if case .disk = self { true } else { false } }
}

extension StoreError {
    var isDisk: Bool { if case .failed = self { true } else { false } }
}

/// One write call, so that a line is whole or absent.
func say(_ line: String, to descriptor: Int32 = 1) {
    let bytes = Array((line + "\n").utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
}

/// What entry `index` holds.
func entryData(_ index: LogIndex) -> Bytes {
    var random = SeededRandom(seed: index)
    let count = random.chance(1, in: 20) ? 3000 : Int.random(in: 0...200, using: &random)
    return Bytes("\(index) ".utf8) + Bytes(repeating: UInt8(truncatingIfNeeded: random.next()), count: count)
}

func entryNumber(_ index: LogIndex) -> UInt64 {
    var random = SeededRandom(seed: index ^ 0x5555)
    return random.next()
}

final class Victim {
    private static let indexKey = Bytes("consistent_index".utf8)
    private static let sumKey = Bytes("sum".utf8)
    /// Keys kept in the store: those of the newest entries.
    private static let kept: LogIndex = 50

    private let directory: DataDirectory
    private let lock: DirectoryLock
    private let store: LMDBStore
    private let log: DiskLog
    private var random: SeededRandom
    private var last: LogIndex
    private var state: LogState
    private var applied: LogIndex
    private var sum: UInt64
    private var batch: StoreBatch
    private var marked: LogIndex

    init(_ path: String, _ seed: UInt64, _ acknowledged: LogIndex) throws {
        random = SeededRandom(seed: seed)
        directory = DataDirectory(path)
        lock = try directory.prepare()
        var options = LogOptions()
        options.segmentBytes = 8 << 10
        options.bypassesCache = !seed.isMultiple(of: 4)
        if !LMDBStore.exists(directory.store) { try LMDBStore.create(directory.store) }
        if !DiskLog.exists(directory.wal) {
            guard acknowledged == 0 else { throw CheckFailed(what: "the log is gone") }
            try DiskLog.create(
                directory.wal, identity: LogIdentity(member: MemberID(1), cluster: ClusterID(2)), options)
        }
        var storeOptions = StoreOptions()
        storeOptions.mapBytes = 1 << 20
        store = try LMDBStore.open(directory.store, storeOptions) { _, error in
            if let error { Program.stop("\(error)", isDisk: error.isDisk) }
        }
        let view = store.view()
        applied = try Victim.number(view, Victim.indexKey)
        sum = try Victim.number(view, Victim.sumKey)

        let opened = try DiskLog.open(directory.wal, newestOf: directory.snap, options) { ticket, error in
            // An error is met again by the next sync.
            if error == nil { say("\(ticket)") }
        }
        let start = LogSnapshot(index: opened.snapshot?.index ?? 0, term: opened.snapshot?.term ?? 0)
        log = opened.log
        let recovered = opened.recovered
        last = recovered.entries.last?.index ?? start.index
        state = recovered.state ?? LogState()
        marked = start.index
        batch = StoreBatch(number: 0)

        guard last >= acknowledged else {
            throw CheckFailed(what: "entries up to \(acknowledged) were acknowledged, the log ends at \(last)")
        }
        guard applied >= start.index, applied <= last else {
            throw CheckFailed(what: "the store is at \(applied), the log from \(start.index) to \(last)")
        }
        for (i, entry) in recovered.entries.enumerated() {
            guard entry.index == start.index + LogIndex(i) + 1, entry.data == entryData(entry.index) else {
                throw CheckFailed(what: "entry \(entry.index) is not what was written")
            }
        }
        try checkStore(view)
        while applied < last { apply(applied + 1) }
        submit()
    }

    /// The store holds the entries up to its index, each once.
    private func checkStore(_ view: any StoreView) throws {
        var expected: UInt64 = 0
        if applied > 0 { for index in 1...applied { expected &+= entryNumber(index) } }
        guard sum == expected else { throw CheckFailed(what: "the sum at \(applied) is \(sum), not \(expected)") }
        var next = applied > Victim.kept ? applied - Victim.kept + 1 : 1
        var problem: String?
        view.scan(.key, from: [], to: nil) { key, value in
            if Bytes(key) != Victim.key(next) || Bytes(value) != entryData(next) { problem = "key \(next) is wrong" }
            next += 1
            return problem == nil
        }
        if next != applied + 1 { problem = problem ?? "keys end at \(next - 1), not at \(applied)" }
        if let problem { throw CheckFailed(what: problem) }
    }

    func work() throws {
        if state.term == 0 {
            state = LogState(term: 1, vote: MemberID(1), commit: 0)
            log.set(state)
            try log.sync()
        }
        for round in 0..<200 {
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                last += 1
                log.append(term: 1, index: last, kind: 0, data: entryData(last))
            }
            if random.chance(1, in: 3) {
                log.syncInBackground(ticket: last)
            } else {
                do { try log.sync() } catch { try failed(error) }
                say("\(last)")
                // All is durable now, so it may be applied.
                state.commit = last
                log.set(state)
                while applied < last { apply(applied + 1) }
                if random.chance(1, in: 2) { submit() }
            }
            if round % 20 == 19 { try mark() }
        }
        do { try log.sync() } catch { try failed(error) }
        say("\(last)")
    }

    /// After an error the log never acknowledges again.
    private func failed(_ error: LogError) throws -> Never {
        for _ in 0..<3 {
            log.append(term: 1, index: last + 1, kind: 0, data: [])
            do {
                try log.sync()
                throw CheckFailed(what: "a log that failed took a write")
            } catch is LogError {}
        }
        throw error
    }

    private func apply(_ index: LogIndex) {
        batch.put(.key, Victim.key(index), entryData(index), append: true)
        if index > Victim.kept { batch.delete(.key, Victim.key(index - Victim.kept)) }
        sum &+= entryNumber(index)
        applied = index
    }

    private func submit() {
        batch.put(.meta, Victim.indexKey, Victim.bytes(applied))
        batch.put(.meta, Victim.sumKey, Victim.bytes(sum))
        batch.number = applied
        store.submit(batch)
        // Often, so that a crash falls into it; a failure shows at the next start, as lost data.
        if applied % 3 == 0 { store.giveBackSpace { _ in } }
        batch = StoreBatch(number: 0)
    }

    /// Saves a snapshot at what the store has, and lets the log go up to the one before.
    private func mark() throws {
        submit()
        store.waitUntilCommitted()
        let index = store.committedBatch
        guard index > marked else { return }
        try directory.snap.save(SnapFile(data: Bytes("{}".utf8), index: index, term: 1, confState: [8, 1]))
        log.append(LogSnapshot(index: index, term: 1, confState: [8, 1]))
        do { try log.sync() } catch { try failed(error) }
        try directory.snap.purge(keeping: 2)
        log.release(upTo: marked)
        marked = index
    }

    private static func key(_ index: LogIndex) -> Bytes { bytes(index) }

    private static func bytes(_ number: UInt64) -> Bytes {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) }
    }

    private static func number(_ view: any StoreView, _ key: Bytes) throws -> UInt64 {
        var number: UInt64 = 0
        view.get(.meta, key.rawSpan) { value in
            guard let value else { return }
            for i in 0..<value.byteCount { number = number << 8 | UInt64(value[byte: i]) }
        }
        return number
    }
}
