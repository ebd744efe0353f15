// Rules of transactions that the recordings do not show: overlaps in nested branches, compares over ranges, what happens to
// ranges that nobody waits for, and what a permission check gets to see.

import Foundations
import Testing
import Wire

@testable import MVCC

@Suite struct TxnTests {
    static func put(_ key: String, _ value: String = "", lease: Int64 = 0, ignoreValue: Bool = false) -> RequestOp {
        RequestOp(
            request: .requestPut(
                PutRequest(key: Array(key.utf8), value: Array(value.utf8), lease: lease, ignoreValue: ignoreValue)))
    }

    static func delete(_ key: String, _ end: [UInt8] = []) -> RequestOp {
        RequestOp(request: .requestDeleteRange(DeleteRangeRequest(key: Array(key.utf8), rangeEnd: end)))
    }

    static func range(_ key: String, revision: Int64 = 0) -> RequestOp {
        RequestOp(request: .requestRange(RangeRequest(key: Array(key.utf8), revision: revision)))
    }

    static func txn(_ success: [RequestOp], _ failure: [RequestOp] = [], compare: [Compare] = []) -> RequestOp {
        RequestOp(request: .requestTxn(TxnRequest(compare: compare, success: success, failure: failure)))
    }

    struct Overlap: CustomTestStringConvertible {
        var name: String
        var operations: [RequestOp]
        var isRefused: Bool
        var testDescription: String { name }
    }

    static let overlaps: [Overlap] = [
        Overlap(name: "two keys", operations: [put("a"), put("b")], isRefused: false),
        Overlap(name: "one key twice", operations: [put("a"), put("a")], isRefused: true),
        Overlap(name: "a put and a later delete", operations: [put("b"), delete("a", [0x63])], isRefused: true),
        Overlap(name: "a delete and a put at its end", operations: [delete("a", [0x62]), put("b")], isRefused: false),
        Overlap(
            name: "an open delete is compared literally", operations: [delete("a", [0]), put("b")], isRefused: false),
        Overlap(name: "a delete that covers nothing", operations: [delete("c", [0x61]), put("b")], isRefused: false),
        Overlap(
            name: "deletes over deletes", operations: [delete("a", [0x63]), delete("b", [0x64])], isRefused: false),
        Overlap(
            name: "deletes that join", operations: [delete("a", [0x62]), delete("b", [0x64]), put("c")], isRefused: true
        ),
        Overlap(name: "both branches of a child", operations: [txn([put("a")], [put("a")])], isRefused: false),
        Overlap(name: "a child's else and the parent", operations: [txn([], [put("a")]), put("a")], isRefused: true),
        Overlap(name: "two children", operations: [txn([put("a")]), txn([put("a")])], isRefused: true),
        Overlap(
            name: "a child's put and the parent's delete", operations: [txn([put("b")]), delete("a", [0x63])],
            isRefused: true),
        Overlap(
            name: "a child's delete and the parent's put", operations: [txn([delete("a")]), put("a")], isRefused: true),
        Overlap(
            name: "an earlier child's delete and a put", operations: [txn([delete("a")]), txn([put("a")])],
            isRefused: true),
        Overlap(
            name: "a later child's delete and a put", operations: [txn([put("a")]), txn([delete("a")])],
            isRefused: false),
        Overlap(name: "two levels down", operations: [txn([txn([put("a")])]), put("a")], isRefused: true),
    ]

    @Test(arguments: overlaps)
    func `writes of one branch must not meet`(overlap: Overlap) {
        for request in [TxnRequest(success: overlap.operations), TxnRequest(failure: overlap.operations)] {
            let bytes = request.encoded()
            do throws(TxnRefusal) {
                try TxnRules.check(bytes.rawSpan, operationsMax: 128)
                #expect(!overlap.isRefused)
            } catch {
                #expect(overlap.isRefused && error == .duplicateKey)
            }
        }
    }

