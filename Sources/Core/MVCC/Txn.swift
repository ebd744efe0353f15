// Transactions: compares on the state before, for the whole tree; then checks of what will run; then the operations, in
// order, each seeing the ones before it. All or nothing, under one revision (client-semantics 5.2 and 5.3).
//
// The request is read in place and the answer appended as encoded fields: `succeeded` and `responses` of a TxnResponse.
// The caller puts its own header before them, with the revision the store has afterwards.

import Foundations
import Wire

/// What happens to ranges that stand directly in the branches of a logged transaction. Members that are not asked for the
/// answer treat them differently by version (apply-semantics 3.1).
package struct TxnRanges: Sendable {
    /// A range at a revision that cannot be read fails the whole transaction, before it writes.
    package var areChecked = true
    /// Somebody waits for the answer. Without, no response is made.
    package var areAnswered = true

    package init(areChecked: Bool = true, areAnswered: Bool = true) {
        self.areChecked = areChecked
        self.areAnswered = areAnswered
    }
}

package struct TxnOutcome: Sendable {
    package var succeeded: Bool
    /// Whether it took a revision; what changed is in `KeyValueStore.changes`.
    package var changed: Bool
    /// An unchecked range could not be read: the writes are done, the client gets this error.
    package var rangeError: KeyValueError?
}

extension KeyValueStore {
    /// Runs an encoded TxnRequest that `TxnRules.check` has accepted (here or at its proposer). Errors mean that nothing
    /// was done.
    package func txn(
        _ request: RawSpan, ranges: TxnRanges = TxnRanges(), leaseExists: (Int64) -> Bool, into body: inout [UInt8]
    ) throws(KeyValueError) -> TxnOutcome {
        var path: [Bool] = []
        choose(request, &path)
        var run = TxnRun(path: path, ranges: ranges)
        // First the puts of the whole path, then its ranges: which error a client sees depends on it.
        try run.checkPuts(request, self, leaseExists)
        run.step = 0
        try run.checkRanges(request, self, directRanges: ranges.areChecked)
        run.step = 0
        beginWrite()
        run.execute(request, self, &body)
        let changed = endWrite()
        return TxnOutcome(succeeded: path[0], changed: changed, rangeError: run.rangeError)
    }

    /// For a proposer: can the ranges that stand directly in the branch that would run now be read?
    /// A put that will be refused comes first: its error is the one that is told when the entry is applied.
    package func checkDirectRanges(_ request: RawSpan, leaseExists: (Int64) -> Bool) throws(KeyValueError) {
        var path: [Bool] = []
        choose(request, &path)
        var run = TxnRun(path: path, ranges: TxnRanges())
        do throws(KeyValueError) { try run.checkPuts(request, self, leaseExists) } catch { return }
        run.step = 0
        try run.checkDirectRanges(request, self)
    }

    /// Evaluates the compares of a transaction and of the nested ones on the chosen path: one result each, in the order
    /// in which they are entered.
    private func choose(_ request: RawSpan, _ path: inout [Bool]) {
        let txn = TxnDecoding.txn(request)
        var succeeded = true
        var compares = txn.compare.makeIterator()
        while succeeded, let bytes = compares.next() { succeeded = holds(bytes) }
        path.append(succeeded)
        var operations = succeeded ? txn.success.makeIterator() : txn.failure.makeIterator()
        while let bytes = operations.next() {
            let operation = TxnDecoding.operation(bytes)
            if operation.requestField == 4 { choose(operation.requestTxn, &path) }
        }
    }

    // MARK: Compares

    private func holds(_ bytes: RawSpan) -> Bool {
        let compare = TxnDecoding.compare(bytes)
        if compare.rangeEnd.isEmpty {
            guard let version = index.version(of: compare.key, at: .max) else { return absentHolds(compare) }
            return holds(compare, version)
        }
        var scan = index.scan(
            from: compare.key, to: compare.rangeEnd, isOpen: KeyValueStore.isOpenEnd(compare.rangeEnd))
        var isEmpty = true
        while let (_, version) = next(&scan, at: .max) {
            isEmpty = false
            if !holds(compare, version) { return false }
        }
        return isEmpty ? absentHolds(compare) : true
    }

    /// Numbers of a key that is not there are 0; a value that is not there compares false with everything.
    private func absentHolds(_ compare: borrowing CompareView) -> Bool {
        if compare.target == .value { return false }
        return KeyValueStore.result(compare, KeyValueStore.order(0, KeyValueStore.given(compare)))
    }

