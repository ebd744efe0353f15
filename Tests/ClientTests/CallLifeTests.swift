// Deadlines, cancellation, sizes, tokens, streams, and connections that are not what they seem.

import CoveyClient
import Foundations
import GRPC
import Glibc
import TestSupport
import Testing
import Wire

private func client(_ endpoint: String, _ change: (inout ClientConfiguration) -> Void = { _ in }) throws -> Client {
    var configuration = ClientConfiguration(endpoints: [endpoint])
    change(&configuration)
    return try Client(configuration)
}

@Suite(.serialized, inTime) struct DeadlineTests {
    @Test func `a call that is not answered ends at its deadline, at both ends`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        // Connected before the time begins to run: the call must reach the server in any case.
        _ = try await client.kv.put(PutRequest(key: [1]))
        server.plan(RPC.KV.range, [.silence])
        let error = await #expect(throws: ClientError.self) {
            try await client.kv.range(RangeRequest(key: [1]), CallOptions(deadline: .after(.milliseconds(1000))))
        }
        #expect(error?.status == EtcdError.contextDeadlineExceeded)
        #expect("\(error!)" == "context deadline exceeded")
        #expect(server.with { $0.timeouts } == [RPC.KV.put.path, RPC.KV.range.path])
        #expect(await comesTrue { server.with { $0.cancelled } == 1 })
    }

    @Test func `a port where nobody listens is a deadline exceeded that says why`() async throws {
        let port = freePort()
        let client = try client("127.0.0.1:\(port)")
        defer { client.close() }
        let error = await #expect(throws: ClientError.self) {
            try await client.kv.put(PutRequest(key: [1]), CallOptions(deadline: .after(.milliseconds(2000))))
        }
        #expect(error?.status == EtcdError.contextDeadlineExceeded)
        let why = "transport: Error while dialing: dial tcp 127.0.0.1:\(port): connect: connection refused"
        #expect(error?.detail == "connection error: desc = \"\(why)\"")
    }

    @Test func `without a deadline the wait for a connection ends too`() async throws {
        let port = freePort()
        let client = try client("127.0.0.1:\(port)") {
            $0.timeout = nil
            $0.connectionWait = .milliseconds(2000)
        }
        defer { client.close() }
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest(key: [1])) }
        #expect(error?.code == .unavailable)
        #expect(error?.message.contains("connect: connection refused") == true)
    }

    @Test(arguments: [
        ("nowhere.invalid:1", "lookup nowhere.invalid"), ("127.0.0.1", "missing port in address"),
        ("unix:///nonexistent/socket", "connect: no such file or directory"),
    ])
    func `endpoints that lead nowhere say so`(_ endpoint: String, _ text: String) async throws {
        let client = try client(endpoint)
        defer { client.close() }
        let error = await #expect(throws: ClientError.self) {
            try await client.kv.range(RangeRequest(key: [1]), CallOptions(deadline: .after(.milliseconds(4000))))
        }
        #expect(error?.code == .deadlineExceeded)
        #expect(error?.detail.contains(text) == true, "\(error!.detail)")
    }

    @Test func `a port that accepts and says nothing is no server`() async throws {
        let listener = SilentListener()
        let client = try client("127.0.0.1:\(listener.port)") {
            $0.timeout = nil
            $0.connectTimeout = .milliseconds(50)
            $0.connectionWait = .milliseconds(3000)
        }
        defer { client.close() }
        let error = await #expect(throws: ClientError.self) { try await client.kv.range(RangeRequest(key: [1])) }
        #expect(error?.message == "connection error: desc = \"timed out waiting for the server's HTTP/2 preface\"")
        withExtendedLifetime(listener) {}
    }

    @Test func `repeated failures end at the deadline and tell the last one`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        _ = try await client.kv.range(RangeRequest(key: [1]))
        server.plan(RPC.KV.range, Array(repeating: .fail(EtcdError.noLeader), count: 1000))
        let error = await #expect(throws: ClientError.self) {
            try await client.kv.range(RangeRequest(key: [1]), CallOptions(deadline: .after(.seconds(5))))
        }
        #expect(error?.status == EtcdError.contextDeadlineExceeded)
        #expect(error?.detail == "etcdserver: no leader")
        // More than once, and not without pauses.
        #expect((3...40).contains(server.calls(RPC.KV.range)))
    }
}

