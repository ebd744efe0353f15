// Members, the entries that change them, and the documents that carry them.

import Foundation
import Foundations
import GRPC
import JSON
import MVCC
import Testing

@testable import State

@Suite struct MembershipTests {
    private func member(_ id: UInt64, started: Bool = true, learner: Bool = false) -> Member {
        Member(
            id: MemberID(id), peerURLs: ["http://h\(id):2380"], isLearner: learner, name: started ? "n\(id)" : "",
            clientURLs: started ? ["http://h\(id):2379"] : [])
    }

    private func members(_ list: [Member], removed: Set<MemberID> = []) -> Membership {
        Membership(members: list, removed: removed, version: nil)
    }

    private func failure(_ body: () throws -> Void) -> GRPCStatus? {
        do {
            try body()
            return nil
        } catch { return error as? GRPCStatus }
    }

    @Test func `contexts are written as real members write them`() throws {
        let v1 = Member(id: MemberID(13_195_394_291_058_371_180), peerURLs: ["http://127.0.0.1:2380"], name: "v1")
        #expect(
            String(decoding: v1.additionContext, as: UTF8.self)
                == #"{"id":13195394291058371180,"peerURLs":["http://127.0.0.1:2380"],"name":"v1"}"#)
        #expect(
            String(decoding: Member.promotionContext(MemberID(123)), as: UTF8.self)
                == #"{"id":123,"peerURLs":null,"isPromote":true}"#)
        let odd = Member(id: MemberID(1), peerURLs: ["http://a&b<c>:1"], isLearner: true, name: "q\"\\\u{1}\u{2028}é\n")
        #expect(
            String(decoding: odd.json, as: UTF8.self)
                == #"{"id":1,"peerURLs":["http://a\u0026b\u003cc\u003e:1"],"isLearner":true,"#
                + #""name":"q\"\\\u0001\u2028é\n"}"#)
        #expect(Member(json: odd.json) == odd)
    }

    @Test(arguments: [
        "", "[]", "{", #"{"id":"1"}"#, #"{"id":-1}"#, #"{"id":1,"peerURLs":"x"}"#, #"{"id":1,"name":7}"#, #"{"id":1}x"#,
        #"{"id":18446744073709551616}"#,
    ])
    func `what is no member`(text: String) {
        #expect(Member(json: bytes(text)) == nil)
    }

    @Test func `names of fields fit in any case, the last one counts, null is absent`() {
        let text = #" { "ID" : 7, "peerurls" : [ "a" ], "extra":{"x":[1,2.5e3,null]}, "name":"x", "Name":"y", "clientURLs":null } "#
        #expect(Member(json: bytes(text)) == Member(id: MemberID(7), peerURLs: ["a"], name: "y"))
        #expect(GoJSON.parse(bytes(#""\u0041\ud83d\ude00\ud800x\/""#)) == .string("A😀\u{fffd}x/"))
        #expect(GoJSON.parse(Bytes(repeating: 0x5b, count: 100_000)) == nil)
    }

    @Test func `what an entry wants`() {
        func change(_ kind: Int32, _ node: UInt64, _ context: String) -> Membership.Change? {
            Membership.Change(kind: kind, node: MemberID(node), context: bytes(context))
        }
        let learner = Member(id: MemberID(5), peerURLs: ["u"], isLearner: true)
        #expect(change(0, 5, #"{"id":5,"peerURLs":["u"]}"#) == .add(Member(id: MemberID(5), peerURLs: ["u"])))
        #expect(change(3, 5, #"{"id":5,"peerURLs":["u"],"isLearner":true}"#) == .add(learner))
        #expect(change(0, 5, #"{"id":5,"peerURLs":null,"isPromote":true}"#) == .promote(MemberID(5)))
        #expect(change(1, 5, "") == .remove(MemberID(5)))
        #expect(change(2, 5, #"{"id":5,"peerURLs":["v"]}"#) == .update(MemberID(5), peerURLs: ["v"]))
        #expect(change(0, 6, #"{"id":5,"peerURLs":["u"]}"#) == nil)
        #expect(change(0, 5, "junk") == nil)
        #expect(change(4, 5, #"{"id":5,"peerURLs":["u"]}"#) == nil)
        for change in [
            Membership.Change.add(learner), .promote(MemberID(5)), .remove(MemberID(5)), .update(MemberID(5), peerURLs: ["v"]),
        ] {
            let entry = change.entry(isLearner: true)
            #expect(Membership.Change(kind: entry.kind, node: MemberID(5), context: entry.context ?? []) == change)
        }
    }