    @Test func `the outer branches may write the same keys`() throws {
        let bytes = TxnRequest(success: [TxnTests.put("a")], failure: [TxnTests.put("a"), TxnTests.delete("b")])
            .encoded()
        try TxnRules.check(bytes.rawSpan, operationsMax: 128)
    }

    @Test func `a nested transaction has what its parent left of the limit`() throws {
        func nested(_ parent: Int, _ child: Int) -> [UInt8] {
            var operations = (1..<parent).map { TxnTests.put("p\($0)") }
            operations.append(TxnTests.txn((0..<child).map { TxnTests.put("c\($0)") }))
            return TxnRequest(success: operations).encoded()
        }
        let fits = nested(100, 28)
        try TxnRules.check(fits.rawSpan, operationsMax: 128)
        let exceeds = nested(100, 29)
        #expect(throws: TxnRefusal.tooManyOperations) { try TxnRules.check(exceeds.rawSpan, operationsMax: 128) }
    }

    @Test func `damage deep inside is found before the transaction is accepted`() {
        // A put with a length beyond its end, inside a nested transaction.
        let put: [UInt8] = [0x12, 2, 0x0a, 9]
        let child: [UInt8] = [0x22, UInt8(put.count + 2), 0x12, UInt8(put.count)] + put
        let bytes: [UInt8] = [0x12, UInt8(child.count)] + child
        do throws(TxnRefusal) {
            try TxnRules.check(bytes.rawSpan, operationsMax: 128)
            Issue.record("accepted")
        } catch {
            if case .malformed = error { return }
            Issue.record("\(error)")
        }
    }

    // MARK: Evaluation

    func store() throws -> KeyValueStore {
        let store = try KeyValueStore(InMemoryStore())
        for (key, value) in [("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")] {
            store.beginWrite()
            store.put(Array(key.utf8).rawSpan, Array(value.utf8).rawSpan, lease: key == "c" ? 7 : 0)
            store.endWrite()
        }
        return store
    }

    static func compare(
        _ key: String, _ end: String, _ target: Compare.CompareTarget, _ result: Compare.CompareResult,
        _ given: Compare.TargetUnion?
    ) -> Compare {
        Compare(
            result: result, target: target, key: Array(key.utf8), targetUnion: given,
            rangeEnd: end == "0" ? [0] : Array(end.utf8))
    }

    /// Key, end, target, result, given value, whether it holds; a: version 1, mod 2; b: version 2, mod 4; c: version 1, mod 5, lease 7.
    static let compares: [(Compare, Bool)] = [
        (compare("a", "", .version, .equal, .version(1)), true),
        (compare("b", "", .version, .greater, .version(1)), true),
        (compare("b", "", .create, .equal, .createRevision(3)), true),
        (compare("b", "", .mod, .less, .modRevision(5)), true),
        (compare("b", "", .value, .equal, .value(Array("3".utf8))), true),
        (compare("b", "", .value, .less, .value(Array("3".utf8))), false),
        (compare("c", "", .lease, .equal, .lease(7)), true),
        (compare("a", "", .lease, .equal, nil), true),
        // What is not there: numbers are 0, a value is nothing.
        (compare("x", "", .version, .equal, .version(0)), true),
        (compare("x", "", .mod, .greater, .modRevision(0)), false),
        (compare("x", "", .value, .notEqual, .value(Array("3".utf8))), false),
        (compare("x", "y", .create, .equal, .createRevision(0)), true),
        (compare("x", "y", .value, .equal, .value([])), false),
        // Every key of a range.
        (compare("a", "d", .version, .greater, .version(0)), true),
        (compare("a", "d", .version, .equal, .version(1)), false),
        (compare("a", "0", .mod, .less, .modRevision(6)), true),
        (compare("b", "a", .version, .equal, .version(0)), true),
        // A value for another target counts as 0 or empty; unknown numbers.
        (compare("a", "", .version, .equal, .modRevision(1)), false),
        (compare("a", "", .value, .greater, .version(9)), true),
        (compare("a", "", Compare.CompareTarget(rawValue: 77), .equal, .version(9)), true),
        (compare("a", "", Compare.CompareTarget(rawValue: 77), .less, .version(9)), false),
        (compare("a", "", .version, Compare.CompareResult(rawValue: 77), .version(9)), true),
    ]

