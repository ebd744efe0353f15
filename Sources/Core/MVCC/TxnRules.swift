// What a transaction must be before it is proposed, and what it touches. Everything here reads the encoded TxnRequest;
// `check` is also what proves that the whole tree decodes, so that evaluation does not have to doubt it.

import Foundations
import Wire

/// Why a transaction is refused before it is proposed.
package enum TxnRefusal: Error, Equatable {
    case malformed(WireError)
    case tooManyOperations
    case emptyKey
    /// An operation without a request.
    case keyNotFound
    case valueProvided
    case leaseProvided
    case invalidSort
    case duplicateKey
}

/// What a part of a transaction needs to be allowed.
package enum TxnAccess: Equatable, Sendable {
    case compare
    case range
    case put(lease: Int64, previous: Bool)
    case delete(previous: Bool)
}

package enum TxnRules {
    /// Validates the whole tree, both branches (client-semantics 5.1).
    package static func check(_ request: RawSpan, operationsMax: Int) throws(TxnRefusal) {
        try checkOperations(request, budget: operationsMax)
        let txn = TxnDecoding.txn(request)
        if mayClash(txn.success) { _ = try writes(txn.success) }
        if mayClash(txn.failure) { _ = try writes(txn.failure) }
    }

    /// True when every operation of both branches is a plain range: then nothing needs to be replicated.
    package static func isReadOnly(_ request: RawSpan) -> Bool {
        let txn = TxnDecoding.txn(request)
        return onlyRanges(txn.success) && onlyRanges(txn.failure)
    }

    /// True for a read-only transaction whose ranges may all be answered from local state; so too without any range.
    package static func isSerializable(_ request: RawSpan) -> Bool {
        let txn = TxnDecoding.txn(request)
        return onlyRanges(txn.success, serializable: true) && onlyRanges(txn.failure, serializable: true)
    }

    private static func onlyRanges(_ operations: borrowing RepeatedPayloads, serializable: Bool = false) -> Bool {
        var list = operations.makeIterator()
        while let bytes = list.next() {
            let operation = TxnDecoding.operation(bytes)
            if operation.requestField != 1 { return false }
            if serializable && !TxnDecoding.range(operation.requestRange).serializable { return false }
        }
        return true
    }

    /// Calls `body` for every compare and operation of the tree, both branches, until it returns false; the result is
    /// whether it never did. Ranges directly in the branches of the outer transaction are left out on request
    /// (apply-semantics 3.1).
    package static func visit(
        _ request: RawSpan, directRanges: Bool = true,
        _ body: (_ access: TxnAccess, _ key: RawSpan, _ end: RawSpan) -> Bool
    ) -> Bool {
        let txn = TxnDecoding.txn(request)
        var compares = txn.compare.makeIterator()
        while let bytes = compares.next() {
            let compare = TxnDecoding.compare(bytes)
            if !body(.compare, compare.key, compare.rangeEnd) { return false }
        }
        return visit(txn.success, directRanges, body) && visit(txn.failure, directRanges, body)
    }

    private static func visit(
        _ operations: borrowing RepeatedPayloads, _ directRanges: Bool,
        _ body: (_ access: TxnAccess, _ key: RawSpan, _ end: RawSpan) -> Bool
    ) -> Bool {
        var list = operations.makeIterator()
        while let bytes = list.next() {
            let operation = TxnDecoding.operation(bytes)
            switch operation.requestField {
            case 1 where directRanges:
                let range = TxnDecoding.range(operation.requestRange)
                if !body(.range, range.key, range.rangeEnd) { return false }
            case 2:
                let put = TxnDecoding.put(operation.requestPut)
                if !body(.put(lease: put.lease, previous: put.prevKv), put.key, put.key.extracting(first: 0)) {
                    return false
                }
            case 3:
                let delete = TxnDecoding.delete(operation.requestDeleteRange)
                if !body(.delete(previous: delete.prevKv), delete.key, delete.rangeEnd) { return false }
            case 4:
                if !visit(operation.requestTxn, directRanges: true, body) { return false }
            default: break
            }
        }
        return true
    }

    // MARK: Operations

    /// The size of the tree, and each operation as the call of its own that it stands for. Decodes everything.
    private static func checkOperations(_ request: RawSpan, budget: Int) throws(TxnRefusal) {
        let refusal: TxnRefusal?
        do throws(WireError) { refusal = try refusalOf(request, budget) } catch { throw .malformed(error) }
        if let refusal { throw refusal }
    }

    private static func refusalOf(_ request: RawSpan, _ budget: Int) throws(WireError) -> TxnRefusal? {
        let txn = try TxnRequestView(decoding: request)
        let count = max(txn.compare.count, txn.success.count, txn.failure.count)
        if count > budget { return .tooManyOperations }
        var compares = txn.compare.makeIterator()
        while let bytes = compares.next() {
            if try CompareView(decoding: bytes).key.isEmpty { return .emptyKey }
        }
        var success = txn.success.makeIterator()
        while let bytes = success.next() {
            if let refusal = try refusalOf(operation: bytes, budget - count) { return refusal }
        }
        var failure = txn.failure.makeIterator()
        while let bytes = failure.next() {
            if let refusal = try refusalOf(operation: bytes, budget - count) { return refusal }
        }
        return nil
    }

    private static func refusalOf(operation bytes: RawSpan, _ budget: Int) throws(WireError) -> TxnRefusal? {
        let operation = try RequestOpView(decoding: bytes)
        switch operation.requestField {
        case 1:
            let range = try RangeRequestView(decoding: operation.requestRange)
            if range.key.isEmpty { return .emptyKey }
            return RangeOptions.isKnownSort(range.sortOrder, range.sortTarget) ? nil : .invalidSort
        case 2:
            let put = try PutRequestView(decoding: operation.requestPut)
            if put.key.isEmpty { return .emptyKey }
            if put.ignoreValue && !put.value.isEmpty { return .valueProvided }
            return put.ignoreLease && put.lease != 0 ? .leaseProvided : nil
        case 3:
            return try DeleteRangeRequestView(decoding: operation.requestDeleteRange).key.isEmpty ? .emptyKey : nil
        case 4: return try refusalOf(operation.requestTxn, budget)
        default: return .keyNotFound
        }
    }

    // MARK: Overlaps

    /// What a branch writes.
    private struct Writes {
        var puts: Set<[UInt8]> = []
        var deletes = KeyIntervals()

        func clashes(_ key: [UInt8]) -> Bool { puts.contains(key) || deletes.contains(key) }
    }

    /// A branch of one operation has nothing to meet, unless it is a transaction itself.
    private static func mayClash(_ operations: borrowing RepeatedPayloads) -> Bool {
        guard operations.count <= 1 else { return true }
        var list = operations.makeIterator()
        guard let bytes = list.next() else { return false }
        return TxnDecoding.operation(bytes).requestField == 4
    }

    /// The writes of a branch, or the refusal when two of them meet that must not.
    private static func writes(_ operations: borrowing RepeatedPayloads) throws(TxnRefusal) -> Writes {
        var all = Writes()
        var deletes = operations.makeIterator()
        while let bytes = deletes.next() {
            let operation = TxnDecoding.operation(bytes)
            guard operation.requestField == 3 else { continue }
            let delete = TxnDecoding.delete(operation.requestDeleteRange)
            all.deletes.insert([UInt8](delete.key), end: [UInt8](delete.rangeEnd))
        }
        var children = operations.makeIterator()
        while let bytes = children.next() {
            let operation = TxnDecoding.operation(bytes)
            guard operation.requestField == 4 else { continue }
            let child = TxnDecoding.txn(operation.requestTxn)
            let then = try writes(child.success)
            let otherwise = try writes(child.failure)
            for key in then.puts where all.clashes(key) { throw .duplicateKey }
            for key in otherwise.puts where all.clashes(key) { throw .duplicateKey }
            // Only one of the two branches runs, so they may have keys in common.
            all.puts.formUnion(then.puts)
            all.puts.formUnion(otherwise.puts)
            all.deletes.formUnion(then.deletes)
            all.deletes.formUnion(otherwise.deletes)
        }
        var puts = operations.makeIterator()
        while let bytes = puts.next() {
            let operation = TxnDecoding.operation(bytes)
            guard operation.requestField == 2 else { continue }
            let key = [UInt8](TxnDecoding.put(operation.requestPut).key)
            if all.clashes(key) { throw .duplicateKey }
            all.puts.insert(key)
        }
        return all
    }
}

