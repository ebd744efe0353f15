// Keys: range, put, delete, transactions, compaction. Answers are written straight into the output: the header with the
// revision the change will have, then stored pairs copied from where they are.

import Foundations
import GRPC
import MVCC
import Wire

extension StateMachine {
    /// Answers a read from the applied state. The caller has waited until that is recent enough.
    package func range(
        _ request: borrowing RangeRequestView, _ identity: Identity, into output: inout Bytes
    ) throws(GRPCStatus) {
        try auth.check(identity, .read, key: request.key, rangeEnd: request.rangeEnd)
        try answerRange(request, into: &output)
    }

    /// The same without looking at permissions.
    package func answerRange(_ request: borrowing RangeRequestView, into output: inout Bytes) throws(GRPCStatus) {
        let start = output.count
        header.append(revision: kv.visibleRevision, term: raftTerm, to: &output)
        do {
            let result = try kv.range(request.key, request.rangeEnd, RangeOptions(request), into: &output)
            FieldBytes.number(0x18, result.more ? 1 : 0, &output)
            FieldBytes.number(0x20, UInt64(result.count), &output)
        } catch {
            output.removeSubrange(start...)
            throw GRPCStatus(error)
        }
    }

    func applyPut(
        _ request: borrowing PutRequestView, _ identity: Identity, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) {
        if alarms.isCorrupt { throw EtcdError.corrupt }
        if alarms.isOutOfSpace { throw EtcdError.noSpace }
        try authorisePut(request, identity)
        let lease = LeaseID(request.lease)
        guard lease == .none || lessor.contains(lease) else { throw EtcdError.leaseNotFound }
        if request.ignoreValue || request.ignoreLease {
            guard kv.current(request.key) != nil else { throw EtcdError.keyNotFound }
        }
        if isAwaited {
            // From here on the put succeeds, with the next revision.
            header.append(revision: kv.currentRevision + 1, term: raftTerm, to: &output)
            if request.prevKv { _ = kv.appendCurrent(request.key, field: 0x12, to: &output) }
        }
        kv.beginWrite()
        do {
            switch (request.ignoreValue, request.ignoreLease) {
            case (false, false): kv.put(request.key, request.value, lease: request.lease)
            case (true, let keepsLease): try kv.putKeepingValue(request.key, lease: keepsLease ? nil : request.lease)
            case (false, true): try kv.putKeepingLease(request.key, request.value)
            }
        } catch {
            unreachable("the key exists: \(error)")
        }
        kv.endWrite()
        attachLeases()
    }

    func applyDeleteRange(
        _ request: borrowing DeleteRangeRequestView, _ identity: Identity, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) {
        if alarms.isCorrupt { throw EtcdError.corrupt }
        try authoriseDeleteRange(request, identity)
        var previous: Bytes = []
        swap(&previous, &scratch)
        kv.beginWrite()
        let deleted = kv.deleteRange(
            request.key, request.rangeEnd, previousField: isAwaited && request.prevKv ? 0x1a : nil, previous: &previous)
        kv.endWrite()
        attachLeases()
        if isAwaited {
            header.append(revision: kv.currentRevision, term: raftTerm, to: &output)
            FieldBytes.number(0x10, UInt64(deleted), &output)
            output.append(contentsOf: previous)
        }
        previous.removeAll(keepingCapacity: previous.capacity <= 1 << 16)
        swap(&previous, &scratch)
    }

    func applyTxn(
        _ request: TxnRequest, _ identity: Identity, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) {
        unreachable("not yet")
    }

    func applyCompaction(
        _ request: CompactionRequest, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) -> Applied.Effect {
        if alarms.isCorrupt { throw EtcdError.corrupt }
        do { try kv.compact(request.revision) } catch { throw GRPCStatus(error) }
        answer(isAwaited, &output)
        return .compactionScheduled
    }

    /// Keys that changed hands in the transaction that was just closed.
    func attachLeases() {
        for change in kv.changes where change.lease != 0 || lessor.hasKeys {
            kv.withChange(change) { key, _ in lessor.setLease(of: key, to: LeaseID(change.lease)) }
        }
    }
}

extension RangeOptions {
    package init(_ request: borrowing RangeRequestView) {
        self.init()
        limit = request.limit
        revision = request.revision
        order = RangeOptions.order(request.sortOrder)
        target = RangeOptions.target(request.sortTarget)
        keysOnly = request.keysOnly
        countOnly = request.countOnly
        minModRevision = request.minModRevision
        maxModRevision = request.maxModRevision
        minCreateRevision = request.minCreateRevision
        maxCreateRevision = request.maxCreateRevision
    }

    // The API has refused numbers without a name; in a log entry of another member they mean the default.
    private static func order(_ order: RangeRequest.SortOrder) -> Order {
        switch order {
        case .ascend: .ascend
        case .descend: .descend
        default: .none
        }
    }

    private static func target(_ target: RangeRequest.SortTarget) -> Target {
        switch target {
        case .version: .version
        case .create: .create
        case .mod: .mod
        case .value: .value
        default: .key
        }
    }
}

extension GRPCStatus {
    /// What a client is told.
    package init(_ error: KeyValueError) {
        switch error {
        case .compacted: self = EtcdError.compacted
        case .future: self = EtcdError.futureRevision
        case .keyNotFound: self = EtcdError.keyNotFound
        case .leaseNotFound: self = EtcdError.leaseNotFound
        }
    }
}
