// Users, roles, permissions and tokens: each rule by itself. The recorded session of a real member is in VectorReplayTests.

import Foundations
import GRPC
import MVCC
import Testing
import Wire

@testable import State

/// Signs by writing things down: "user/revision/expiry".
private struct PlainSigner: TokenSigner {
    var canSign = true

    func sign(user: Bytes, authRevision: UInt64, unixTime: Int64) -> Bytes? {
        canSign ? user + bytes("/\(authRevision)/\(unixTime + 300)") : nil
    }

    func verify(_ token: Bytes, unixTime: Int64) -> Identity? {
        let parts = String(decoding: token, as: UTF8.self).split(separator: "/")
        guard parts.count == 3, let revision = UInt64(parts[1]), let expiry = Int64(parts[2]), expiry > unixTime
        else { return nil }
        return Identity(String(parts[0]), revision)
    }
}

@Suite struct AuthTests {
    private func store(signer: (any TokenSigner)? = nil) -> AuthStore {
        AuthStore(hasher: ReadableHasher(), signer: signer)
    }

    /// A store with root, and a user "u" of role "r" with the given grants; enabled.
    private func enabled(_ grants: [Permission], signer: (any TokenSigner)? = nil) throws -> (AuthStore, StoreBatch) {
        let auth = store(signer: signer)
        var batch = StoreBatch(number: 1)
        try auth.userAdd(name: "root", password: "p", hashedPassword: "", noPassword: false, into: &batch)
        try auth.userGrantRole(user: "root", role: "root", into: &batch)
        try auth.userAdd(name: "u", password: "p", hashedPassword: "", noPassword: false, into: &batch)
        try auth.roleAdd(name: "r", into: &batch)
        for grant in grants { try auth.roleGrantPermission(name: "r", permission: grant, into: &batch) }
        try auth.userGrantRole(user: "u", role: "r", into: &batch)
        try auth.enable(into: &batch)
        return (auth, batch)
    }

    private func grant(_ type: Permission.Kind, _ key: String, _ end: String = "") -> Permission {
        Permission(permType: type, key: bytes(key), rangeEnd: bytes(end))
    }

    @Test func `which changes count`() throws {
        let auth = store()
        var batch = StoreBatch(number: 1)
        var counted: UInt64 = 1
        func expect(_ difference: UInt64, _ what: String, _ change: () throws -> Void) {
            try? change()
            counted += difference
            #expect(auth.revision == counted, "\(what)")
        }
        func user(_ name: String) throws {
            try auth.userAdd(name: name, password: "p", hashedPassword: "", noPassword: false, into: &batch)
        }
        let a = grant(.read, "a")
        expect(1, "user add") { try user("root") }
        expect(0, "user add again") { try user("root") }
        expect(0, "user without a name") { try user("") }
        expect(1, "user add") { try user("u") }
        expect(0, "disable while off") { auth.disable(into: &batch) }
        expect(0, "enable without the root role") { try auth.enable(into: &batch) }
        expect(1, "grant root") { try auth.userGrantRole(user: "root", role: "root", into: &batch) }
        expect(0, "grant root again") { try auth.userGrantRole(user: "root", role: "root", into: &batch) }
        expect(1, "role add") { try auth.roleAdd(name: "r", into: &batch) }
        expect(0, "role add again") { try auth.roleAdd(name: "r", into: &batch) }
        expect(1, "permission") { try auth.roleGrantPermission(name: "r", permission: a, into: &batch) }
        expect(1, "the same permission again") { try auth.roleGrantPermission(name: "r", permission: a, into: &batch) }
        expect(0, "no permission") { try auth.roleGrantPermission(name: "r", permission: nil, into: &batch) }
        expect(1, "grant role") { try auth.userGrantRole(user: "u", role: "r", into: &batch) }
        expect(0, "enable") { try auth.enable(into: &batch) }
        #expect(auth.isEnabled)
        expect(0, "enable again") { try auth.enable(into: &batch) }
        expect(1, "password") {
            try auth.userChangePassword(name: "u", password: "q", hashedPassword: "", into: &batch)
        }
        expect(0, "root stays") { try auth.userDelete(name: "root", into: &batch) }
        expect(0, "root's role stays") { try auth.userRevokeRole(user: "root", role: "root", into: &batch) }
        expect(1, "revoke permission") {
            try auth.roleRevokePermission(name: "r", key: bytes("a"), rangeEnd: [], into: &batch)
        }
        expect(1, "role delete counts once") { try auth.roleDelete(name: "r", into: &batch) }
        #expect(try auth.userRoles(name: "u") == [])
        expect(1, "user delete") { try auth.userDelete(name: "u", into: &batch) }
        expect(1, "disable") { auth.disable(into: &batch) }
        expect(1, "now root may go") { try auth.userDelete(name: "root", into: &batch) }
    }