    @Test func `the checks of a change`() {
        let base = members([member(1), member(2), member(3, learner: true)], removed: [MemberID(9)])
        let fresh = Member(id: MemberID(7), peerURLs: ["http://new:1"])
        var freshLearner = fresh
        freshLearner.isLearner = true
        let taken = Member(id: MemberID(7), peerURLs: ["http://new:1", "http://h2:2380"])
        let table: [(Membership.Change, GRPCStatus?)] = [
            (.add(fresh), nil),
            (.add(freshLearner), EtcdError.tooManyLearners),
            (.add(taken), EtcdError.peerURLExists),
            (.add(member(2)), EtcdError.memberExists),
            (.add(Member(id: MemberID(9), peerURLs: ["http://new:1"])), EtcdError.memberNotFound),
            (.promote(MemberID(3)), nil),
            (.promote(MemberID(2)), EtcdError.memberNotLearner),
            (.promote(MemberID(7)), EtcdError.memberNotFound),
            (.promote(MemberID(9)), EtcdError.memberNotFound),
            (.remove(MemberID(1)), nil),
            (.remove(MemberID(7)), EtcdError.memberNotFound),
            (.remove(MemberID(9)), EtcdError.memberNotFound),
            (.update(MemberID(1), peerURLs: ["http://h1:2380"]), nil),
            (.update(MemberID(1), peerURLs: ["http://h2:2380"]), EtcdError.peerURLExists),
            (.update(MemberID(7), peerURLs: ["http://x:1"]), EtcdError.memberNotFound),
        ]
        for (change, expected) in table {
            #expect(failure { try base.check(change) } == expected, "\(change)")
        }
        let wide = Membership(learnersMax: 2, members: base.members, removed: [], version: nil)
        #expect(failure { try wide.check(.add(freshLearner)) } == nil)
    }

    @Test func `changes, and what is left of them after a restart`() throws {
        let store = InMemoryStore()
        var batch = StoreBatch(number: 1)
        var membership = Membership()
        for id in 1...3 as ClosedRange<UInt64> { try membership.apply(.add(member(id, started: false)), into: &batch) }
        try membership.apply(.add(member(4, started: false, learner: true)), into: &batch)
        #expect(membership.publish(MemberID(2), name: "two", clientURLs: ["http://c:1"], into: &batch))
        #expect(!membership.publish(MemberID(8), name: "eight", clientURLs: [], into: &batch))
        // A learner that gets other URLs stays one.
        try membership.apply(.update(MemberID(4), peerURLs: ["http://moved:1"]), into: &batch)
        #expect(membership[MemberID(4)]?.isLearner == true)
        try membership.apply(.promote(MemberID(4)), into: &batch)
        try membership.apply(.remove(MemberID(1)), into: &batch)
        membership.setVersion(ClusterVersion(3, 5), into: &batch)
        membership.setDowngrade(.init(isEnabled: true, target: "3.4.0"), into: &batch)
        store.submit(batch)
        var restored = Membership()
        restored.restore(store.view())
        #expect(restored.members == membership.members)
        #expect(restored.members.map(\.id.rawValue) == [2, 3, 4])
        #expect(restored[MemberID(2)]?.name == "two")
        #expect(restored[MemberID(4)] == Member(id: MemberID(4), peerURLs: ["http://moved:1"]))
        #expect(restored.removed == [MemberID(1)])
        #expect(restored.version == ClusterVersion(3, 5))
        #expect(restored.downgrade == .init(isEnabled: true, target: "3.4.0"))
    }

    // MARK: strict reconfiguration

    @Test func `who may be added, promoted, removed`() {
        let joiner = Member(id: MemberID(7), peerURLs: ["http://new:1"])
        var learner = joiner
        learner.isLearner = true
        let one = [member(1)]
        let two = [member(1), member(2, started: false)]
        let three = [member(1), member(2), member(3)]
        let threeOneNew = [member(1), member(2), member(3, started: false)]
        let table: [(String, [Member], Membership.Change, Set<UInt64>, GRPCStatus?)] = [
            ("one may always grow", one, .add(joiner), [1], nil),
            ("not while the second has not started", two, .add(joiner), [1], EtcdError.notEnoughStartedMembers),
            ("three of three", three, .add(joiner), [1, 2, 3], nil),
            ("a quorum of four must be connected", three, .add(joiner), [1, 2], EtcdError.unhealthy),
            ("two of three started are no quorum of four", threeOneNew, .add(joiner), [1, 2], EtcdError.notEnoughStartedMembers),
            ("a learner counts for nothing", threeOneNew, .add(learner), [1, 2], nil),
            ("but a quorum must be connected", three, .add(learner), [1], EtcdError.unhealthy),
            ("the only voter stays", one, .remove(MemberID(1)), [1], EtcdError.notEnoughStartedMembers),
            ("one of three goes", three, .remove(MemberID(2)), [1, 2, 3], nil),
            ("one that cannot be reached goes", three, .remove(MemberID(3)), [1, 2], nil),
            ("not one of the two that are left", three, .remove(MemberID(2)), [1, 2], EtcdError.unhealthy),
            ("not a started one beside an unstarted", threeOneNew, .remove(MemberID(2)), [1, 2], EtcdError.notEnoughStartedMembers),
            ("the unstarted one goes", threeOneNew, .remove(MemberID(3)), [1, 2], nil),
            ("a learner always goes", [member(1), member(4, learner: true)], .remove(MemberID(4)), [], nil),
            ("a learner becomes the second voter", [member(1), member(4, learner: true)], .promote(MemberID(4)), [1], nil),
            ("with one unstarted of two it is three with two", two + [member(4, learner: true)], .promote(MemberID(4)), [1], nil),
            ("URLs are not checked", two, .update(MemberID(1), peerURLs: ["x"]), [], nil),
        ]
        for (name, list, change, connected, expected) in table {
            let result = failure {
                try members(list).checkReconfiguration(change) { connected.contains($0.rawValue) ? .steady : .away }
            }
            #expect(result == expected, "\(name)")
        }
    }