    private func holds(_ compare: borrowing CompareView, _ version: KeyVersion) -> Bool {
        let order: Int
        switch compare.target {
        case .version: order = KeyValueStore.order(version.version, KeyValueStore.given(compare))
        case .create: order = KeyValueStore.order(version.createRevision, KeyValueStore.given(compare))
        case .mod: order = KeyValueStore.order(version.revision.main, KeyValueStore.given(compare))
        case .lease: order = KeyValueStore.order(parts(version.revision).lease, KeyValueStore.given(compare))
        case .value: order = valueOrder(compare, version)
        default: order = 0
        }
        return KeyValueStore.result(compare, order)
    }

    private func valueOrder(_ compare: borrowing CompareView, _ version: KeyVersion) -> Int {
        var stored: [UInt8] = []
        appendStored(version.revision, to: &stored)
        guard let parts = StoredKeyValue(stored.rawSpan) else { unreachable("stored bytes are a KeyValue") }
        let value = stored.rawSpan.extracting(parts.value)
        return compare.targetUnionField == 7 ? value.compare(compare.value) : value.byteCount
    }

    /// The number to compare with: 0 when the member that is set is not the one of the target.
    private static func given(_ compare: borrowing CompareView) -> Int64 {
        switch (compare.target, compare.targetUnionField) {
        case (.version, 4): compare.version
        case (.create, 5): compare.createRevision
        case (.mod, 6): compare.modRevision
        case (.lease, 8): compare.lease
        default: 0
        }
    }

    private static func order(_ a: Int64, _ b: Int64) -> Int { a < b ? -1 : (a > b ? 1 : 0) }

    private static func result(_ compare: borrowing CompareView, _ order: Int) -> Bool {
        switch compare.result {
        case .equal: order == 0
        case .greater: order > 0
        case .less: order < 0
        case .notEqual: order != 0
        default: true
        }
    }
}

/// One run of a transaction over its chosen path.
private struct TxnRun {
    let path: [Bool]
    let ranges: TxnRanges
    /// The next transaction of the path.
    var step = 0
    var rangeError: KeyValueError?
    /// Answers of operations are made here first, because their length comes before them.
    private var room: [[UInt8]] = []

    init(path: [Bool], ranges: TxnRanges) {
        self.path = path
        self.ranges = ranges
    }

    // MARK: Checks

    /// Against the state before the transaction: a key that an earlier operation creates does not count.
    mutating func checkPuts(_ request: RawSpan, _ store: KeyValueStore, _ leaseExists: (Int64) -> Bool) throws(KeyValueError) {
        var operations = next(request)
        while let bytes = operations.next() {
            let operation = TxnDecoding.operation(bytes)
            switch operation.requestField {
            case 2:
                let put = TxnDecoding.put(operation.requestPut)
                if put.ignoreValue || put.ignoreLease, store.current(put.key) == nil { throw .keyNotFound }
                if put.lease != 0 && !leaseExists(put.lease) { throw .leaseNotFound }
            case 4: try checkPuts(operation.requestTxn, store, leaseExists)
            default: break
            }
        }
    }

    mutating func checkRanges(_ request: RawSpan, _ store: KeyValueStore, directRanges: Bool) throws(KeyValueError) {
        var operations = next(request)
        while let bytes = operations.next() {
            let operation = TxnDecoding.operation(bytes)
            switch operation.requestField {
            case 1 where directRanges: try store.checkTxnRevision(TxnDecoding.range(operation.requestRange).revision)
            case 4: try checkRanges(operation.requestTxn, store, directRanges: true)
            default: break
            }
        }
    }

    /// Those of the outer transaction, up to a nested one that will be refused when the entry is applied: of two errors the
    /// one that comes first in the request is told.
    mutating func checkDirectRanges(_ request: RawSpan, _ store: KeyValueStore) throws(KeyValueError) {
        var operations = next(request)
        while let bytes = operations.next() {
            let operation = TxnDecoding.operation(bytes)
            switch operation.requestField {
            case 1: try store.checkTxnRevision(TxnDecoding.range(operation.requestRange).revision)
            case 4:
                do throws(KeyValueError) { try checkRanges(operation.requestTxn, store, directRanges: true) } catch { return }
            default: break
            }
        }
    }

    /// The operations of the next transaction on the path.
    @_lifetime(copy request)
    private mutating func next(_ request: RawSpan) -> RepeatedPayloads.Iterator {
        let txn = TxnDecoding.txn(request)
        let chosen = path[step]
        step += 1
        return chosen ? txn.success.makeIterator() : txn.failure.makeIterator()
    }

    // MARK: Operations

