// StoreView on a read transaction. Values are borrowed straight from the map.

import CLMDB
import Foundations
import Glibc
import MVCC

package final class LMDBView: StoreView {
    private let environment: Environment
    private let reader: Reader
    /// Otherwise the reader belongs to somebody who outlives this view.
    private let ownsReader: Bool
    /// So many look-ups from now the record after the last one is tried first: keys that were written one after the other
    /// are read so, and the step is a tenth of a search. A view of one look-up never tries.
    private var step = 1
    private static let stepsAfterMiss = 16

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
        if step == 0 {
            if unsafe isNext(key, cursor, &value) { return body(unsafe span(value)) }
            step = LMDBView.stepsAfterMiss
        } else {
            step -= 1
        }
        let code = unsafe withValue(key) { key in unsafe mdb_cursor_get(cursor, &key, &value, MDB_SET) }
        if code == MDB_NOTFOUND { return body(nil) }
        reader.mustSucceed(code, "read")
        body(unsafe span(value))
    }

    /// The cursor is taken once for all of them.
    package func get(_ table: StoreTable, each keyBytes: Int, of keys: RawSpan, _ body: (RawSpan?) -> Void) {
        invariant(keyBytes > 0 && keyBytes < LongKeys.prefixBytes, "keys of \(keyBytes) bytes are looked up together")
        let cursor = unsafe reader.takeCursor(table)
        defer { unsafe reader.giveBack(cursor, table) }
        var value = unsafe MDB_val()
        var untilStep = step
        for start in stride(from: 0, to: keys.byteCount, by: keyBytes) {
            let key = keys.extracting(start..<start + keyBytes)
            if untilStep == 0 {
                if unsafe isNext(key, cursor, &value) {
                    body(unsafe span(value))
                    continue
                }
                untilStep = LMDBView.stepsAfterMiss
            } else {
                untilStep -= 1
            }
            let code = unsafe withValue(key) { key in unsafe mdb_cursor_get(cursor, &key, &value, MDB_SET) }
            if code == MDB_NOTFOUND {
                body(nil)
            } else {
                reader.mustSucceed(code, "read")
                body(unsafe span(value))
            }
        }
        step = untilStep
    }

    /// Whether the cursor's next record has the key.
    @unsafe
    private func isNext(_ key: RawSpan, _ cursor: OpaquePointer, _ value: inout MDB_val) -> Bool {
        var found = unsafe MDB_val()
        guard unsafe mdb_cursor_get(cursor, &found, &value, MDB_NEXT) == MDB_SUCCESS else { return false }
        return unsafe span(found).elementsEqual(key)
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
    /// Where in the map the values lay, and how many bytes of them.
    private var touched: (low: UInt, high: UInt) = (.max, 0)
    private var walkedBytes = 0

    /// Longer walks let go of the pages they passed.
    private static let residentBytesMax = 16 << 20

    init(_ reader: Reader, _ table: StoreTable, from: Bytes) {
        self.reader = reader
        self.table = table
        self.from = from
        cursor = unsafe reader.takeCursor(table)
    }

    func finish() {
        unsafe reader.giveBack(cursor, table)
        releasePages()
    }

    /// What a walk through everything has mapped would count as this process's memory from then on. The pages stay in the
    /// system's cache; who reads them again gets them from there.
    private func releasePages() {
        guard walkedBytes > TableWalk.residentBytesMax else { return }
        let page = UInt(sysconf(Int32(_SC_PAGESIZE)))
        let start = touched.low / page * page
        let length = Int(touched.high - start)
        // Every byte between two values of one table lies in the one map, which is read-only and backed by the file.
        if let start = unsafe UnsafeMutableRawPointer(bitPattern: start) { _ = unsafe madvise(start, length, MADV_DONTNEED) }
    }

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
        let place = unsafe UInt(bitPattern: value.mv_data)
        unsafe touched = (min(touched.low, place), max(touched.high, place + UInt(value.mv_size)))
        unsafe walkedBytes += value.mv_size
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