    @Test func `one that has just come back counts as there when another is to go, but not as steady`() {
        let three = members([member(1), member(2), member(3)])
        let reach: [UInt64: Membership.Reach] = [1: .steady, 2: .recent, 3: .away]
        let removed = { (id: UInt64) in
            failure { try three.checkReconfiguration(.remove(MemberID(id))) { reach[$0.rawValue] ?? .away } }
        }
        #expect(removed(2) == EtcdError.unhealthy)
        #expect(removed(3) == nil)
    }

    @Test(
        arguments: [
            (["http://a:1"], ["http://a:1"]), (["https://b:2", " http://a:1 "], ["http://a:1", "https://b:2"]),
            (["unix://x:1"], ["unix://x:1"]), (["http://[::1]:2380"], ["http://[::1]:2380"]), ([], nil), (["http://a"], nil),
            (["http://a:1/"], nil), (["http://a:1/p"], nil), (["ftp://a:1"], nil), (["a:1"], nil), ([""], nil), (["http://a:1?q"], nil),
            (["http://::1:2"], nil), (["http://a:x"], nil), (["http://a b:1"], nil),
        ] as [([String], [String]?)])
    func `peer URLs`(given: [String], expected: [String]?) {
        #expect(PeerURLs.validated(given) == expected)
    }

    // MARK: snapshot documents

    @Test(arguments: ["3.4.23", "3.5.1"])
    func `a real leader's document is understood`(version: String) throws {
        let document = try Recorded.bytes("membership-document-\(version).json")
        let membership = try Membership(snapshotDocument: document)
        #expect(membership.members.count == 3)
        #expect(membership.members.allSatisfy { $0.peerURLs.count == 1 && $0.isStarted && $0.clientURLs.count == 1 })
        #expect(membership.version?.release == ClusterVersion(version)?.release)
        // And what we would write says the same.
        let again = try Membership(snapshotDocument: membership.snapshotDocument)
        #expect(again.members == membership.members && again.version == membership.version)
    }

    @Test func `the document we write is the form that real members accept`() throws {
        let membership = Membership(
            members: [
                Member(id: MemberID(0xab), peerURLs: ["http://h:p"], name: "n", clientURLs: ["http://h:c"]),
                Member(id: MemberID(0xcd), peerURLs: ["http://i:p"], isLearner: true),
            ], removed: [MemberID(0xef)], version: ClusterVersion(3, 5))
        let expected = #"""
            {"Root":{"Path":"/","Children":{"0":{"Path":"/0","Children":{
            "members":{"Path":"/0/members","Children":{
            "ab":{"Path":"/0/members/ab","Children":{
            "attributes":{"Path":"/0/members/ab/attributes","Value":"{\"name\":\"n\",\"clientURLs\":[\"http://h:c\"]}"},
            "raftAttributes":{"Path":"/0/members/ab/raftAttributes","Value":"{\"peerURLs\":[\"http://h:p\"]}"}}},
            "cd":{"Path":"/0/members/cd","Children":{
            "raftAttributes":{"Path":"/0/members/cd/raftAttributes",
            "Value":"{\"peerURLs\":[\"http://i:p\"],\"isLearner\":true}"}}}}},
            "removed_members":{"Path":"/0/removed_members","Children":{
            "ef":{"Path":"/0/removed_members/ef","Value":""}}},
            "version":{"Path":"/0/version","Value":"3.5.0"}}},
            "1":{"Path":"/1","Children":{}}}}}
            """#.replacing("\n", with: "")
        #expect(String(decoding: membership.snapshotDocument, as: UTF8.self) == expected)
        let again = try Membership(snapshotDocument: membership.snapshotDocument)
        #expect(again.members == membership.members && again.removed == membership.removed)
    }

    @Test(arguments: [
        ("", SnapshotDocumentError.notJSON), ("{}", .noRoot),
        (#"{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"xyz":{}}}}}}}}"#, .badMember(path: "/0/members/xyz")),
        (#"{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"ab":{"Children":{}}}}}}}}}"#, .badMember(path: "/0/members/ab")),
        (#"{"Root":{"Children":{"0":{"Children":{"version":{"Value":"three"}}}}}}"#, .badVersion("three")),
        (#"{"Root":{"Children":{"0":{},"1":{"Children":{"k":{"Value":"v"}}}}}}"#, .holdsUserData),
    ])
    func `documents that cannot be taken over`(text: String, expected: SnapshotDocumentError) {
        #expect(throws: expected) { try Membership(snapshotDocument: bytes(text)) }
    }
}
