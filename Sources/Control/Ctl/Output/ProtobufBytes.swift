// The answer's encoded message, nothing before or after it. Leases answer with their header alone: that is what the
// clients of this format have always got.

import Foundations
import Wire

enum ProtobufBytes {
    static func render(_ reply: Reply) throws(CtlFailure) -> Bytes {
        switch reply {
        case .put(let answer): return answer.encoded()
        case .get(let answer): return answer.encoded()
        case .delete(let answer): return answer.encoded()
        case .transaction(let answer): return answer.encoded()
        case .watch(let watch):
            var answer = WatchResponse()
            answer.header = watch.header ?? ResponseHeader()
            answer.created = watch.created
            answer.canceled = watch.canceled
            answer.compactRevision = watch.compactRevision
            answer.events = watch.events
            return answer.encoded()

        case .leaseGrant(let lease): return headerBytes(lease.header)
        case .leaseRevoke(_, let answer): return answer.encoded()
        case .leaseKeepAlive(let lease): return headerBytes(lease.header)
        case .leaseTimeToLive(let lease, _): return headerBytes(lease.header)
        case .leaseList(let list): return headerBytes(list.header)

        case .memberAdd(_, let answer): return answer.encoded()
        case .memberRemove(_, let answer): return answer.encoded()
        case .memberUpdate(_, let answer): return answer.encoded()
        case .memberPromote(_, let answer): return answer.encoded()
        case .memberList(let answer): return answer.encoded()
        case .moveLeader(_, _, let answer): return answer.encoded()
        case .alarms(let answer): return answer.encoded()
        case .downgrade(_, let answer): return answer.encoded()

        case .roleAdd(_, let answer): return answer.encoded()
        case .roleGet(_, let answer): return answer.encoded()
        case .roleDelete(_, let answer): return answer.encoded()
        case .roleList(let answer): return answer.encoded()
        case .roleGrant(_, let answer): return answer.encoded()
        case .roleRevoke(_, _, _, let answer): return answer.encoded()
        case .userAdd(_, let answer): return answer.encoded()
        case .userGet(_, let answer): return answer.encoded()
        case .userList(let answer): return answer.encoded()
        case .userDelete(_, let answer): return answer.encoded()
        case .userPassword(let answer): return answer.encoded()
        case .userGrant(_, _, let answer): return answer.encoded()
        case .userRevoke(_, _, let answer): return answer.encoded()
        case .authStatus(let answer): return answer.encoded()

        case .endpointHealth, .endpointStatus, .endpointHashKV, .snapshotStatus: throw Reply.unsupported(.protobuf)
        }
    }

    private static func headerBytes(_ header: ResponseHeader?) -> Bytes { (header ?? ResponseHeader()).encoded() }
}