    @Test func `key checks, in order`() throws {
        let (auth, _) = try enabled([grant(.read, "a")])
        let now = auth.revision
        let cases: [(Identity, GRPCStatus?)] = [
            (.anonymous, EtcdError.userEmpty),
            (Identity("u", 0), EtcdError.userEmpty),
            (Identity("u", now - 1), EtcdError.authOldRevision),
            (Identity("nobody", now), EtcdError.permissionDenied),
            (Identity("u", now), nil),
            (Identity("u", now + 1), nil),
            (Identity("root", now), nil),
        ]
        for (identity, expected) in cases {
            #expect(throwing { try auth.check(identity, .read, key: bytes("a")) } == expected, "\(identity)")
        }
        #expect(throwing { try auth.check(Identity("u", now), .write, key: bytes("a")) } == EtcdError.permissionDenied)
    }

    @Test func `admin checks, in order, whatever the revision`() throws {
        let (auth, _) = try enabled([])
        #expect(throwing { try auth.checkAdmin(Identity("", 99)) } == EtcdError.userEmpty)
        #expect(throwing { try auth.checkAdmin(Identity("nobody", 0)) } == EtcdError.userNotFound)
        #expect(throwing { try auth.checkAdmin(Identity("u", 99)) } == EtcdError.permissionDenied)
        #expect(throwing { try auth.checkAdmin(Identity("root", 0)) } == nil)
        #expect(throwing { try auth.checkUserGet(Identity("u", 0), name: "u") } == nil)
        #expect(throwing { try auth.checkUserGet(Identity("u", 0), name: "root") } == EtcdError.permissionDenied)
        #expect(throwing { try auth.checkRoleGet(Identity("u", 0), role: "r") } == nil)
        #expect(throwing { try auth.checkRoleGet(Identity("u", 0), role: "x") } == EtcdError.permissionDenied)
        #expect(throwing { try auth.checkUserGet(.anonymous, name: "") } == EtcdError.userEmpty)
    }

    private func throwing(_ body: () throws -> Void) -> GRPCStatus? {
        do {
            try body()
            return nil
        } catch { return error as? GRPCStatus }
    }

    @Test func `a change of roles shows at the next check`() throws {
        var (auth, batch) = try enabled([grant(.readwrite, "a", "c")])
        func may(_ key: String) -> Bool {
            throwing { try auth.check(Identity("u", auth.revision), .write, key: bytes(key)) } == nil
        }
        #expect(may("b") && !may("c"))
        try auth.roleGrantPermission(name: "r", permission: grant(.write, "c"), into: &batch)
        #expect(may("c"))
        try auth.roleRevokePermission(name: "r", key: bytes("a"), rangeEnd: bytes("c"), into: &batch)
        #expect(!may("b") && may("c"))
        try auth.userRevokeRole(user: "u", role: "r", into: &batch)
        #expect(!may("c"))
        try auth.userDelete(name: "u", into: &batch)
        #expect(!may("c"))
    }

    @Test func `permissions stay sorted by key, equal keys as they came`() throws {
        var (auth, batch) = try enabled([grant(.read, "m"), grant(.read, "a"), grant(.read, "m", "z"), grant(.read, "m", "p")])
        func listed() throws -> [String] {
            try auth.rolePermissions(name: "r").map {
                String(decoding: $0.key, as: UTF8.self) + "-" + String(decoding: $0.rangeEnd, as: UTF8.self)
                    + " \($0.permType.rawValue)"
            }
        }
        #expect(try listed() == ["a- 0", "m- 0", "m-z 0", "m-p 0"])
        // Only the first of a key is ever replaced; another is added once more.
        try auth.roleGrantPermission(name: "r", permission: grant(.write, "m"), into: &batch)
        try auth.roleGrantPermission(name: "r", permission: grant(.write, "m", "z"), into: &batch)
        #expect(try listed() == ["a- 0", "m- 1", "m-z 0", "m-p 0", "m-z 1"])
        try auth.roleRevokePermission(name: "r", key: bytes("m"), rangeEnd: bytes("z"), into: &batch)
        #expect(try listed() == ["a- 0", "m- 1", "m-p 0"])
    }

