// One LMDB environment with a table for each StoreTable: opening, refusing what is not ours, read transactions, growth.
//
// The map is virtual address space, so it is large from the start. Should it ever be too small, it may be replaced only
// while no transaction uses it: readers pass a gate that counts them, and growth happens when the count is zero.

import CLMDB
import Foundations
import Glibc
import Linux
import MVCC

package struct StoreOptions: Sendable {
    /// Address space for the file, at first; it is doubled when the file needs more.
    package var mapBytes = 16 << 30
    /// Changes committed together, when several batches wait.
    package var operationsPerCommitMax = 10_000
    /// `isBacklogged` from here on.
    package var backlogBytesMax = 64 << 20

    package init() {}
}

// Safe to share: the environment's pointer and table handles never change; LMDB allows read transactions from any thread
// (MDB_NOTLS) and the one write transaction stays on the thread that began it; the rest is behind the mutex.
@safe final class Environment: @unchecked Sendable {
    static let format = "1"
    private static let formatKey = "covey.format"
    static let dataFile = "data.mdb"

    let path: String
    @safe let handle: OpaquePointer
    private(set) var tables: [MDB_dbi] = []
    let pageBytes: Int

    private struct Gate: ~Copyable {
        /// The states that readers see, one each.
        var states: [Int] = []
        var idle: [Reader] = []
        var mapBytes: Int
    }
    private let gate: Mutex<Gate>

    /// Opens, or with `creating` makes, the environment in a folder that exists.
    init(_ path: String, mapBytes: Int, creating: Bool, flags: UInt32 = 0) throws(StoreError) {
        self.path = path
        let file = path + "/" + Environment.dataFile
        if !creating { try Environment.checkFile(file) }
        var made: OpaquePointer?
        try check(unsafe mdb_env_create(&made), "create", path)
        guard let made = unsafe made else { throw .failed(call: "create", path: path, code: ENOMEM) }
        handle = unsafe made
        gate = Mutex(Gate(mapBytes: mapBytes))
        var stat = MDB_stat()
        do throws(StoreError) {
            unsafe try check(mdb_env_set_maxdbs(made, MDB_dbi(StoreTable.allCases.count)), "configure", path)
            unsafe try check(mdb_env_set_maxreaders(made, 1024), "configure", path)
            unsafe try check(mdb_env_set_mapsize(made, mapBytes), "configure", path)
            let code = unsafe mdb_env_open(made, path, flags | UInt32(MDB_NOTLS), 0o600)
            switch code {
            case MDB_INVALID: throw .foreign(path: file)
            case MDB_VERSION_MISMATCH: throw .foreign(path: file)
            case MDB_CORRUPTED: throw .damaged(path: file, what: "LMDB calls it corrupted")
            default: try check(code, "open", path)
            }
            try check(unsafe mdb_env_stat(made, &stat), "stat", path)
        } catch {
            unsafe mdb_env_close(made)
            throw error
        }
        // From here on the object is whole: a throw runs deinit, which closes.
        pageBytes = Int(stat.ms_psize)
        if !creating { try checkLength(file) }
        tables = try openTables(creating: creating)
    }

    deinit {
        gate.withLock { gate in
            for reader in gate.idle { reader.abort() }
            gate.idle = []
        }
        unsafe mdb_env_close(handle)
    }

    /// Read transactions under way.
    var openReads: Int { gate.withLock { $0.states.count } }

    // MARK: Opening

    /// An empty file would be taken for a new store and overwritten.
    private static func checkFile(_ file: String) throws(StoreError) {
        var status = stat()
        guard unsafe stat(file, &status) == 0 else {
            if errno == ENOENT { throw .missing(path: file) }
            throw .failed(call: "stat", path: file, code: errno)
        }
        if status.st_size == 0 { throw .damaged(path: file, what: "it is empty") }
    }

    /// Reading a page behind the end of the file would end the process.
    private func checkLength(_ file: String) throws(StoreError) {
        var status = stat()
        var info = unsafe MDB_envinfo()
        guard unsafe stat(file, &status) == 0 else { throw .failed(call: "stat", path: file, code: errno) }
        try check(unsafe mdb_env_info(handle, &info), "stat", path)
        let needed = unsafe (Int(info.me_last_pgno) + 1) * pageBytes
        guard Int(status.st_size) >= needed else {
            throw .damaged(path: file, what: "it has \(status.st_size) bytes and needs \(needed)")
        }
    }

    private func openTables(creating: Bool) throws(StoreError) -> [MDB_dbi] {
        let txn = unsafe try begin(write: creating)
        do throws(StoreError) {
            if creating {
                unsafe try putFormat(txn)
            } else {
                unsafe try checkFormat(txn)
            }
            var handles: [MDB_dbi] = []
            for table in StoreTable.allCases {
                var dbi: MDB_dbi = 0
                let code = unsafe mdb_dbi_open(txn, table.bucketName, creating ? UInt32(MDB_CREATE) : 0, &dbi)
                if code == MDB_NOTFOUND { throw .damaged(path: path, what: "table \(table.bucketName) is missing") }
                try check(code, "open table", path)
                handles.append(dbi)
            }
            unsafe try check(mdb_txn_commit(txn), "commit", path)
            return handles
        } catch {
            // A failed commit has freed the transaction; the others come before it.
            if case .failed(call: "commit", _, _) = error { throw error }
            unsafe mdb_txn_abort(txn)
            throw error
        }
    }

