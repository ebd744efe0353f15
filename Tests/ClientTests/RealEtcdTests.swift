// The raw layer against a real etcd.

import CoveyClient
import Foundations
import GRPC
import TestSupport
import Testing
import Wire

/// A server that many tests share; they keep to keys of their own.
enum SharedEtcd {
    private static let starting = Task {
        await EtcdProcess(RealTools.etcd35! + "/etcd", ["--max-request-bytes", "20000000"]).start()
    }

    static var endpoint: String { get async { await starting.value.endpoint } }
    static func client() async throws -> Client { try Client(ClientConfiguration(endpoints: [await endpoint])) }
}

let hasEtcd = RealTools.required(RealTools.etcd35)

/// A client waits for its server for as long as it takes; with one that has fallen, a test would never end.
let inTime: TimeLimitTrait = .timeLimit(.minutes(5))

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct RealEtcdTests {
    @Test func `a value is written and read back`() async throws {
        let client = try await SharedEtcd.client()
        defer { client.close() }
        let put = try await client.kv.put(PutRequest(key: Array("raw/a".utf8), value: Array("1".utf8)))
        #expect(put.header!.revision > 1)
        let got = try await client.kv.range(RangeRequest(key: Array("raw/a".utf8)))
        #expect(got.kvs.map(\.value) == [Array("1".utf8)])
        #expect(got.kvs[0].modRevision == put.header!.revision)
    }

    @Test func `errors have the server's code and text`() async throws {
        let client = try await SharedEtcd.client()
        defer { client.close() }
        let error = await #expect(throws: ClientError.self) { try await client.kv.put(PutRequest()) }
        #expect(error?.status == EtcdError.emptyKey)
        let endpoint = await SharedEtcd.endpoint
        #expect(error?.endpoint == endpoint)
        #expect("\(error!)" == "etcdserver: key is not provided")
    }

    @Test func `many calls share the connection`() async throws {
        let client = try await SharedEtcd.client()
        defer { client.close() }
        try await withThrowingTaskGroup(of: Int64.self) { group in
            for i in 0..<500 {
                group.addTask {
                    try await client.kv.put(PutRequest(key: Array("many/\(i)".utf8), value: [UInt8](repeating: 7, count: i)))
                        .header!.revision
                }
            }
            var revisions = Set<Int64>()
            for try await revision in group { revisions.insert(revision) }
            #expect(revisions.count == 500)
        }
        let all = try await client.kv.range(RangeRequest(key: Array("many/".utf8), rangeEnd: Array("many0".utf8)))
        #expect(all.count == 500)
    }
}
