// Lease requests of the log.

import Foundations
import GRPC
import MVCC
import Wire

extension StateMachine {
    func applyLeaseGrant(
        _ request: LeaseGrantRequest, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) {
        if alarms.isCorrupt { throw EtcdError.corrupt }
        if alarms.isOutOfSpace { throw EtcdError.noSpace }
        let ttl = try lessor.grant(LeaseID(request.id), ttl: request.ttl, now: clock.now, into: &kv.batch)
        guard isAwaited else { return }
        header.append(revision: kv.currentRevision, term: raftTerm, to: &output)
        FieldBytes.number(0x10, UInt64(bitPattern: request.id), &output)
        FieldBytes.number(0x18, UInt64(bitPattern: ttl), &output)
    }

    /// Deletes the lease's keys in byte order, as one transaction: the order is part of what is hashed.
    func applyLeaseRevoke(
        _ request: LeaseRevokeRequest, _ identity: Identity, _ isAwaited: Bool, _ output: inout Bytes
    ) throws(GRPCStatus) -> Applied.Effect {
        if alarms.isCorrupt { throw EtcdError.corrupt }
        let lease = LeaseID(request.id)
        try authoriseLeaseKeys(lease, .write, identity)
        guard let keys = lessor.sortedKeys(of: lease) else { throw EtcdError.leaseNotFound }
        if !keys.isEmpty {
            let none: Bytes = []
            kv.beginWrite()
            for key in keys { _ = kv.deleteRange(key.rawSpan, none.rawSpan) }
            kv.endWrite()
            attachLeases()
        }
        lessor.remove(lease, into: &kv.batch)
        answer(isAwaited, &output)
        return .leaseRevoked(lease)
    }

    func applyLeaseCheckpoint(_ request: LeaseCheckpointRequest, _ isAwaited: Bool, _ output: inout Bytes) {
        for checkpoint in request.checkpoints {
            lessor.checkpoint(
                LeaseID(checkpoint.id), remainingTTL: checkpoint.remainingTTL, now: clock.now, into: &kv.batch)
        }
        answer(isAwaited, &output)
    }
}
