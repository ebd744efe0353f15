// Ids that all members must compute alike.

import Foundation
import Foundations
import Testing

@testable import State

@Suite struct IdentityTests {
    @Test func `sha-1 of known texts`() {
        #expect(Hexadecimal.encode(SHA1.digest(bytes("abc"))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(Hexadecimal.encode(SHA1.digest([])) == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(Hexadecimal.encode(SHA1.digest(bytes(long))) == "84983e441c3bd26ebaae4aa1f95129e5e54670f1")
        let million = Bytes(repeating: 0x61, count: 1_000_000)
        #expect(Hexadecimal.encode(SHA1.digest(million)) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f")
    }

    private struct Table: Decodable {
        struct Bootstrap: Decodable {
            struct Node: Decodable { var name: String; var peer_urls: [String] }
            struct Member: Decodable { var name: String; var id_hex: String }
            var `case`: String
            var initial_cluster: [Node]
            var token: String
            var members: [Member]
            var cluster_id_hex: String
        }
        struct Addition: Decodable { var peer_urls: [String]; var unix_seconds: Int64; var id_hex: String }
        var bootstrap: [Bootstrap]
        var runtime_add: [Addition]
    }

    @Test func `member and cluster ids as servers assign them`() throws {
        let table = try JSONDecoder().decode(
            Table.self, from: Data(try Recorded.bytes("member-and-cluster-ids.json")))
        for row in table.bootstrap {
            var ids: [MemberID] = []
            for node in row.initial_cluster {
                let id = MemberID.atBootstrap(peerURLs: node.peer_urls, token: row.token)
                ids.append(id)
                #expect(id.description == row.members.first { $0.name == node.name }?.id_hex, "\(row.case)")
            }
            #expect(ClusterID(bootstrapMembers: ids).description == row.cluster_id_hex, "\(row.case)")
        }
        for row in table.runtime_add {
            #expect(MemberID.added(peerURLs: row.peer_urls, unixTime: row.unix_seconds).description == row.id_hex)
        }
        #expect(table.bootstrap.count >= 9)
    }

    @Test(arguments: [("0", 0), ("ff", 255), ("8927110dc66458af", 0x8927_110d_c664_58af)] as [(String, UInt64)])
    func `ids are read as written`(text: String, id: UInt64) {
        #expect(MemberID(hexadecimal: text) == MemberID(id))
    }

    @Test(arguments: ["", "+1", "-1", "g", "12345678901234567", " 1"])
    func `what is no id`(text: String) {
        #expect(MemberID(hexadecimal: text) == nil)
    }

    @Test(
        arguments: [
            ("3.5.1", "3.5.1"), ("3.5.0-rc.1", "3.5.0"), ("3.6.0+git", "3.6.0"), ("3.5", nil), ("3.5.x", nil), ("", nil),
            ("3..1", nil), ("-1.2.3", nil),
        ] as [(String, String?)])
    func `versions`(text: String, expected: String?) {
        #expect(ClusterVersion(text)?.description == expected)
    }

    @Test func `the cluster version follows the lowest member`() {
        let v = { (text: String) in ClusterVersion(text) }
        func decide(_ current: String?, _ members: [String?], target: String? = nil) -> String? {
            ClusterVersion.decide(
                current: current.flatMap { v($0) }, members: members.map { $0.flatMap { v($0) } },
                downgradeTarget: target.flatMap { v($0) })?.description
        }
        #expect(decide(nil, ["3.5.1", "3.5.9"]) == "3.5.0")
        #expect(decide(nil, ["3.5.1", nil]) == "3.0.0")
        #expect(decide("3.4.0", ["3.5.1", "3.5.9"]) == "3.5.0")
        #expect(decide("3.4.0", ["3.5.1", "3.4.23"]) == nil)
        #expect(decide("3.4.0", ["3.5.1", nil]) == nil)
        #expect(decide("3.5.0", ["3.4.23", "3.5.1"]) == nil)
        #expect(decide("3.5.0", ["3.4.23", "3.5.1"], target: "3.4.0") == "3.4.0")
        #expect(decide("3.6.0", ["3.4.23", "3.5.1"], target: "3.4.0") == nil)
    }
}
