// Who may do what, for each kind of request (client-semantics 11.4). The same functions serve the API before it proposes
// and the log when it applies; with authentication off they all return at once.

import Foundations
import GRPC
import MVCC
import Wire

extension StateMachine {
    package func authoriseRange(_ request: borrowing RangeRequestView, _ identity: Identity) throws(GRPCStatus) {
        try auth.check(identity, .read, key: request.key, rangeEnd: request.rangeEnd)
    }

    package func authorisePut(_ request: borrowing PutRequestView, _ identity: Identity) throws(GRPCStatus) {
        guard auth.isEnabled else { return }
        try authorisePut(
            identity, key: request.key, lease: LeaseID(request.lease), wantsPrevious: request.prevKv)
    }

    package func authoriseDeleteRange(
        _ request: borrowing DeleteRangeRequestView, _ identity: Identity
    ) throws(GRPCStatus) {
        guard auth.isEnabled else { return }
        try auth.check(identity, .write, key: request.key, rangeEnd: request.rangeEnd)
        if request.prevKv { try auth.check(identity, .read, key: request.key, rangeEnd: request.rangeEnd) }
    }

    private func authorisePut(
        _ identity: Identity, key: RawSpan, lease: LeaseID, wantsPrevious: Bool
    ) throws(GRPCStatus) {
        let none: Bytes = []
        try auth.check(identity, .write, key: key, rangeEnd: none.rawSpan)
        // Attaching to a lease ties the fate of this key to that of the others: only who may write those may do it.
        if lease != .none { try authoriseLeaseKeys(lease, .write, identity) }
        if wantsPrevious { try auth.check(identity, .read, key: key, rangeEnd: none.rawSpan) }
    }

    /// All keys attached to a lease. A lease without keys, or unknown, passes.
    package func authoriseLeaseKeys(
        _ lease: LeaseID, _ access: AuthStore.Access, _ identity: Identity
    ) throws(GRPCStatus) {
        guard auth.isEnabled, let keys = lessor.keys(of: lease) else { return }
        for key in keys { try auth.check(identity, access, key: key) }
    }

    /// Keeping a lease alive: a valid user that may write its keys.
    package func authoriseLeaseRenewal(_ lease: LeaseID, _ identity: Identity) throws(GRPCStatus) {
        try auth.checkUser(identity)
        try authoriseLeaseKeys(lease, .write, identity)
    }

    package func authoriseLeaseRevoke(_ lease: LeaseID, _ identity: Identity) throws(GRPCStatus) {
        try authoriseLeaseRenewal(lease, identity)
    }

    package func authoriseTimeToLive(_ lease: LeaseID, withKeys: Bool, _ identity: Identity) throws(GRPCStatus) {
        try auth.checkUser(identity)
        if withKeys { try authoriseLeaseKeys(lease, .read, identity) }
    }

    /// Listing leases shows that they exist: only to who may read the keys of all of them.
    package func authoriseLeases(_ identity: Identity) throws(GRPCStatus) {
        try auth.checkUser(identity)
        guard auth.isEnabled else { return }
        for lease in lessor.all() { try authoriseLeaseKeys(lease, .read, identity) }
    }

    /// A transaction: all compares, and all operations of both branches, whichever will run. `atApply`: as entries are
    /// checked, where the rules of the cluster count and direct ranges do not (apply-semantics 3.1); otherwise
    /// everything, before anything is proposed.
    package func authoriseTxn(_ request: RawSpan, _ identity: Identity, atApply: Bool) throws(GRPCStatus) {
        guard auth.isEnabled else { return }
        try authoriseTxn(
            request, identity, skipsRanges: atApply, isFull: !atApply || auth.rules.checksNestedTransactions)
    }

    private func authoriseTxn(
        _ request: RawSpan, _ identity: Identity, skipsRanges: Bool, isFull: Bool
    ) throws(GRPCStatus) {
        do {
            let txn = try TxnRequestView(decoding: request)
            var compares = txn.compare.makeIterator()
            while let bytes = compares.next() {
                let compare = try CompareView(decoding: bytes)
                try auth.check(identity, .read, key: compare.key, rangeEnd: compare.rangeEnd)
            }
            try authorise(txn.success, identity, skipsRanges: skipsRanges, isFull: isFull)
            try authorise(txn.failure, identity, skipsRanges: skipsRanges, isFull: isFull)
        } catch let status as GRPCStatus {
            throw status
        } catch {
            throw EtcdError.undecodableRequest("\(error)")
        }
    }

    private func authorise(
        _ operations: borrowing RepeatedPayloads, _ identity: Identity, skipsRanges: Bool, isFull: Bool
    ) throws {
        var list = operations.makeIterator()
        while let bytes = list.next() {
            let operation = try RequestOpView(decoding: bytes)
            switch operation.requestField {
            case 1 where !skipsRanges:
                try authoriseRange(try RangeRequestView(decoding: operation.requestRange), identity)
            case 2:
                let put = try PutRequestView(decoding: operation.requestPut)
                try authorisePut(
                    identity, key: put.key, lease: isFull ? LeaseID(put.lease) : .none,
                    wantsPrevious: isFull && put.prevKv)
            case 3:
                try authoriseDeleteRange(try DeleteRangeRequestView(decoding: operation.requestDeleteRange), identity)
            case 4 where isFull:
                // Ranges inside nested transactions are kept by every member.
                try authoriseTxn(operation.requestTxn, identity, skipsRanges: false, isFull: true)
            default:
                break
            }
        }
    }
}
