// A stored pair, and the answers of reads and writes.

import Foundations
import Wire

/// A key with its value and its history's numbers.
public struct KeyValuePair: Hashable, Sendable {
    public var key: Blob
    public var value: Blob
    /// The revision that created the key.
    public var createRevision: Int64
    /// The revision that wrote this value.
    public var modRevision: Int64
    /// How often it was written since it was created; 1 at first.
    public var version: Int64
    /// The lease it lives by.
    public var lease: LeaseID?

    init(_ kv: KeyValue) {
        key = Blob(kv.key)
        value = Blob(kv.value)
        createRevision = kv.createRevision
        modRevision = kv.modRevision
        version = kv.version
        lease = kv.lease == 0 ? nil : LeaseID(number: kv.lease)
    }
}

/// The number of a lease.
public struct LeaseID: Hashable, Sendable, CustomStringConvertible {
    public let number: Int64
    public init(number: Int64) { self.number = number }
    /// In hexadecimal, as other tools show it.
    public var description: String {
        number < 0 ? "-" + String(number.magnitude, radix: 16) : String(number, radix: 16)
    }
}

/// The pairs of a range, read at one revision.
public struct Listing: Sendable {
    public var pairs: [KeyValuePair]
    /// Keys in the range, also those a limit cut off.
    public var count: Int
    /// A limit cut some off.
    public var isCut: Bool
    /// The cluster's revision when it was read.
    public var revision: Int64

    init(_ answer: RangeResponse) {
        pairs = answer.kvs.map { KeyValuePair($0) }
        count = Int(answer.count)
        isCut = answer.more
        revision = answer.header?.revision ?? 0
    }
}

/// What a write did.
public struct PutResult: Sendable {
    /// The revision it made.
    public var revision: Int64
    /// The pair before, if that was asked for and there was one.
    public var previous: KeyValuePair?

    init(_ answer: PutResponse) {
        revision = answer.header?.revision ?? 0
        previous = answer.prevKv.map { KeyValuePair($0) }
    }
}

/// What a deletion did.
public struct DeleteResult: Sendable {
    /// How many keys there were.
    public var count: Int
    public var revision: Int64
    /// The pairs before, if that was asked for.
    public var previous: [KeyValuePair]

    init(_ answer: DeleteRangeResponse) {
        count = Int(answer.deleted)
        revision = answer.header?.revision ?? 0
        previous = answer.prevKvs.map { KeyValuePair($0) }
    }
}