    mutating func execute(_ request: RawSpan, _ store: KeyValueStore, _ body: inout [UInt8]) {
        let txn = TxnDecoding.txn(request)
        let succeeded = path[step]
        step += 1
        if succeeded { FieldWriter.number(0x10, 1, &body) }
        var operations = succeeded ? txn.success.makeIterator() : txn.failure.makeIterator()
        while let bytes = operations.next() {
            let operation = TxnDecoding.operation(bytes)
            var response = room.popLast() ?? []
            switch operation.requestField {
            case 1: range(operation.requestRange, store, &response)
            case 2: put(operation.requestPut, store, &response)
            case 3: delete(operation.requestDeleteRange, store, &response)
            case 4:
                // The header of a nested answer is there, and empty.
                response.append(0x0a)
                response.append(0)
                execute(operation.requestTxn, store, &response)
            default: break
            }
            if ranges.areAnswered { TxnRun.append(operation.requestField, response, &body) }
            response.removeAll(keepingCapacity: response.capacity <= 1 << 16)
            room.append(response)
        }
    }

    private mutating func range(_ request: RawSpan, _ store: KeyValueStore, _ response: inout [UInt8]) {
        guard ranges.areAnswered else { return }
        let range = TxnDecoding.range(request)
        TxnRun.appendHeader(store, &response)
        do throws(KeyValueError) {
            let result = try store.range(range.key, range.rangeEnd, RangeOptions(range), into: &response)
            if result.more { FieldWriter.number(0x18, 1, &response) }
            FieldWriter.number(0x20, result.count, &response)
        } catch {
            rangeError = rangeError ?? error
        }
    }

    private mutating func put(_ request: RawSpan, _ store: KeyValueStore, _ response: inout [UInt8]) {
        let put = TxnDecoding.put(request)
        var previous = room.popLast() ?? []
        if put.prevKv && ranges.areAnswered { _ = store.appendCurrent(put.key, field: 0x12, to: &previous) }
        store.put(put)
        TxnRun.appendHeader(store, &response)
        response += previous
        previous.removeAll(keepingCapacity: true)
        room.append(previous)
    }

    private mutating func delete(_ request: RawSpan, _ store: KeyValueStore, _ response: inout [UInt8]) {
        let delete = TxnDecoding.delete(request)
        var previous = room.popLast() ?? []
        let count = store.deleteRange(
            delete.key, delete.rangeEnd, previousField: delete.prevKv && ranges.areAnswered ? 0x1a : nil,
            previous: &previous)
        TxnRun.appendHeader(store, &response)
        FieldWriter.number(0x10, Int64(count), &response)
        response += previous
        previous.removeAll(keepingCapacity: true)
        room.append(previous)
    }

    /// A header with nothing but the revision that is visible at this point.
    private static func appendHeader(_ store: KeyValueStore, _ response: inout [UInt8]) {
        response.append(0x0a)
        response.append(UInt8(FieldWriter.numberCount(store.visibleRevision)))
        FieldWriter.number(0x18, store.visibleRevision, &response)
    }

    /// A ResponseOp in `responses`; its members have the numbers of the request's.
    private static func append(_ field: UInt32, _ response: [UInt8], _ body: inout [UInt8]) {
        body.append(0x1a)
        if field == 0 {
            body.append(0)
            return
        }
        FieldWriter.varint(UInt64(FieldWriter.bytesCount(response.count)), &body)
        FieldWriter.bytes(UInt8(field << 3 | 2), response.rawSpan, &body)
    }
}

extension KeyValueStore {
    /// A put whose conditions were checked. When a flag asks to keep what an earlier operation of the same transaction has
    /// deleted there is nothing to keep: real members stop there; we go on with an empty value or no lease.
    package func put(_ request: borrowing PutRequestView) {
        do throws(KeyValueError) {
            if request.ignoreValue {
                try putKeepingValue(request.key, lease: request.ignoreLease ? nil : request.lease)
            } else if request.ignoreLease {
                try putKeepingLease(request.key, request.value)
            } else {
                put(request.key, request.value, lease: request.lease)
            }
        } catch {
            put(request.key, request.value, lease: request.lease)
        }
    }
}

extension RangeOptions {
    package init(_ request: borrowing RangeRequestView) {
        limit = request.limit
        revision = request.revision
        keysOnly = request.keysOnly
        countOnly = request.countOnly
        minModRevision = request.minModRevision
        maxModRevision = request.maxModRevision
        minCreateRevision = request.minCreateRevision
        maxCreateRevision = request.maxCreateRevision
        switch request.sortOrder {
        case .ascend: order = .ascend
        case .descend: order = .descend
        default: order = .none
        }
        switch request.sortTarget {
        case .version: target = .version
        case .create: target = .create
        case .mod: target = .mod
        case .value: target = .value
        default: target = .key
        }
    }

    /// Whether the numbers of a request are ones we know; others are refused (client-semantics 2).
    package static func isKnownSort(_ order: RangeRequest.SortOrder, _ target: RangeRequest.SortTarget) -> Bool {
        (0...2).contains(order.rawValue) && (0...4).contains(target.rawValue)
    }
}
