// The state machine as a whole: what alarms and permissions refuse, what stops a member, and that nothing but the log
// decides what the state is.

import Foundations
import GRPC
import MVCC
import Testing
import Wire

@testable import State

private typealias Kind = InternalRaftRequest.Kind

private func put(
    _ key: String, _ value: String = "v", lease: Int64 = 0, prevKv: Bool = false, ignoreValue: Bool = false,
    ignoreLease: Bool = false
) -> Kind {
    .put(
        PutRequest(
            key: bytes(key), value: bytes(value), lease: lease, prevKv: prevKv, ignoreValue: ignoreValue,
            ignoreLease: ignoreLease))
}

private func delete(_ key: String, _ end: String = "", prevKv: Bool = false) -> Kind {
    .deleteRange(DeleteRangeRequest(key: bytes(key), rangeEnd: bytes(end), prevKv: prevKv))
}

private func range(_ key: String, revision: Int64 = 0) -> RequestOp {
    RequestOp(request: .requestRange(RangeRequest(key: bytes(key), revision: revision)))
}

private func putOp(_ key: String, lease: Int64 = 0, prevKv: Bool = false) -> RequestOp {
    RequestOp(request: .requestPut(PutRequest(key: bytes(key), value: bytes("v"), lease: lease, prevKv: prevKv)))
}

private func deleteOp(_ key: String) -> RequestOp {
    RequestOp(request: .requestDeleteRange(DeleteRangeRequest(key: bytes(key))))
}

private func txnOp(_ txn: TxnRequest) -> RequestOp { RequestOp(request: .requestTxn(txn)) }

private func txn(_ success: [RequestOp], else failure: [RequestOp] = []) -> Kind {
    .txn(TxnRequest(success: success, failure: failure))
}

private func grant(_ id: Int64, ttl: Int64 = 100) -> Kind { .leaseGrant(LeaseGrantRequest(ttl: ttl, id: id)) }
private func revoke(_ id: Int64) -> Kind { .leaseRevoke(LeaseRevokeRequest(id: id)) }
private func compact(_ revision: Int64) -> Kind { .compaction(CompactionRequest(revision: revision)) }

private func alarm(_ action: AlarmRequest.AlarmAction, _ type: AlarmType, member: UInt64 = 1) -> Kind {
    .alarm(AlarmRequest(action: action, memberID: member, alarm: type))
}

@Suite struct StateMachineTests {
    // MARK: alarms

    @Test func `what each alarm refuses`() throws {
        let requests: [(String, Kind, space: Bool, corrupt: Bool)] = [
            ("put", put("a"), true, true),
            ("delete", delete("a"), false, true),
            ("txn with a put", txn([putOp("a")]), true, true),
            ("txn with a put in the branch that will not run", txn([], else: [putOp("a")]), true, true),
            ("txn with a nested put", txn([txnOp(TxnRequest(success: [putOp("a")]))]), false, true),
            ("txn with a delete", txn([deleteOp("a")]), false, true),
            ("grant", grant(50), true, true),
            ("revoke", revoke(7), false, true),
            ("compaction", compact(1), false, true),
            ("alarms", alarm(.get, .none), false, false),
            ("checkpoint", .leaseCheckpoint(LeaseCheckpointRequest()), false, false),
            ("role add", .authRoleAdd(AuthRoleAddRequest(name: "r")), false, false),
        ]
        for (name, request, space, corrupt) in requests {
            for (type, refuses, status) in [
                (AlarmType.nospace, space, EtcdError.noSpace), (.corrupt, corrupt, EtcdError.corrupt),
            ] {
                let world = try TestWorld()
                world.expectSuccess(grant(7))
                world.expectSuccess(put("a"))
                world.expectSuccess(alarm(.activate, type))
                let revision = world.state.kv.currentRevision
                let (applied, answer) = world.apply(request)
                if refuses {
                    #expect(answer == .failed(status), "\(name)")
                    #expect(!applied.hasChanges && world.state.kv.currentRevision == revision, "\(name)")
                } else if case .failed(let other) = answer {
                    Issue.record("\(name): \(other)")
                }
                // And it ends with the alarm.
                world.expectSuccess(alarm(.deactivate, type))
                world.expectSuccess(put("a"))
            }
        }
    }

