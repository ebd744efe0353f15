// Carries out the changes of batches in a write transaction.

import CLMDB
import Foundations
import MVCC

extension Environment {
    /// LMDB's answer to the first change that failed, or success.
    func apply(_ batch: StoreBatch, _ txn: OpaquePointer) -> Int32 {
        let bytes = batch.bytes.rawSpan
        for operation in batch.operations {
            let code: Int32
            switch operation {
            case .put(let table, let key, let value, let append):
                code = unsafe put(txn, table, bytes.extracting(key), bytes.extracting(value), append: append)
            case .delete(let table, let key): code = unsafe delete(txn, table, bytes.extracting(key))
            case .clear(let table): code = unsafe mdb_drop(txn, dbi(table), 0)
            }
            if code != MDB_SUCCESS { return code }
        }
        return MDB_SUCCESS
    }

    func put(_ txn: OpaquePointer, _ table: StoreTable, _ key: RawSpan, _ value: RawSpan, append: Bool) -> Int32 {
        if key.byteCount >= LongKeys.prefixBytes { return unsafe change(txn, table, key, value) }
        invariant(key.byteCount > 0, "a key in table \(table) is empty")
        return unsafe withValue(key) { key in
            unsafe withValue(value) { value in
                unsafe mdb_put(txn, dbi(table), &key, &value, append ? UInt32(MDB_APPEND) : 0)
            }
        }
    }

    private func delete(_ txn: OpaquePointer, _ table: StoreTable, _ key: RawSpan) -> Int32 {
        if key.byteCount >= LongKeys.prefixBytes { return unsafe change(txn, table, key, nil) }
        guard key.byteCount > 0 else { return MDB_SUCCESS }
        let code = unsafe withValue(key) { key in unsafe mdb_del(txn, dbi(table), &key, nil) }
        return code == MDB_NOTFOUND ? MDB_SUCCESS : code
    }

    /// A long key: the list it lives in is rewritten.
    private func change(_ txn: OpaquePointer, _ table: StoreTable, _ key: RawSpan, _ value: RawSpan?) -> Int32 {
        unsafe withValue(key.extracting(first: LongKeys.prefixBytes)) { prefix in
            var old = unsafe MDB_val()
            let code = unsafe mdb_get(txn, dbi(table), &prefix, &old)
            guard code == MDB_SUCCESS || code == MDB_NOTFOUND else { return code }
            let list = LongKeys.changed(code == MDB_SUCCESS ? unsafe span(old) : RawSpan(), key, value)
            if list.isEmpty {
                let code = unsafe mdb_del(txn, dbi(table), &prefix, nil)
                return code == MDB_NOTFOUND ? MDB_SUCCESS : code
            }
            return unsafe withValue(list.rawSpan) { list in unsafe mdb_put(txn, dbi(table), &prefix, &list, 0) }
        }
    }

    func dbi(_ table: StoreTable) -> MDB_dbi { tables[Int(table.rawValue)] }
}
