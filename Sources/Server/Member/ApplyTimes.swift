// How long entries take to apply, by what they ask for. One look at the clock an entry: where one ends the next begins.

import Foundations
import Linux
import State
import Telemetry
import Wire

final class ApplyTimes {
    private let family: Labelled<Histogram>
    /// Of the kinds that come often, by kind: two each, failed and succeeded.
    private var frequent: [Histogram?]
    private var mark: UInt64 = 0

    private static let frequentKinds = 16

    init(_ family: Labelled<Histogram>) {
        self.family = family
        frequent = [Histogram?](repeating: nil, count: 2 * ApplyTimes.frequentKinds)
    }

    func begin() { mark = Clock.monotonic() }

    /// An entry of `kind` was applied.
    func applied(_ kind: UInt32, _ data: Bytes, ok: Bool) {
        let now = Clock.monotonic()
        histogram(kind, data, ok).observe(nanoseconds: now &- mark)
        mark = now
    }

    private func histogram(_ kind: UInt32, _ data: Bytes, _ ok: Bool) -> Histogram {
        if kind == RequestKind.legacy { return family("v2", ApplyTimes.legacyMethod(data), "\(ok)") }
        guard kind < ApplyTimes.frequentKinds else { return family("v3", ApplyTimes.name(of: kind), "\(ok)") }
        let place = 2 * Int(kind) + (ok ? 1 : 0)
        if let known = frequent[place] { return known }
        let histogram = family("v3", ApplyTimes.name(of: kind), "\(ok)")
        frequent[place] = histogram
        return histogram
    }

    /// Requests of etcd's first generations still carry a member's name and the cluster's version.
    private static func legacyMethod(_ data: Bytes) -> String {
        var method = (try? Request(decoding: data.rawSpan))?.method ?? ""
        if method.isEmpty, let entry = try? InternalRaftRequest(decoding: data.rawSpan), case .v2(let wrapped)? = entry.kind {
            method = wrapped.method
        }
        return ["POST", "PUT", "DELETE", "QGET", "SYNC"].contains(method) ? method : "unknown"
    }

    static func name(of kind: UInt32) -> String { names[kind] ?? "unknown" }

    private static let names: [UInt32: String] = [
        RequestKind.range: "Range", RequestKind.put: "Put", RequestKind.deleteRange: "DeleteRange", RequestKind.txn: "Txn",
        RequestKind.compaction: "Compaction", RequestKind.leaseGrant: "LeaseGrant", RequestKind.leaseRevoke: "LeaseRevoke",
        RequestKind.alarm: "Alarm", RequestKind.leaseCheckpoint: "LeaseCheckpoint", RequestKind.authEnable: "AuthEnable",
        RequestKind.authDisable: "AuthDisable", RequestKind.authenticate: "Authenticate", RequestKind.userAdd: "AuthUserAdd",
        RequestKind.userDelete: "AuthUserDelete", RequestKind.userGet: "AuthUserGet",
        RequestKind.userChangePassword: "AuthUserChangePassword", RequestKind.userGrantRole: "AuthUserGrantRole",
        RequestKind.userRevokeRole: "AuthUserRevokeRole", RequestKind.userList: "AuthUserList",
        RequestKind.roleList: "AuthRoleList", RequestKind.roleAdd: "AuthRoleAdd", RequestKind.roleDelete: "AuthRoleDelete",
        RequestKind.roleGet: "AuthRoleGet", RequestKind.roleGrantPermission: "AuthRoleGrantPermission",
        RequestKind.roleRevokePermission: "AuthRoleRevokePermission", RequestKind.clusterVersionSet: "ClusterVersionSet",
        RequestKind.memberAttributesSet: "ClusterMemberAttrSet", RequestKind.downgradeInfoSet: "DowngradeInfoSet",
    ]
}
