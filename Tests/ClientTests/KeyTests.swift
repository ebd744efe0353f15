// What programs do with keys, against a real etcd.

import CoveyClient
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct KeyTests {
    @Test func `put, get and delete`() async throws {
        let client = try await SharedEtcd.client()
        let first = try await client.put("keys/a", "one")
        let second = try await client.put("keys/a", "two", returningPrevious: true)
        #expect(second.previous?.value == "one")
        let pair = try #require(try await client.get("keys/a"))
        #expect(pair.value.text == "two")
        #expect((pair.createRevision, pair.modRevision, pair.version) == (first.revision, second.revision, 2))
        #expect(pair.lease == nil)
        #expect(try await client.get("keys/a", at: first.revision)?.value == "one")
        #expect(try await client.delete("keys/a"))
        #expect(try await client.delete("keys/a") == false)
        #expect(try await client.get("keys/a") == nil)
    }

    @Test func `ranges mean what they say`() async throws {
        let client = try await SharedEtcd.client()
        for name in ["r/a", "r/b", "r/b/1", "r/c", "r0"] { try await client.put(Blob(name), "x") }
        func keys(_ range: KeyRange) async throws -> [String] {
            try await client.list(range).pairs.map(\.key.text).filter { $0.hasPrefix("r") && !$0.hasPrefix("ra") }
        }
        #expect(try await keys(.prefix("r/b")) == ["r/b", "r/b/1"])
        #expect(try await keys(.key("r/b")) == ["r/b"])
        #expect(try await keys(.from("r/b", upTo: "r/c")) == ["r/b", "r/b/1"])
        #expect(try await keys(.from("r/c")).prefix(2) == ["r/c", "r0"])
        #expect(try await keys(.all).contains("r/a"))
        #expect(try await client.count(.prefix("r/")) == 4)
        let cut = try await client.list(.prefix("r/"), limit: 3, keysOnly: true)
        #expect(cut.isCut && cut.count == 4 && cut.pairs.count == 3 && cut.pairs[0].value.isEmpty)
        let gone = try await client.delete(.prefix("r/"), returningPrevious: true)
        #expect(gone.count == 4 && gone.previous.map(\.key) == ["r/a", "r/b", "r/b/1", "r/c"])
    }

    @Test func `a prefix of highest bytes ends where the keys do`() {
        #expect(KeyRange.prefix(Blob([1, 255, 255])) == .from(Blob([1, 255, 255]), upTo: Blob([2])))
        #expect(KeyRange.prefix(Blob([255, 255])) == .from(Blob([255, 255])))
        #expect(KeyRange.prefix("") == .all)
    }

    @Test func `pages show one revision`() async throws {
        let client = try await SharedEtcd.client()
        for i in 100..<125 { try await client.put("pages/\(i)", "old") }
        var values: [String] = []
        var sizes: [Int] = []
        for try await page in client.pages(of: .prefix("pages/"), size: 10) {
            sizes.append(page.pairs.count)
            values += page.pairs.map { "\($0.key)=\($0.value)" }
            for i in 100..<130 { try await client.put("pages/\(i)", "new") }
        }
        #expect(sizes == [10, 10, 5])
        #expect(values == (100..<125).map { "pages/\($0)=old" })
    }

    @Test func `a transaction compares and acts`() async throws {
        let client = try await SharedEtcd.client()
        let take = client.transaction().when(.isAbsent("txn/owner")).then(.put("txn/owner", "me")).otherwise(.get("txn/owner"))
        let first = try await take.commit()
        #expect(first.succeeded)
        let second = try await take.commit()
        #expect(!second.succeeded)
        let pair = try #require(second.responses[0].pairs.first)
        #expect(pair.value == "me" && pair.modRevision == first.revision)

        let swap = try await client.transaction()
            .when(.unchanged(pair), .value(of: "txn/owner", is: "me"), .version(of: .prefix("txn/"), .less, 2))
            .then(
                .put("txn/owner", "you", returningPrevious: true), .delete("txn/none"), .list(.prefix("txn/")),
                .transaction(Transaction().when(.exists("txn/none")).otherwise(.put("txn/inner", "1")))
            )
            .commit()
        #expect(swap.succeeded && swap.responses.count == 4)
        guard case .put(let put) = swap.responses[0], case .delete(let deletion) = swap.responses[1],
            case .transaction(let inner) = swap.responses[3]
        else { return #expect(Bool(false), "\(swap.responses)") }
        #expect(put.previous?.value == "me")
        #expect(deletion.count == 0)
        #expect(swap.responses[2].pairs.map(\.value) == ["you"])
        #expect(!inner.succeeded)
        #expect(try await client.get("txn/inner")?.modRevision == swap.revision)
    }

    @Test func `compacted history is an error that can be recognised`() async throws {
        let server = await EtcdProcess(RealTools.etcd35! + "/etcd").start()
        let client = try Client(ClientConfiguration(endpoints: [server.endpoint]))
        for i in 0..<5 { try await client.put("c", "\(i)") }
        let now = try #require(try await client.get("c")).modRevision
        try await client.compact(before: now, physical: true)
        let error = await #expect(throws: ClientError.self) { try await client.get("c", at: now - 1) }
        #expect(error?.isCompacted == true)
        #expect(try await client.get("c", at: now)?.value == "4")
    }

    @Test func `maintenance of one server`() async throws {
        let client = try await SharedEtcd.client()
        let endpoint = await SharedEtcd.endpoint
        try await client.put("m", "1")
        let members = try await client.members()
        let status = try await client.status(of: endpoint)
        #expect(members.map(\.clientURLs) == [[endpoint]])
        #expect(status.memberID == members[0].id && status.isLeader && status.version == "3.5.1")
        try await client.defragment(endpoint)
        #expect(try await client.hash(of: endpoint) != 0)
        #expect(try await client.alarms() == [])
        try await client.syncEndpoints()
        let error = await #expect(throws: ClientError.self) { try await client.moveLeader(from: endpoint, to: 1) }
        #expect(error?.message == "etcdserver: bad leader transferee")
    }

    @Test func `a snapshot is a file the tools accept`() async throws {
        let client = try await SharedEtcd.client()
        try await client.put("snapshot", Blob([UInt8](repeating: 1, count: 1_000_000)))
        var file: [UInt8] = []
        var remaining: [UInt64] = []
        for try await piece in client.snapshot(of: await SharedEtcd.endpoint) {
            file += piece.bytes
            remaining.append(piece.remaining)
        }
        #expect(file.count % 512 == 32)
        #expect(remaining == remaining.sorted(by: >) && remaining.last == 0)
        let folder = temporaryFolder("snapshot")
        defer { _ = Subprocess.run("/bin/rm", ["-rf", folder]) }
        try write(file, to: folder + "/snap.db")
        let status = await Subprocess.finished(RealTools.etcd35! + "/etcdutl", ["snapshot", "status", folder + "/snap.db", "-w", "json"])
        #expect(status.status == 0, "\(status.output)")
        let restored = await Subprocess.finished(
            RealTools.etcd35! + "/etcdutl", ["snapshot", "restore", folder + "/snap.db", "--data-dir", folder + "/data"])
        #expect(restored.status == 0, "\(restored.output)")
    }
}
