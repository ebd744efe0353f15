// What the peer port says to requests that are wrong: as a real member says it, to the byte of the text.

import Foundations
import Glibc
import Linux
import PeerWire
import Raft
import Server
import Testing

/// Status, headers (names in lower case, without Date and Connection) and body.
private struct Answer: Equatable {
    var status = ""
    var headers: [String] = []
    var body = ""

    init(_ text: String) {
        let parts = text.split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false)
        let lines = (parts.first ?? "").split(separator: "\r\n")
        status = String(lines.first ?? "")
        for line in lines.dropFirst() {
            let field = line.split(separator: ":", maxSplits: 1)
            let name = field[0].lowercased()
            if ["date", "connection"].contains(name) { continue }
            headers.append("\(name):\(field.count > 1 ? field[1] : "")")
        }
        headers.sort()
        body = parts.count > 1 ? String(parts[1]) : ""
    }

    /// From the file of recordings, whose lines end in LF.
    static func recorded() -> [String: Answer] {
        let folder = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        guard let file = fopen("/\(folder)/Data/http-error-probes-3.5.1.txt", "r") else { fatalError("no recording") }
        defer { fclose(file) }
        var bytes = Bytes(repeating: 0, count: 1 << 20)
        let text = String(decoding: bytes[..<fread(&bytes, 1, bytes.count, file)], as: UTF8.self)
        var all: [String: Answer] = [:]
        for section in text.split(separator: "## ") {
            let lines = section.split(separator: "\n", omittingEmptySubsequences: false).map {
                $0.hasSuffix("\r") ? $0.dropLast() : $0
            }
            guard let blank = lines.dropFirst().firstIndex(of: "") else { continue }
            let head = lines[1..<blank].joined(separator: "\r\n")
            let body = lines[(blank + 1)...].joined(separator: "\n")
            all[String(lines[0])] = Answer(head + "\r\n\r\n" + body)
        }
        return all
    }
}

private let cluster = "d3f98db2f19b056d"
private let ours = "f91af9f5b30107e4"
private let known = "bce84919c1eaae14"

private struct Probe: CustomTestStringConvertible, Sendable {
    var name: String
    var request: String
    var headers: [String: String] = [:]
    var body: Bytes = []
    var testDescription: String { name }

    var bytes: Bytes {
        var fields = [
            "X-Etcd-Cluster-Id": cluster, "X-Server-Version": "3.5.1", "X-Min-Cluster-Version": "3.0.0", "X-Raft-To": ours,
            "X-Server-From": known,
        ]
        for (name, value) in headers { fields[name] = value }
        if !body.isEmpty || request.hasPrefix("POST") { fields["Content-Length"] = "\(body.count)" }
        let head = fields.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\r\n" }.joined()
        return Bytes("\(request) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(head)\r\n".utf8) + body
    }

    static let stream = "GET /raft/stream/message/\(known)"

    /// The same requests as were recorded.
    static let recorded = [
        Probe(name: "stream removed", request: "GET /raft/stream/message/dead"),
        Probe(name: "stream unknown", request: "GET /raft/stream/message/1234"),
        Probe(name: "stream wrong to", request: stream, headers: ["X-Raft-To": "1"]),
        Probe(name: "stream wrong cid", request: stream, headers: ["X-Etcd-Cluster-Id": "1"]),
        Probe(name: "stream low version", request: stream, headers: ["X-Server-Version": "2.3.8"]),
        Probe(name: "stream high min version", request: stream, headers: ["X-Min-Cluster-Version": "3.9.0"]),
        Probe(name: "stream bad path", request: "GET /raft/stream/nonsense/\(known)"),
        Probe(name: "stream POST", request: "POST /raft/stream/message/\(known)"),
        Probe(name: "pipeline garbage", request: "POST /raft", body: Bytes("garbage".utf8)),
        Probe(name: "pipeline wrong cid", request: "POST /raft", headers: ["X-Etcd-Cluster-Id": "1"], body: [8, 8]),
        Probe(name: "snapshot wrong type", request: "POST /raft/snapshot", body: [0, 0, 0, 0, 0, 0, 0, 2, 8, 8]),
        Probe(name: "leases", request: "POST /leases", body: [8, 1]),
    ]
}

private func member(_ test: TestLoop) throws -> TestMember {
    let member = try TestMember(
        test.loop, UInt64(ours, radix: 16)!, cluster: UInt64(cluster, radix: 16)!, folder: test.folder, version: "3.5.1")
    test.members.append(member)
    member.removed = [MemberID(0xdead)]
    member.transport.setPeer(MemberID(UInt64(known, radix: 16)!), urls: ["http://127.0.0.1:1"])
    return member
}

private func ask(_ test: TestLoop, _ member: TestMember, _ bytes: Bytes) -> String? {
    let connection = RawConnection(test.loop, port: member.port, bytes)
    let closed = test.run { connection.isClosed }
    connection.close()
    return closed ? connection.text : nil
}

@Suite struct RefusalTests {
    @Test(arguments: Probe.recorded) fileprivate func `answers are a real member's`(_ probe: Probe) throws {
        let test = try TestLoop()
        let text = ask(test, try member(test), probe.bytes)
        #expect(Answer(text ?? "nothing") == Answer.recorded()[probe.name])
    }

