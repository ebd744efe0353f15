// The default format: what a person wants to see, a line a fact.

import Flags
import Foundations
import Wire

struct SimpleText {
    private let style: OutputStyle
    private var lines = TextLines()

    init(_ style: OutputStyle) { self.style = style }

    func render(_ reply: Reply) -> Bytes {
        var text = self
        text.write(reply)
        return text.lines.bytes
    }

    private mutating func write(_ reply: Reply) {
        switch reply {
        case .put(let put): write(put)
        case .get(let range): write(range)
        case .delete(let deletion): write(deletion)
        case .transaction(let transaction): write(transaction)
        case .watch(let watch): write(watch)

        case .leaseGrant(let lease): lines.line("lease \(lease.id.fullHex) granted with TTL(\(lease.ttl)s)")
        case .leaseRevoke(let id, _): lines.line("lease \(id.fullHex) revoked")
        case .leaseKeepAlive(let lease): lines.line("lease \(lease.id.fullHex) keepalived with TTL(\(lease.ttl))")
        case .leaseTimeToLive(let lease, let withKeys): write(lease, withKeys: withKeys)
        case .leaseList(let list):
            lines.line("found \(list.leases.count) leases")
            for lease in list.leases { lines.line(lease.id.fullHex) }

        case .memberAdd(let name, let added): write(name, added)
        case .memberRemove(let id, let answer): member(id, "removed from", answer.header)
        case .memberUpdate(let id, let answer): member(id, "updated in", answer.header)
        case .memberPromote(let id, let answer): member(id, "promoted in", answer.header)
        case .memberList(let list): rows(MemberRows.of(list))

        case .endpointHealth(let checks): for check in checks { lines.line(SimpleText.health(check)) }
        case .endpointStatus(let statuses): rows(StatusRows.of(statuses))
        case .endpointHashKV(let hashes): rows(hashes.map { [$0.endpoint, String($0.hash.hash)] })

        case .moveLeader(let leader, let target, _):
            lines.line("Leadership transferred from \(leader.hex) to \(target.hex)")
        case .alarms(let alarms): for alarm in alarms.alarms { lines.line(alarm.shown) }
        case .downgrade(let verb, let answer): lines.line("Downgrade \(verb) success, cluster version \(answer.version)")
        case .snapshotStatus(let status): rows([SnapshotRow.of(status)])

        case .roleAdd, .roleGet, .roleDelete, .roleList, .roleGrant, .roleRevoke: writeRole(reply)
        case .userAdd, .userGet, .userList, .userDelete, .userPassword, .userGrant, .userRevoke, .authStatus:
            writeUser(reply)
        }
    }

    private mutating func rows(_ rows: [[String]]) {
        for row in rows { lines.line(row.joined(separator: ", ")) }
    }

    /// An unhealthy endpoint's line belongs on standard error.
    static func health(_ check: EndpointHealth) -> String {
        if let error = check.error {
            return "\(check.endpoint) is unhealthy: failed to commit proposal: \(error)"
        }
        return "\(check.endpoint) is healthy: successfully committed proposal: took = \(check.took)"
    }

    // MARK: Keys

    private mutating func pair(_ pair: KeyValue, valueOnly: Bool = false) {
        if !valueOnly { lines.line(shown(pair.key)) }
        lines.line(shown(pair.value))
    }

    private func shown(_ bytes: Bytes) -> Bytes {
        guard style.hex else { return bytes }
        return Bytes(bytes.map { "\\x" + Hexadecimal.encode([$0]) }.joined().utf8)
    }

    private mutating func write(_ put: PutResponse) {
        lines.line("OK")
        if let previous = put.prevKv { pair(previous) }
    }

    private mutating func write(_ range: RangeResponse) {
        for found in range.kvs { pair(found, valueOnly: style.valueOnly) }
    }

    private mutating func write(_ deletion: DeleteRangeResponse) {
        lines.line(String(deletion.deleted))
        for previous in deletion.prevKvs { pair(previous) }
    }

    private mutating func write(_ transaction: TxnResponse) {
        lines.line(transaction.succeeded ? "SUCCESS" : "FAILURE")
        for operation in transaction.responses {
            lines.line()
            switch operation.response {
            case .responsePut(let put)?: write(put)
            case .responseRange(let range)?: write(range)
            case .responseDeleteRange(let deletion)?: write(deletion)
            case .responseTxn(let inner)?: write(inner)
            case nil: break
            }
        }
    }

    private mutating func write(_ watch: WatchResponse) {
        for event in watch.events {
            lines.line(event.type.shown)
            if let previous = event.prevKv { pair(previous) }
            pair(event.kv ?? KeyValue())
        }
    }

    // MARK: Leases, members

