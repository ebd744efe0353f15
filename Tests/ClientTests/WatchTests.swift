// Watches: that every change is told once and in order, whatever happens to the server.

import CoveyClient
import GRPC
import TestSupport
import Testing

/// Reads changes until the one with this value.
private func values(_ watch: Watch, upTo last: String) async throws -> [String] {
    var seen: [String] = []
    for try await event in watch {
        if case .changes(let changes) = event { seen += changes.map { $0.kind == .delete ? "-" : $0.pair.value.text } }
        if case .gap = event { seen.append("gap") }
        if seen.last == last { break }
    }
    return seen
}

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct WatchTests {
    @Test func `every change from the call on is told, in order`() async throws {
        let client = try await SharedEtcd.client()
        let watch = try await client.watch(.prefix("watch/1/"), options: .init(previous: true))
        try await client.put("watch/1/a", "1")
        try await client.put("watch/1/a", "2")
        try await client.put("watch/10", "other")
        try await client.delete("watch/1/a")
        var changes: [Change] = []
        while changes.count < 3, case .changes(let more)? = try await watch.next() { changes += more }
        #expect(changes.map(\.kind) == [.put, .put, .delete])
        #expect(changes.map(\.isCreation) == [true, false, false])
        #expect(changes.map { $0.previous?.value.text } == [nil, "1", "2"])
        #expect(changes.map(\.revision) == changes.map(\.revision).sorted())
        #expect(watch.startRevision <= changes[0].revision)
        watch.cancel()
        #expect(try await watch.next() == nil)
    }

    @Test func `a watch from a revision replays, and filters`() async throws {
        let client = try await SharedEtcd.client()
        let start = try await client.put("watch/2", "1").revision
        try await client.delete("watch/2")
        for i in 2...40 { try await client.put("watch/2", "\(i)") }
        let all = try await client.watch(.key("watch/2"), from: start)
        #expect(try await values(all, upTo: "40") == ["1", "-"] + (2...40).map { "\($0)" })
        let puts = try await client.watch(.key("watch/2"), from: start, options: .init(ignoreDeletes: true))
        #expect(try await values(puts, upTo: "40") == (1...40).map { "\($0)" })
    }

    @Test func `changes of one transaction come together, also in fragments`() async throws {
        let client = try await SharedEtcd.client()
        let watch = try await client.watch(.prefix("watch/3/"))
        let big = Blob([UInt8](repeating: 7, count: 1_500_000))
        _ = try await client.transaction().then((0..<20).map { .put("watch/3/\(100 + $0)", $0 < 3 ? "small" : "tiny") }).commit()
        guard case .changes(let one)? = try await watch.next() else { return #expect(Bool(false)) }
        #expect(one.count == 20)
        // Separate writes, read late: etcd batches them into one answer of 30 MB and cuts that.
        let start = try await client.put("watch/3/x", "begin").revision
        for i in 0..<20 { try await client.put("watch/3/\(i)", big) }
        let late = try await client.watch(.prefix("watch/3/"), from: start)
        var seen = 0
        while seen < 21, case .changes(let more)? = try await late.next() { seen += more.count }
        #expect(seen == 21)
    }

    @Test func `a cancelled reader ends, the server is told`() async throws {
        let client = try await SharedEtcd.client()
        let watch = try await client.watch(.key("watch/4"))
        let reader = Task { try await watch.next() }
        reader.cancel()
        let error = await #expect(throws: ClientError.self) { _ = try await reader.value }
        #expect(error?.isCancelled == true)
    }

    @Test func `a watch nobody can open says why in time`() async throws {
        let client = try Client(ClientConfiguration(endpoints: ["127.0.0.1:\(freePort())"]))
        let error = await #expect(throws: ClientError.self) {
            try await client.watch(.key("a"), timeout: .milliseconds(200))
        }
        #expect(error?.code == .deadlineExceeded)
    }

    @Test(arguments: ["stop", "kill"])
    func `a watch survives the server's restart`(_ way: String) async throws {
        let server = await EtcdProcess(RealTools.etcd35! + "/etcd").start()
        var configuration = ClientConfiguration(endpoints: [server.endpoint])
        configuration.reconnectDelay = .milliseconds(10) ... .milliseconds(100)
        let client = try Client(configuration)
        let watch = try await client.watch(.key("w"))
        for i in 0..<3 { try await client.put("w", "before \(i)") }
        guard case .changes? = try await watch.next() else { return #expect(Bool(false)) }
        for _ in 0..<3 {
            if way == "stop" { await server.stop() } else { await server.kill() }
            await server.start()
            // A new server may need a moment to lead.
            while (try? await client.put("w", "between", timeout: .seconds(20))) == nil {}
        }
        try await client.put("w", "after")
        let seen = try await values(watch, upTo: "after")
        #expect(Array(seen.prefix(2)) == ["before 1", "before 2"])
        #expect(seen.filter { $0 == "between" }.count >= 3)
        // Each revision once: the key's versions have no hole and no repetition.
        #expect(try await client.get("w")?.version == Int64(seen.count + 1))
    }

    @Test func `a watch tells of a gap and goes on behind it`() async throws {
        let server = await EtcdProcess(RealTools.etcd35! + "/etcd").start()
        let client = try Client(ClientConfiguration(endpoints: [server.endpoint]))
        for i in 0..<10 { try await client.put("g", "\(i)") }
        let now = try #require(try await client.get("g")).modRevision
        try await client.compact(before: now - 2)
        let watch = try await client.watch(.key("g"), from: 2)
        guard case .gap(let lost)? = try await watch.next() else { return #expect(Bool(false), "no gap") }
        #expect(lost == 2...now - 3)
        #expect(try await values(watch, upTo: "9") == ["7", "8", "9"])
    }

    @Test func `progress is told when asked for, and saves a quiet watch from a gap`() async throws {
        let server = await EtcdProcess(
            RealTools.etcd35! + "/etcd", ["--experimental-watch-progress-notify-interval", "100ms"]
        ).start()
        var configuration = ClientConfiguration(endpoints: [server.endpoint])
        configuration.reconnectDelay = .milliseconds(10) ... .milliseconds(100)
        let client = try Client(configuration)
        let watch = try await client.watch(.key("quiet"), options: .init(progress: true))
        var written: Int64 = 0
        for _ in 0..<10 { written = try await client.put("loud", "x").revision }
        var told: Int64 = 0
        while told < written, case .progress(let revision)? = try await watch.next() { told = revision }
        #expect(told >= written)
        try await client.compact(before: written, physical: true)
        await server.kill()
        await server.start()
        while (try? await client.put("quiet", "now", timeout: .seconds(20))) == nil {}
        while let event = try await watch.next() {
            if case .progress = event { continue }
            guard case .changes(let changes) = event else { return #expect(Bool(false), "\(event)") }
            #expect(changes.map(\.pair.value) == ["now"])
            break
        }
    }

    @Test func `a compaction while the member was away is a gap too`() async throws {
        let members = await EtcdProcess.cluster(RealTools.etcd35! + "/etcd")
        var configuration = ClientConfiguration(endpoints: [members[0].endpoint])
        configuration.reconnectDelay = .milliseconds(10) ... .milliseconds(100)
        let watcher = try Client(configuration)
        let writer = try Client(ClientConfiguration(endpoints: [members[1].endpoint, members[2].endpoint]))
        let watch = try await watcher.watch(.key("g"), timeout: .seconds(30))
        var last: Int64 = 0
        func write(_ text: String) async throws {
            // The first writes may meet an election.
            while true {
                if let result = try? await writer.put("g", Blob(text), timeout: .seconds(30)) {
                    last = result.revision
                    return
                }
            }
        }
        try await write("seen")
        #expect(try await values(watch, upTo: "seen").last == "seen")
        let told = last
        await members[0].kill()
        for i in 0..<5 { try await write("\(i)") }
        try await writer.compact(before: last, physical: true)
        await members[0].start()
        var events: [WatchEvent] = []
        while events.count < 2, let event = try await watch.next() { events.append(event) }
        guard case .gap(let lost) = events[0], case .changes(let changes) = events[1] else {
            return #expect(Bool(false), "\(events)")
        }
        #expect(lost == told + 1...last - 1)
        #expect(changes.map(\.pair.value.text) == ["4"])
    }

    @Test(arguments: [
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", EtcdError.permissionDenied),
        ("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", EtcdError.invalidAuthToken),
        ("mvcc: watcher range is empty", GRPCStatus(.invalidArgument, "mvcc: watcher range is empty")),
        ("", GRPCStatus(.invalidArgument, "etcdserver: watch canceled")),
    ])
    func `reasons of refused watches become errors`(_ reason: String, _ status: GRPCStatus) {
        #expect(GRPCStatus(watchRefusal: reason) == status)
    }

    @Test func `a watch of an empty range is refused`() async throws {
        let client = try await SharedEtcd.client()
        let error = await #expect(throws: ClientError.self) { try await client.watch(.from("b", upTo: "a")) }
        #expect(error?.message == "mvcc: watcher range is empty")
    }
}