    @Test func `names are bytes: what looks alike is not the same`() throws {
        let auth = store()
        var batch = StoreBatch(number: 1)
        for name in ["e\u{301}", "\u{e9}", "b", "B", "a"] {
            try auth.userAdd(name: name, password: "", hashedPassword: "", noPassword: true, into: &batch)
        }
        #expect(auth.userList().map { Array($0.utf8) } == ["B", "a", "b", "e\u{301}", "\u{e9}"].map { Array($0.utf8) })
    }

    @Test func `which hash is stored`() throws {
        let auth = store()
        var batch = StoreBatch(number: 1)
        let table: [(String, String, String, Bool, String?)] = [
            ("clear", "p", "", false, "hash:p"),
            ("hashed", "", Base64.encode(bytes("H")), false, "H"),
            ("both", "p", Base64.encode(bytes("H")), false, "H"),
            ("neither", "", "", false, ""),
            ("none", "p", "", true, ""),
            ("broken", "", "%%%", false, nil),
        ]
        for (name, password, hashed, noPassword, expected) in table {
            let failure = throwing {
                try auth.userAdd(name: name, password: password, hashedPassword: hashed, noPassword: noPassword, into: &batch)
            }
            #expect(failure == (expected == nil ? EtcdError.noPasswordUser : nil), "\(name)")
            #expect(auth.users[bytes(name)]?.passwordHash == expected.map { bytes($0) }, "\(name)")
        }
        try auth.userChangePassword(name: "none", password: "q", hashedPassword: "", into: &batch)
        #expect(auth.users[bytes("none")]?.passwordHash == [])
    }

    @Test func `everything survives a restart`() throws {
        let (auth, batch) = try enabled([grant(.readwrite, "a", "c"), grant(.read, "x", "\0")])
        let store = InMemoryStore()
        store.submit(batch)
        let restored = self.store()
        restored.restore(store.view())
        #expect(restored.isEnabled)
        #expect(restored.revision == auth.revision)
        #expect(restored.userList() == ["root", "u"] && restored.roleList() == ["r"])
        #expect(try restored.rolePermissions(name: "r") == auth.rolePermissions(name: "r"))
        #expect(throwing { try restored.check(Identity("u", auth.revision), .read, key: bytes("zz"), rangeEnd: [0]) } == nil)
        #expect(restored.users[bytes("u")]?.passwordHash == bytes("hash:p"))
    }

