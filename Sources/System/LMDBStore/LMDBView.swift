// StoreView on a read transaction. Values are borrowed straight from the map.

import CLMDB
import Foundations
import MVCC

package final class LMDBView: StoreView {
    private let environment: Environment
    private let reader: Reader
    /// Otherwise the reader belongs to somebody who outlives this view.
    private let ownsReader: Bool

    init(_ environment: Environment) throws(StoreError) {
        self.environment = environment
        reader = try environment.acquireReader()
        ownsReader = true
    }

    init(_ environment: Environment, lent reader: Reader) {
        self.environment = environment
        self.reader = reader
        ownsReader = false
    }

    deinit { if ownsReader { environment.release(reader) } }

    package func get(_ table: StoreTable, _ key: RawSpan, _ body: (RawSpan?) -> Void) {
        if key.byteCount >= LongKeys.prefixBytes { return getLong(table, key, body) }
        guard key.byteCount > 0 else { return body(nil) }
        var value = unsafe MDB_val()
        // By cursor, because one that stands on the page where the key is looks no further: ranges read near revisions.
        let cursor = unsafe reader.takeCursor(table)
        defer { unsafe reader.giveBack(cursor, table) }
        let code = unsafe withValue(key) { key in unsafe mdb_cursor_get(cursor, &key, &value, MDB_SET) }
        if code == MDB_NOTFOUND { return body(nil) }
        reader.mustSucceed(code, "read")
        body(unsafe span(value))
    }

    package func scan(
        _ table: StoreTable, from: [UInt8], to: [UInt8]?, _ body: (_ key: RawSpan, _ value: RawSpan) -> Bool
    ) {
        let walk = TableWalk(reader, table, from: from)
        defer { walk.finish() }
        while walk.next({ key, value in
            if let to, key.compare(to.rawSpan) >= 0 { return false }
            return body(key, value)
        }) {}
    }

    package func count(_ table: StoreTable) -> Int {
        switch table {
        case .authUsers, .authRoles:
            // Their long keys share records.
            var count = 0
            scan(table, from: [], to: nil) { _, _ in
                count += 1
                return true
            }
            return count
        default:
            var stat = MDB_stat()
            reader.mustSucceed(unsafe mdb_stat(reader.txn, reader.dbi(table), &stat), "count")
            return Int(stat.ms_entries)
        }
    }

    private func getLong(_ table: StoreTable, _ key: RawSpan, _ body: (RawSpan?) -> Void) {
        var value = unsafe MDB_val()
        let code = unsafe withValue(key.extracting(first: LongKeys.prefixBytes)) { prefix in
            unsafe mdb_get(reader.txn, reader.dbi(table), &prefix, &value)
        }
        if code == MDB_NOTFOUND { return body(nil) }
        reader.mustSucceed(code, "read")
        let pairs = LongKeys.decode(unsafe span(value))
        guard let pair = pairs.first(where: { $0.key.rawSpan.elementsEqual(key) }) else { return body(nil) }
        body(pair.value.rawSpan)
    }
}

/// Walks a table in key order, one pair at a call, with lists of long keys taken apart. Call `finish` in the end.
@safe final class TableWalk {
    private let reader: Reader
    private let table: StoreTable
    private let from: Bytes
    @safe private let cursor: OpaquePointer
    private var started = false
    private var pairs: [LongKeys.Pair] = []
    private var nextPair = 0

    init(_ reader: Reader, _ table: StoreTable, from: Bytes) {
        self.reader = reader
        self.table = table
        self.from = from
        cursor = unsafe reader.takeCursor(table)
    }

    func finish() { unsafe reader.giveBack(cursor, table) }

    /// False at the end, or when the body returned false.
    @inline(__always)
    func next(_ body: (_ key: RawSpan, _ value: RawSpan) -> Bool) -> Bool {
        if nextPair < pairs.count { return nextLong(body) }
        var key = unsafe MDB_val()
        var value = unsafe MDB_val()
        let code = started ? unsafe mdb_cursor_get(cursor, &key, &value, MDB_NEXT) : unsafe start(&key, &value)
        started = true
        if code == MDB_NOTFOUND { return false }
        reader.mustSucceed(code, "scan")
        if unsafe key.mv_size == LongKeys.prefixBytes {
            pairs = LongKeys.decode(unsafe span(value)).filter { !$0.key.lexicographicallyPrecedes(from) }
            nextPair = 0
            return pairs.isEmpty ? next(body) : nextLong(body)
        }
        return body(unsafe span(key), unsafe span(value))
    }

    @inline(never)
    private func nextLong(_ body: (_ key: RawSpan, _ value: RawSpan) -> Bool) -> Bool {
        nextPair += 1
        let pair = pairs[nextPair - 1]
        return body(pair.key.rawSpan, pair.value.rawSpan)
    }

    @unsafe
    private func start(_ key: inout MDB_val, _ value: inout MDB_val) -> Int32 {
        if from.isEmpty { return unsafe mdb_cursor_get(cursor, &key, &value, MDB_FIRST) }
        let start = from
        return unsafe withValue(start.rawSpan.extracting(first: LongKeys.prefixBytes)) { prefix in
            unsafe key = prefix
            return unsafe mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        }
    }
}
