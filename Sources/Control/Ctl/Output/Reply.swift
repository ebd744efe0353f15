// What commands answer with, before anybody has decided how it looks. Rendering is a pure function of this value and a
// style, so that every format of every answer is tested from recorded bytes, without a server.

import FileFormats
import Foundations
import Wire

package enum Reply: Sendable {
    case put(PutResponse)
    case get(RangeResponse)
    case delete(DeleteRangeResponse)
    case transaction(TxnResponse)
    case watch(WatchResponse)

    case leaseGrant(LeaseGrantResponse)
    case leaseRevoke(id: Int64, LeaseRevokeResponse)
    case leaseKeepAlive(LeaseKeepAliveResponse)
    case leaseTimeToLive(LeaseTimeToLiveResponse, withKeys: Bool)
    case leaseList(LeaseLeasesResponse)

    case memberAdd(name: String, MemberAddResponse)
    case memberRemove(id: UInt64, MemberRemoveResponse)
    case memberUpdate(id: UInt64, MemberUpdateResponse)
    case memberPromote(id: UInt64, MemberPromoteResponse)
    case memberList(MemberListResponse)

    case endpointHealth([EndpointHealth])
    case endpointStatus([EndpointStatus])
    case endpointHashKV([EndpointHashKV])

    case moveLeader(leader: UInt64, target: UInt64, MoveLeaderResponse)
    case alarms(AlarmResponse)
    case downgrade(verb: String, DowngradeResponse)
    case snapshotStatus(SnapshotStatus)

    case roleAdd(role: String, AuthRoleAddResponse)
    case roleGet(role: String, AuthRoleGetResponse)
    case roleDelete(role: String, AuthRoleDeleteResponse)
    case roleList(AuthRoleListResponse)
    case roleGrant(role: String, AuthRoleGrantPermissionResponse)
    case roleRevoke(role: String, key: Bytes, end: Bytes, AuthRoleRevokePermissionResponse)

    case userAdd(user: String, AuthUserAddResponse)
    case userGet(user: String, AuthUserGetResponse)
    case userList(AuthUserListResponse)
    case userDelete(user: String, AuthUserDeleteResponse)
    case userPassword(AuthUserChangePasswordResponse)
    case userGrant(user: String, role: String, AuthUserGrantRoleResponse)
    case userRevoke(user: String, role: String, AuthUserRevokeRoleResponse)
    case authStatus(AuthStatusResponse)
}

package struct EndpointHealth: Sendable, Equatable {
    package var endpoint: String
    /// How long the check took, as Go writes durations.
    package var took: String
    /// Why it is not healthy.
    package var error: String?
    package var isHealthy: Bool { error == nil }

    package init(endpoint: String, took: String, error: String? = nil) {
        self.endpoint = endpoint
        self.took = took
        self.error = error
    }
}

package struct EndpointStatus: Sendable {
    package var endpoint: String
    package var status: StatusResponse

    package init(endpoint: String, status: StatusResponse) {
        self.endpoint = endpoint
        self.status = status
    }
}

package struct EndpointHashKV: Sendable {
    package var endpoint: String
    package var hash: HashKVResponse

    package init(endpoint: String, hash: HashKVResponse) {
        self.endpoint = endpoint
        self.hash = hash
    }
}

extension Reply {
    /// The bytes for standard output. A format that this kind of answer does not have is refused with exit code 4, by
    /// contract after the request has been made.
    package func rendered(_ style: OutputStyle) throws(CtlFailure) -> Bytes {
        switch style.format {
        case .simple: return SimpleText(style).render(self)
        case .fields: return try FieldsText().render(self)
        case .json: return JSONText(hex: style.hex).render(self)
        case .protobuf: return try ProtobufBytes.render(self)
        case .table: return try TableText().render(self)
        }
    }

    static func unsupported(_ format: OutputFormat) -> CtlFailure {
        CtlFailure(.badFeature, "\(format.rawValue) not supported as output format")
    }
}
