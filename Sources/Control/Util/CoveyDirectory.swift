// A data directory of ours that no member runs in, locked.

import DiskLog
import FileFormats
import Foundations
import LMDBStore
import MVCC
import State

struct CoveyDirectory {
    let data: DataDirectory
    private let lock: DirectoryLock

    static func isOne(_ path: String) -> Bool { Disk.exists(DataDirectory(path).formatFile) }

    init(_ path: String, wal: String? = nil) throws(CtlFailure) {
        data = DataDirectory(path, wal: wal)
        guard Disk.exists(data.formatFile) else {
            let isEtcds = Disk.exists(EtcdDirectory.databasePath(path))
            throw CtlFailure(
                .error, "\(path) is no data directory of ours" + (isEtcds ? ", but one of etcd" : ""),
                advice: isEtcds ? "See `covey util import --help`." : "Name the folder given to the server as --data-dir.")
        }
        let file = data.lockFile
        lock = try BuildSite.onDirectory { () throws(DataDirectoryError) in try DirectoryLock(file) }
    }

    func log() throws(CtlFailure) -> StoredLog { try StoredLog(wal: data.wal, snap: data.snap) }

    func store() throws(CtlFailure) -> LMDBStore { try CoveyDirectory.open(data.store) }

    static func open(_ path: String) throws(CtlFailure) -> LMDBStore {
        do throws(StoreError) { return try LMDBStore.open(path) } catch { throw CtlFailure(.error, "\(error)") }
    }
}
