// export: a data directory of ours becomes a snapshot file that every etcd tool knows, or the data directory of an etcd
// member that goes on as the same member. The source is locked and not changed.

import DiskLog
import FileFormats
import Foundations
import LMDBStore
import Linux
import MVCC
import State

enum ExportCommand {
    private static let pieceBytes = 1 << 20

    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let path = try invocation.onlyWord("export requires exactly one argument: a data directory of ours")
        let file = invocation.path("snapshot")
        let directory = invocation.path("data-dir")
        guard (file == nil) != (directory == nil) else { throw .arguments("export needs either --snapshot or --data-dir") }
        let source = try CoveyDirectory(path, wal: invocation.path("source-wal-dir"))
        if let file { try exportSnapshot(source, to: file, invocation.console) }
        if let directory {
            try exportDirectory(source, to: directory, wal: invocation.path("wal-dir"), invocation.console)
        }
    }

    // MARK: a snapshot file

    private static func exportSnapshot(
        _ source: CoveyDirectory, to file: String, _ console: UtilConsole
    ) throws(CtlFailure) {
        guard !Disk.exists(file) else { throw CtlFailure(.error, "\(file) exists; choose another name, or remove it") }
        let log = try source.log()
        let store = try source.store()
        let applied = StateMachine.appliedIndex(in: store.view())
        let limit = log.commitIndex(voters: voters(store))
        if limit < log.lastIndex {
            console.warn(
                "entries at the end of the log are not known to be committed and are left out",
                json: [("commit-index", "\(limit)"), ("last-index", "\(log.lastIndex)")])
        }
        if applied >= limit {
            try write(store, to: file, withDigest: true)
        } else {
            // The member was stopped hard: its log knows more than its store. A copy of the store catches up.
            let copy = file + ".store"
            try BuildSite.onDisk { () throws(DiskError) in
                try FileTree.remove(copy)
                try Disk.makeDirectory(copy)
            }
            defer { try? FileTree.remove(copy) }  // it is of no use to anybody, and its name says what it is
            try FileTree.copy(source.data.store + "/data.mdb", to: copy + "/data.mdb")
            let entries = try LogReplay.apply(log, upTo: limit, to: copy)
            console.info("applied entries of the log that the store did not have yet", json: [("entries", "\(entries)")])
            try write(try CoveyDirectory.open(copy), to: file, withDigest: true)
        }
        console.info("exported snapshot", [("path", file)], json: [("index", "\(max(applied, limit))")])
    }

    private static func voters(_ store: LMDBStore) -> [MemberID] {
        var membership = Membership()
        membership.restore(store.view())
        return membership.voters.map(\.id)
    }

    private static func write(_ store: LMDBStore, to path: String, withDigest: Bool) throws(CtlFailure) {
        do {
            let image = try store.snapshot()
            var target = try NewFile(path, temporaryPath: path + ".part")
            while let piece = image.next(pieceBytes) {
                // The digest follows the image.
                let over = max(0, image.imageBytes - (image.fileBytes - image.remainingBytes - piece.count))
                try target.append(withDigest ? piece : Bytes(piece.prefix(over)))
            }
            try target.finish()
        } catch let error as SystemError {
            throw CtlFailure(.error, StoredFile.shown(error))
        } catch { throw CtlFailure(.error, "\(error)") }
    }

    // MARK: a data directory

    private static func exportDirectory(
        _ source: CoveyDirectory, to directory: String, wal: String?, _ console: UtilConsole
    ) throws(CtlFailure) {
        let log = try source.log()
        let store = try source.store()
        let applied = StateMachine.appliedIndex(in: store.view())
        guard applied >= log.snapshotIndex else {
            throw CtlFailure(
                .error, "the store stands at entry \(applied), before the snapshot at \(log.snapshotIndex)",
                advice: "A received snapshot has not been taken over yet: start the member once, and stop it.")
        }
        // Members of an older release refuse to start in a cluster that has left their version behind.
        let version = try LogReplay.membership(log, at: log.lastIndex).version ?? ClusterVersion(3, 4)
        let site = try BuildSite(directory, wal: wal, isOurs: false)
        // What the log holds beyond the database etcd applies itself when it starts.
        try write(store, to: site.data.snap.path + "/db", withDigest: false)
        try log.copy(wal: site.data.wal, snap: site.data.snap)
        try site.finish()
        console.info(
            "exported data directory",
            [
                ("data-dir", site.directory), ("member-id", "\(log.identity.member)"),
                ("cluster-id", "\(log.identity.cluster)"), ("needs-etcd-of-at-least", "\(version.release)"),
            ],
            json: [("database-index", "\(applied)"), ("last-index", "\(log.lastIndex)")])
    }
}