    private func main(_ txn: OpaquePointer) throws(StoreError) -> MDB_dbi {
        var dbi: MDB_dbi = 0
        try check(unsafe mdb_dbi_open(txn, nil, 0, &dbi), "open", path)
        return dbi
    }

    private func putFormat(_ txn: OpaquePointer) throws(StoreError) {
        let dbi = unsafe try main(txn)
        let code = unsafe withValue(Array(Environment.formatKey.utf8).rawSpan) { key in
            unsafe withValue(Array(Environment.format.utf8).rawSpan) { value in
                unsafe mdb_put(txn, dbi, &key, &value, 0)
            }
        }
        try check(code, "write", path)
    }

    /// A transaction that changes nothing, so that the pages freed by the one before it may be used.
    func commitAnew() throws(StoreError) {
        let txn = unsafe try begin(write: true)
        do throws(StoreError) { unsafe try putFormat(txn) } catch {
            unsafe mdb_txn_abort(txn)
            throw error
        }
        unsafe try check(mdb_txn_commit(txn), "commit", path)
    }

    private func checkFormat(_ txn: OpaquePointer) throws(StoreError) {
        let dbi = unsafe try main(txn)
        var value = unsafe MDB_val()
        let code = unsafe withValue(Array(Environment.formatKey.utf8).rawSpan) { key in
            unsafe mdb_get(txn, dbi, &key, &value)
        }
        if code == MDB_NOTFOUND { throw .foreign(path: path + "/" + Environment.dataFile) }
        try check(code, "read", path)
        let found = String(decoding: Bytes(unsafe span(value)), as: UTF8.self)
        guard found == Environment.format else { throw .newerFormat(path: path, found: found) }
    }

    // MARK: Transactions

    func begin(write: Bool) throws(StoreError) -> OpaquePointer {
        var txn: OpaquePointer?
        try check(unsafe mdb_txn_begin(handle, nil, write ? 0 : UInt32(MDB_RDONLY), &txn), "begin", path)
        guard let txn = unsafe txn else { throw .failed(call: "begin", path: path, code: ENOMEM) }
        return unsafe txn
    }

    /// A reader of what is committed now. Give it back with `release`.
    func acquireReader() throws(StoreError) -> Reader {
        try gate.withLock { gate throws(StoreError) in
            while let reader = gate.idle.popLast() {
                if reader.renew() {
                    gate.states.append(reader.state)
                    return reader
                }
                reader.abort()
            }
            let reader = unsafe Reader(try begin(write: false), self)
            gate.states.append(reader.state)
            return reader
        }
    }

    func release(_ reader: Reader) {
        let state = reader.state
        reader.reset()
        gate.withLock { gate in
            if let index = gate.states.lastIndex(of: state) { gate.states.remove(at: index) }
            if gate.idle.count < 16 { gate.idle.append(reader) } else { reader.abort() }
        }
    }

    var mapBytes: Int { gate.withLock { $0.mapBytes } }

    /// The oldest state that somebody reads.
    var oldestReader: Int? { gate.withLock { $0.states.min() } }

    /// Doubles the map when nobody reads; false when somebody does. No write transaction may be open.
    func grow() throws(StoreError) -> Bool {
        try gate.withLock { gate throws(StoreError) in
            guard gate.states.isEmpty else { return false }
            unsafe try check(mdb_env_set_mapsize(handle, gate.mapBytes * 2), "grow", path)
            gate.mapBytes *= 2
            return true
        }
    }

    func descriptor() throws(StoreError) -> Int32 {
        var descriptor: Int32 = -1
        try check(unsafe mdb_env_get_fd(handle, &descriptor), "use", path)
        return descriptor
    }

    /// Bytes from the start of the file to the end of the last page ever used.
    func extentBytes() -> Int {
        var info = unsafe MDB_envinfo()
        guard unsafe mdb_env_info(handle, &info) == MDB_SUCCESS else { return 0 }
        return unsafe (Int(info.me_last_pgno) + 1) * pageBytes
    }

    /// Bytes that the file takes from the file system, free pages included but for those that were given back.
    func allocatedBytes() -> Int {
        var status = stat()
        let extent = extentBytes()
        guard let descriptor = try? descriptor(), unsafe fstat(descriptor, &status) == 0 else { return extent }
        // A file system may allocate ahead of what is written.
        return min(extent, Int(status.st_blocks) * 512)
    }

    /// Bytes of the pages that hold data, as the transaction sees it.
    func usedBytes(_ txn: OpaquePointer) -> Int {
        var pages = 2 + 1
        for dbi in tables {
            var stat = MDB_stat()
            guard unsafe mdb_stat(txn, dbi, &stat) == MDB_SUCCESS else { continue }
            pages += Int(stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages)
        }
        return pages * pageBytes
    }
}

/// Runs `body` with LMDB's form of a byte view. LMDB reads keys and values and does not write through the pointer.
@inline(__always)
func withValue<Result>(_ bytes: RawSpan, _ body: (inout MDB_val) -> Result) -> Result {
    unsafe bytes.withUnsafeBytes { buffer in
        var value = unsafe MDB_val(
            mv_size: buffer.count, mv_data: UnsafeMutableRawPointer(mutating: buffer.baseAddress))
        return unsafe body(&value)
    }
}

/// The bytes LMDB points to; valid while the transaction lasts and, in a write transaction, until the next change.
@unsafe @inline(__always)
@_lifetime(immortal)
func span(_ value: MDB_val) -> RawSpan {
    guard let start = unsafe value.mv_data else { return RawSpan() }
    return unsafe _overrideLifetime(RawSpan(_unsafeStart: start, byteCount: value.mv_size), copying: ())
}
