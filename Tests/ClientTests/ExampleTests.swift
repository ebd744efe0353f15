// The examples of the documentation, run. Each line of code there is a line here; the second test sees to it.

import CoveyClient
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct ExampleTests {
    @Test func `the examples do what they say`() async throws {
        let server = await EtcdProcess(RealTools.etcd35! + "/etcd").start()
        let client = try Client(ClientConfiguration(endpoints: [server.endpoint]))
        try await client.put("greeting", "hello")
        if let pair = try await client.get("greeting") {
            print(pair.value.text, "since revision", pair.modRevision)
        }
        for pair in try await client.list(.prefix("greet")).pairs { print(pair.key) }
        try await client.delete("greeting")

        let before = try await client.put("counter", "1")
        let result = try await client.transaction()
            .when(.modRevision(of: .key("counter"), .equal, before.revision))
            .then(.put("counter", "2"))
            .otherwise(.get("counter"))
            .commit()
        if !result.succeeded { print("somebody else was faster:", result.responses[0].pairs) }
        #expect(result.succeeded)

        try await client.put("app/a", "old")
        let now = try await client.list(.prefix("app/"))
        var state = Dictionary(uniqueKeysWithValues: now.pairs.map { ($0.key, $0.value) })
        let watch = try await client.watch(.prefix("app/"), from: now.revision + 1)
        try await client.put("app/b", "new")
        try await client.delete("app/a")
        try await client.put("app/done", "")
        for try await event in watch {
            switch event {
            case .changes(let changes):
                for change in changes { state[change.key] = change.kind == .put ? change.pair.value : nil }
            case .gap: print("history was compacted: list again")
            case .progress: break
            }
            if state["app/done"] != nil { break }
        }
        #expect(state == ["app/b": "new", "app/done": ""])

        let lease = try await client.grantLease(ttl: .seconds(10))
        try await client.put("services/web/7", "10.0.0.7:80", lease: lease.id)
        try await client.withLock("deploy") { lock in
            try await client.transaction().when(lock.condition).then(.put("deployed", "7")).commit()
        }
        let leadership = try await client.campaign(in: "scheduler", value: "host-7")
        print("leading:", leadership.isLeader)
        #expect(leadership.isLeader)
        try await leadership.resign()

        for member in try await client.members() {
            for endpoint in member.clientURLs {
                let status = try await client.status(of: endpoint)
                print(member.name, status.version, status.isLeader ? "leads" : "follows", status.errors)
            }
        }
        var bytes = 0
        for try await piece in client.snapshot(of: client.configuration.endpoints[0]) { bytes += piece.bytes.count }
        client.close()
        #expect(bytes % 512 == 32)
    }

    @Test func `every line of the documentation's code is run here`() throws {
        let page = try readLines(RealTools.root + "/Sources/Client/CoveyClient.docc/CoveyClient.md")
        let here = Set(try readLines(#filePath).map { $0.drop { $0 == " " } })
        var inCode = false
        var missing: [Substring] = []
        for line in page {
            if line.hasPrefix("```") {
                inCode = line == "```swift"
            } else if inCode && !here.contains(line.drop { $0 == " " }) {
                missing.append(line)
            }
        }
        // Where the cluster is differs.
        #expect(missing == ["let client = try Client(ClientConfiguration(endpoints: [\"127.0.0.1:2379\"]))"])
    }
}
