// Fills a new store in one go, for restore, import and bootstrap. It is built beside its final place, synced once, and
// renamed: there is never a half-filled store under the real name.

import CLMDB
import CLinux
import Foundations
import Glibc
import MVCC

@safe package final class BulkLoad {
    private let path: String
    private let building: String
    private var environment: Environment?
    @safe private var txn: OpaquePointer?
    private var pendingChanges = 0
    private var pendingBytes = 0
    /// So small that a transaction always fits into the half of the map that is kept free.
    private let bytesPerCommit: Int

    /// Changes in one transaction; LMDB keeps a transaction's pages in memory.
    private static let changesPerCommit = 20_000

    /// `path` must not exist.
    package init(_ path: String, mapBytes: Int = StoreOptions().mapBytes) throws(StoreError) {
        self.path = path
        bytesPerCommit = min(64 << 20, mapBytes / 16)
        building = path + ".tmp"
        if LMDBStore.exists(path) { throw .exists(path: path) }
        BulkLoad.remove(building)
        guard unsafe mkdir(building, 0o700) == 0 else { throw .failed(call: "mkdir", path: building, code: errno) }
        environment = try Environment(building, mapBytes: mapBytes, creating: true, flags: UInt32(MDB_NOSYNC))
    }

    /// Gives up: nothing is left behind.
    deinit {
        if let txn { unsafe mdb_txn_abort(txn) }
        if environment != nil {
            environment = nil
            BulkLoad.remove(building)
        }
    }

    /// `append`: the key is greater than all in its table.
    package func put(_ table: StoreTable, _ key: RawSpan, _ value: RawSpan, append: Bool = false) throws(StoreError) {
        let environment = try open()
        let txn = unsafe try transaction(environment)
        try check(unsafe environment.put(txn, table, key, value, append: append), "write", building)
        pendingChanges += 1
        pendingBytes += key.byteCount + value.byteCount
        if pendingChanges >= BulkLoad.changesPerCommit || pendingBytes >= bytesPerCommit { try commit() }
    }

    package func put(_ table: StoreTable, _ key: Bytes, _ value: Bytes, append: Bool = false) throws(StoreError) {
        try put(table, key.rawSpan, value.rawSpan, append: append)
    }

    /// Syncs and gives the store its name.
    package func finish() throws(StoreError) {
        let environment = try open()
        try commit()
        unsafe try check(mdb_env_sync(environment.handle, 1), "sync", building)
        self.environment = nil
        // LMDB makes its lock file again; an old one has nothing to say.
        guard unsafe unlink(building + "/lock.mdb") == 0 || errno == ENOENT else {
            throw .failed(call: "remove", path: building + "/lock.mdb", code: errno)
        }
        try BulkLoad.sync(building)
        guard unsafe rename(building, path) == 0 else { throw .failed(call: "rename", path: building, code: errno) }
        try BulkLoad.sync(parent(path))
    }

    private func open() throws(StoreError) -> Environment {
        guard let environment else { throw .failed(call: "write", path: path, code: EBADF) }
        return environment
    }

    private func transaction(_ environment: Environment) throws(StoreError) -> OpaquePointer {
        if let txn { return unsafe txn }
        if environment.extentBytes() > environment.mapBytes / 2 {
            let grown = try environment.grow()
            invariant(grown, "nobody reads a store that is being built")
        }
        let new = unsafe try environment.begin(write: true)
        unsafe txn = new
        return unsafe new
    }

    private func commit() throws(StoreError) {
        guard let open = txn else { return }
        txn = nil
        pendingChanges = 0
        pendingBytes = 0
        unsafe try check(mdb_txn_commit(open), "commit", building)
        // The disk works while the next pairs come; what fails here, fails in the sync that waits for it.
        if let environment { _ = covey_start_writeback(try environment.descriptor()) }
    }

    private func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func sync(_ folder: String) throws(StoreError) {
        let descriptor = unsafe Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failed(call: "open", path: folder, code: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .failed(call: "fsync", path: folder, code: errno) }
    }

    /// What a broken-off load left. If it cannot be removed, making the folder says so.
    private static func remove(_ folder: String) {
        for name in ["data.mdb", "lock.mdb"] { _ = unsafe unlink(folder + "/" + name) }
        _ = unsafe rmdir(folder)
    }
}