@Suite(.serialized, inTime) struct StatusTests {
    @Test func `a deadline that the server notices first is still a deadline`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        server.plan(RPC.KV.put, [.fail(GRPCStatus(.unknown, "context deadline exceeded"))])
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest(key: [1])) }
        #expect(error?.status == EtcdError.contextDeadlineExceeded)
    }

    @Test(arguments: [
        (EtcdError.permissionDenied, "etcdserver: permission denied"), (EtcdError.contextCanceled, "context canceled"),
        (EtcdError.electionNoLeader, "rpc error: code = Unknown desc = election: no leader"),
        (GRPCStatus(.unavailable, "gone 100 %\n"), "rpc error: code = Unavailable desc = gone 100 %\n"),
    ])
    func `errors are shown as etcd's clients show them`(_ status: GRPCStatus, _ text: String) async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        server.plan(RPC.KV.put, [.fail(status)])
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest(key: [1])) }
        #expect(error?.status == status)
        #expect("\(error!)" == text)
    }
}

@Suite(.serialized, inTime) struct CancellationTests {
    @Test func `a cancelled task ends its call at both ends`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        server.plan(RPC.KV.range, [.silence])
        let task = Task { try await client.kv.range(RangeRequest(key: [1])) }
        #expect(await comesTrue { server.calls(RPC.KV.range) == 1 })
        task.cancel()
        let error = await #expect(throws: ClientError.self) { try await task.value }
        #expect(error?.status == EtcdError.contextCanceled)
        #expect(await comesTrue { server.with { $0.cancelled } == 1 })
        _ = try await client.kv.range(RangeRequest(key: [1]))
    }

    @Test func `a task that is cancelled already calls nobody`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        _ = try await client.kv.range(RangeRequest(key: [1]))
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            _ = try await client.kv.put(PutRequest(key: [1]))
        }
        let error = await #expect(throws: ClientError.self) { try await task.value }
        #expect(error?.isCancelled == true)
        #expect(server.calls(RPC.KV.put) == 0)
    }

    @Test func `closing the client ends what waits, and what comes later`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        server.plan(RPC.KV.range, [.silence])
        let task = Task { try await client.kv.range(RangeRequest(key: [1])) }
        #expect(await comesTrue { server.calls(RPC.KV.range) == 1 })
        let stream = client.watches.open()
        try await stream.send(WatchRequest())
        client.close()
        for attempt in 0..<3 {
            let error = await #expect(throws: ClientError.self) {
                switch attempt {
                case 0: _ = try await task.value
                case 1: while try await stream.next() != nil {}
                default: _ = try await client.kv.put(PutRequest(key: [1]))
                }
            }
            #expect(error?.message == "grpc: the client connection is closing")
        }
    }

    @Test func `a stream that nobody holds is ended`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        do {
            let stream = client.watches.open()
            try await stream.send(WatchRequest())
            _ = try await stream.next()
        }
        #expect(await comesTrue { server.with { $0.cancelled } == 1 })
    }
}

@Suite(.serialized, inTime) struct SizeTests {
    @Test func `messages of many windows pass both ways`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.sendBytesMax = 64 << 20 }
        defer { client.close() }
        server.with { $0.answerBytes = 24 << 20 }
        let value = [UInt8](repeating: 3, count: 20 << 20)
        _ = try await client.kv.put(PutRequest(key: [1], value: value))
        let answer = try await client.kv.range(RangeRequest(key: [1]))
        #expect(answer.kvs[0].value.count == 24 << 20)
    }

    @Test func `too long a request is not sent`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.sendBytesMax = 1000 }
        defer { client.close() }
        let error = await #expect(throws: ClientError.self) {
            try await client.kv.put(PutRequest(key: [1], value: [UInt8](repeating: 0, count: 2000)))
        }
        #expect(error?.status == GRPCStatus(.resourceExhausted, "trying to send message larger than max (2006 vs. 1000)"))
        #expect(server.calls(RPC.KV.put) == 0)
    }

    @Test func `too long an answer is refused at its header`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.receiveBytesMax = 1000 }
        defer { client.close() }
        server.with { $0.answerBytes = 5000 }
        let error = await #expect(throws: ClientError.self) { try await client.kv.range(RangeRequest(key: [1])) }
        #expect(error?.code == .resourceExhausted)
        #expect(error?.message.hasPrefix("grpc: received message larger than max (50") == true)
        server.with { $0.answerBytes = 10 }
        _ = try await client.kv.range(RangeRequest(key: [1]))
    }
}

