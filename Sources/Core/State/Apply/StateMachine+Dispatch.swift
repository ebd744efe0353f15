// One case for each kind of request an entry can hold: alarms first, then permissions, then the change, as etcd layers
// it. Which alarm refuses what: apply-semantics 5; who may do what: StateMachine+Authorise.

import Foundations
import GRPC
import MVCC
import Wire

/// Field numbers of the request kinds, as they stand in an entry.
package enum RequestKind {
    /// Counted against the quota.
    package static func takesRoom(_ kind: UInt32) -> Bool { kind == put || kind == txn || kind == leaseGrant }

    package static let legacy: UInt32 = 2
    package static let range: UInt32 = 3
    package static let put: UInt32 = 4
    package static let deleteRange: UInt32 = 5
    package static let txn: UInt32 = 6
    package static let compaction: UInt32 = 7
    package static let leaseGrant: UInt32 = 8
    package static let leaseRevoke: UInt32 = 9
    package static let alarm: UInt32 = 10
    package static let leaseCheckpoint: UInt32 = 11
    package static let authEnable: UInt32 = 1000
    package static let authDisable: UInt32 = 1011
    package static let authenticate: UInt32 = 1012
    package static let authStatus: UInt32 = 1013
    package static let userAdd: UInt32 = 1100
    package static let userDelete: UInt32 = 1101
    package static let userGet: UInt32 = 1102
    package static let userChangePassword: UInt32 = 1103
    package static let userGrantRole: UInt32 = 1104
    package static let userRevokeRole: UInt32 = 1105
    package static let userList: UInt32 = 1106
    package static let roleList: UInt32 = 1107
    package static let roleAdd: UInt32 = 1200
    package static let roleDelete: UInt32 = 1201
    package static let roleGet: UInt32 = 1202
    package static let roleGrantPermission: UInt32 = 1203
    package static let roleRevokePermission: UInt32 = 1204
    package static let clusterVersionSet: UInt32 = 1300
    package static let memberAttributesSet: UInt32 = 1301
    package static let downgradeInfoSet: UInt32 = 1302
    package static let downgradeVersionTest: UInt32 = 9900
}

/// Why an entry has no effect.
enum Refusal: Error {
    /// A client's error; the entry counts as applied.
    case failed(GRPCStatus)
    case halt(HaltReason)
}

extension StateMachine {
    func dispatch(
        _ entry: borrowing InternalRaftRequestView, index: LogIndex, isAwaited: Bool, output: inout Bytes
    ) throws(Refusal) -> Applied.Effect {
        let identity =
            auth.isEnabled
            ? Identity(user: Bytes(entry.header.username), authRevision: entry.header.authRevision) : .anonymous
        let body = entry.body
        do {
            switch entry.kindField {
            case RequestKind.put:
                try applyPut(try PutRequestView(decoding: body), identity, isAwaited, &output)
            case RequestKind.txn:
                try applyTxn(body, identity, isAwaited, &output)
            case RequestKind.deleteRange:
                try applyDeleteRange(try DeleteRangeRequestView(decoding: body), identity, isAwaited, &output)
            case RequestKind.range:
                // A read that went through the log: only for who waits.
                if isAwaited { try range(try RangeRequestView(decoding: body), identity, into: &output) }
            case RequestKind.compaction:
                return try applyCompaction(try CompactionRequest(decoding: body), isAwaited, &output)
            case RequestKind.leaseGrant:
                try applyLeaseGrant(try LeaseGrantRequest(decoding: body), isAwaited, &output)
            case RequestKind.leaseRevoke:
                return try applyLeaseRevoke(try LeaseRevokeRequest(decoding: body), identity, isAwaited, &output)
            case RequestKind.leaseCheckpoint:
                applyLeaseCheckpoint(try LeaseCheckpointRequest(decoding: body), isAwaited, &output)
            case RequestKind.alarm:
                return applyAlarm(try AlarmRequest(decoding: body), isAwaited, &output)
            case RequestKind.clusterVersionSet:
                let request = try MembershipPB.ClusterVersionSetRequest(decoding: body)
                return try applyClusterVersion(request.ver, index: index)
            case RequestKind.memberAttributesSet:
                applyAttributes(try MembershipPB.ClusterMemberAttrSetRequest(decoding: body))
            case RequestKind.downgradeInfoSet:
                applyDowngrade(try MembershipPB.DowngradeInfoSetRequest(decoding: body))
            case RequestKind.downgradeVersionTest:
                break
            case 1000..<1300:
                try dispatchAuth(entry.kindField, body, identity, index: index, isAwaited, &output)
            default:
                throw Refusal.halt(.unknownRequest(index: index))
            }
        } catch let error as GRPCStatus {
            throw .failed(error)
        } catch let refusal as Refusal {
            throw refusal
        } catch {
            throw .halt(.undecodableEntry(index: index))
        }
        return .none
    }

    /// An answer that is a header alone.
    func answer(_ isAwaited: Bool, _ output: inout Bytes) {
        if isAwaited { header.append(revision: kv.currentRevision, term: raftTerm, to: &output) }
    }

    /// The header of answers that are put together as messages.
    /// Appends the header of an answer as its field 1; without a revision the current one is told.
    package func appendHeader(revision: Int64? = nil, to output: inout Bytes) {
        header.append(revision: revision ?? kv.currentRevision, term: raftTerm, to: &output)
    }

    package var responseHeader: ResponseHeader {
        ResponseHeader(
            clusterId: settings.cluster.rawValue, memberId: settings.member.rawValue, revision: kv.currentRevision,
            raftTerm: raftTerm)
    }
}
