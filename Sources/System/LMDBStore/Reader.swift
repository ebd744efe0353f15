// A read transaction with a cursor for each table, kept and renewed instead of made anew: taking a view costs no
// allocation inside LMDB.

import CLMDB
import Foundations
import MVCC

// Used by one view, so by one thread, at a time; the environment's gate hands it from one to the next.
@safe final class Reader: @unchecked Sendable {
    @safe let txn: OpaquePointer
    private let tables: [MDB_dbi]
    private let path: String
    /// A cursor while it is in use is taken out, so that a scan inside a scan gets one of its own.
    @safe private var cursors: [OpaquePointer?]
    private var stale = [Bool](repeating: false, count: StoreTable.allCases.count)

    init(_ txn: OpaquePointer, _ environment: Environment) {
        self.txn = unsafe txn
        tables = environment.tables
        path = environment.path
        cursors = unsafe .init(repeating: nil, count: StoreTable.allCases.count)
    }

    /// The number of the state it sees.
    var state: Int { Int(unsafe mdb_txn_id(txn)) }

    func renew() -> Bool { unsafe mdb_txn_renew(txn) == MDB_SUCCESS }

    func reset() {
        unsafe mdb_txn_reset(txn)
        for i in stale.indices { stale[i] = true }
    }

    func abort() {
        for i in unsafe cursors.indices {
            if let cursor = unsafe cursors[i] { unsafe mdb_cursor_close(cursor) }
            unsafe cursors[i] = nil
        }
        unsafe mdb_txn_abort(txn)
    }

    func dbi(_ table: StoreTable) -> MDB_dbi { tables[Int(table.rawValue)] }

    func takeCursor(_ table: StoreTable) -> OpaquePointer {
        let i = Int(table.rawValue)
        if let cursor = unsafe cursors[i] {
            unsafe cursors[i] = nil
            if stale[i] {
                unsafe mustSucceed(mdb_cursor_renew(txn, cursor), "renew cursor")
                stale[i] = false
            }
            return unsafe cursor
        }
        var cursor: OpaquePointer?
        mustSucceed(unsafe mdb_cursor_open(txn, tables[i], &cursor), "open cursor")
        guard let cursor = unsafe cursor else { unreachable("LMDB gave no cursor") }
        return unsafe cursor
    }

    func giveBack(_ cursor: OpaquePointer, _ table: StoreTable) {
        let i = Int(table.rawValue)
        if unsafe cursors[i] == nil { unsafe cursors[i] = unsafe cursor } else { unsafe mdb_cursor_close(cursor) }
    }

    /// Reading a store that was opened fails only when memory is gone or the file is damaged under us; there is no answer
    /// to give then that would not be a lie.
    func mustSucceed(_ code: Int32, _ call: String) {
        if code != MDB_SUCCESS { invariantViolated("\(StoreError.failed(call: call, path: path, code: code))") }
    }
}

func invariantViolated(_ message: String) -> Never { unreachable(message) }
