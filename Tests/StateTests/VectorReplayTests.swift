// Recorded calls of a real 3.5.1 member, answered by the state machine without a network: the same bytes, codes and texts.
// `MiniServer` does what a server does around the state: checks, permissions, proposing, reading.

import Foundation
import Foundations
import GRPC
import MVCC
import Testing
import Wire

@testable import State

struct Recording: Decodable {
    struct Status: Decodable { var code: UInt32; var message: String }
    struct Step: Decodable {
        var name: String
        var kind: String?
        var method: String?
        var metadata: [[String]]?
        var request_hex: String?
        var request_note: String?
        var response_hex: String?
        var status: Status?
    }
    var steps: [Step]

    static func load(_ name: String) throws -> Recording {
        let file = Recorded.vectors.appendingPathComponent(name + ".json")
        return try JSONDecoder().decode(Recording.self, from: Data(contentsOf: file))
    }
}

/// One member with everything but a network.
private final class MiniServer {
    /// Thrown for methods that are not the state's business.
    struct NotHere: Error {}

    let world: TestWorld
    var state: StateMachine { world.state }

    init(member: UInt64, cluster: UInt64) throws {
        var settings = TestWorld.settings(member: member, cluster: cluster)
        // 3.5.1 grants on empty keys and inverted ranges; the recording goes on from there.
        settings.authRules = .before3530
        world = try TestWorld(settings: settings)
    }

    func call(_ method: String, _ body: Bytes, _ identity: Identity, recorded: Bytes) throws -> Bytes {
        switch method {
        case "KV/Range":
            let request = try RangeRequestView(decoding: body.rawSpan)
            try RequestChecks.range(request)
            var output: Bytes = []
            try state.range(request, identity, into: &output)
            return output
        case "KV/Put":
            try RequestChecks.put(try PutRequestView(decoding: body.rawSpan))
            return try propose(.put(try PutRequest(decoding: body)), identity)
        case "KV/DeleteRange":
            try RequestChecks.deleteRange(try DeleteRangeRequestView(decoding: body.rawSpan))
            return try propose(.deleteRange(try DeleteRangeRequest(decoding: body)), identity)
        case "KV/Txn":
            try RequestChecks.txn(body.rawSpan, operationsMax: 128)
            if TxnRules.isReadOnly(body.rawSpan) {
                var output: Bytes = []
                try state.readOnlyTxn(body.rawSpan, identity, into: &output)
                return output
            }
            try state.checkTxnProposal(body.rawSpan, identity)
            return try propose(.txn(try TxnRequest(decoding: body)), identity)
        case "KV/Compact":
            try state.auth.checkAdmin(identity)
            return try propose(.compaction(try CompactionRequest(decoding: body)), identity)
        case "Maintenance/Alarm":
            try state.auth.checkUser(identity)
            return try propose(.alarm(try AlarmRequest(decoding: body)), identity)
        case "Maintenance/HashKV":
            try state.auth.checkAdmin(identity)
            let request = try HashKVRequest(decoding: body)
            let hash: StoreHash
            do { hash = try state.kv.hash(request.revision) } catch { throw GRPCStatus(error) }
            return HashKVResponse(
                header: state.responseHeader, hash: hash.hash, compactRevision: hash.compactRevision
            ).encoded()
        case _ where method.hasPrefix("Lease/"): return try lease(method, body, identity, recorded)
        case _ where method.hasPrefix("Auth/"): return try auth(method, body, identity, recorded)
        default: throw NotHere()
        }
    }

    private func lease(_ method: String, _ body: Bytes, _ identity: Identity, _ recorded: Bytes) throws -> Bytes {
        switch method {
        case "Lease/LeaseGrant":
            try state.auth.checkUser(identity)
            var request = try LeaseGrantRequest(decoding: body)
            if request.id == 0 { request.id = try LeaseGrantResponse(decoding: recorded).id }
            return try propose(.leaseGrant(request), identity)
        case "Lease/LeaseRevoke":
            let request = try LeaseRevokeRequest(decoding: body)
            try state.authoriseLeaseRevoke(LeaseID(request.id), identity)
            return try propose(.leaseRevoke(request), identity)
        case "Lease/LeaseTimeToLive":
            let request = try LeaseTimeToLiveRequest(decoding: body)
            let id = LeaseID(request.id)
            try state.authoriseTimeToLive(id, withKeys: request.keys, identity)
            guard let found = state.lessor.timeToLive(id, now: state.clock.now) else {
                return LeaseTimeToLiveResponse(header: state.responseHeader, id: request.id, ttl: -1).encoded()
            }
            let theirs = try LeaseTimeToLiveResponse(decoding: recorded)
            // The order of keys is not defined.
            let keys = request.keys ? state.lessor.sortedKeys(of: id) ?? [] : []
            #expect(keys == theirs.keys.sorted { $0.lexicographicallyPrecedes($1) })
            let remaining = try #require(found.remaining)
            #expect(remaining <= found.granted && remaining > 0)
            return LeaseTimeToLiveResponse(
                header: state.responseHeader, id: request.id, ttl: theirs.ttl, grantedTTL: found.granted,
                keys: theirs.keys
            ).encoded()
        case "Lease/LeaseLeases":
            try state.authoriseLeases(identity)
            let theirs = try LeaseLeasesResponse(decoding: recorded).leases
            let ours = state.lessor.all().map { LeaseStatus(id: $0.rawValue) }
            #expect(Set(ours.map(\.id)) == Set(theirs.map(\.id)))
            return LeaseLeasesResponse(header: state.responseHeader, leases: ours).encoded()
        default: throw NotHere()
        }
    }

