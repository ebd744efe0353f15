// The JSON gateway's paths: which gRPC method each stands for, and whether its answer is one object or a stream of them.
// (`/v3beta/` is an older spelling of `/v3/` and is rewritten before the look-up.)

package struct GatewayRoute: Equatable, Sendable {
    package enum Kind: Equatable, Sendable { case unary, stream }

    package var method: String
    package var kind: Kind

    /// The route of a path such as `/v3/kv/range`, query removed; nil when there is none.
    package static func find(path: String) -> GatewayRoute? {
        if path.hasPrefix("/v3/") { return table[String(path.dropFirst(4))] }
        if path.hasPrefix("/v3beta/") { return table[String(path.dropFirst(8))] }
        return nil
    }

    private static let table: [String: GatewayRoute] = {
        var table: [String: GatewayRoute] = [:]
        func add(_ path: String, _ method: String, _ kind: Kind = .unary) {
            table[path] = GatewayRoute(method: "/" + method, kind: kind)
        }
        let server = "etcdserverpb."
        add("kv/range", server + "KV/Range")
        add("kv/put", server + "KV/Put")
        add("kv/deleterange", server + "KV/DeleteRange")
        add("kv/txn", server + "KV/Txn")
        add("kv/compaction", server + "KV/Compact")
        add("watch", server + "Watch/Watch", .stream)
        add("lease/grant", server + "Lease/LeaseGrant")
        add("lease/keepalive", server + "Lease/LeaseKeepAlive", .stream)
        for prefix in ["lease/", "kv/lease/"] {
            add(prefix + "revoke", server + "Lease/LeaseRevoke")
            add(prefix + "timetolive", server + "Lease/LeaseTimeToLive")
            add(prefix + "leases", server + "Lease/LeaseLeases")
        }
        for (path, method) in [
            ("add", "MemberAdd"), ("remove", "MemberRemove"), ("update", "MemberUpdate"), ("list", "MemberList"),
            ("promote", "MemberPromote"),
        ] {
            add("cluster/member/" + path, server + "Cluster/" + method)
        }
        for (path, method) in [
            ("alarm", "Alarm"), ("status", "Status"), ("defragment", "Defragment"), ("hash", "Hash"),
            ("hashkv", "HashKV"), ("transfer-leadership", "MoveLeader"), ("downgrade", "Downgrade"),
        ] {
            add("maintenance/" + path, server + "Maintenance/" + method)
        }
        add("maintenance/snapshot", server + "Maintenance/Snapshot", .stream)
        for (path, method) in [
            ("enable", "AuthEnable"), ("disable", "AuthDisable"), ("status", "AuthStatus"),
            ("authenticate", "Authenticate"), ("user/add", "UserAdd"), ("user/get", "UserGet"),
            ("user/list", "UserList"), ("user/delete", "UserDelete"), ("user/changepw", "UserChangePassword"),
            ("user/grant", "UserGrantRole"), ("user/revoke", "UserRevokeRole"), ("role/add", "RoleAdd"),
            ("role/get", "RoleGet"), ("role/list", "RoleList"), ("role/delete", "RoleDelete"),
            ("role/grant", "RoleGrantPermission"), ("role/revoke", "RoleRevokePermission"),
        ] {
            add("auth/" + path, server + "Auth/" + method)
        }
        for (path, method) in [
            ("campaign", "Campaign"), ("proclaim", "Proclaim"), ("leader", "Leader"), ("resign", "Resign"),
        ] {
            add("election/" + path, "v3electionpb.Election/" + method)
        }
        add("election/observe", "v3electionpb.Election/Observe", .stream)
        add("lock/lock", "v3lockpb.Lock/Lock")
        add("lock/unlock", "v3lockpb.Lock/Unlock")
        return table
    }()
}
