// Which calls are sent again, and where to.

import CoveyClient
import Foundations
import GRPC
import TestSupport
import Testing
import Wire

private func client(_ servers: [ScriptedServer], _ change: (inout ClientConfiguration) -> Void = { _ in }) throws -> Client {
    var configuration = ClientConfiguration(endpoints: servers.map(\.endpoint))
    configuration.seed = 7
    change(&configuration)
    return try Client(configuration)
}

private let writing = TxnRequest(success: [RequestOp(request: .requestPut(PutRequest(key: [1])))])
private let reading = TxnRequest(success: [RequestOp(request: .requestRange(RangeRequest(key: [1])))])

@Suite(.serialized, inTime) struct RetryTests {
    @Test func `a read is repeated when a server is unavailable`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client([server])
        defer { client.close() }
        server.plan(RPC.KV.range, [.fail(EtcdError.leaderChanged), .fail(EtcdError.timeout)])
        _ = try await client.kv.range(RangeRequest(key: [1]))
        #expect(server.calls(RPC.KV.range) == 3)
    }

    @Test func `a change that a server refused is not repeated`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client([server])
        defer { client.close() }
        server.plan(RPC.KV.put, [.fail(EtcdError.timeout)])
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest(key: [1])) }
        #expect(error?.status == EtcdError.timeout)
        #expect(server.calls(RPC.KV.put) == 1)
    }

    @Test func `a transaction is repeated only when it just reads`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client([server])
        defer { client.close() }
        server.plan(RPC.KV.txn, [.fail(EtcdError.noLeader)])
        _ = try await client.kv.txn(reading)
        #expect(server.calls(RPC.KV.txn) == 2)
        server.plan(RPC.KV.txn, [.fail(EtcdError.noLeader)])
        let error = await #expect(throws: ClientError.self) { try await client.kv.txn(writing) }
        #expect(error?.status == EtcdError.noLeader)
        #expect(server.calls(RPC.KV.txn) == 3)
    }

    @Test func `other failures are not repeated`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client([server])
        defer { client.close() }
        for status in [EtcdError.compacted, EtcdError.tooManyRequests, EtcdError.permissionDenied, GRPCStatus(.internal, "?")] {
            server.plan(RPC.KV.range, [.fail(status)])
            let error = await #expect(throws: ClientError.self) { try await client.kv.range(RangeRequest(key: [1])) }
            #expect(error?.status == status)
        }
        #expect(server.calls(RPC.KV.range) == 4)
    }

    @Test func `a lost connection repeats reads and fails changes`() async throws {
        let server = ScriptedServer()
        defer { server.stop() }
        let client = try client([server])
        defer { client.close() }
        server.plan(RPC.KV.range, [.hangUp])
        _ = try await client.kv.range(RangeRequest(key: [1]))
        server.plan(RPC.KV.put, [.hangUp])
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest(key: [1])) }
        #expect(error?.code == .unavailable)
        #expect(error?.message == "error reading from server: EOF")
        #expect(server.calls(RPC.KV.put) == 1)
        _ = try await client.kv.put(PutRequest(key: [1]))
    }

    @Test func `the next attempt goes to another server`() async throws {
        let servers = [ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        let client = try client(servers)
        defer { client.close() }
        // Until both are connected.
        var members = Set<UInt64>()
        while members.count < 2 { members.insert(try await client.kv.range(RangeRequest(key: [1])).header!.memberId) }
        servers[0].plan(RPC.KV.range, Array(repeating: .fail(EtcdError.noLeader), count: 10))
        let before = servers[0].calls(RPC.KV.range)
        for _ in 0..<10 {
            let answer = try await client.kv.range(RangeRequest(key: [1]))
            #expect(answer.header!.memberId == servers[1].memberID)
        }
        // Round robin: the first call may have been the other one's turn.
        #expect((9...10).contains(servers[0].calls(RPC.KV.range) - before))
    }

    @Test func `calls are spread evenly`() async throws {
        let servers = [ScriptedServer(), ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        let client = try client(servers)
        defer { client.close() }
        var members = Set<UInt64>()
        while members.count < 3 { members.insert(try await client.kv.range(RangeRequest(key: [1])).header!.memberId) }
        for _ in 0..<30 { _ = try await client.kv.put(PutRequest(key: [1])) }
        #expect(servers.map { $0.calls(RPC.KV.put) } == [10, 10, 10])
    }

    @Test func `a server that does not serve is left alone`() async throws {
        let servers = [ScriptedServer(), ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        servers[1].with { $0.isServing = false }
        let client = try client(servers)
        defer { client.close() }
        var answered = Set<UInt64>()
        // Until all have said how they are, and what the sick one said has arrived.
        while servers.contains(where: { $0.calls(RPC.Health.watch) == 0 }) || answered.contains(servers[1].memberID) {
            answered = []
            for _ in 0..<6 { answered.insert(try await client.kv.range(RangeRequest(key: [1])).header!.memberId) }
        }
        for _ in 0..<30 { _ = try await client.kv.put(PutRequest(key: [1])) }
        #expect(servers.map { $0.calls(RPC.KV.put) } == [15, 0, 15])
    }

    @Test func `reads go on while one of three servers is lost and comes back`() async throws {
        var servers = [ScriptedServer(), ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        let client = try client(servers) { $0.reconnectDelay = .milliseconds(1) ... .milliseconds(20) }
        defer { client.close() }
        for _ in 0..<30 { _ = try await client.kv.range(RangeRequest(key: [1])) }
        let port = servers[0].port
        servers[0].stop()
        servers.removeFirst()
        for _ in 0..<100 { _ = try await client.kv.range(RangeRequest(key: [1])) }
        let back = ScriptedServer(port: port)
        servers.append(back)
        while back.calls(RPC.KV.range) == 0 { _ = try await client.kv.range(RangeRequest(key: [1])) }
    }

    @Test func `a server that drains loses no call`() async throws {
        let servers = [ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        let client = try client(servers)
        defer { client.close() }
        for _ in 0..<20 { _ = try await client.kv.put(PutRequest(key: [1])) }
        let writers = Task {
            var count = 0
            while !Task.isCancelled {
                _ = try await client.kv.put(PutRequest(key: [1]), CallOptions(isSafe: false))
                count += 1
            }
            return count
        }
        await servers[0].drain()
        writers.cancel()
        // The last one may have been cancelled in flight; every other put must have been answered.
        let result = await writers.result
        if case .failure(let error) = result { #expect((error as? ClientError)?.isCancelled == true, "\(error)") }
    }

    @Test func `a put waits for a server that is not there yet`() async throws {
        let port = freePort()
        var configuration = ClientConfiguration(endpoints: ["127.0.0.1:\(port)"])
        configuration.reconnectDelay = .milliseconds(1) ... .milliseconds(10)
        let client = try Client(configuration)
        defer { client.close() }
        async let put = client.kv.put(PutRequest(key: [1]))
        let server = ScriptedServer(port: port)
        defer { server.stop() }
        _ = try await put
        #expect(server.calls(RPC.KV.put) == 1)
    }

    @Test func `a call may name a server that is not one of the client's`() async throws {
        let servers = [ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        let client = try client([servers[0]])
        defer { client.close() }
        for _ in 0..<3 {
            let answer = try await client.maintenance.status(StatusRequest(), CallOptions(endpoint: servers[1].endpoint))
            #expect(answer.header?.memberId == servers[1].memberID)
        }
        _ = try await client.maintenance.status(StatusRequest())
        #expect(servers.map { $0.calls(RPC.Maintenance.status) } == [1, 3])
    }

    @Test func `new endpoints take over`() async throws {
        let servers = [ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.stop() } }
        let client = try client([servers[0]])
        defer { client.close() }
        _ = try await client.kv.range(RangeRequest(key: [1]))
        client.setEndpoints([servers[1].endpoint])
        for _ in 0..<5 {
            #expect(try await client.kv.range(RangeRequest(key: [1])).header?.memberId == servers[1].memberID)
        }
    }

    @Test(arguments: [
        (RPC.KV.range.path, true), (RPC.KV.put.path, false), (RPC.KV.compact.path, false), (RPC.Lease.leaseGrant.path, false),
        (RPC.Lease.leaseRevoke.path, true), (RPC.Cluster.memberAdd.path, false), (RPC.Cluster.memberList.path, true),
        (RPC.Auth.userAdd.path, false), (RPC.Auth.userGet.path, true), (RPC.Lock.lock.path, false),
    ])
    func `methods are safe to repeat or not`(_ path: String, _ isSafe: Bool) {
        let method = RPC.all.first { $0.path == path }!
        #expect(RetryRules.isSafe(method, RangeRequest()) == isSafe)
    }

    @Test func `alarms and transactions are judged by what they ask`() {
        #expect(RetryRules.isSafe(RPC.Maintenance.alarm, AlarmRequest(action: .get)))
        #expect(!RetryRules.isSafe(RPC.Maintenance.alarm, AlarmRequest(action: .deactivate)))
        #expect(RetryRules.isSafe(RPC.KV.txn, TxnRequest()))
        #expect(!RetryRules.isSafe(RPC.KV.txn, TxnRequest(failure: writing.success)))
        let nested = TxnRequest(failure: [RequestOp(request: .requestTxn(writing))])
        #expect(!RetryRules.isSafe(RPC.KV.txn, nested))
    }
}
