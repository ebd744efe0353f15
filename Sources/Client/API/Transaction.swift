// Compare and then act, in one step of the cluster.

import Foundations
import Wire

/// Conditions, and what to do when all hold, or not: in one indivisible step.
///
///     let result = try await client.transaction()
///         .when(.isAbsent("jobs/7/owner"))
///         .then(.put("jobs/7/owner", "me"))
///         .otherwise(.get("jobs/7/owner"))
///         .commit()
///     if !result.succeeded { print("taken by", result.responses[0].pairs.first!.value) }
///
/// A transaction that only reads is repeated like any read; one that writes is not, see
/// ``Client/put(_:_:lease:returningPrevious:timeout:)``.
public struct Transaction: Sendable {
    /// How the stored number or value must relate to the given one.
    public enum Relation: Sendable {
        case equal, notEqual, greater, less

        var wire: Compare.CompareResult {
            switch self {
            case .equal: .equal
            case .notEqual: .notEqual
            case .greater: .greater
            case .less: .less
            }
        }
    }

    /// Something that must hold of a key, or of every key of a range. The numbers of a key that does not exist are 0.
    public struct Condition: Sendable {
        let wire: Compare

        private init(_ range: KeyRange, _ relation: Relation, _ target: Compare.CompareTarget, _ operand: Compare.TargetUnion) {
            wire = Compare(
                result: relation.wire, target: target, key: range.start.bytes, targetUnion: operand,
                rangeEnd: range.endBytes)
        }

        public static func exists(_ key: Blob) -> Condition { version(of: .key(key), .greater, 0) }
        public static func isAbsent(_ key: Blob) -> Condition { version(of: .key(key), .equal, 0) }

        /// Never holds for a key that does not exist.
        public static func value(of key: Blob, is value: Blob) -> Condition {
            Condition(.key(key), .equal, .value, .value(value.bytes))
        }
        public static func value(of range: KeyRange, _ relation: Relation, _ value: Blob) -> Condition {
            Condition(range, relation, .value, .value(value.bytes))
        }
        public static func version(of range: KeyRange, _ relation: Relation, _ version: Int64) -> Condition {
            Condition(range, relation, .version, .version(version))
        }
        public static func createRevision(of range: KeyRange, _ relation: Relation, _ revision: Int64) -> Condition {
            Condition(range, relation, .create, .createRevision(revision))
        }
        /// The key was last written at this revision: what makes read, think, write safe.
        public static func modRevision(of range: KeyRange, _ relation: Relation, _ revision: Int64) -> Condition {
            Condition(range, relation, .mod, .modRevision(revision))
        }
        public static func lease(of range: KeyRange, _ relation: Relation, _ lease: LeaseID?) -> Condition {
            Condition(range, relation, .lease, .lease(lease?.number ?? 0))
        }
        /// The pair is still the one that was read.
        public static func unchanged(_ pair: KeyValuePair) -> Condition {
            modRevision(of: .key(pair.key), .equal, pair.modRevision)
        }
    }

    /// Something to do.
    public struct Operation: Sendable {
        let wire: RequestOp

        private init(_ request: RequestOp.Request) { wire = RequestOp(request: request) }

        public static func get(_ key: Blob) -> Operation { list(.key(key)) }
        public static func list(_ range: KeyRange, limit: Int = 0) -> Operation {
            Operation(.requestRange(RangeRequest(key: range.start.bytes, rangeEnd: range.endBytes, limit: Int64(limit))))
        }
        public static func put(_ key: Blob, _ value: Blob, lease: LeaseID? = nil, returningPrevious: Bool = false) -> Operation {
            Operation(
                .requestPut(
                    PutRequest(key: key.bytes, value: value.bytes, lease: lease?.number ?? 0, prevKv: returningPrevious)))
        }
        public static func delete(_ key: Blob, returningPrevious: Bool = false) -> Operation {
            delete(.key(key), returningPrevious: returningPrevious)
        }
        public static func delete(_ range: KeyRange, returningPrevious: Bool = false) -> Operation {
            Operation(
                .requestDeleteRange(
                    DeleteRangeRequest(key: range.start.bytes, rangeEnd: range.endBytes, prevKv: returningPrevious)))
        }
        /// Another transaction inside this one.
        public static func transaction(_ inner: Transaction) -> Operation { Operation(.requestTxn(inner.wire)) }
    }

    /// What an operation answered.
    public enum Response: Sendable {
        case list(Listing)
        case put(PutResult)
        case delete(DeleteResult)
        case transaction(TransactionResult)

        /// Of a read; empty for others.
        public var pairs: [KeyValuePair] {
            if case .list(let listing) = self { listing.pairs } else { [] }
        }

        init(_ wire: ResponseOp) {
            switch wire.response {
            case .responseRange(let answer): self = .list(Listing(answer))
            case .responsePut(let answer): self = .put(PutResult(answer))
            case .responseDeleteRange(let answer): self = .delete(DeleteResult(answer))
            case .responseTxn(let answer): self = .transaction(TransactionResult(answer))
            case nil: self = .list(Listing(RangeResponse()))
            }
        }
    }

    private var client: Client?
    private(set) var wire = TxnRequest()

    /// For use inside another one.
    public init() {}

    init(_ client: Client) { self.client = client }

    /// All of these must hold; without any the transaction succeeds.
    public func when(_ conditions: Condition...) -> Transaction { with { $0.compare += conditions.map(\.wire) } }
    public func then(_ operations: Operation...) -> Transaction { with { $0.success += operations.map(\.wire) } }
    public func otherwise(_ operations: Operation...) -> Transaction { with { $0.failure += operations.map(\.wire) } }

    /// The same for lists that are made elsewhere.
    public func when(_ conditions: [Condition]) -> Transaction { with { $0.compare += conditions.map(\.wire) } }
    public func then(_ operations: [Operation]) -> Transaction { with { $0.success += operations.map(\.wire) } }
    public func otherwise(_ operations: [Operation]) -> Transaction { with { $0.failure += operations.map(\.wire) } }

    private func with(_ change: (inout TxnRequest) -> Void) -> Transaction {
        var copy = self
        change(&copy.wire)
        return copy
    }

    /// Does it. A transaction made by ``init()`` belongs to no client and cannot be committed by itself.
    @discardableResult
    public func commit(timeout: Duration? = nil) async throws(ClientError) -> TransactionResult {
        guard let client else {
            throw ClientError(code: .failedPrecondition, message: "a transaction is committed on Client.transaction()")
        }
        return TransactionResult(try await client.kv.txn(wire, client.options(timeout)))
    }
}

/// How a transaction went.
public struct TransactionResult: Sendable {
    /// The conditions held, and `then` was done; else `otherwise`.
    public var succeeded: Bool
    /// The cluster's revision afterwards.
    public var revision: Int64
    /// One for each operation that was done, in their order.
    public var responses: [Transaction.Response]

    init(_ answer: TxnResponse) {
        succeeded = answer.succeeded
        revision = answer.header?.revision ?? 0
        responses = answer.responses.map { Transaction.Response($0) }
    }
}

extension Client {
    /// Begins a transaction; see ``Transaction``.
    public func transaction() -> Transaction { Transaction(self) }
}