@Suite(.serialized, inTime) struct StreamTests {
    @Test func `a stream that is not read stops the server, and other calls go on`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        server.with {
            $0.streamMessages = 640
            $0.streamMessageBytes = 100_000
        }
        let stream = client.maintenance.snapshot(SnapshotRequest())
        var count = 0
        if try await stream.next() != nil { count += 1 }
        // It stands still when what is on its way fills the windows, far below 64 MB.
        var last = -1
        while last != server.with({ $0.streamed }) {
            last = server.with { $0.streamed }
            for _ in 0..<50 { _ = try await client.kv.range(RangeRequest(key: [1])) }
        }
        #expect(last < 60)
        while let piece = try await stream.next() {
            #expect(piece.blob.count == 100_000)
            count += 1
        }
        #expect(count == 640)
    }

    @Test func `both sides of a stream talk, and the end is heard`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint)
        defer { client.close() }
        let stream = client.watches.open()
        for id in 1...300 {
            try await stream.send(WatchRequest(requestUnion: .cancelRequest(WatchCancelRequest(watchId: Int64(id)))))
        }
        try await stream.finishSending()
        var answers = 0
        for try await _ in stream { answers += 1 }
        #expect(answers == 300)
    }

    @Test func `a writer waits for a server that does not read`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.sendBytesMax = 64 << 20 }
        defer { client.close() }
        let stream = client.watches.open()
        try await stream.send(WatchRequest())
        _ = try await stream.next()
        let create = WatchRequest(
            requestUnion: .createRequest(WatchCreateRequest(key: [UInt8](repeating: 1, count: 1 << 20))))
        let written = Counter()
        let writer = Task {
            for _ in 0..<100 {
                try await stream.send(create)
                written.add()
            }
        }
        await server.frozen {
            #expect(await comesTrue { written.value > 0 })
            var before = -1
            while before != written.value {
                before = written.value
                await timePasses(milliseconds: 100)
            }
            #expect(before < 50)
        }
        try await writer.value
        for _ in 0..<100 { #expect(try await stream.next() != nil) }
    }
}

@Suite(.serialized, inTime) struct TokenTests {
    @Test func `many first calls log in once, and an expired token is replaced`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        server.with { $0.token = "not given yet" }
        let client = try client(server.endpoint) { $0.credentials = .init(user: "root", password: "x") }
        defer { client.close() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<100 { group.addTask { _ = try await client.kv.put(PutRequest(key: [1])) } }
            try await group.waitForAll()
        }
        #expect(server.with { $0.tokensGiven } == 1)
        server.with { $0.token = "another" }
        _ = try await client.kv.put(PutRequest(key: [1]))
        #expect(server.with { $0.tokensGiven } == 2)
        #expect(server.calls(RPC.KV.put) == 102)
    }

    @Test func `a server that accepts no token is not asked for ever`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.credentials = .init(user: "root", password: "x") }
        defer { client.close() }
        server.plan(RPC.KV.put, Array(repeating: .fail(EtcdError.invalidAuthToken), count: 100))
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest(key: [1])) }
        #expect(error?.status == EtcdError.invalidAuthToken)
        #expect(server.calls(RPC.KV.put) == 3)
    }

    @Test func `a log-in that hangs ends with the deadline of the call`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.credentials = .init(user: "root", password: "x") }
        defer { client.close() }
        server.plan(RPC.Auth.authenticate, [.silence])
        let error = await #expect(throws: ClientError.self) {
            try await client.kv.put(PutRequest(key: [1]), CallOptions(deadline: .after(.milliseconds(100))))
        }
        #expect(error?.status == EtcdError.contextDeadlineExceeded)
    }

    @Test func `a server without authentication is used without a token`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.credentials = .init(user: "root", password: "x") }
        defer { client.close() }
        server.plan(RPC.Auth.authenticate, [.fail(EtcdError.authNotEnabled)])
        _ = try await client.kv.put(PutRequest(key: [1]))
        _ = try await client.kv.put(PutRequest(key: [1]))
        #expect(server.calls(RPC.Auth.authenticate) == 1)
    }

    @Test func `a wrong password is the caller's error`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) { $0.credentials = .init(user: "root", password: "x") }
        defer { client.close() }
        server.plan(RPC.Auth.authenticate, [.fail(EtcdError.authFailed)])
        let error = await #expect(throws: ClientError.self) { try await client.authenticate() }
        #expect(error?.status == EtcdError.authFailed)
        #expect(server.calls(RPC.KV.put) == 0)
    }
}

