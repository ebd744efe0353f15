// Which addresses clients are told when they ask for the cluster's members: this proxy's, or with --resolver-prefix those of
// all proxies that stand under the prefix. Each keeps its own line there with a lease, so one that ends is soon forgotten:
//
//     PREFIX/ADDRESS     {"Op":0,"Addr":"ADDRESS","Metadata":"{\"name\":\"HOST\"}"}

import Connections
import Foundations
import GRPC
import JSON
import Linux
import Telemetry
import Wire

final class ProxyMembers {
    private static let timeoutSeconds = 5

    private let proxy: GRPCProxy
    private let advertised: String
    private let name: String
    /// With a slash behind; empty: there is no list.
    private let folder: String
    private let ttl: Int64
    private let logger: Logger

    init(_ proxy: GRPCProxy, advertised: String, name: String, prefix: String, ttl: Int64, _ logger: Logger) {
        self.proxy = proxy
        self.advertised = advertised
        self.name = name
        folder = prefix.isEmpty ? "" : prefix + "/"
        self.ttl = ttl
        self.logger = logger
    }

    // MARK: Answers

    func answer(_ call: Call) {
        let alone = Wire.Member(name: name, clientURLs: [advertised])
        guard !folder.isEmpty else { return reply(call, [alone]) }
        let all = RangeRequest(key: Array(folder.utf8), rangeEnd: Array((folder.dropLast() + "0").utf8))
        proxy.ask(RPC.KV.range, all, seconds: Self.timeoutSeconds) { [self] answer in
            switch answer {
            case .failure(let status): proxy.server.finish(call, status)
            case .success(let bytes):
                guard let range = try? RangeResponse(decoding: bytes) else {
                    return proxy.server.finish(call, GRPCStatus(.internal, "the list of proxies cannot be read"))
                }
                let members = range.kvs.compactMap { Self.member($0.value) }
                reply(call, members.isEmpty ? [alone] : members)
            }
        }
    }

    private func reply(_ call: Call, _ members: [Wire.Member]) {
        proxy.server.reply(call, MemberListResponse(members: members).encoded())
    }

    private var line: String {
        let metadata = JSONValue.object([.init("name", .string(name))]).text()
        return JSONValue.object([.init("Op", .number(0)), .init("Addr", .string(advertised)), .init("Metadata", .string(metadata))]).text()
    }

    /// Nil when it is no line of a proxy.
    static func member(_ line: [UInt8]) -> Wire.Member? {
        guard let value = try? JSONValue(parsing: line), let address = value["Addr"]?.string else { return nil }
        let metadata = value["Metadata"]?.string.flatMap { try? JSONValue(parsing: Array($0.utf8)) }
        return Wire.Member(name: metadata?["name"]?.string ?? "", clientURLs: [address])
    }

    // MARK: Its own line

    func register() {
        guard !folder.isEmpty else { return }
        proxy.ask(RPC.Lease.leaseGrant, LeaseGrantRequest(ttl: ttl), seconds: Self.timeoutSeconds) { [self] answer in
            guard case .success(let bytes) = answer, let lease = try? LeaseGrantResponse(decoding: bytes) else {
                return again("failed to create a lease", answer)
            }
            let put = PutRequest(key: Array((folder + advertised).utf8), value: Array(line.utf8), lease: lease.id)
            proxy.ask(RPC.KV.put, put, seconds: Self.timeoutSeconds) { [self] answer in
                guard case .success = answer else { return again("failed to register", answer) }
                logger.info("registered proxy", ["address": .text(advertised), "prefix": .text(folder)])
                keep(lease.id)
            }
        }
    }

    /// Three renewals in a lease's time.
    private func keep(_ lease: Int64) {
        proxy.pool.loop.schedule(after: UInt64(max(ttl, 1)) * 333_000_000) { [self] in
            proxy.ask(RPC.Lease.leaseKeepAlive, LeaseKeepAliveRequest(id: lease), seconds: Self.timeoutSeconds) { [self] answer in
                // A lease that is gone, and the line with it, is made anew; a member that is away for a moment is asked again.
                if case .success(let bytes) = answer, let kept = try? LeaseKeepAliveResponse(decoding: bytes), kept.ttl <= 0 {
                    return register()
                }
                keep(lease)
            }
        }
    }

    private func again(_ what: String, _ answer: Result<[UInt8], GRPCStatus>) {
        if case .failure(let status) = answer { logger.warn("\(what)", ["error": .text(status.message)]) }
        proxy.pool.loop.schedule(after: 1_000_000_000) { [self] in register() }
    }
}
