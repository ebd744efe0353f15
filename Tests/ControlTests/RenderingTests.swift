// The recorded answers, decoded from their protobuf form and shown in the other formats: byte for byte what etcdctl said.

import Control
import FileFormats
import Foundations
import JSON
import Testing
import Wire

private func text(_ bytes: Bytes) -> String { String(decoding: bytes, as: UTF8.self) }

private func decoded<Message: WireMessage>(_ sequence: Int, as type: Message.Type = Message.self) throws -> Message {
    try Message(decoding: Recorded.at(sequence).output)
}

private func expect(_ reply: Reply, _ style: OutputStyle, is sequence: Int, _ location: SourceLocation = #_sourceLocation) throws {
    #expect(text(try reply.rendered(style)) == text(Recorded.at(sequence).output), sourceLocation: location)
}

@Suite struct `Recorded answers` {
    @Test func `to get look the same in every format`() throws {
        let reply = Reply.get(try decoded(68))
        try expect(reply, OutputStyle(.simple), is: 64)
        try expect(reply, OutputStyle(.json), is: 65)
        try expect(reply, OutputStyle(.fields), is: 67)
        try expect(reply, OutputStyle(.protobuf), is: 68)
        try expect(reply, OutputStyle(.simple, valueOnly: true), is: 69)
        try expect(reply, OutputStyle(.simple, hex: true), is: 70)
        try expect(reply, OutputStyle(.fields, hex: true), is: 71)
        try expect(reply, OutputStyle(.json, hex: true), is: 72)
        #expect(throws: CtlFailure(.badFeature, "table not supported as output format")) {
            try reply.rendered(OutputStyle(.table))
        }
    }

    @Test(arguments: [(23, [19, 20, 21, 22, 24]), (380, [376, 377, 378, 379, 0])])
    func `to member list look the same in every format`(source: Int, expected: [Int]) throws {
        // The second recording holds an id that was made anew for each invocation of the set: it is the same in all.
        let reply = Reply.memberList(try decoded(source))
        try expect(reply, OutputStyle(.simple), is: expected[0])
        try expect(reply, OutputStyle(.json), is: expected[1])
        try expect(reply, OutputStyle(.table), is: expected[2])
        try expect(reply, OutputStyle(.fields), is: expected[3])
        try expect(reply, OutputStyle(.protobuf), is: source)
        if expected[4] != 0 { try expect(reply, OutputStyle(.json, hex: true), is: expected[4]) }
    }

    @Test func `a move of leadership names ids as they are, short ones too`() throws {
        let moved = try Reply.moveLeader(leader: 0xa5_805f_060f_2406, target: 0x443c_0f1a_7002_6b58, .init()).rendered(OutputStyle(.simple))
        #expect(String(decoding: moved, as: UTF8.self) == "Leadership transferred from a5805f060f2406 to 443c0f1a70026b58\n")
    }

    @Test func `about roles look the same in every format`() throws {
        let list = Reply.roleList(try decoded(275))
        try expect(list, OutputStyle(.simple), is: 271)
        try expect(list, OutputStyle(.json), is: 272)
        try expect(list, OutputStyle(.fields), is: 274)
        let role = Reply.roleGet(role: "r1", try decoded(293))
        try expect(role, OutputStyle(.simple), is: 286)
        try expect(role, OutputStyle(.json), is: 290)
        try expect(role, OutputStyle(.fields), is: 292)
        let revoked = Reply.roleRevoke(role: "r1", key: Bytes("a".utf8), end: Bytes("b".utf8), .init())
        try expect(revoked, OutputStyle(.simple), is: 294)
        let open = Reply.roleRevoke(role: "r1", key: Bytes("z".utf8), end: [0], .init())
        try expect(open, OutputStyle(.simple), is: 296)
    }

    @Test func `about users look the same in every format`() throws {
        let list = Reply.userList(try decoded(313))
        try expect(list, OutputStyle(.simple), is: 309)
        try expect(list, OutputStyle(.json), is: 310)
        let user = Reply.userGet(user: "alice", try decoded(327))
        try expect(user, OutputStyle(.simple), is: 320)
        try expect(user, OutputStyle(.json), is: 324)
        let status = Reply.authStatus(try decoded(340))
        try expect(status, OutputStyle(.simple), is: 336)
        try expect(status, OutputStyle(.json), is: 337)
        for reply in [list, user, status] {
            #expect(throws: CtlFailure(.badFeature, "fields not supported as output format")) {
                try reply.rendered(OutputStyle(.fields))
            }
        }
    }

    @Test func `to transactions wrap what their operations say`() throws {
        let transaction: TxnResponse = try decoded(139)
        #expect(text(try Reply.transaction(transaction).rendered(OutputStyle(.simple))) == text(Recorded.at(134).output))
        // The recorded JSON is of another run of the same transaction, at another revision.
        let json = text(try Reply.transaction(transaction).rendered(OutputStyle(.json)))
        #expect(json.contains(#"{"Response":{"response_put":{"header":{"revision":54}}}}"#))
        #expect(
            json.hasPrefix(
                #"{"header":{"cluster_id":2268215026286477082,"member_id":1118005685299941695,"revision":54,"raft_term":2},"succeeded":true,"#
            ))
        let fields = text(try Reply.transaction(transaction).rendered(OutputStyle(.fields)))
        #expect(fields.split(separator: "\n").count == text(Recorded.at(138).output).split(separator: "\n").count)
    }

    @Test func `of watches have a shape of their own in JSON`() throws {
        let watch: WatchResponse = try decoded(157)
        #expect(
            text(try Reply.watch(watch).rendered(OutputStyle(.json)))
                == #"{"Header":{"cluster_id":2268215026286477082,"member_id":1118005685299941695,"revision":67,"raft_term":2},"#
                + #""Events":[{"kv":{"key":"Zm9v","create_revision":63,"mod_revision":67,"version":5,"value":"dzU="}}],"#
                + #""CompactRevision":0,"Canceled":false,"Created":false}"# + "\n")
        #expect(text(try Reply.watch(watch).rendered(OutputStyle(.simple))) == "PUT\nfoo\nw5\n")
        try expect(.watch(watch), OutputStyle(.protobuf), is: 157)
    }

    @Test func `of leases put the header's fields beside their own`() throws {
        let header = ResponseHeader(
            clusterId: 2_268_215_026_286_477_082, memberId: 1_118_005_685_299_941_695, revision: 82, raftTerm: 2)
        let granted = LeaseGrantResponse(
            header: ResponseHeader(clusterId: header.clusterId, memberId: header.memberId, revision: 79, raftTerm: 2),
            id: 1_242_890_125_683_872_922, ttl: 600)
        try expect(.leaseGrant(granted), OutputStyle(.json), is: 192)
        try expect(.leaseGrant(granted), OutputStyle(.protobuf), is: 195)
        var alive = LeaseTimeToLiveResponse(header: header, id: 1_242_890_125_683_872_920, ttl: 599, grantedTTL: 600)
        try expect(.leaseTimeToLive(alive, withKeys: false), OutputStyle(.simple), is: 202)
        try expect(.leaseTimeToLive(alive, withKeys: false), OutputStyle(.json), is: 203)
        try expect(.leaseTimeToLive(alive, withKeys: false), OutputStyle(.fields), is: 205)
        alive.keys = [Bytes("lk1".utf8), Bytes("lk2".utf8)]
        try expect(.leaseTimeToLive(alive, withKeys: true), OutputStyle(.simple), is: 207)
        try expect(.leaseTimeToLive(alive, withKeys: true), OutputStyle(.fields), is: 210)
        let gone = LeaseTimeToLiveResponse(id: 0x123, ttl: -1)
        try expect(.leaseTimeToLive(gone, withKeys: false), OutputStyle(.simple), is: 212)
    }

    @Test func `about endpoints look the same in every format`() throws {
        let json = try JSONValue(parsing: Recorded.at(10).output.rawSpan)
        let status = StatusResponse(
            header: ResponseHeader(
                clusterId: 2_268_215_026_286_477_082, memberId: 1_118_005_685_299_941_695, revision: 1, raftTerm: 2),
            version: "3.5.1", dbSize: 20480, leader: 1_118_005_685_299_941_695, raftIndex: 9, raftTerm: 2,
            raftAppliedIndex: 9, dbSizeInUse: try #require(json.array?[0]["Status"]?["dbSizeInUse"]?.int64))
        let reply = Reply.endpointStatus([EndpointStatus(endpoint: "127.0.0.1:23790", status: status)])
        try expect(reply, OutputStyle(.simple), is: 9)
        try expect(reply, OutputStyle(.json), is: 10)
        try expect(reply, OutputStyle(.table), is: 11)
        try expect(reply, OutputStyle(.fields), is: 12)
        #expect(throws: CtlFailure(.badFeature, "protobuf not supported as output format")) {
            try reply.rendered(OutputStyle(.protobuf))
        }
        let hash = HashKVResponse(header: status.header, hash: 1_084_519_789, compactRevision: -1)
        let hashes = Reply.endpointHashKV([EndpointHashKV(endpoint: "127.0.0.1:23790", hash: hash)])
        try expect(hashes, OutputStyle(.simple), is: 14)
        try expect(hashes, OutputStyle(.json), is: 15)
        try expect(hashes, OutputStyle(.table), is: 16)
        try expect(hashes, OutputStyle(.fields), is: 17)
        let health = EndpointHealth(endpoint: "127.0.0.1:23790", took: "4.540929ms")
        #expect(text(try Reply.endpointHealth([health]).rendered(OutputStyle(.simple))) == text(Recorded.at(4).output))
    }
}

