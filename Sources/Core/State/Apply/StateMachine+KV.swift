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
        kv.put(request)
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

    /// Direct ranges never decide whether the writes happen: other members of a mixed cluster do not look at them
    /// (apply-semantics 3.1). The proposer has checked them (`checkTxnProposal`); one that cannot be read after all is
    /// the error its client gets, with the writes done.
    func applyTxn(
        _ request: RawSpan, _ identity: Identity, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) {
        if alarms.isCorrupt { throw EtcdError.corrupt }
        if alarms.isOutOfSpace && hasDirectPut(request) { throw EtcdError.noSpace }
        try authoriseTxn(request, identity, atApply: true)
        try runTxn(request, TxnRanges(areChecked: false, areAnswered: isAwaited), &output)
    }

    private func runTxn(_ request: RawSpan, _ ranges: TxnRanges, _ output: inout Bytes) throws(GRPCStatus) {
        var body: Bytes = []
        swap(&body, &scratch)
        defer {
            body.removeAll(keepingCapacity: body.capacity <= 1 << 16)
            swap(&body, &scratch)
        }
        do throws(KeyValueError) {
            let outcome = try kv.txn(
                request, ranges: ranges, leaseExists: { lessor.contains(LeaseID($0)) }, into: &body)
            if outcome.changed { attachLeases() }
            if ranges.areAnswered {
                if let error = outcome.rangeError { throw error }
                header.append(revision: kv.currentRevision, term: raftTerm, to: &output)
                output.append(contentsOf: body)
            }
        } catch {
            throw GRPCStatus(error)
        }
    }

    /// Answers a transaction of ranges alone (`TxnRules.isReadOnly`) from the applied state.
    package func readOnlyTxn(
        _ request: RawSpan, _ identity: Identity, into output: inout Bytes
    ) throws(GRPCStatus) {
        try authoriseTxn(request, identity, atApply: false)
        try runTxn(request, TxnRanges(), &output)
    }

    /// What a proposer checks of a transaction that `TxnRules.check` accepted: permissions of everything, and that the
    /// ranges of the branch that would run now can be read. A future revision may only be ahead of this member: wait
    /// for a linearizable read and ask again before refusing.
    package func checkTxnProposal(_ request: RawSpan, _ identity: Identity) throws(GRPCStatus) {
        try authoriseTxn(request, identity, atApply: false)
        do { try kv.checkDirectRanges(request, leaseExists: { lessor.contains(LeaseID($0)) }) } catch { throw GRPCStatus(error) }
    }

    /// A put in one of the two branches, whichever would run. Nested ones do not count.
    private func hasDirectPut(_ request: RawSpan) -> Bool {
        guard let txn = try? TxnRequestView(decoding: request) else { return false }
        return StateMachine.hasPut(txn.success) || StateMachine.hasPut(txn.failure)
    }

    private static func hasPut(_ operations: borrowing RepeatedPayloads) -> Bool {
        var list = operations.makeIterator()
        while let bytes = list.next() {
            if let operation = try? RequestOpView(decoding: bytes), operation.requestField == 2 { return true }
        }
        return false
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