    @Test func `compares hold as the rules say`() throws {
        let store = try store()
        for (i, (compare, holds)) in TxnTests.compares.enumerated() {
            var body: [UInt8] = []
            let bytes = TxnRequest(compare: [compare]).encoded()
            let outcome = try store.txn(bytes.rawSpan, leaseExists: { _ in true }, into: &body)
            #expect(outcome.succeeded == holds && !outcome.changed, "case \(i)")
            #expect(body == (holds ? [0x10, 1] : []), "case \(i)")
        }
        #expect(store.currentRevision == 5)
    }

    @Test func `nested compares see the state before the whole transaction`() throws {
        let store = try store()
        let isNew = TxnTests.compare("n", "", .create, .equal, .createRevision(0))
        let request = TxnRequest(success: [
            TxnTests.put("n", "1"),
            TxnTests.txn([TxnTests.put("m", "then")], [TxnTests.put("m", "else")], compare: [isNew]),
        ]).encoded()
        var body: [UInt8] = []
        let outcome = try store.txn(request.rawSpan, leaseExists: { _ in true }, into: &body)
        #expect(outcome.changed && store.currentRevision == 6)
        let pair = store.keyValue(Array("m".utf8).rawSpan, at: 6).map { Pair(encoded: $0) }
        #expect(pair?.value == Array("then".utf8))
        #expect(store.changes.map(\.revision) == [Revision(main: 6, sub: 0), Revision(main: 6, sub: 1)])
    }

    @Test func `a transaction that cannot run changes nothing`() throws {
        let store = try store()
        func fails(_ operation: RequestOp, _ error: KeyValueError) throws {
            let bytes = TxnRequest(success: [TxnTests.put("n"), operation]).encoded()
            var body: [UInt8] = []
            #expect(throws: error) { try store.txn(bytes.rawSpan, leaseExists: { $0 == 7 }, into: &body) }
            #expect(body.isEmpty && store.currentRevision == 5 && store.current(Array("n".utf8).rawSpan) == nil)
        }
        try fails(TxnTests.put("x", lease: 8), .leaseNotFound)
        try fails(TxnTests.put("x", ignoreValue: true), .keyNotFound)
        // Created in the same transaction does not count.
        try fails(TxnTests.put("n", ignoreValue: true), .keyNotFound)
        try fails(TxnTests.range("a", revision: 6), .future)
        try fails(TxnTests.txn([TxnTests.range("a", revision: 6)]), .future)
        try store.compact(3)
        try fails(TxnTests.range("a", revision: 2), .compacted)
    }

    @Test func `of two errors the one that comes first is told`() throws {
        let store = try store()
        try store.compact(3)
        let compacted = TxnTests.range("a", revision: 2)
        let nested = TxnTests.txn(
            [], [TxnTests.range("a", revision: 99)],
            compare: [
                Compare(result: .greater, target: .version, key: Array("a".utf8), targetUnion: .version(100))
            ])
        let inOrder = TxnRequest(success: [TxnTests.put("n"), compacted, nested]).encoded()
        #expect(throws: KeyValueError.compacted) { try store.checkDirectRanges(inOrder.rawSpan, leaseExists: { _ in true }) }
        // The proposer says nothing of what is refused when the entry is applied.
        let reversed = TxnRequest(success: [TxnTests.put("n"), nested, compacted]).encoded()
        try store.checkDirectRanges(reversed.rawSpan, leaseExists: { _ in true })
        var body: [UInt8] = []
        #expect(throws: KeyValueError.future) { try store.txn(reversed.rawSpan, leaseExists: { _ in true }, into: &body) }
        #expect(store.currentRevision == 5 && body.isEmpty)
    }

