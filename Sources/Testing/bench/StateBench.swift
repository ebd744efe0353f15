// The cost of applying entries, checking permissions and keeping leases alive, without disk, network and raft.

import Foundations
import MVCC
import State
import Wire

enum StateBench {
    static func run(_ count: Int) {
        let store = FlatStore()
        guard
            let state = try? StateMachine(
                store, settings: StateMachine.Settings(member: MemberID(0x1234_5678_9abc), cluster: ClusterID(0x9876_5432_10fe)),
                hasher: NoHasher())
        else { fatalError("an empty store opens") }
        state.raftTerm = 7
        var index: LogIndex = 0
        var output: [UInt8] = []

        func apply(_ entries: [[UInt8]], awaited: Bool = true) {
            for entry in entries {
                index += 1
                output.removeAll(keepingCapacity: true)
                let applied = state.apply(index: index, term: 1, data: entry.rawSpan, isAwaited: awaited, output: &output)
                guard applied.outcome == (awaited ? .answered : .silent) else { fatalError("\(applied)") }
                if index % 1000 == 0 {
                    store.submit(state.takeBatch())
                    state.batchCommitted(store.committedBatch)
                    state.kv.endTurn()
                }
            }
        }
        let value = [UInt8](repeating: 0x78, count: 256)
        let puts = entries(count) { .put(PutRequest(key: key($0), value: value)) }
        MVCCBench.measure("put, new key", count) { apply(puts) }
        MVCCBench.measure("put, known key", count) { apply(puts) }
        MVCCBench.measure("put, on a follower", count) { apply(puts, awaited: false) }
        let txns = entries(count) { i in
            .txn(
                TxnRequest(
                    compare: [Compare(result: .greater, target: .version, key: key(i), targetUnion: .version(0))],
                    success: [RequestOp(request: .requestPut(PutRequest(key: key(i), value: value)))],
                    failure: [RequestOp(request: .requestRange(RangeRequest(key: key(i))))]))
        }
        MVCCBench.measure("txn: compare and put", count) { apply(txns) }
        let ranges = (0..<count).map { RangeRequest(key: key($0)).encoded() }
        MVCCBench.measure("range of a key", count) {
            for request in ranges {
                output.removeAll(keepingCapacity: true)
                guard (try? answer(request, state, &output)) != nil else { fatalError("a range") }
            }
        }
        leases(count, state) { apply($0) }
        permissions(count, state, value) { apply($0) }
    }

    private static func key(_ i: Int) -> [UInt8] { Array("/registry/pods/\(i &* 2_654_435_761 % 1_000_003)".utf8) }

    private static func entries(
        _ count: Int, user: String = "", revision: UInt64 = 0, _ kind: (Int) -> InternalRaftRequest.Kind
    ) -> [[UInt8]] {
        (0..<count).map { i in
            InternalRaftRequest(
                kind: kind(i), header: RequestHeader(id: UInt64(i + 1), username: user, authRevision: revision)
            ).encoded()
        }
    }

    private static func answer(_ request: [UInt8], _ state: StateMachine, _ output: inout [UInt8]) throws {
        let view = try RangeRequestView(decoding: request.rawSpan)
        try state.range(view, .anonymous, into: &output)
    }

    private static func leases(_ count: Int, _ state: StateMachine, _ apply: ([[UInt8]]) -> Void) {
        let grants = (1...count).map { i in
            InternalRaftRequest(
                kind: .leaseGrant(LeaseGrantRequest(ttl: Int64(60 + i % 1000), id: Int64(i))), header: RequestHeader(id: UInt64(i))
            ).encoded()
        }
        state.lessor.promote(now: 0)
        MVCCBench.measure("lease grant", count) { apply(grants) }
        MVCCBench.measure("keep-alive", count) {
            for i in 1...count {
                guard case .renewed = state.lessor.renew(LeaseID(Int64(i)), now: 10 * .second) else { fatalError("renewed") }
            }
        }
        MVCCBench.measure("a tick with nothing due, \(count) leases", 1000) {
            for i in 0..<1000 {
                guard state.lessor.takeExpired(now: 11 * .second + Int64(i), max: 16).isEmpty else { fatalError("too early") }
            }
        }
        MVCCBench.measure("promotion, a lease", count) { state.lessor.promote(now: 20 * .second) }
    }

    private static func permissions(
        _ count: Int, _ state: StateMachine, _ value: [UInt8], _ apply: ([[UInt8]]) -> Void
    ) {
        let setup: [InternalRaftRequest.Kind] = [
            .authUserAdd(AuthUserAddRequest(name: "root", password: "p")),
            .authUserGrantRole(AuthUserGrantRoleRequest(user: "root", role: "root")),
            .authUserAdd(AuthUserAddRequest(name: "app", password: "p")), .authRoleAdd(AuthRoleAddRequest(name: "r")),
            .authRoleGrantPermission(
                AuthRoleGrantPermissionRequest(
                    name: "r", perm: Permission(permType: .readwrite, key: Array("/registry/".utf8), rangeEnd: Array("/registry0".utf8)))),
            .authUserGrantRole(AuthUserGrantRoleRequest(user: "app", role: "r")), .authEnable(AuthEnableRequest()),
        ]
        apply(setup.map { InternalRaftRequest(kind: $0, header: RequestHeader(id: 1)).encoded() })
        let puts = entries(count, user: "app", revision: state.auth.revision) {
            .put(PutRequest(key: key($0), value: value))
        }
        MVCCBench.measure("put, known key, with permissions", puts.count) { apply(puts) }
    }
}

/// Not what is measured.
private struct NoHasher: PasswordHasher {
    func hash(_ password: Bytes) -> Bytes? { password }
    func matches(_ password: Bytes, hash: Bytes) -> Bool { password == hash }
}