    private mutating func write(_ lease: LeaseTimeToLiveResponse, withKeys: Bool) {
        if lease.grantedTTL == 0 {
            return lines.line("lease \(lease.id.fullHex) already expired")
        }
        lines.text("lease \(lease.id.fullHex) granted with TTL(\(lease.grantedTTL)s), remaining(\(lease.ttl)s)")
        if withKeys {
            lines.text(", attached keys([")
            for (i, key) in lease.keys.enumerated() {
                if i > 0 { lines.text(" ") }
                lines.raw(key)
            }
            lines.text("])")
        }
        lines.line()
    }

    private mutating func member(_ id: UInt64, _ verb: String, _ header: ResponseHeader?) {
        lines.line("Member \(id.paddedHex) \(verb) cluster \((header?.clusterId ?? 0).paddedHex)")
    }

    private mutating func write(_ name: String, _ added: MemberAddResponse) {
        let new = added.member ?? Member()
        member(new.id, "added to", added.header)
        let initial = added.members.flatMap { member in
            member.peerURLs.map { "\(member.id == new.id ? name : member.name)=\($0)" }
        }
        lines.line()
        lines.line("ETCD_NAME=\(GoText.quote(name))")
        lines.line("ETCD_INITIAL_CLUSTER=\"\(initial.joined(separator: ","))\"")
        lines.line("ETCD_INITIAL_ADVERTISE_PEER_URLS=\"\(new.peerURLs.joined(separator: ","))\"")
        lines.line("ETCD_INITIAL_CLUSTER_STATE=\"existing\"")
    }

    // MARK: Roles

    private mutating func writeRole(_ reply: Reply) {
        switch reply {
        case .roleAdd(let role, _): lines.line("Role \(role) created")
        case .roleGet(let role, let answer): write(role, answer)
        case .roleDelete(let role, _): lines.line("Role \(role) deleted")
        case .roleList(let list): for role in list.roles { lines.line(role) }
        case .roleGrant(let role, _): lines.line("Role \(role) updated")
        case .roleRevoke(let role, let key, let end, _):
            lines.text(end.isEmpty ? "Permission of key " : "Permission of range [")
            lines.raw(key)
            if !end.isEmpty {
                lines.text(", ")
                if end == [0] { lines.text("<open ended>") } else { lines.raw(end + [0x29]) }
            }
            lines.line(" is revoked from role \(role)")
        default: unreachable("no answer about roles: \(reply)")
        }
    }

    private mutating func write(_ role: String, _ answer: AuthRoleGetResponse) {
        lines.line("Role \(role)")
        for (title, kinds) in [("KV Read:", [Permission.Kind.read]), ("KV Write:", [.write])] {
            lines.line(title)
            for permission in answer.perm where (kinds + [.readwrite]).contains(permission.permType) {
                lines.text("\t")
                write(permission)
            }
        }
    }

    /// `foo`, `[a, b)`, `[k, l) (prefix k)`, `[z, <open ended>`.
    private mutating func write(_ permission: Permission) {
        guard !permission.rangeEnd.isEmpty else { return lines.line(permission.key) }
        lines.text("[")
        lines.raw(permission.key)
        if permission.rangeEnd == [0] { return lines.line(", <open ended>") }
        lines.text(", ")
        lines.raw(permission.rangeEnd)
        lines.text(")")
        if permission.rangeEnd == KeyRange.prefixEnd(of: permission.key) {
            lines.text(" (prefix ")
            lines.raw(permission.key)
            lines.text(")")
        }
        lines.line()
    }

    // MARK: Users

    private mutating func writeUser(_ reply: Reply) {
        switch reply {
        case .userAdd(let user, _): lines.line("User \(user) created")
        case .userGet(let user, let answer):
            lines.line("User: \(user)")
            lines.line("Roles:" + answer.roles.map { " " + $0 }.joined())
        case .userList(let list): for user in list.users { lines.line(user) }
        case .userDelete(let user, _): lines.line("User \(user) deleted")
        case .userPassword: lines.line("Password updated")
        case .userGrant(let user, let role, _): lines.line("Role \(role) is granted to user \(user)")
        case .userRevoke(let user, let role, _): lines.line("Role \(role) is revoked from user \(user)")
        case .authStatus(let status):
            lines.line("Authentication Status: \(status.enabled)")
            lines.line("AuthRevision: \(status.authRevision)")
        default: unreachable("no answer about users: \(reply)")
        }
    }
}

extension AlarmMember {
    /// `memberID:7170820668863525960 alarm:NOSPACE `, the blank at the end included; zero fields are left out.
    var shown: String {
        (memberID == 0 ? "" : "memberID:\(memberID) ") + (alarm.rawValue == 0 ? "" : "alarm:\(alarm.shown) ")
    }
}

extension AlarmType {
    var shown: String { AlarmType.descriptor.name(of: rawValue) ?? String(rawValue) }
}

extension Event.EventType {
    var shown: String { Event.EventType.descriptor.name(of: rawValue) ?? String(rawValue) }
}