    @Test func `unchecked ranges do not stop the writes`() throws {
        for isAnswered in [true, false] {
            let store = try store()
            let request = TxnRequest(success: [TxnTests.put("n"), TxnTests.range("a", revision: 99)]).encoded()
            var body: [UInt8] = []
            let outcome = try store.txn(
                request.rawSpan, ranges: TxnRanges(areChecked: false, areAnswered: isAnswered),
                leaseExists: { _ in true }, into: &body)
            #expect(outcome.changed && store.currentRevision == 6)
            #expect(outcome.rangeError == (isAnswered ? .future : nil))
            // Inside a nested transaction they are checked all the same.
            let nested = TxnRequest(success: [TxnTests.put("m"), TxnTests.txn([TxnTests.range("a", revision: 99)])])
                .encoded()
            #expect(throws: KeyValueError.future) {
                try store.txn(
                    nested.rawSpan, ranges: TxnRanges(areChecked: false, areAnswered: isAnswered),
                    leaseExists: { _ in true }, into: &body)
            }
        }
    }

    @Test func `a delete takes the keys that the transaction has put`() throws {
        let store = try store()
        let request = TxnRequest(success: [TxnTests.put("n"), TxnTests.delete("b", [0]), TxnTests.range("a")]).encoded()
        var body: [UInt8] = []
        try TxnRules.check(request.rawSpan, operationsMax: 128)
        _ = try store.txn(request.rawSpan, leaseExists: { _ in true }, into: &body)
        let answer = try TxnResponse(decoding: body.rawSpan)
        guard case .responseDeleteRange(let deleted) = answer.responses[1].response else { throw KeyValueError.future }
        #expect(deleted.deleted == 3 && deleted.header?.revision == 6)
        #expect(store.keyCount == 1 && store.changes.count == 4)
    }

    @Test func `a permission check sees everything of both branches`() {
        let request = TxnRequest(
            compare: [TxnTests.compare("c", "d", .version, .equal, nil)],
            success: [TxnTests.range("r"), TxnTests.put("p", lease: 5)],
            failure: [TxnTests.delete("d", [0]), TxnTests.txn([TxnTests.range("n")], [TxnTests.put("q")])]
        ).encoded()
        var seen: [String] = []
        let all = TxnRules.visit(request.rawSpan) { access, key, end in
            seen.append("\(access) \(String(decoding: [UInt8](key), as: UTF8.self)) \([UInt8](end))")
            return true
        }
        #expect(all)
        #expect(
            seen == [
                "compare c [100]", "range r []", "put(lease: 5, previous: false) p []", "delete(previous: false) d [0]",
                "range n []", "put(lease: 0, previous: false) q []",
            ])
        var count = 0
        _ = TxnRules.visit(request.rawSpan, directRanges: false) { access, key, _ in
            if access == .range { #expect([UInt8](key) == [0x6e]) }
            count += 1
            return true
        }
        #expect(count == 5)
        #expect(!TxnRules.visit(request.rawSpan) { access, _, _ in access != .range })
    }

    @Test func `only plain ranges are answered without the log`() {
        func readOnly(_ operations: [RequestOp]) -> (Bool, Bool) {
            let bytes = TxnRequest(success: operations).encoded()
            return (TxnRules.isReadOnly(bytes.rawSpan), TxnRules.isSerializable(bytes.rawSpan))
        }
        let local = RequestOp(request: .requestRange(RangeRequest(key: [1], serializable: true)))
        #expect(readOnly([]) == (true, true))
        #expect(readOnly([local]) == (true, true))
        #expect(readOnly([local, TxnTests.range("a")]) == (true, false))
        #expect(readOnly([TxnTests.put("a")]) == (false, false))
        #expect(readOnly([TxnTests.txn([TxnTests.range("a")])]) == (false, false))
    }
}
