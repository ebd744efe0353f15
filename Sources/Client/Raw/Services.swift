// Every RPC of every service, typed: one line each, under the service it belongs to. Messages are the wire's own.

import Wire

extension Client {
    package var kv: KVCalls { KVCalls(client: self) }
    package var watches: WatchCalls { WatchCalls(client: self) }
    package var leases: LeaseCalls { LeaseCalls(client: self) }
    package var cluster: ClusterCalls { ClusterCalls(client: self) }
    package var maintenance: MaintenanceCalls { MaintenanceCalls(client: self) }
    package var auth: AuthCalls { AuthCalls(client: self) }
    package var elections: ElectionCalls { ElectionCalls(client: self) }
    package var locks: LockCalls { LockCalls(client: self) }
    package var health: HealthCalls { HealthCalls(client: self) }
}

package struct KVCalls: Sendable {
    let client: Client

    package func range(
        _ request: RangeRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> RangeResponse {
        try await client.unary(RPC.KV.range, request, options)
    }

    package func rangeStream(_ request: RangeRequest, _ options: CallOptions = CallOptions()) -> RawStream<
        RangeRequest, RangeStreamResponse
    > {
        client.open(RPC.KV.rangeStream, request, options)
    }

    package func put(
        _ request: PutRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> PutResponse {
        try await client.unary(RPC.KV.put, request, options)
    }

    package func deleteRange(
        _ request: DeleteRangeRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> DeleteRangeResponse {
        try await client.unary(RPC.KV.deleteRange, request, options)
    }

    package func txn(
        _ request: TxnRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> TxnResponse {
        try await client.unary(RPC.KV.txn, request, options)
    }

    package func compact(
        _ request: CompactionRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> CompactionResponse {
        try await client.unary(RPC.KV.compact, request, options)
    }
}

package struct WatchCalls: Sendable {
    let client: Client

    package func open(_ options: CallOptions = CallOptions()) -> RawStream<WatchRequest, WatchResponse> {
        client.open(RPC.Watch.watch, options)
    }
}

package struct LeaseCalls: Sendable {
    let client: Client

    package func grant(
        _ request: LeaseGrantRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> LeaseGrantResponse {
        try await client.unary(RPC.Lease.leaseGrant, request, options)
    }

    package func revoke(
        _ request: LeaseRevokeRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> LeaseRevokeResponse {
        try await client.unary(RPC.Lease.leaseRevoke, request, options)
    }

    package func keepAlive(_ options: CallOptions = CallOptions()) -> RawStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> {
        client.open(RPC.Lease.leaseKeepAlive, options)
    }

    package func timeToLive(
        _ request: LeaseTimeToLiveRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> LeaseTimeToLiveResponse {
        try await client.unary(RPC.Lease.leaseTimeToLive, request, options)
    }

    package func list(
        _ request: LeaseLeasesRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> LeaseLeasesResponse {
        try await client.unary(RPC.Lease.leaseLeases, request, options)
    }
}

package struct ClusterCalls: Sendable {
    let client: Client

    package func memberAdd(
        _ request: MemberAddRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> MemberAddResponse {
        try await client.unary(RPC.Cluster.memberAdd, request, options)
    }

    package func memberRemove(
        _ request: MemberRemoveRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> MemberRemoveResponse {
        try await client.unary(RPC.Cluster.memberRemove, request, options)
    }

    package func memberUpdate(
        _ request: MemberUpdateRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> MemberUpdateResponse {
        try await client.unary(RPC.Cluster.memberUpdate, request, options)
    }

    package func memberList(
        _ request: MemberListRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> MemberListResponse {
        try await client.unary(RPC.Cluster.memberList, request, options)
    }

    package func memberPromote(
        _ request: MemberPromoteRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> MemberPromoteResponse {
        try await client.unary(RPC.Cluster.memberPromote, request, options)
    }
}

package struct MaintenanceCalls: Sendable {
    let client: Client

    package func alarm(
        _ request: AlarmRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AlarmResponse {
        try await client.unary(RPC.Maintenance.alarm, request, options)
    }

    package func status(
        _ request: StatusRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> StatusResponse {
        try await client.unary(RPC.Maintenance.status, request, options)
    }

    package func defragment(
        _ request: DefragmentRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> DefragmentResponse {
        try await client.unary(RPC.Maintenance.defragment, request, options)
    }

    package func hash(
        _ request: HashRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> HashResponse {
        try await client.unary(RPC.Maintenance.hash, request, options)
    }

    package func hashKV(
        _ request: HashKVRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> HashKVResponse {
        try await client.unary(RPC.Maintenance.hashKV, request, options)
    }

    package func snapshot(_ request: SnapshotRequest, _ options: CallOptions = CallOptions()) -> RawStream<
        SnapshotRequest, SnapshotResponse
    > {
        client.open(RPC.Maintenance.snapshot, request, options)
    }

    package func moveLeader(
        _ request: MoveLeaderRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> MoveLeaderResponse {
        try await client.unary(RPC.Maintenance.moveLeader, request, options)
    }

    package func downgrade(
        _ request: DowngradeRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> DowngradeResponse {
        try await client.unary(RPC.Maintenance.downgrade, request, options)
    }
}

package struct AuthCalls: Sendable {
    let client: Client

    package func enable(
        _ request: AuthEnableRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthEnableResponse {
        try await client.unary(RPC.Auth.authEnable, request, options)
    }

    package func disable(
        _ request: AuthDisableRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthDisableResponse {
        try await client.unary(RPC.Auth.authDisable, request, options)
    }

    package func status(
        _ request: AuthStatusRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthStatusResponse {
        try await client.unary(RPC.Auth.authStatus, request, options)
    }

    package func authenticate(
        _ request: AuthenticateRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthenticateResponse {
        try await client.unary(RPC.Auth.authenticate, request, options)
    }

    package func userAdd(
        _ request: AuthUserAddRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserAddResponse {
        try await client.unary(RPC.Auth.userAdd, request, options)
    }

    package func userGet(
        _ request: AuthUserGetRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserGetResponse {
        try await client.unary(RPC.Auth.userGet, request, options)
    }

    package func userList(
        _ request: AuthUserListRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserListResponse {
        try await client.unary(RPC.Auth.userList, request, options)
    }

    package func userDelete(
        _ request: AuthUserDeleteRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserDeleteResponse {
        try await client.unary(RPC.Auth.userDelete, request, options)
    }

    package func userChangePassword(
        _ request: AuthUserChangePasswordRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserChangePasswordResponse {
        try await client.unary(RPC.Auth.userChangePassword, request, options)
    }

    package func userGrantRole(
        _ request: AuthUserGrantRoleRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserGrantRoleResponse {
        try await client.unary(RPC.Auth.userGrantRole, request, options)
    }

    package func userRevokeRole(
        _ request: AuthUserRevokeRoleRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthUserRevokeRoleResponse {
        try await client.unary(RPC.Auth.userRevokeRole, request, options)
    }

    package func roleAdd(
        _ request: AuthRoleAddRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthRoleAddResponse {
        try await client.unary(RPC.Auth.roleAdd, request, options)
    }

    package func roleGet(
        _ request: AuthRoleGetRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthRoleGetResponse {
        try await client.unary(RPC.Auth.roleGet, request, options)
    }

    package func roleList(
        _ request: AuthRoleListRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthRoleListResponse {
        try await client.unary(RPC.Auth.roleList, request, options)
    }

    package func roleDelete(
        _ request: AuthRoleDeleteRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthRoleDeleteResponse {
        try await client.unary(RPC.Auth.roleDelete, request, options)
    }

    package func roleGrantPermission(
        _ request: AuthRoleGrantPermissionRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthRoleGrantPermissionResponse {
        try await client.unary(RPC.Auth.roleGrantPermission, request, options)
    }

    package func roleRevokePermission(
        _ request: AuthRoleRevokePermissionRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> AuthRoleRevokePermissionResponse {
        try await client.unary(RPC.Auth.roleRevokePermission, request, options)
    }
}

package struct ElectionCalls: Sendable {
    let client: Client

    package func campaign(
        _ request: CampaignRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> CampaignResponse {
        try await client.unary(RPC.Election.campaign, request, options)
    }

    package func proclaim(
        _ request: ProclaimRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> ProclaimResponse {
        try await client.unary(RPC.Election.proclaim, request, options)
    }

    package func leader(
        _ request: LeaderRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> LeaderResponse {
        try await client.unary(RPC.Election.leader, request, options)
    }

    package func observe(_ request: LeaderRequest, _ options: CallOptions = CallOptions()) -> RawStream<LeaderRequest, LeaderResponse> {
        client.open(RPC.Election.observe, request, options)
    }

    package func resign(
        _ request: ResignRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> ResignResponse {
        try await client.unary(RPC.Election.resign, request, options)
    }
}

package struct LockCalls: Sendable {
    let client: Client

    package func lock(
        _ request: LockRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> LockResponse {
        try await client.unary(RPC.Lock.lock, request, options)
    }

    package func unlock(
        _ request: UnlockRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> UnlockResponse {
        try await client.unary(RPC.Lock.unlock, request, options)
    }
}

package struct HealthCalls: Sendable {
    let client: Client

    package func check(
        _ request: HealthPB.HealthCheckRequest, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> HealthPB.HealthCheckResponse {
        try await client.unary(RPC.Health.check, request, options)
    }

    package func watch(_ request: HealthPB.HealthCheckRequest, _ options: CallOptions = CallOptions()) -> RawStream<
        HealthPB.HealthCheckRequest, HealthPB.HealthCheckResponse
    > {
        client.open(RPC.Health.watch, request, options)
    }
}
