// The data directory of an etcd member, opened for reading and checked: that the database is whole, and that it, the
// snapshot and the log belong together.

import DiskLog
import FileFormats
import Flags
import Foundations
import Linux
import MVCC
import State

struct EtcdDirectory {
    let path: String
    let log: StoredLog
    /// Locked as long as this value lives.
    let database: ImageFile
    let facts: ImageFacts

    /// Up to here the log is in the database.
    var consistentIndex: LogIndex { facts.consistentIndex ?? 0 }

    static func databasePath(_ directory: String) -> String { DataDirectory(directory).snap.path + "/db" }

    init(_ path: String, wal: String?) throws(CtlFailure) {
        self.path = path
        let data = DataDirectory(path, wal: wal)
        if Disk.exists(data.formatFile) {
            throw CtlFailure(.error, "\(path) is a data directory of ours already")
        }
        let current = try EtcdDirectory.locked(EtcdDirectory.databasePath(path), in: path)
        log = try StoredLog(wal: data.wal, snap: data.snap)
        let (database, facts) = try EtcdDirectory.choose(current, log)
        self.database = database
        self.facts = facts
        try checkFit()
    }

    private static func locked(_ path: String, in directory: String) throws(CtlFailure) -> ImageFile {
        guard Disk.exists(path) else {
            throw CtlFailure(
                .error, "\(directory) is no data directory of etcd: there is no \(path)",
                advice: "Name the folder given to etcd as --data-dir.")
        }
        let file = try ImageFile(path)
        guard file.lock() else {
            throw CtlFailure(.error, "a running etcd is using \(path)", advice: "Stop that member first.")
        }
        return file
    }

    /// A member that was sent a snapshot and stopped before it took it over has the new database beside the old one.
    private static func choose(_ current: ImageFile, _ log: StoredLog) throws(CtlFailure) -> (ImageFile, ImageFacts) {
        let facts = try checked(current)
        guard log.snapshotIndex > facts.consistentIndex ?? 0 else { return (current, facts) }
        let path = log.snap.imagePath(log.snapshotIndex)
        guard Disk.exists(path) else {
            throw CtlFailure(
                .error,
                "\(current.path) stands at entry \(facts.consistentIndex ?? 0), before the snapshot at "
                    + "\(log.snapshotIndex): it was replaced or rolled back",
                advice: "Take another member, or restore a snapshot.")
        }
        let received = try locked(path, in: path)
        var newFacts = try checked(received)
        newFacts.consistentIndex = max(newFacts.consistentIndex ?? 0, log.snapshotIndex)
        return (received, newFacts)
    }

    /// Every page is looked at, and every record's place.
    private static func checked(_ file: ImageFile) throws(CtlFailure) -> ImageFacts {
        var facts = ImageFacts()
        do throws(BoltDamage) {
            let image = try file.image()
            try image.check()
            for table in [StoreTable.meta, .cluster] {
                guard let bucket = try image.bucket(table.bucketName) else {
                    throw BoltDamage("it has no bucket \(table.bucketName)")
                }
                try image.forEach(bucket) { key, value in facts.note(table, key, value) }
            }
        } catch { throw CtlFailure(.error, "\(file.path): \(error)") }
        return facts
    }

    private func checkFit() throws(CtlFailure) {
        guard consistentIndex <= log.lastIndex else {
            throw CtlFailure(
                .error,
                "\(database.path) stands at entry \(consistentIndex), the log in \(log.wal) ends at \(log.lastIndex): "
                    + "a part of the log is lost", advice: "Take another member, or restore a snapshot of this one.")
        }
        guard let text = facts.clusterVersion, let version = ClusterVersion(text),
            let own = ClusterVersion(ProgramVersion.etcd), version.release > own.release
        else { return }
        throw CtlFailure(
            .error,
            "the cluster of \(path) runs at \(version), this server is of \(own.release.major).\(own.release.minor): "
                + "it cannot join such a cluster", advice: "Save a snapshot and restore it into a new cluster.")
    }
}
