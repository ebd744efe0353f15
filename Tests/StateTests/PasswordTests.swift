// bcrypt through the system's library, against a hash that a real member stored and against its own.

import Foundations
import MVCC
import Testing
import Wire

@testable import Passwords
@testable import State

@Suite struct PasswordTests {
    private let quick = Bcrypt(cost: 4)

    @Test func `a hash has etcd's form and fits its password only`() throws {
        let hash = try #require(quick.hash(bytes("secret")))
        #expect(hash.count == 60)
        #expect(String(decoding: hash, as: UTF8.self).hasPrefix("$2a$04$"))
        #expect(quick.matches(bytes("secret"), hash: hash))
        #expect(!quick.matches(bytes("Secret"), hash: hash))
        #expect(!quick.matches(bytes("secret\0x"), hash: hash))
        #expect(quick.hash(bytes("secret")) != hash, "each hash has a salt of its own")
    }

    /// The stored user of the recorded 3.5.1 member, whose password was "secret".
    @Test func `a real member's hash fits`() throws {
        let row = try #require(try Recorded.lines("store-3.5.1.txt").first { $0[0] == "authUsers" })
        let user = try User(decoding: try Recorded.hex(row[2]))
        #expect(user.name == bytes("alice"))
        #expect(quick.matches(bytes("secret"), hash: user.password))
        #expect(!quick.matches(bytes("secre"), hash: user.password))
    }

    @Test func `the empty password is one like others`() throws {
        let hash = try #require(quick.hash([]))
        #expect(quick.matches([], hash: hash))
        #expect(!quick.matches(bytes("x"), hash: hash))
    }

    @Test(arguments: ["", "x", "$2a$04$short", "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "*0", "$2a$99$" + String(repeating: "a", count: 53)])
    func `what is no bcrypt hash fits nothing`(hash: String) {
        #expect(!quick.matches([], hash: bytes(hash)))
        #expect(!quick.matches(bytes("x"), hash: bytes(hash)))
    }

    @Test(arguments: [(0, 10), (3, 10), (4, 4), (10, 10), (31, 31), (32, 10), (-1, 10)])
    func `costs outside the range become the default`(asked: Int, used: Int) {
        #expect(Bcrypt(cost: asked).cost == used)
    }

    @Test func `the hash for unknown users can be checked, and fits nothing`() throws {
        let auth = AuthStore(hasher: quick)
        var batch = StoreBatch(number: 1)
        try auth.userAdd(name: "root", password: "p", hashedPassword: "", noPassword: false, into: &batch)
        try auth.userGrantRole(user: "root", role: "root", into: &batch)
        try auth.enable(into: &batch)
        let known = try auth.passwordCheck(for: "root")
        #expect(quick.matches(bytes("p"), hash: known.hash))
        let unknown = try auth.passwordCheck(for: "nobody")
        #expect(!quick.matches(bytes("p"), hash: unknown.hash))
        // It really is computed: the library accepts its settings.
        #expect(Bcrypt.crypt(bytes("p"), setting: unknown.hash.map { CChar(bitPattern: $0) } + [0])?.count == 60)
    }
}