    @Test(arguments: [
        ("GET /raft", "405 Method Not Allowed", "Method Not Allowed\n"),
        ("GET /nothing", "404 Not Found", "404 page not found\n"),
        ("GET /raft/stream/message/xyz", "404 Not Found", "invalid from\n"),
        ("GET /raft/stream/message", "404 Not Found", "invalid path\n"),
        ("POST /members", "405 Method Not Allowed", "Method Not Allowed\n"),
        ("POST /members/promote/0x12", "404 Not Found", "member 0x12 not found in cluster\n"),
        ("POST /members/promote/77", "404 Not Found", "membership: ID not found\n"),
        ("GET /leases", "405 Method Not Allowed", "Method Not Allowed\n"),
        ("POST /leases/internal", "400 Bad Request", "error unmarshalling request\n"),
    ]) func `pages refuse`(_ request: String, _ status: String, _ body: String) throws {
        let test = try TestLoop()
        let answer = Answer(ask(test, try member(test), Probe(name: "", request: request).bytes) ?? "nothing")
        #expect(answer.status == "HTTP/1.1 \(status)")
        #expect(answer.body == body)
    }

    @Test func `pages get their bodies and answers`() throws {
        let test = try TestLoop()
        let member = try member(test)
        func get(_ request: String, _ body: String = "", _ headers: [String: String] = [:]) -> Answer {
            Answer(ask(test, member, Probe(name: "", request: request, headers: headers, body: Bytes(body.utf8)).bytes) ?? "")
        }
        let members = get("GET /members")
        #expect(members.body == "[{\"id\":1}]\n")
        #expect(members.headers.contains("x-etcd-cluster-id: \(cluster)") && members.headers.contains("content-type: application/json"))
        let version = get("GET /version")
        #expect(version.headers == ["content-length: 44", "content-type: application/json"])
        #expect(get("GET /downgrade/enabled").body == "false")
        #expect(get("GET /raft/probing").body.hasPrefix("{\"OK\":true,\"Now\":\"20"))
        _ = get("GET /members/hashkv", "{\"revision\":9}")
        _ = get("POST /leases/internal", "xy")
        #expect(
            member.pages == [
                .members, .version, .downgradeEnabled, .hashKV(body: Bytes("{\"revision\":9}".utf8)),
                .leaseTimeToLive(body: [0x78, 0x79]),
            ])
        #expect(get("GET /members/hashkv", "{}", ["X-Etcd-Cluster-Id": "1"]).body == "cluster ID mismatch\n")
    }

    @Test func `what a removed member posts is forbidden, what is for another fails`() throws {
        let test = try TestLoop()
        let member = try member(test)
        func post(_ message: Message) -> Answer {
            var bytes: Bytes = []
            MessageCodec.append(message, to: &bytes)
            return Answer(ask(test, member, Probe(name: "", request: "POST /raft", body: bytes).bytes) ?? "")
        }
        let id = member.id
        #expect(post(Message(.vote, to: id, from: MemberID(0xdead), term: 1)).status == "HTTP/1.1 403 Forbidden")
        let elsewhere = post(Message(.vote, to: MemberID(1), from: MemberID(2), term: 1))
        #expect(elsewhere.status == "HTTP/1.1 500 Internal Server Error")
        #expect(elsewhere.body == "error processing raft message\n")
        var snapshot = Message(.snapshot, to: id, from: MemberID(2), term: 1)
        snapshot.snapshot = Snapshot(metadata: SnapshotMetadata(index: 1, term: 1))
        #expect(post(snapshot).status == "HTTP/1.1 500 Internal Server Error")
        #expect(post(Message(.vote, to: id, from: MemberID(2), term: 1)).status == "HTTP/1.1 204 No Content")
        #expect(member.messages.count == 1)
    }

    @Test(arguments: ["X-Server-Version", "X-Min-Cluster-Version"]) func `a version that is none costs the connection`(
        _ header: String
    ) throws {
        let test = try TestLoop()
        let probe = Probe(name: "", request: Probe.stream, headers: [header: "banana"])
        #expect(ask(test, try member(test), probe.bytes) == "")
    }

    @Test func `garbage never stops a member`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        let seed = UInt64.random(in: 0...(.max))
        print("garbage: seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<60 {
            var bytes = Probe.recorded.randomElement(using: &random)!.bytes
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let connection = RawConnection(test.loop, port: b.port, bytes)
            test.pass(milliseconds: 2)
            connection.close()
        }
        a.transport.send([Message(.heartbeat, to: b.id, from: a.id, term: 1)])
        #expect(test.run { b.messages.contains { $0.kind == .heartbeat && $0.from == a.id } })
    }

    @Test func `a stream of garbage is dropped and opened again`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        let relay = try Relay(test.loop, to: b.port)
        defer { relay.stop() }
        a.transport.setPeer(b.id, urls: [relay.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        // Inside the chunk: the frame's type or length becomes nonsense, the chunk's own lines stay as they are.
        relay.tamper = { bytes in
            for i in bytes.indices.dropFirst(10) where bytes[i] == 2 || bytes[i] == 0 { bytes[i] = 0xee }
        }
        b.transport.send([
            Message(.append, to: a.id, from: b.id, term: 1), Message(.heartbeat, to: a.id, from: b.id, term: 1),
        ])
        #expect(test.run { a.reports.contains { $0.contains("malformed message") } }, "\(a.reports)")
        relay.tamper = nil
        #expect(test.run { a.transport.activeSince(b.id) != nil && b.transport.streamCount(to: a.id) == 2 })
        #expect(a.messages.isEmpty)
        b.transport.send([Message(.timeoutNow, to: a.id, from: b.id, term: 1)])
        #expect(test.run { a.messages.contains { $0.kind == .timeoutNow } })
    }
}
