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
        Case(
            testDescription: "nobody leads", views: [good, good, good], name: "NO-QUORUM", exitCode: 13, reason: "no healthy voter leads"),
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

    private func report(_ views: [MemberView], _ certificates: [String: Int64], _ change: (inout Ledger) -> Void = { _ in }) throws
        -> ClusterReport
    {
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

    // MARK: Members are the ledger's

    private static let spare = """
        metadata: {name: t}
        spec:
          hosts: {m1: 10.0.0.1, m2: 10.0.0.2, m3: 10.0.0.3, m4: {address: 10.0.0.4, role: spare}}
        """

    /// m2 was replaced by m4; the inventory was left as it was.
    private func replaced(_ views: [String: MemberView]) throws -> ClusterReport {
        let inventory = try inventory(Self.spare)
        var evidence = ClusterReport.Evidence()
        evidence.ledger = Ledger(
            cluster: "t", state: .active, token: "t-1", clusterID: "0a", generation: 4, digest: inventory.digest,
            members: ["m1", "m3", "m4"].map { .init(name: $0, peerURL: "https://10.0.0.\($0.dropFirst()):2380") })
        return ClusterReport(inventory, evidence, views)
    }

    @Test func `a host that was replaced is not down, and the inventory is what differs`() throws {
        let report = try replaced(["m1": Self.leading, "m3": Self.good, "m4": Self.good])
        #expect(report.level == .healthy && report.voters == 3 && report.tolerance == 1 && report.exitCode == 10, "\(report.text)")
        #expect(report.rows.map(\.role) == ["leader", "spare", "voter", "voter"])
        #expect(report.drift.count == 2 && report.drift[0].contains("m2 is no member") && report.drift[1].contains("write role: voter"))
    }

    @Test func `a member that the inventory has lost is shown and counted`() throws {
        let inventory = try inventory("metadata: {name: t}\nspec: {hosts: {m1: 10.0.0.1, m3: 10.0.0.3}, policy: {evenVoters: true}}")
        var evidence = ClusterReport.Evidence()
        evidence.ledger = Ledger(
            cluster: "t", state: .active, token: "t-1", generation: 1, digest: inventory.digest,
            members: ["m1", "m3", "m4"].map { .init(name: $0, peerURL: "https://10.0.0.\($0.dropFirst()):2380") })
        let report = ClusterReport(inventory, evidence, ["m1": Self.leading, "m3": Self.good, "m4": Self.down])
        #expect(report.level == .atRisk && report.voters == 3 && report.votersHealthy == 2)
        #expect(report.rows.last?.host.address == "10.0.0.4" && report.rows.last?.host.peerPort == 2380)
        #expect(report.drift.contains { $0.contains("m4 (https://10.0.0.4:2380)") })
    }

    @Test func `who sees nobody says so and calls nothing healthy`() throws {
        let inventory = try inventory(Self.spare)
        var evidence = ClusterReport.Evidence()
        evidence.isBlind = true
        let report = ClusterReport(inventory, evidence, ["m1": Self.down, "m2": Self.down, "m3": Self.down])
        #expect(report.level == .unknown && report.exitCode == 14)
    }

    @Test func `a member that waits for its disk is a risk`() throws {
        let inventory = try inventory(Self.spare)
        func report(_ milliseconds: UInt64) -> ClusterReport {
            var evidence = ClusterReport.Evidence()
            evidence.syncTimes = ["m3": milliseconds * 1_000_000]
            return ClusterReport(inventory, evidence, ["m1": Self.leading, "m2": Self.good, "m3": Self.good])
        }
        let quick = report(25)
        #expect(quick.level == .healthy && quick.text.contains("FSYNC99") && quick.text.contains("25 ms"), "\(quick.text)")
        let slow = report(26)
        #expect(slow.level == .atRisk && slow.exitCode == 12, "\(slow.text)")
        #expect(slow.reasons.contains { $0.hasPrefix("m3: its disk is slow") }, "\(slow.text)")
    }

    @Test func `without a quorum it is said who brings it back`() throws {
        let report = try report([Self.leaderless, Self.down, Self.down], Self.certificates)
        #expect(report.reasons.contains("1 of these bring it back: m2, m3"), "m1 is there and waits")
    }

    @Test func `silent members are shown as they last were, with the age of that, and not as healthy`() throws {
        var memory = StatusMemory()
        var first = ["m1": Self.leading, "m3": Self.good, "m4": Self.good]
        #expect(memory.remember(&first, 1_000_000_000).isEmpty)
        var second = ["m1": Self.leading, "m3": Self.good, "m4": Self.down]
        let ages = memory.remember(&second, 91_000_000_000)
        #expect(ages == ["m4": 90] && second["m4"]?.facts?.version == "3.5.21" && second["m4"]?.isHealthy == false)
        var evidence = ClusterReport.Evidence()
        evidence.ages = ages
        evidence.units = ["m4": "failed (exit 1)"]
        let report = ClusterReport(try inventory(Self.spare), evidence, second)
        #expect(report.text.contains("90 s") && report.text.contains("AGE"))
    }

    @Test func `of a pipe each change is a line, and no change is none`() throws {
        let all = ["m1": Self.leading, "m3": Self.good, "m4": Self.good]
        let first = try replaced(all)
        #expect(first.changes(since: nil).first == "t  HEALTHY  voters 3 healthy 3 can lose 1")
        #expect(first.changes(since: nil).contains("m2  no member"))
        #expect(first.changes(since: first).isEmpty)
        let second = try replaced(all.merging(["m4": Self.down]) { $1 })
        let lines = second.changes(since: first)
        #expect(lines.prefix(2) == ["t  AT-RISK  voters 3 healthy 2 can lose 0", "m4  down"], "\(lines)")
    }
}