    @Test func `a signed token is made where somebody waits, and carries the revision`() throws {
        let (auth, _) = try enabled([], signer: PlainSigner())
        let clock = Clock(now: 0, unixTime: 1000)
        let token = try auth.authenticate(name: "u", tokenPrefix: "", index: 9, isAwaited: true, clock: clock)
        #expect(token == "u/\(auth.revision)/1300")
        #expect(auth.identify(token: bytes(token), clock: clock) == Identity("u", auth.revision))
        #expect(auth.identify(token: bytes(token), clock: Clock(now: 0, unixTime: 1300)) == nil)
        #expect(try auth.authenticate(name: "u", tokenPrefix: "", index: 9, isAwaited: false, clock: clock) == "")
        let (checking, _) = try enabled([], signer: PlainSigner(canSign: false))
        #expect(
            throwing { _ = try checking.authenticate(name: "u", tokenPrefix: "", index: 9, isAwaited: true, clock: clock) }
                == EtcdError.verifyOnlyKey)
    }

    @Test func `the answer for an unknown user takes a password check too`() throws {
        let (auth, _) = try enabled([])
        let check = try auth.passwordCheck(for: "nobody")
        #expect(check.hash.count == 60)
        #expect(check.authRevision == auth.revision)
    }

    // MARK: simple tokens

    @Test func `a token lives as long as it is used`() {
        var tokens = SimpleTokens(timeToLive: 300 * .second)
        tokens.assign(bytes("abc.7"), to: bytes("u"), now: 0)
        #expect(tokens.user(of: bytes("abc.7"), now: 299 * .second) == bytes("u"))
        #expect(tokens.user(of: bytes("abc.7"), now: 598 * .second) == bytes("u"))
        #expect(tokens.user(of: bytes("abc.8"), now: 598 * .second) == nil)
        #expect(tokens.user(of: bytes("abc.7"), now: 898 * .second) == nil)
        #expect(tokens.count == 0)
    }

    @Test func `tokens nobody uses do not pile up`() {
        var tokens = SimpleTokens(timeToLive: 10 * .second)
        for i in 0..<10_000 as Range<Int64> { tokens.assign(bytes("t.\(i)"), to: bytes("u"), now: i * .second) }
        #expect(tokens.count <= 11)
    }

    @Test func `another password ends a user's tokens, and no other's`() throws {
        var (auth, batch) = try enabled([])
        let clock = Clock()
        let u = try auth.authenticate(name: "u", tokenPrefix: "aaaa", index: 5, isAwaited: false, clock: clock)
        let root = try auth.authenticate(name: "root", tokenPrefix: "bbbb", index: 6, isAwaited: false, clock: clock)
        #expect(u == "aaaa.5" && root == "bbbb.6")
        try auth.roleAdd(name: "another", into: &batch)
        #expect(auth.identify(token: bytes(u), clock: clock) == Identity("u", auth.revision))
        try auth.userChangePassword(name: "u", password: "q", hashedPassword: "", into: &batch)
        #expect(auth.identify(token: bytes(u), clock: clock) == nil)
        #expect(auth.identify(token: bytes(root), clock: clock) != nil)
        auth.disable(into: &batch)
        try auth.enable(into: &batch)
        #expect(auth.identify(token: bytes(root), clock: clock) == nil)
    }

    @Test(
        arguments: [
            ("FJYRsJlXtMKhVVZn.15", 15), ("a.18446744073709551615", .max), ("a.18446744073709551616", nil), ("a.", nil),
            ("a", nil), ("a.1x", nil), ("", nil), (".3", 3), ("a.b.4", 4),
        ] as [(String, LogIndex?)])
    func `the index a token waits for`(token: String, expected: LogIndex?) {
        #expect(SimpleTokens.index(of: bytes(token).rawSpan) == expected)
    }

    @Test func `a prefix is sixteen letters`() {
        var random = SeededRandom(seed: 1)
        let prefixes = (0..<100).map { _ in SimpleTokens.makePrefix(using: &random) }
        #expect(Set(prefixes).count == 100)
        for prefix in prefixes {
            #expect(prefix.utf8.count == 16 && prefix.allSatisfy { $0.isASCII && $0.isLetter }, "\(prefix)")
        }
    }

    // MARK: key intervals

    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `merged intervals say what all of them together say`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        // Keys of up to two letters of a small alphabet, and the keys right behind them.
        let letters = Array("abcd".utf8)
        var universe: [Bytes] = []
        for a in letters {
            universe += [[a], [a, 0]]
            for b in letters { universe += [[a, b], [a, b, 0]] }
        }
        universe.sort(by: precedes)
        func key() -> Bytes { universe.randomElement(using: &random)! }
        let parts = (0..<Int.random(in: 0...6, using: &random)).map { _ -> (Bytes, Bytes) in
            switch Int.random(in: 0..<4, using: &random) {
            case 0: return (key(), [])
            case 1: return (key(), random.chance(1, in: 4) ? [0] : key())
            default: return (key(), key())
            }
        }
        let valid = parts.filter { $0.1.isEmpty || $0.1 == [0] || precedes($0.0, $0.1) }
        let set = KeyIntervalSet(valid.map { KeyInterval(key: $0.0, rangeEnd: $0.1) })
        func covered(_ key: Bytes) -> Bool {
            valid.contains { part in
                if part.1.isEmpty { return part.0 == key }
                return !precedes(key, part.0) && (part.1 == [0] || precedes(key, part.1))
            }
        }
        for _ in 0..<200 {
            let from = key()
            let end: Bytes = random.chance(1, in: 3) ? [] : (random.chance(1, in: 6) ? [0] : key())
            let expected: Bool
            if end == [0] {
                // Beyond the universe only an open part helps.
                expected =
                    covered(from) && valid.contains { $0.1 == [0] }
                    && universe.allSatisfy {
                        precedes($0, from) || covered($0)
                    }
            } else if end.isEmpty || !precedes(from, end) {
                expected = covered(from)
            } else {
                expected = universe.allSatisfy { precedes($0, from) || !precedes($0, end) || covered($0) }
                // Between two keys of the universe there are others, which single keys do not cover.
                if expected != set.contains(key: from.rawSpan, rangeEnd: end.rawSpan) {
                    #expect(expected && valid.contains { $0.1.isEmpty }, "seed \(seed)")
                    continue
                }
            }
            #expect(set.contains(key: from.rawSpan, rangeEnd: end.rawSpan) == expected, "seed \(seed) \(from) \(end)")
        }
    }
}
