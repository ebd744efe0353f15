// The verdict about a cluster: from what its members say to a level, a text, an exit code.

import Foundations
import Inventory
import JSON
import TestSupport
import Testing

@testable import Operations

@Suite struct ClusterReportTests {
    private static let month: Int64 = 30 * 86_400
    private static let certificates = ["m1": month, "m2": month, "m3": month]

    private static func facts(_ id: UInt64, leader: UInt64 = 1, applied: UInt64 = 1000, store: Int64 = 66_000) -> MemberView.Facts {
        let text = """
            {"header":{"cluster_id":"10","member_id":"\(id)","revision":"77","raft_term":"3"},"version":"3.5.21","dbSize":"\(store)",
            "leader":"\(leader)","raftIndex":"1000","raftTerm":"3","raftAppliedIndex":"\(applied)","dbSizeInUse":"33000"}
            """
        return MemberView.Facts(try! JSONValue(parsing: text))!
    }

    private static let good = MemberView(health: .healthy, facts: facts(2))
    private static let leading = MemberView(health: .healthy, facts: facts(1))
    private static let down = MemberView(health: .unreachable("Connection refused"), facts: nil)
    private static let leaderless = MemberView(health: .unhealthy("RAFT NO LEADER"), facts: facts(3, leader: 0))

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var views: [MemberView]
        var certificates = ClusterReportTests.certificates
        var ledgerChange: @Sendable (inout Ledger) -> Void = { _ in }
        var name: String
        var exitCode: Int32
        var reason = ""
    }

    static let cases: [Case] = [
        Case(testDescription: "all is well", views: [leading, good, good], name: "HEALTHY", exitCode: 0),
        Case(
            testDescription: "one down", views: [leading, down, good], name: "AT-RISK", exitCode: 12,
            reason: "1 of 3 voters are missing; 0 more may fail"),
        Case(
            testDescription: "two down", views: [leaderless, down, down], name: "NO-QUORUM", exitCode: 13,
            reason: "0 of 3 voters are healthy, 2 are needed"),
        Case(testDescription: "all down", views: [down, down, down], name: "NO-QUORUM", exitCode: 13),
        Case(testDescription: "nobody leads", views: [good, good, good], name: "NO-QUORUM", exitCode: 13, reason: "no healthy voter leads"),
        Case(
            testDescription: "behind", views: [leading, MemberView(health: .healthy, facts: facts(2, applied: 749)), good],
            name: "DEGRADED", exitCode: 11, reason: "m2 is 251 entries behind"),
        Case(
            testDescription: "just not behind", views: [leading, MemberView(health: .healthy, facts: facts(2, applied: 750)), good],
            name: "HEALTHY", exitCode: 0),
        Case(
            testDescription: "store nearly full", views: [leading, MemberView(health: .healthy, facts: facts(2, store: 7 << 30)), good],
            name: "AT-RISK", exitCode: 12, reason: "m2: the store has 7GiB of 8GiB"),
        Case(
            testDescription: "certificate about to end", views: [leading, good, good],
            certificates: ["m1": month, "m2": 6 * 86_400, "m3": month], name: "AT-RISK", exitCode: 12,
            reason: "m2: its certificate is good for 6 d more"),
        Case(
            testDescription: "certificate gone", views: [leading, good, good], certificates: ["m1": month, "m2": -1], name: "AT-RISK",
            exitCode: 12, reason: "m3: its certificate cannot be read"),
        Case(
            testDescription: "another cluster answers", views: [leading, good, good], ledgerChange: { $0.clusterID = "0b" },
            name: "UNKNOWN", exitCode: 14, reason: "cluster a answers, the ledger says 0b"),
        Case(
            testDescription: "interrupted bootstrap", views: [leading, good, good], ledgerChange: { $0.state = .pending },
            name: "UNKNOWN", exitCode: 14),
        Case(
            testDescription: "inventory changed", views: [leading, good, good],
            ledgerChange: { $0.digest = InventoryDigest(hex: "00") }, name: "HEALTHY", exitCode: 10),
    ]

    private func report(_ views: [MemberView], _ certificates: [String: Int64], _ change: (inout Ledger) -> Void = { _ in }) throws -> ClusterReport {
        let inventory = try inventory(local)
        var ledger = Ledger.pending(inventory, token: "t-1")
        ledger.state = .active
        ledger.clusterID = "000000000000000a"
        change(&ledger)
        let named = Dictionary(uniqueKeysWithValues: zip(["m1", "m2", "m3"], views))
        return ClusterReport(inventory, ledger, named, certificates: certificates)
    }

    @Test(arguments: cases) func `the worst wins`(_ example: Case) throws {
        let report = try report(example.views, example.certificates, example.ledgerChange)
        #expect(report.level.name == example.name && report.exitCode == example.exitCode, "\(report.text)")
        if !example.reason.isEmpty { #expect(report.reasons.contains(example.reason), "\(report.reasons)") }
        if example.name == "HEALTHY" { #expect(report.reasons == []) } else { #expect(report.reasons != []) }
    }

    @Test func `people read a table`() throws {
        #expect(
            try report([Self.leading, Self.good, Self.down], Self.certificates).text == """
                t  AT-RISK  voters 3 quorum 2 can lose 0   leader m1 (term 3)   rev 77
                  ! 1 of 3 voters are missing; 0 more may fail
                  ! m3 does not answer: Connection refused
                HOST  ROLE    STATE  VER     TERM  LAG  DB/IN-USE    LEAF  ENDPOINT
                m1    leader  ok     3.5.21  3     -    66 kB/33 kB  30 d  https://127.0.0.1:1001
                m2    voter   ok     3.5.21  3     0    66 kB/33 kB  30 d  https://127.0.0.1:2001
                m3    voter   down   -       -     -    -            30 d  https://127.0.0.1:3001

                """)
    }

    @Test func `programs read JSON`() throws {
        let json = try report([Self.leading, Self.good, Self.down], Self.certificates).json
        try golden(RealTools.root + "/Tests/OperationsTests/Data/status.json", PrettyJSON.text(json))
    }

    @Test func `a cluster of one has nobody to lose`() throws {
        let inventory = try inventory("metadata: {name: t}\nspec: {hosts: {m1: 127.0.0.1}, supervisor: processes}")
        let report = ClusterReport(inventory, nil, ["m1": Self.leading], certificates: nil)
        #expect(report.level == .healthy && report.tolerance == 0)
    }
}
