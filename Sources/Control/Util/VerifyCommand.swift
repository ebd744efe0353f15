// verify: everything that can be checked without starting anything, of a snapshot file, a data directory of ours, or one of
// etcd. What is checked and found good is said, a line each; the first damage ends it with exit code 1.

import DiskLog
import FileFormats
import Foundations
import LMDBStore
import MVCC
import State

enum VerifyCommand {
    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let path = try invocation.onlyWord("verify requires exactly one argument: a snapshot file or a data directory")
        let console = invocation.console
        if CoveyDirectory.isOne(path) {
            try verifyOurs(path, wal: invocation.path("wal-dir"), console)
        } else if StoredFile.exists(EtcdDirectory.databasePath(path)) {
            try verifyEtcds(path, wal: invocation.path("wal-dir"), console)
        } else if Disk.isDirectory(path) {
            throw CtlFailure(
                .error, "\(path) is no data directory of ours or of etcd",
                advice: "Name the folder given to the server as --data-dir.")
        } else {
            try verifyFile(path, console)
        }
    }

    // MARK: a file

    private static func verifyFile(_ path: String, _ console: UtilConsole) throws(CtlFailure) {
        let file = try ImageFile(path)
        do throws(BoltDamage) {
            switch try file.digest() {
            case .good: console.line("\(path): the SHA-256 at its end fits")
            case .absent: console.line("\(path): has no SHA-256 at its end: a database file, or cut off")
            case .bad(let expected, let found):
                throw BoltDamage(
                    "its SHA-256 is \(Hexadecimal.encode(found)), the one at its end \(Hexadecimal.encode(expected))")
            }
        } catch { throw CtlFailure(.error, "\(path): \(error)") }
        try verifyImage(file, console)
    }

    private static func verifyImage(_ file: ImageFile, _ console: UtilConsole) throws(CtlFailure) {
        do throws(BoltDamage) {
            let image = try file.image()
            try image.check()
            var facts = ImageFacts()
            var records = 0
            var keyRecords = 0
            for table in StoreTable.allCases {
                guard let bucket = try image.bucket(table.bucketName) else {
                    throw BoltDamage("it has no bucket \(table.bucketName): it is no database of etcd")
                }
                try image.forEach(bucket) { key, value throws(BoltDamage) in
                    if let wrong = RecordCheck.wrong(table, key, value) { throw BoltDamage(wrong) }
                    facts.note(table, key, value)
                    records += 1
                    if table == .key { keyRecords += 1 }
                }
            }
            console.line(
                "\(file.path): \(image.meta.highWater) pages of \(image.meta.pageBytes) bytes are in order; "
                    + "\(records) records, \(keyRecords) of them revisions, the newest \(facts.revision)")
        } catch { throw CtlFailure(.error, "\(file.path): \(error)") }
    }

    // MARK: directories

    private static func verifyOurs(_ path: String, wal: String?, _ console: UtilConsole) throws(CtlFailure) {
        let directory = try CoveyDirectory(path, wal: wal)
        let log = try directory.log()
        try verify(log, console)
        let store = try directory.store()
        let view = store.view()
        var records = 0
        var wrong: String?
        for table in StoreTable.allCases {
            view.scan(table, from: [], to: nil) { key, value in
                wrong = RecordCheck.wrong(table, key, value)
                records += 1
                return wrong == nil
            }
            if let wrong { throw CtlFailure(.error, "\(store.path): \(wrong)") }
        }
        // What a start does: the index of all keys is built, and every table is decoded.
        let state = try LogReplay.machine(store, log.identity)
        let applied = state.appliedIndex
        console.line(
            "\(store.path): \(records) records are in order; revision \(state.kv.currentRevision), \(state.kv.keyCount) keys, "
                + "\(state.membership.members.count) members, entry \(applied)")
        state.kv.endTurn()
        try checkFit(applied, log, store.path, [log.snap.imagePath(log.snapshotIndex), directory.data.receivedStore])
    }

    private static func verifyEtcds(_ path: String, wal: String?, _ console: UtilConsole) throws(CtlFailure) {
        let directory = try EtcdDirectory(path, wal: wal)
        try verify(directory.log, console)
        try verifyImage(directory.database, console)
        let membership = try LogReplay.membership(directory.log, at: directory.consistentIndex)
        console.line(
            "\(path): the database stands at entry \(directory.consistentIndex) with \(membership.members.count) members")
    }

    private static func verify(_ log: StoredLog, _ console: UtilConsole) throws(CtlFailure) {
        if let damage = log.broken.first { throw CtlFailure(.error, "\(damage)") }
        let (segments, records, isTorn) = try log.checkAll()
        console.line(
            "\(log.wal): \(segments) segments with \(records) records are in order: \(log.identity), term "
                + "\(log.state.term), committed \(log.state.commit), last entry \(log.lastIndex)")
        if isTorn { console.line("\(log.wal): the last write was cut off by a crash; the next start removes it") }
        if let snapshot = log.snapshot { console.line("\(log.snap.path)/\(snapshot.name): is in order") }
    }

    private static func checkFit(
        _ applied: LogIndex, _ log: StoredLog, _ store: String, _ received: [String]
    ) throws(CtlFailure) {
        guard applied <= log.lastIndex else {
            throw CtlFailure(
                .error, "\(store) stands at entry \(applied), the log ends at \(log.lastIndex): a part of the log is lost",
                advice: "Replace the member from a healthy one, or restore a backup.")
        }
        guard applied >= log.snapshotIndex || received.contains(where: { Disk.exists($0) }) else {
            throw CtlFailure(
                .error,
                "\(store) stands at entry \(applied), before the snapshot at \(log.snapshotIndex): "
                    + "it was replaced or rolled back", advice: "Replace the member from a healthy one, or restore a backup.")
        }
    }
}