/// Views of what `TxnRules.check` has decoded before, here or at the member that proposed it.
enum TxnDecoding {
    @_lifetime(copy bytes)
    static func txn(_ bytes: RawSpan) -> TxnRequestView {
        do throws(WireError) { return try TxnRequestView(decoding: bytes) } catch { undecodable(error) }
    }

    @_lifetime(copy bytes)
    static func operation(_ bytes: RawSpan) -> RequestOpView {
        do throws(WireError) { return try RequestOpView(decoding: bytes) } catch { undecodable(error) }
    }

    @_lifetime(copy bytes)
    static func compare(_ bytes: RawSpan) -> CompareView {
        do throws(WireError) { return try CompareView(decoding: bytes) } catch { undecodable(error) }
    }

    @_lifetime(copy bytes)
    static func range(_ bytes: RawSpan) -> RangeRequestView {
        do throws(WireError) { return try RangeRequestView(decoding: bytes) } catch { undecodable(error) }
    }

    @_lifetime(copy bytes)
    static func put(_ bytes: RawSpan) -> PutRequestView {
        do throws(WireError) { return try PutRequestView(decoding: bytes) } catch { undecodable(error) }
    }

    @_lifetime(copy bytes)
    static func delete(_ bytes: RawSpan) -> DeleteRangeRequestView {
        do throws(WireError) { return try DeleteRangeRequestView(decoding: bytes) } catch { undecodable(error) }
    }

    private static func undecodable(_ error: WireError) -> Never {
        unreachable("a transaction that was checked decodes: \(error)")
    }
}