@Suite(.serialized, inTime) struct ConnectionTests {
    @Test func `a server that wants fewer probes gets fewer`() async throws {
        let server = ScriptedServer(pingIntervalMin: 1_000_000_000)
        defer { server.stop() }
        let client = try client(server.endpoint) {
            $0.keepaliveInterval = .milliseconds(20)
            $0.keepaliveFloor = .zero
            $0.reconnectDelay = .milliseconds(1) ... .milliseconds(20)
        }
        defer { client.close() }
        // A call that hangs keeps the probes going; each GOAWAY ends it and doubles the interval.
        var refusals = 0
        while true {
            server.plan(RPC.KV.put, [.silence])
            let error = await #expect(throws: ClientError.self) {
                try await client.kv.put(PutRequest(key: [1]), CallOptions(deadline: .after(.seconds(6))))
            }
            if error?.code == .deadlineExceeded { break }
            #expect(error?.message.contains("code: ENHANCE_YOUR_CALM, debug data: \"too_many_pings\"") == true, "\(error!)")
            refusals += 1
        }
        // 20 and 40 ms are too often on any machine, 640 ms on a quick one, and perhaps 1,280 ms.
        #expect((2...8).contains(refusals))
    }

    @Test func `a server that fell silent is noticed by keep-alive`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client(server.endpoint) {
            $0.keepaliveInterval = .milliseconds(50)
            $0.keepaliveFloor = .zero
            $0.keepaliveTimeout = .milliseconds(1500)
        }
        defer { client.close() }
        _ = try await client.kv.range(RangeRequest(key: [1]))
        await server.frozen {
            let error = await #expect(throws: ClientError.self) {
                try await client.kv.put(PutRequest(key: [1]), CallOptions(deadline: .after(.seconds(20))))
            }
            #expect(error?.status == GRPCStatus(.unavailable, "keepalive ping failed to receive ACK within timeout"))
        }
        _ = try await client.kv.range(RangeRequest(key: [1]))
    }

    @Test func `a socket in the file system is an endpoint`() async throws {
        let folder = temporaryFolder("client")
        let path = folder + "/socket"
        let server = ScriptedServer(path: path)
        defer {
            server.stop()
            unlink(path)
            rmdir(folder)
        }
        let client = try client("unix://" + path)
        defer { client.close() }
        #expect(try await client.kv.range(RangeRequest(key: [1])).header?.memberId == server.memberID)
    }

    @Test func `a client needs an endpoint and readable certificates`() {
        #expect(throws: ClientError.self) { try Client(ClientConfiguration(endpoints: [])) }
        let error = #expect(throws: ClientError.self) {
            var configuration = ClientConfiguration()
            configuration.tls = .init(trustedCA: "/nonexistent/ca.pem")
            _ = try Client(configuration)
        }
        #expect(error?.message.contains("/nonexistent/ca.pem") == true)
    }
}