    @Test func `alarms: what is answered`() throws {
        let world = try TestWorld()
        func alarms(_ request: Kind) throws -> ([String], Applied.Effect) {
            let (applied, answer) = world.apply(request)
            guard case .response(let bytes) = answer else { return (["\(answer)"], applied.effect) }
            let response = try AlarmResponse(decoding: bytes)
            return (response.alarms.map { "\($0.memberID):\($0.alarm.rawValue)" }, applied.effect)
        }
        #expect(try alarms(alarm(.activate, .none)) == ([], .none))
        #expect(try alarms(alarm(.activate, .nospace, member: 9)) == (["9:1"], .alarmsChanged))
        #expect(try alarms(alarm(.activate, .nospace, member: 9)) == (["9:1"], .alarmsChanged))
        #expect(try alarms(alarm(.activate, .corrupt, member: 3)) == (["3:2"], .alarmsChanged))
        #expect(try alarms(alarm(.get, .none)) == (["3:2", "9:1"], .none))
        #expect(try alarms(alarm(.get, .nospace, member: 77)) == (["9:1"], .none))
        #expect(try alarms(alarm(.init(rawValue: 9), .nospace)) == ([], .none))
        let restarted = try world.restarted()
        #expect(restarted.state.alarms.list().count == 2)
        #expect(restarted.state.alarms.isCorrupt && restarted.state.alarms.isOutOfSpace)
        #expect(try alarms(alarm(.deactivate, .corrupt, member: 4)) == ([], .none))
        #expect(try alarms(alarm(.deactivate, .corrupt, member: 3)) == (["3:2"], .alarmsChanged))
        world.expectFailure(put("a"), EtcdError.noSpace)
    }

    // MARK: permissions

    /// root, and "u" who may write [a, c), read [a, d), write key "w"; lease 7 holds "x" and lease 8 holds "a".
    private func guarded() throws -> (TestWorld, Identity) {
        let world = try TestWorld()
        let setup: [Kind] = [
            grant(7), grant(8), put("x", lease: 7), put("a", lease: 8), put("d"),
            .authUserAdd(AuthUserAddRequest(name: "root", password: "p")),
            .authUserGrantRole(AuthUserGrantRoleRequest(user: "root", role: "root")),
            .authUserAdd(AuthUserAddRequest(name: "u", password: "p")), .authRoleAdd(AuthRoleAddRequest(name: "r")),
            .authUserGrantRole(AuthUserGrantRoleRequest(user: "u", role: "r")),
        ]
        for kind in setup { world.expectSuccess(kind) }
        for (type, key, end) in [(Permission.Kind.write, "a", "c"), (.read, "a", "d"), (.write, "w", "")] {
            let permission = Permission(permType: type, key: bytes(key), rangeEnd: bytes(end))
            world.expectSuccess(.authRoleGrantPermission(AuthRoleGrantPermissionRequest(name: "r", perm: permission)))
        }
        world.expectSuccess(.authEnable(AuthEnableRequest()))
        return (world, Identity("u", world.state.auth.revision))
    }

