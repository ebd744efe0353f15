// `"Name" : value`, a line a field: easy to read, and to cut apart with awk.

import Flags
import Foundations
import Wire

struct FieldsText {
    private var lines = TextLines()

    init() {}

    func render(_ reply: Reply) throws(CtlFailure) -> Bytes {
        var text = self
        try text.write(reply)
        return text.lines.bytes
    }

    private mutating func write(_ reply: Reply) throws(CtlFailure) {
        switch reply {
        case .put(let put): write(put)
        case .get(let range): write(range)
        case .delete(let deletion): write(deletion)
        case .transaction(let transaction): write(transaction)
        case .watch(let watch): write(watch)

        case .leaseGrant(let lease):
            header(lease.header)
            field("ID", lease.id)
            field("TTL", lease.ttl)
        case .leaseRevoke(_, let answer): header(answer.header)
        case .leaseKeepAlive(let lease):
            header(lease.header)
            field("ID", lease.id)
            field("TTL", lease.ttl)
        case .leaseTimeToLive(let lease, _):
            header(lease.header)
            field("ID", lease.id)
            field("TTL", lease.ttl)
            field("GrantedTTL", lease.grantedTTL)
            for key in lease.keys { quoted("Key", key) }
        case .leaseList(let list):
            header(list.header)
            for lease in list.leases { field("ID", lease.id) }

        case .memberList(let list): write(list)
        case .endpointHealth(let checks): for check in checks { write(check) }
        case .endpointStatus(let statuses): for status in statuses { write(status) }
        case .endpointHashKV(let hashes):
            for entry in hashes {
                header(entry.hash.header)
                quoted("Endpoint", entry.endpoint)
                field("Hash", entry.hash.hash)
                lines.line()
            }
        case .alarms(let alarms):
            header(alarms.header)
            for alarm in alarms.alarms {
                field("MemberID", alarm.memberID)
                lines.line("\"AlarmType\" : \(alarm.alarm.shown)")
                lines.line()
            }
        case .snapshotStatus(let status):
            field("Hash", status.hash)
            field("Revision", status.revision)
            field("Keys", status.totalKeys)
            field("Size", status.totalBytes)

        case .roleAdd(_, let answer): header(answer.header)
        case .roleGet(_, let answer): write(answer)
        case .roleDelete(_, let answer): header(answer.header)
        case .roleList(let list):
            header(list.header)
            lines.line("\"Roles\" :" + list.roles.map { " " + GoText.quote($0) }.joined())
        case .roleGrant(_, let answer): header(answer.header)
        case .roleRevoke(_, _, _, let answer): header(answer.header)

        case .userAdd(_, let answer): header(answer.header)
        case .userDelete(_, let answer): header(answer.header)
        case .userPassword(let answer): header(answer.header)
        case .userGrant(_, _, let answer): header(answer.header)
        case .userRevoke(_, _, let answer): header(answer.header)

        case .memberAdd, .memberRemove, .memberUpdate, .memberPromote, .moveLeader, .downgrade, .userGet, .userList,
            .authStatus:
            throw Reply.unsupported(.fields)
        }
    }

    // MARK: Parts

    private mutating func field(_ name: String, _ value: some FixedWidthInteger) { lines.line("\"\(name)\" : \(value)") }
    private mutating func field(_ name: String, _ value: Bool) { lines.line("\"\(name)\" : \(value)") }
    private mutating func quoted(_ name: String, _ value: String) { lines.line("\"\(name)\" : \(GoText.quote(value))") }
    private mutating func quoted(_ name: String, _ value: Bytes) { lines.line("\"\(name)\" : \(GoText.quote(value))") }

    private mutating func header(_ header: ResponseHeader?) {
        let header = header ?? ResponseHeader()
        field("ClusterID", header.clusterId)
        field("MemberID", header.memberId)
        field("Revision", header.revision)
        field("RaftTerm", header.raftTerm)
    }

    private mutating func pair(_ pair: KeyValue, _ prefix: String = "") {
        quoted("\(prefix)Key", pair.key)
        field("\(prefix)CreateRevision", pair.createRevision)
        field("\(prefix)ModRevision", pair.modRevision)
        field("\(prefix)Version", pair.version)
        quoted("\(prefix)Value", pair.value)
        field("\(prefix)Lease", pair.lease)
    }

    // MARK: Answers

    private mutating func write(_ put: PutResponse) {
        header(put.header)
        if let previous = put.prevKv { pair(previous, "Prev") }
    }

    private mutating func write(_ range: RangeResponse) {
        header(range.header)
        for found in range.kvs { pair(found) }
        field("More", range.more)
        field("Count", range.count)
    }

    private mutating func write(_ deletion: DeleteRangeResponse) {
        header(deletion.header)
        field("Deleted", deletion.deleted)
        for previous in deletion.prevKvs { pair(previous, "Prev") }
    }

    private mutating func write(_ transaction: TxnResponse) {
        header(transaction.header)
        field("Succeeded", transaction.succeeded)
        for operation in transaction.responses {
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
        header(watch.header)
        for event in watch.events {
            lines.line("\"Type\" : \(event.type.shown)")
            if let previous = event.prevKv { pair(previous, "Prev") }
            pair(event.kv ?? KeyValue())
        }
    }

    private mutating func write(_ list: MemberListResponse) {
        header(list.header)
        for member in list.members {
            field("ID", member.id)
            quoted("Name", member.name)
            for url in member.peerURLs { quoted("PeerURL", url) }
            for url in member.clientURLs { quoted("ClientURL", url) }
            field("IsLearner", member.isLearner)
            lines.line()
        }
    }

    private mutating func write(_ check: EndpointHealth) {
        quoted("Endpoint", check.endpoint)
        field("Health", check.isHealthy)
        lines.line("\"Took\" : \(check.took)")
        lines.line("\"Error\" : \(check.error ?? "")")
        lines.line()
    }

    private mutating func write(_ entry: EndpointStatus) {
        let status = entry.status
        header(status.header)
        quoted("Version", status.version)
        field("DBSize", status.dbSize)
        field("Leader", status.leader)
        field("IsLearner", status.isLearner)
        field("RaftIndex", status.raftIndex)
        field("RaftTerm", status.raftTerm)
        field("RaftAppliedIndex", status.raftAppliedIndex)
        lines.line("\"Errors\" : [\(status.errors.joined(separator: " "))]")
        quoted("Endpoint", entry.endpoint)
        lines.line()
    }

    private mutating func write(_ answer: AuthRoleGetResponse) {
        header(answer.header)
        for permission in answer.perm {
            lines.line("\"PermType\" :  \(permission.permType.shown)")
            quoted("Key", permission.key)
            quoted("RangeEnd", permission.rangeEnd)
        }
    }
}

extension Permission.Kind {
    var shown: String { Permission.Kind.descriptor.name(of: rawValue) ?? String(rawValue) }
}