    private func auth(_ method: String, _ body: Bytes, _ identity: Identity, _ recorded: Bytes) throws -> Bytes {
        let hash = { (password: String) in
            Base64.encode(ReadableHasher().hash(Bytes(password.utf8)) ?? [])
        }
        let kind: InternalRaftRequest.Kind
        switch method {
        case "Auth/AuthEnable": kind = .authEnable(try AuthEnableRequest(decoding: body))
        case "Auth/AuthDisable": kind = .authDisable(try AuthDisableRequest(decoding: body))
        case "Auth/AuthStatus": kind = .authStatus(try AuthStatusRequest(decoding: body))
        case "Auth/Authenticate":
            let request = try AuthenticateRequest(decoding: body)
            let check = try state.auth.passwordCheck(for: request.name)
            guard ReadableHasher().matches(Bytes(request.password.utf8), hash: check.hash) else { throw EtcdError.authFailed }
            let parts = try AuthenticateResponse(decoding: recorded).token.split(separator: ".")
            let index = try #require(parts.last.flatMap { LogIndex($0) })
            return try propose(
                .authenticate(InternalAuthenticateRequest(name: request.name, simpleToken: String(parts[0]))),
                .anonymous, at: index)
        case "Auth/UserAdd":
            var request = try AuthUserAddRequest(decoding: body)
            if request.options?.noPassword != true { request.hashedPassword = hash(request.password) }
            request.password = ""
            kind = .authUserAdd(request)
        case "Auth/UserChangePassword":
            var request = try AuthUserChangePasswordRequest(decoding: body)
            request.hashedPassword = hash(request.password)
            request.password = ""
            kind = .authUserChangePassword(request)
        case "Auth/UserDelete": kind = .authUserDelete(try AuthUserDeleteRequest(decoding: body))
        case "Auth/UserGet": kind = .authUserGet(try AuthUserGetRequest(decoding: body))
        case "Auth/UserList": kind = .authUserList(try AuthUserListRequest(decoding: body))
        case "Auth/UserGrantRole": kind = .authUserGrantRole(try AuthUserGrantRoleRequest(decoding: body))
        case "Auth/UserRevokeRole": kind = .authUserRevokeRole(try AuthUserRevokeRoleRequest(decoding: body))
        case "Auth/RoleAdd": kind = .authRoleAdd(try AuthRoleAddRequest(decoding: body))
        case "Auth/RoleDelete": kind = .authRoleDelete(try AuthRoleDeleteRequest(decoding: body))
        case "Auth/RoleGet": kind = .authRoleGet(try AuthRoleGetRequest(decoding: body))
        case "Auth/RoleList": kind = .authRoleList(try AuthRoleListRequest(decoding: body))
        case "Auth/RoleGrantPermission":
            kind = .authRoleGrantPermission(try AuthRoleGrantPermissionRequest(decoding: body))
        case "Auth/RoleRevokePermission":
            kind = .authRoleRevokePermission(try AuthRoleRevokePermissionRequest(decoding: body))
        default: throw NotHere()
        }
        return try propose(kind, identity)
    }

    func propose(_ kind: InternalRaftRequest.Kind, _ identity: Identity, at index: LogIndex? = nil) throws -> Bytes {
        let (applied, answer) = world.apply(kind, as: identity, at: index)
        if applied.effect == .compactionScheduled { while !state.kv.compactionStep(budget: 10) {} }
        switch answer {
        case .response(let bytes): return bytes
        case .failed(let status): throw status
        case .silent: throw NotHere()
        }
    }

    /// Time passes; what expires is revoked as the leader does it.
    func pass(seconds: Int64) throws {
        state.clock.now += seconds * .second
        for id in state.lessor.takeExpired(now: state.clock.now, max: 16) {
            _ = try propose(.leaseRevoke(LeaseRevokeRequest(id: id.rawValue)), Identity("root", state.auth.revision))
        }
    }

