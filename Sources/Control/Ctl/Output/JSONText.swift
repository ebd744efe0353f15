// One line of JSON, as Go prints the structs etcd's client hands out: most are the messages themselves, leases and watches
// have a shape of their own, and so does a member list with hexadecimal ids.

import Foundations
import JSON
import Wire

struct JSONText {
    private let hex: Bool
    private var json = JSONWriter(escapesHTML: true)

    init(hex: Bool) { self.hex = hex }

    func render(_ reply: Reply) -> Bytes {
        var text = self
        text.write(reply)
        return text.json.bytes + [0x0a]
    }

    private mutating func write(_ reply: Reply) {
        switch reply {
        case .put(let answer): message(answer)
        case .get(let answer): message(answer)
        case .delete(let answer): message(answer)
        case .transaction(let answer): message(answer)
        case .watch(let watch): write(watch)

        case .leaseGrant(let lease):
            flat(lease.header) { json in
                json.name("ID")
                json.number(lease.id)
                json.name("TTL")
                json.number(lease.ttl)
                json.name("Error")
                json.string(lease.error)
            }
        case .leaseRevoke(_, let answer): message(answer)
        case .leaseKeepAlive(let lease):
            flat(lease.header) { json in
                json.name("ID")
                json.number(lease.id)
                json.name("TTL")
                json.number(lease.ttl)
            }
        case .leaseTimeToLive(let lease, _): write(lease)
        case .leaseList(let list): write(list)

        case .memberAdd(_, let answer): message(answer)
        case .memberRemove(_, let answer): message(answer)
        case .memberUpdate(_, let answer): message(answer)
        case .memberPromote(_, let answer): message(answer)
        case .memberList(let list): hex ? writeHex(list) : message(list)

        case .endpointHealth(let checks): array(checks) { json, check in json.health(check) }
        case .endpointStatus(let statuses):
            array(statuses) { json, entry in json.entry(entry.endpoint, "Status", entry.status) }
        case .endpointHashKV(let hashes):
            array(hashes) { json, entry in json.entry(entry.endpoint, "HashKV", entry.hash) }

        case .moveLeader(_, _, let answer): message(answer)
        case .alarms(let answer): message(answer)
        case .downgrade(_, let answer): message(answer)
        case .snapshotStatus(let status):
            json.beginObject()
            json.name("hash")
            json.number(status.hash)
            json.name("revision")
            json.number(status.revision)
            json.name("totalKey")
            json.number(status.totalKeys)
            json.name("totalSize")
            json.number(status.totalBytes)
            json.endObject()

        case .roleAdd(_, let answer): message(answer)
        case .roleGet(_, let answer): message(answer)
        case .roleDelete(_, let answer): message(answer)
        case .roleList(let answer): message(answer)
        case .roleGrant(_, let answer): message(answer)
        case .roleRevoke(_, _, _, let answer): message(answer)
        case .userAdd(_, let answer): message(answer)
        case .userGet(_, let answer): message(answer)
        case .userList(let answer): message(answer)
        case .userDelete(_, let answer): message(answer)
        case .userPassword(let answer): message(answer)
        case .userGrant(_, _, let answer): message(answer)
        case .userRevoke(_, _, let answer): message(answer)
        case .authStatus(let answer): message(answer)
        }
    }

    private mutating func message(_ message: some WireMessage) { json.message(message, style: .goStruct) }

    private mutating func array<Element>(_ elements: [Element], _ write: (inout JSONWriter, Element) -> Void) {
        // A list that Go has never put anything into is null.
        if elements.isEmpty { return json.null() }
        json.beginArray()
        for element in elements { write(&json, element) }
        json.endArray()
    }

    /// The header's fields beside those of the answer.
    private mutating func flat(_ header: ResponseHeader?, _ write: (inout JSONWriter) -> Void) {
        json.beginObject()
        if let header { json.headerMembers(header) }
        write(&json)
        json.endObject()
    }

    private mutating func write(_ lease: LeaseTimeToLiveResponse) {
        flat(lease.header) { json in
            json.name("id")
            json.number(lease.id)
            json.name("ttl")
            json.number(lease.ttl)
            json.name("granted-ttl")
            json.number(lease.grantedTTL)
            json.name("keys")
            if lease.keys.isEmpty { return json.null() }
            json.beginArray()
            for key in lease.keys { json.base64(key) }
            json.endArray()
        }
    }

    private mutating func write(_ list: LeaseLeasesResponse) {
        flat(list.header) { json in
            json.name("leases")
            json.beginArray()
            for lease in list.leases {
                json.beginObject()
                json.name("id")
                json.number(lease.id)
                json.endObject()
            }
            json.endArray()
        }
    }

    private mutating func write(_ watch: WatchResponse) {
        json.beginObject()
        json.name("Header")
        message(watch.header ?? ResponseHeader())
        json.name("Events")
        if watch.header == nil {
            // Of a watch that never came to be.
            json.null()
        } else {
            json.beginArray()
            for event in watch.events { message(event) }
            json.endArray()
        }
        json.name("CompactRevision")
        json.number(watch.compactRevision)
        json.name("Canceled")
        json.bool(watch.canceled)
        json.name("Created")
        json.bool(watch.created)
        json.endObject()
    }

    /// The key `clientURLS` and the missing isLearner are part of this output.
    private mutating func writeHex(_ list: MemberListResponse) {
        json.beginObject()
        json.name("header")
        let header = list.header ?? ResponseHeader()
        json.beginObject()
        json.name("cluster_id")
        json.string(header.clusterId.hex)
        json.name("member_id")
        json.string(header.memberId.hex)
        json.name("raft_term")
        json.number(header.raftTerm)
        json.endObject()
        json.name("members")
        array(list.members) { json, member in
            json.beginObject()
            json.name("ID")
            json.string(member.id.hex)
            json.name("name")
            json.string(member.name)
            json.name("peerURLs")
            json.strings(member.peerURLs)
            json.name("clientURLS")
            json.strings(member.clientURLs)
            json.endObject()
        }
        json.endObject()
    }
}

extension JSONWriter {
    fileprivate mutating func strings(_ texts: [String]) {
        // A list Go has never filled is null.
        if texts.isEmpty { return null() }
        beginArray()
        for text in texts { string(text) }
        endArray()
    }

    fileprivate mutating func headerMembers(_ header: ResponseHeader) {
        for (field, value) in [("cluster_id", header.clusterId), ("member_id", header.memberId)] where value != 0 {
            name(field)
            number(value)
        }
        if header.revision != 0 {
            name("revision")
            number(header.revision)
        }
        if header.raftTerm != 0 {
            name("raft_term")
            number(header.raftTerm)
        }
    }

    fileprivate mutating func health(_ check: EndpointHealth) {
        beginObject()
        name("endpoint")
        string(check.endpoint)
        name("health")
        bool(check.isHealthy)
        name("took")
        string(check.took)
        if let error = check.error {
            name("error")
            string(error)
        }
        endObject()
    }

    fileprivate mutating func entry(_ endpoint: String, _ field: String, _ answer: some WireMessage) {
        beginObject()
        name("Endpoint")
        string(endpoint)
        name(field)
        message(answer, style: .goStruct)
        endObject()
    }
}