    @Test func `who may do what`() throws {
        let denied = EtcdError.permissionDenied
        let compareX = Compare(target: .version, key: bytes("x"))
        let table: [(String, Kind, GRPCStatus?)] = [
            ("write", put("b"), nil), ("read only", put("c"), denied), ("write only", put("w"), nil),
            ("write only with the previous pair", put("w", prevKv: true), denied),
            ("both with the previous pair", put("b", prevKv: true), nil),
            ("onto a lease of own keys", put("b", lease: 8), nil),
            ("onto a lease of another's keys", put("b", lease: 7), denied),
            ("onto no lease there is", put("b", lease: 99), EtcdError.leaseNotFound),
            ("delete inside", delete("a", "c"), nil), ("delete beyond", delete("a", "d"), denied),
            ("delete write only, previous", delete("w", prevKv: true), denied),
            ("revoke own", revoke(8), nil), ("revoke another's", revoke(7), denied),
            ("revoke none", revoke(99), EtcdError.leaseNotFound),
            ("txn of nothing", txn([]), nil),
            ("txn, a compare denied", .txn(TxnRequest(compare: [compareX])), denied),
            ("txn, the other branch denied", txn([], else: [putOp("x")]), denied),
            ("txn, a direct range is not looked at in the log", txn([putOp("a"), range("x")]), nil),
            ("txn, a nested range is", txn([txnOp(TxnRequest(success: [range("x")]))]), denied),
            ("txn, a nested put is", txn([txnOp(TxnRequest(failure: [putOp("x")]))]), denied),
            ("txn, a put onto another's lease", txn([putOp("a", lease: 7)]), denied),
            ("txn, a put with the previous pair", txn([putOp("w", prevKv: true)]), denied),
            ("users", .authUserList(AuthUserListRequest()), denied),
            ("oneself", .authUserGet(AuthUserGetRequest(name: "u")), nil),
            ("disable", .authDisable(AuthDisableRequest()), denied),
        ]
        for (name, kind, expected) in table {
            let (world, u) = try guarded()
            let (applied, answer) = world.apply(kind, as: u)
            if let expected {
                #expect(answer == .failed(expected), "\(name)")
                #expect(!applied.hasChanges, "\(name)")
            } else if case .response = answer {
            } else {
                Issue.record("\(name): \(answer)")
            }
            // Root may do all of it, and nobody without a name anything.
            let (other, _) = try guarded()
            let root = Identity("root", other.state.auth.revision)
            if case .failed(let status) = other.apply(kind, as: root).1 { #expect(status == EtcdError.leaseNotFound, "\(name)") }
        }
    }

    @Test func `proposals are checked in full`() throws {
        let (world, u) = try guarded()
        func check(_ kind: Kind, _ identity: Identity) -> GRPCStatus? {
            guard case .txn(let request) = kind else { return nil }
            do {
                try world.state.checkTxnProposal(request.encoded().rawSpan, identity)
                return nil
            } catch { return error }
        }
        #expect(check(txn([putOp("a"), range("x")]), u) == EtcdError.permissionDenied)
        #expect(check(txn([putOp("a"), range("c")]), u) == nil)
        #expect(check(txn([range("a", revision: 99)]), u) == EtcdError.futureRevision)
        // Only of the branch that would run.
        #expect(check(txn([putOp("a")], else: [range("a", revision: 99)]), u) == nil)
    }

    @Test func `3.5.1's rules: nested transactions are not looked into`() throws {
        var settings = TestWorld.settings()
        settings.authRules = .before3530
        let (strict, u) = try guarded()
        strict.submit()
        let lax = try TestWorld(strict.store.crashed(), settings: settings)
        let nested = txn([txnOp(TxnRequest(success: [putOp("x")]))])
        strict.expectFailure(nested, as: u, EtcdError.permissionDenied)
        lax.expectSuccess(nested, as: u)
        lax.expectSuccess(txn([putOp("a", lease: 7, prevKv: true)]), as: u)
        lax.expectFailure(txn([putOp("x")]), as: u, EtcdError.permissionDenied)
    }

    // MARK: ranges in logged transactions (apply-semantics 3.1)

    @Test func `a range that cannot be read fails its client, not the writes`() throws {
        for isAwaited in [true, false] {
            let world = try TestWorld()
            world.expectSuccess(put("a"))
            let (applied, answer) = world.apply(txn([putOp("k"), range("a", revision: 99)]), awaited: isAwaited)
            #expect(applied.hasChanges)
            #expect(world.state.kv.currentRevision == 3)
            #expect(answer == (isAwaited ? .failed(EtcdError.futureRevision) : .silent))
            // In a nested transaction every member checks it, and nothing is written.
            let nested = txn([putOp("k"), txnOp(TxnRequest(success: [range("a", revision: 99)]))])
            let (refused, second) = world.apply(nested, awaited: isAwaited)
            #expect(!refused.hasChanges)
            #expect(second == (isAwaited ? .failed(EtcdError.futureRevision) : .silent))
        }
    }

    // MARK: what stops a member

    @Test func `entries that cannot be followed`() throws {
        let header = RequestHeader(id: 5)
        let unknown: Bytes = [0xe2, 0x7d, 0x00]  // field 2012
        let table: [(String, Bytes, (LogIndex) -> HaltReason)] = [
            ("damaged", [0xff, 0xff], { .undecodableEntry(index: $0) }),
            ("a kind nobody knows", unknown, { .unknownRequest(index: $0) }),
            ("no kind", InternalRaftRequest(header: header).encoded(), { .unknownRequest(index: $0) }),
            ("a damaged put", [0x22, 0x02, 0x0a, 0x05], { .undecodableEntry(index: $0) }),
            (
                "a version above ours",
                InternalRaftRequest(kind: .clusterVersionSet(.init(ver: "3.6.0")), header: header).encoded(),
                { _ in .clusterVersionAboveOwn(cluster: ClusterVersion(3, 6), own: ClusterVersion(3, 5)) }
            ),
            (
                "the same as a legacy entry", LegacyEntry.clusterVersion(requestID: 5, ClusterVersion(4, 0)),
                { _ in .clusterVersionAboveOwn(cluster: ClusterVersion(4, 0), own: ClusterVersion(3, 5)) }
            ),
        ]
        for (name, data, reason) in table {
            let world = try TestWorld()
            let (applied, answer) = world.apply(data: data)
            #expect(applied.effect == .halt(reason(world.index)), "\(name)")
            if case .failed = answer { Issue.record("\(name): \(answer)") }
        }
    }

    @Test func `legacy entries: the two that matter, and the rest`() throws {
        let world = try TestWorld()
        var batch = StoreBatch(number: 1)
        let me = Member(id: MemberID(0xab), peerURLs: ["http://p:1"], name: "n", clientURLs: ["http://c:1"])
        try world.state.membership.apply(.add(Member(id: me.id, peerURLs: me.peerURLs)), into: &batch)
        let published = world.apply(data: LegacyEntry.publish(requestID: 77, me)).0
        #expect(published.requestID == 77 && world.state.membership[me.id] == me)
        // Byte for byte as real members propose it.
        let recorded = try Recorded.lines("log-3.5.1.txt")[3][3]
        let version = LegacyEntry.clusterVersion(requestID: 0x6ad5_0fdf_fbf1_7a04, ClusterVersion(3, 5))
        #expect(Hexadecimal.encode(version).dropFirst(20) == recorded.dropFirst(20))
        #expect(world.apply(data: version).0.effect == .clusterVersionChanged(ClusterVersion(3, 5)))
        for (method, path) in [("SYNC", ""), ("PUT", "/1/users"), ("DELETE", "/0/version"), ("PUT", "/0/members/zz/attributes")] {
            var request = Request()
            request.id = 9
            request.method = method
            request.path = path
            #expect(world.apply(data: request.encoded()).0 == Applied(requestID: 9), "\(method) \(path)")
        }
        // Wrapped, as an entry may hold it too.
        var request = Request()
        request.method = "PUT"
        request.path = "/0/version"
        request.val = "3.4.0"
        let wrapped = InternalRaftRequest(kind: .v2(request), header: RequestHeader(id: 3)).encoded()
        #expect(world.apply(data: wrapped).0.effect == .clusterVersionChanged(ClusterVersion(3, 4)))
        // Attributes of somebody unknown change nothing here.
        let stranger = Member(id: MemberID(0xcd), peerURLs: [], name: "s", clientURLs: ["c"])
        #expect(world.apply(data: LegacyEntry.publish(requestID: 1, stranger)).0.effect == .none)
        #expect(world.state.membership[stranger.id] == nil)
    }

    @Test func `an empty entry begins a term and moves the index`() throws {
        let world = try TestWorld()
        #expect(world.apply(data: []).0 == Applied(effect: .termBegan))
        #expect(try world.restarted().state.appliedIndex == 1)
    }

    @Test func `membership entries: accepted, refused, damaged, one's own removal`() throws {
        let world = try TestWorld(settings: TestWorld.settings(member: 5))
        func apply(_ change: RaftPB.ConfChange) -> AppliedMembershipChange {
            world.state.applyMembershipChange(
                index: world.state.appliedIndex + 1, term: 2, data: change.encoded().rawSpan)
        }
        let five = Member(id: MemberID(5), peerURLs: ["http://p:1"])
        let add = RaftPB.ConfChange(id: 31, type: .init(rawValue: 0), nodeId: 5, context: five.additionContext)
        let accepted = apply(add)
        #expect(accepted.node == MemberID(5) && accepted.failure == nil && accepted.requestID == 31)
        let refused = apply(add)
        #expect(refused.node == .none && refused.failure == EtcdError.memberExists)
        let damaged = apply(RaftPB.ConfChange(id: 32, type: .init(rawValue: 0), nodeId: 6, context: bytes("x")))
        #expect(damaged.halt == .badMembershipChange(index: 3) && damaged.node == .none)
        let removal = apply(RaftPB.ConfChange(id: 33, type: .init(rawValue: 1), nodeId: 5))
        #expect(removal.removesSelf && removal.node == MemberID(5) && removal.kind == 1)
        let gone = apply(add)
        #expect(gone.node == .none && gone.failure == EtcdError.memberNotFound)
    }

    // MARK: snapshots of other members

    @Test func `an adopted document replaces the member tables`() throws {
        let world = try TestWorld()
        var batch = StoreBatch(number: 1)
        try world.state.membership.apply(.add(Member(id: MemberID(1), peerURLs: ["old"])), into: &batch)
        world.state.membership.setDowngrade(.init(isEnabled: true, target: "3.4.0"), into: &batch)
        let theirs = Membership(
            members: [Member(id: MemberID(2), peerURLs: ["u"], name: "two")], removed: [MemberID(3)],
            version: ClusterVersion(3, 5))
        try world.state.adopt(snapshotDocument: theirs.snapshotDocument, index: 500, term: 7)
        let restarted = try world.restarted()
        #expect(restarted.state.membership.members == theirs.members)
        #expect(restarted.state.membership.removed == theirs.removed)
        #expect(restarted.state.membership.version == ClusterVersion(3, 5))
        #expect(restarted.state.membership.downgrade.isEnabled)
        #expect(restarted.state.appliedIndex == 500 && restarted.state.appliedTerm == 7)
    }

    // MARK: nothing but the log decides

    /// Some request that may or may not succeed.
    private func anything(_ random: inout SeededRandom, _ world: TestWorld) -> Kind {
        func key() -> String { "k\(Int.random(in: 0..<12, using: &random))" }
        func lease() -> Int64 { random.chance(1, in: 2) ? 0 : Int64.random(in: 1...6, using: &random) }
        func name() -> String { ["root", "u", "v"].randomElement(using: &random)! }
        func role() -> String { ["root", "r", "s"].randomElement(using: &random)! }
        func operations(_ depth: Int) -> [RequestOp] {
            (0..<Int.random(in: 0...3, using: &random)).map { _ in
                switch Int.random(in: 0..<(depth > 0 ? 5 : 4), using: &random) {
                case 0: range(key(), revision: Int64.random(in: -1...30, using: &random))
                case 1: putOp(key(), lease: lease(), prevKv: random.chance(1, in: 2))
                case 2: deleteOp(key())
                case 3: putOp(key())
                default: txnOp(TxnRequest(compare: compares(), success: operations(depth - 1), failure: operations(depth - 1)))
                }
            }
        }
        func compares() -> [Compare] {
            random.chance(1, in: 2)
                ? [] : [Compare(result: .greater, target: .version, key: bytes(key()), targetUnion: .version(0))]
        }
        switch Int.random(in: 0..<40, using: &random) {
        case 0...9: return put(key(), "\(random.next())", lease: lease(), prevKv: random.chance(1, in: 3))
        case 10: return put(key(), "", lease: lease(), ignoreValue: true)
        case 11: return put(key(), "i", ignoreLease: true)
        case 12...15: return delete(key(), random.chance(1, in: 3) ? "k5" : "", prevKv: random.chance(1, in: 2))
        case 16...22: return .txn(TxnRequest(compare: compares(), success: operations(2), failure: operations(1)))
        case 23...25: return grant(Int64.random(in: 0...6, using: &random), ttl: Int64.random(in: -1...50, using: &random))
        case 26, 27: return revoke(Int64.random(in: 1...6, using: &random))
        case 28: return compact(Int64.random(in: 0...(world.state.kv.currentRevision + 1), using: &random))
        case 29: return alarm(random.chance(1, in: 3) ? .activate : .deactivate, .nospace)
        case 30: return .authUserAdd(AuthUserAddRequest(name: name(), password: "p"))
        case 31: return .authRoleAdd(AuthRoleAddRequest(name: role()))
        case 32: return .authUserGrantRole(AuthUserGrantRoleRequest(user: name(), role: role()))
        case 33:
            let permission = Permission(
                permType: .init(rawValue: Int32.random(in: 0...2, using: &random)), key: bytes(key()),
                rangeEnd: bytes(random.chance(1, in: 2) ? "l" : ""))
            return .authRoleGrantPermission(AuthRoleGrantPermissionRequest(name: role(), perm: permission))
        case 34: return random.chance(1, in: 2) ? .authEnable(.init()) : .authDisable(.init())
        case 35: return .authUserDelete(AuthUserDeleteRequest(name: name()))
        case 36: return .authRoleDelete(AuthRoleDeleteRequest(role: role()))
        case 37: return .authUserRevokeRole(AuthUserRevokeRoleRequest(name: name(), role: role()))
        case 38: return .leaseCheckpoint(.init(checkpoints: [.init(id: lease(), remainingTTL: 3)]))
        default: return .range(RangeRequest(key: bytes(key())))
        }
    }

    /// Three members of one cluster apply the same log: the first answers clients, the second only follows, under another
    /// clock and as a leader, and the third is restarted now and then, sometimes losing what it had not stored. They must
    /// hold the same.
    @Test(arguments: 1...25 as ClosedRange<UInt64>)
    func `members that apply the same log are the same`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let asked = try TestWorld()
        let follower = try TestWorld()
        var restarting = try TestWorld()
        var log: [Bytes] = []
        var failures = 0
        for step in 0..<600 {
            let user = ["root", "u", "v", ""].randomElement(using: &random)!
            let revision = asked.state.auth.revision - (random.chance(1, in: 8) ? 1 : 0)
            let header = RequestHeader(id: UInt64(step + 1), username: user, authRevision: user.isEmpty ? 0 : revision)
            let data = InternalRaftRequest(kind: anything(&random, asked), header: header).encoded()
            log.append(data)

            follower.state.clock.now += Nanoseconds.random(in: 0...Nanoseconds.second, using: &random)
            if random.chance(1, in: 20) { follower.state.lessor.promote(now: follower.state.clock.now) }
            let (first, answer) = asked.apply(data: data, awaited: true)
            if case .failed = answer { failures += 1 }
            let (second, silence) = follower.apply(data: data, awaited: false)
            #expect(silence == .silent)
            #expect(first.hasChanges == second.hasChanges && first.effect == second.effect, "seed \(seed) step \(step)")

            if random.chance(1, in: 30) { restarting.submit() }
            if random.chance(1, in: 40) {
                let store = restarting.store.crashed()
                restarting = try TestWorld(store, settings: restarting.state.settings)
            }
            while Int(restarting.index) < log.count {
                restarting.apply(data: log[Int(restarting.index)], awaited: random.chance(1, in: 2))
            }
            if random.chance(1, in: 10) { asked.state.kv.compactionStep(budget: 3) }
        }
        #expect(failures > 50 && failures < 500, "seed \(seed): \(failures) of 600 requests failed")

        func settled(_ world: TestWorld) throws -> [String] {
            while !world.state.kv.compactionStep(budget: 100) {}
            world.submit()
            return TestWorld.dump(world.store.view())
        }
        let expected = try settled(asked)
        for world in [follower, restarting] {
            let found = try settled(world)
            #expect(found.filter { !expected.contains($0) } == [], "seed \(seed)")
            #expect(expected.filter { !found.contains($0) } == [], "seed \(seed)")
        }
        #expect(try follower.state.kv.hash(0) == asked.state.kv.hash(0), "seed \(seed)")
        #expect(try restarting.state.kv.hash(0) == asked.state.kv.hash(0), "seed \(seed)")
        for world in [follower, restarting] {
            #expect(world.state.lessor.all().sorted() == asked.state.lessor.all().sorted(), "seed \(seed)")
            for lease in asked.state.lessor.all() {
                #expect(world.state.lessor.keys(of: lease) == asked.state.lessor.keys(of: lease), "seed \(seed)")
            }
        }
        // Every lease holds exactly the live keys that name it.
        for lease in asked.state.lessor.all() {
            for key in asked.state.lessor.keys(of: lease) ?? [] {
                let found = asked.state.kv.keyValue(key.rawSpan, at: .max)
                let stored = try #require(found)
                #expect(try KeyValue(decoding: stored).lease == lease.rawValue, "seed \(seed)")
            }
        }
    }
}