    /// Whom the metadata names; with authentication off nobody asks.
    func identify(_ metadata: [[String]], tokens: [String: String], step: String) throws -> Identity {
        guard state.auth.isEnabled, let value = metadata.first?.last else { return .anonymous }
        let whose = step.hasPrefix("u1") ? "u1" : "root"
        let token = value == "<token>" ? try #require(tokens[whose]) : value
        guard let identity = state.auth.identify(token: Bytes(token.utf8), clock: state.clock) else {
            throw EtcdError.invalidAuthToken
        }
        return identity
    }
}

@Suite struct VectorReplayTests {
    /// Where newer releases, and so we, answer otherwise than 3.5.1 did.
    private static let mended: [String: GRPCStatus] = [
        "notoken-compact": EtcdError.userEmpty, "notoken-grant": EtcdError.userEmpty, "notoken-ttl": EtcdError.userEmpty,
        "notoken-hashkv": EtcdError.userEmpty, "notoken-leases": EtcdError.userEmpty, "notoken-alarm": EtcdError.userEmpty,
        "u1-compact": EtcdError.permissionDenied, "u1-ttl-keys-foreign": EtcdError.permissionDenied,
        "u1-leases": EtcdError.permissionDenied, "token-after-disable": .ok, "role-get-root": .ok,
        // 3.5.1 refuses at the compacted revision itself; newer releases hash there.
        "hashkv-compacted": EtcdError.compacted,
    ]

    /// Requests the recording describes instead of spelling them out.
    private func request(_ step: Recording.Step) throws -> Bytes? {
        if let hex = step.request_hex { return try Recorded.hex(hex.isEmpty ? "-" : hex) }
        func puts(_ names: [String]) -> Bytes {
            TxnRequest(success: names.map { RequestOp(request: .requestPut(PutRequest(key: bytes($0)))) }).encoded()
        }
        switch step.name {
        case "put-just-below":
            return PutRequest(key: bytes("big"), value: Bytes(repeating: 0x78, count: 1_571_864)).encoded()
        case "txn-too-many-ops": return puts((0...128).map { "k\($0)" })
        case "txn-128-ops": return puts((0..<128).map { "m" + String(repeating: "0", count: 3 - "\($0)".count) + "\($0)" })
        case "txn-too-many-compares":
            return TxnRequest(compare: (0...128).map { _ in Compare(target: .version, key: bytes("a")) }).encoded()
        default: return step.request_note == nil ? [] : nil
        }
    }

    @Test(arguments: [
        ("kv", 52), ("txn", 39), ("compaction", 21), ("lease", 26), ("maintenance", 28), ("auth", 110),
    ])
    func `recorded calls get the recorded answers`(name: String, atLeast: Int) throws {
        let recording = try Recording.load(name)
        let first = try #require(recording.steps.lazy.compactMap(\.response_hex).first { $0.hasPrefix("0a") })
        let header = try #require(try AuthEnableResponse(decoding: try Recorded.hex(first)).header)
        let server = try MiniServer(member: header.memberId, cluster: header.clusterId)
        server.state.raftTerm = header.raftTerm
        server.state.lessor.promote(now: server.state.clock.now)
        var tokens: [String: String] = [:]
        var replayed = 0

        for step in recording.steps {
            guard step.kind == "unary", let method = step.method, let status = step.status else { continue }
            guard let body = try request(step) else { continue }
            if step.name == "malformed-request" || step.name == "authorization-bearer" { continue }
            if step.name == "range-after-expiry" { try server.pass(seconds: 5) }
            let path = method.split(separator: "/").map(String.init)
            let call = "\(path[0].split(separator: ".").last ?? "")/\(path[1])"
            let theirs = try step.response_hex.map { try Recorded.hex($0.isEmpty ? "-" : $0) } ?? []
            let where_ = Comment("\(name)/\(step.name)")

            let result: Result<Bytes, GRPCStatus>
            do {
                let identity = try server.identify(step.metadata ?? [], tokens: tokens, step: step.name)
                result = .success(try server.call(call, body, identity, recorded: theirs))
            } catch let status as GRPCStatus {
                result = .failure(status)
            } catch is MiniServer.NotHere {
                continue
            }
            replayed += 1

            if let expected = VectorReplayTests.mended[step.name] {
                switch result {
                case .success: #expect(expected == .ok, where_)
                case .failure(let ours): #expect(ours == expected, where_)
                }
                continue
            }
            switch result {
            case .success(let ours):
                #expect(status.code == 0, where_)
                if call == "Lease/LeaseLeases" { continue }
                #expect(Hexadecimal.encode(ours) == Hexadecimal.encode(theirs), where_)
                if call == "Auth/Authenticate" {
                    let whose = step.name.hasSuffix("root") ? "root" : step.name.hasSuffix("u1") ? "u1" : "other"
                    tokens[whose] = try AuthenticateResponse(decoding: ours).token
                }
            case .failure(let ours):
                #expect(ours == GRPCStatus(GRPCCode(rawValue: status.code), status.message), where_)
            }
        }
        #expect(replayed >= atLeast, "\(name): only \(replayed) steps were replayed")
    }
}
