// What agents tell Prometheus, and that no alert asks for what nobody tells.

import Inventory
import JSON
import PKI
import Telemetry
import TestSupport
import Testing
import Wire

@testable import Operations

@Suite struct AgentMetricsTests {
    private static let hosts =
        "metadata: {name: main}\nspec:\n  hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3}\n"

    private func facts(_ id: UInt64, leader: UInt64, applied: UInt64 = 1000) throws -> MemberView.Facts {
        let text = """
            {"header":{"cluster_id":"10","member_id":"\(id)","revision":"77"},"version":"3.5.21","dbSize":"66000",
            "leader":"\(leader)","raftIndex":"1000","raftTerm":"3","raftAppliedIndex":"\(applied)"}
            """
        return try #require(MemberView.Facts(JSONValue(parsing: text)))
    }

    /// kv3 is down, kv2 is behind; an operation is open.
    private func sight(at: UInt64 = 0) throws -> ClusterSight {
        let inventory = try inventory(Self.hosts)
        var ledger = Ledger.pending(inventory, token: "t")
        ledger.state = .active
        ledger.generation = 4
        let views = [
            "kv1": MemberView(health: .healthy, facts: try facts(1, leader: 1)),
            "kv2": MemberView(health: .healthy, facts: try facts(2, leader: 1, applied: 990)),
            "kv3": MemberView(health: .unreachable("refused"), facts: nil),
        ]
        return ClusterSight(
            cluster: "main", at: at, report: ClusterReport(inventory, ClusterReport.Evidence(ledger: ledger), views),
            unit: AgentPB.UnitState(active: "active", restarts: 2), certificates: ["server": 86_400, "peer": 90_000],
            operation: AgentPB.Operation(id: "a", kind: "apply", epoch: 7, state: "open", changed: 1_000), isPaused: true,
            syncTime: 12_500_000)
    }

    private func lines(_ metrics: AgentMetrics) -> [Substring] {
        metrics.text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    }

    @Test func `a cluster is told by its level, its margins and the age of that`() throws {
        let metrics = AgentMetrics(host: "kv1") { (monotonic: 9_000_000_000, wall: 1_060) }
        metrics.saw(try sight(at: 4_000_000_000))
        metrics.sawAgentCertificate(secondsLeft: 77)
        let lines = lines(metrics)
        for line in [
            "covey_cluster_level{cluster=\"main\"} 2", "covey_cluster_voters{cluster=\"main\"} 3",
            "covey_cluster_voters_healthy{cluster=\"main\"} 2", "covey_cluster_quorum{cluster=\"main\"} 2",
            "covey_cluster_tolerance{cluster=\"main\"} 0", "covey_cluster_has_leader{cluster=\"main\"} 1",
            "covey_cluster_generation{cluster=\"main\"} 4", "covey_cluster_observed_age_seconds{cluster=\"main\"} 5",
            "covey_member_running{cluster=\"main\"} 1", "covey_member_restarts_total{cluster=\"main\"} 2",
            "covey_certificate_seconds_left{certificate=\"server\",cluster=\"main\"} 86400",
            "covey_member_lag_entries{cluster=\"main\",member=\"kv2\"} 10", "covey_operation_open{cluster=\"main\"} 1",
            "covey_operation_open_seconds{cluster=\"main\"} 60", "covey_operation_epoch{cluster=\"main\"} 7",
            "covey_cluster_paused{cluster=\"main\"} 1",
            "covey_member_sync_seconds{cluster=\"main\"} 0.0125", "covey_agent_certificate_seconds_left 77",
        ] { #expect(lines.contains { $0 == line }, "\(line)\nin\n\(lines.joined(separator: "\n"))") }
        #expect(try sight().text == "cluster AT-RISK 2/3 can lose 0")
    }

    @Test func `what was not seen is unknown, and what is gone is not told`() throws {
        let metrics = AgentMetrics(host: "kv1")
        var blind = try sight()
        blind.report = nil
        metrics.saw(blind)
        #expect(lines(metrics).contains("covey_cluster_level{cluster=\"main\"} 4"))
        #expect(!metrics.text.contains("covey_cluster_voters{"))
        metrics.keep([])
        #expect(!metrics.text.contains("main"))
    }

    @Test func `every metric an alert names is told by an agent or a member`() throws {
        let metrics = AgentMetrics(host: "kv1")
        metrics.saw(try sight())
        let server = ServerMetrics()
        let told = metrics.text + String(decoding: server.registry.exposition(), as: UTF8.self)
        let families = Set(told.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] })
        let rules = String(
            decoding: try KeyFile.read(RealTools.root + "/Templates/covey-alerts.yaml").bytes, as: UTF8.self)
        let expressions = rules.split(separator: "\n").filter { $0.contains("expr:") }
        #expect(expressions.count >= 15)
        var named: Set<Substring> = []
        for expression in expressions {
            for word in expression.split(whereSeparator: { !($0.isLetter || $0.isNumber || $0 == "_") })
            where word.hasPrefix("covey_") || word.hasPrefix("etcd_") {
                named.insert(word.hasSuffix("_bucket") ? word.dropLast(7) : word)
            }
        }
        #expect(named.count > 12)
        #expect(named.subtracting(families).sorted() == [])
    }

    @Test func `what it tells of the disk is read again by who may not ask it`() throws {
        let metrics = AgentMetrics(host: "kv1")
        metrics.saw(try sight())
        #expect(DiskPages.syncTime(metrics.text, of: "main") == 12_500_000)
        #expect(DiskPages.syncTime(metrics.text, of: "other") == nil)
        var sight = try sight()
        sight.syncTime = nil
        metrics.saw(sight)
        #expect(DiskPages.syncTime(metrics.text, of: "main") == nil, "\(metrics.text)")
    }
}