@Suite struct `Answers nobody has recorded` {
    @Test func `of leases with negative ids have a sign`() throws {
        let reply = Reply.leaseRevoke(id: -1, LeaseRevokeResponse())
        #expect(text(try reply.rendered(OutputStyle(.simple))) == "lease -000000000000001 revoked\n")
    }

    @Test func `escape in JSON what browsers would take for markup`() throws {
        let member = Member(id: 1, name: "<a&b>")
        let json = text(try Reply.memberList(MemberListResponse(members: [member])).rendered(OutputStyle(.json)))
        #expect(json == #"{"members":[{"ID":1,"name":"\u003ca\u0026b\u003e"}]}"# + "\n")
    }

    @Test func `with no endpoints are null in JSON`() throws {
        #expect(text(try Reply.endpointStatus([]).rendered(OutputStyle(.json))) == "null\n")
    }

    @Test func `break long cells at blanks, evenly`() {
        let alarms = "Active Alarm(s): NOSPACE NOSPACE NOSPACE "
        #expect(
            AsciiTable(["Endpoint", "Error"], [["a:1", alarms]]).text == """
                +----------+--------------------------------+
                | ENDPOINT |             ERROR              |
                +----------+--------------------------------+
                |      a:1 |       Active Alarm(s): NOSPACE |
                |          |               NOSPACE NOSPACE  |
                +----------+--------------------------------+

                """)
    }

    @Test func `keep words that are longer than a cell`() {
        let word = String(repeating: "x", count: 40)
        let table = AsciiTable(["A"], [["a \(word) b"]]).text
        #expect(table.contains("| a \(word) |") == false)
        #expect(table.split(separator: "\n").contains { $0.contains(" \(word) |") })
    }
}
