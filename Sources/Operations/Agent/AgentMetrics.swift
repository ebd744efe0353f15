// What an agent tells Prometheus: of each cluster it has a member of, how that is by the five levels, how old that knowledge
// is, how long certificates are good for, what became of the last operation. `Templates/covey-alerts.yaml` has the rules.

import Flags
import Foundations
import Inventory
import Linux
import Telemetry
import Wire

/// One cluster as its host's agent sees it at one moment.
struct ClusterSight: Sendable {
    var cluster: String
    /// Monotonic nanoseconds.
    var at: UInt64
    var report: ClusterReport?
    var unit: AgentPB.UnitState
    /// Seconds left, by kind.
    var certificates: [String: Int64]
    var operation: AgentPB.Operation?
    var isPaused: Bool
    /// Nanoseconds within which 99 of 100 syncs of this host's member ended in the last minute; nil when there were too few.
    var syncTime: UInt64?

    /// For STATUS=.
    var text: String {
        report.map { "cluster \($0.level.name) \($0.votersHealthy)/\($0.voters) can lose \($0.tolerance)" } ?? ""
    }
}

final class AgentMetrics: Sendable {
    private let registry = MetricsRegistry()
    private let sights = Mutex<[String: ClusterSight]>([:])
    private let agentCertificateLeft = Mutex<Int64>(0)
    private let clock: @Sendable () -> (monotonic: UInt64, wall: Int64)

    static let contentType = MetricsRegistry.contentType

    init(
        host: String,
        clock: @escaping @Sendable () -> (monotonic: UInt64, wall: Int64) = {
            (Clock.monotonic(), Int64(Clock.wall() / 1_000_000_000))
        }
    ) {
        self.clock = clock
        registry.gauges("covey_agent_info", "Constant 1; the version of the agent and its host.", ["host", "version"])(
            host, ProgramVersion.covey
        ).set(1.0)
        registry.read("covey_agent_certificate_seconds_left", "How long the agent's own certificate is good for.") {
            [unowned self] in [.init(Double(agentCertificateLeft.withLock { $0 }))]
        }
        declareCluster()
        declareMember()
        declareOperation()
    }

    func saw(_ sight: ClusterSight) { sights.withLock { $0[sight.cluster] = sight } }
    func sawAgentCertificate(secondsLeft: Int64) { agentCertificateLeft.withLock { $0 = secondsLeft } }
    /// Clusters this host has no member of any more are not told.
    func keep(_ clusters: [String]) { sights.withLock { all in all = all.filter { clusters.contains($0.key) } } }
    func sight(_ cluster: String) -> ClusterSight? { sights.withLock { $0[cluster] } }

    var text: String { String(decoding: registry.exposition(), as: UTF8.self) }

    // MARK: Families

    private func each(
        _ name: String, _ help: String, type: String = "gauge", _ value: @escaping @Sendable (ClusterSight) -> Double?
    ) {
        registry.read(name, help, type: type) { [unowned self] in
            sights.withLock { $0 }.values.sorted { $0.cluster < $1.cluster }.compactMap { sight in
                value(sight).map { .init($0, [("cluster", sight.cluster)]) }
            }
        }
    }

    private func declareCluster() {
        each(
            "covey_cluster_level", "0 healthy, 1 degraded, 2 at risk, 3 no quorum, 4 unknown."
        ) { Double($0.report?.level.rawValue ?? ClusterReport.Level.unknown.rawValue) }
        each("covey_cluster_voters", "Voters, by the ledger.") { $0.report.map { Double($0.voters) } }
        each("covey_cluster_voters_healthy", "Voters that answer and serve.") {
            $0.report.map { Double($0.votersHealthy) }
        }
        each("covey_cluster_quorum", "Voters that are needed.") { $0.report.map { Double($0.quorum) } }
        each("covey_cluster_tolerance", "Voters that may still fail.") { $0.report.map { Double($0.tolerance) } }
        each("covey_cluster_has_leader", "1 when a healthy voter leads.") { $0.report.map { $0.leader == nil ? 0 : 1 } }
        each("covey_cluster_differences", "Ways in which it differs from its inventory.") {
            $0.report.map { Double($0.drift.count) }
        }
        each("covey_cluster_generation", "Of the ledger.") { $0.report.map { Double($0.generation) } }
        let clock = clock
        each("covey_cluster_observed_age_seconds", "How old all this is.") {
            Double(clock().monotonic &- $0.at) / 1e9
        }
    }

    private func declareMember() {
        each("covey_member_running", "1 when the unit of this host's member is active.") {
            $0.unit.active == "active" ? 1 : 0
        }
        each("covey_member_restarts_total", "Times the supervisor had to start it again.", type: "counter") {
            Double($0.unit.restarts)
        }
        each(
            DiskPages.family, "Of its log in the last minute: 99 of 100 syncs took no longer. Absent when there were too few."
        ) { $0.syncTime.map { Double($0) / 1e9 } }
        registry.read(
            "covey_certificate_seconds_left", "How long the certificates of this host's member are good for."
        ) { [unowned self] in
            sights.withLock { $0 }.values.sorted { $0.cluster < $1.cluster }.flatMap { sight in
                sight.certificates.sorted { $0.key < $1.key }.map {
                    .init(Double($0.value), [("cluster", sight.cluster), ("certificate", $0.key)])
                }
            }
        }
        registry.read("covey_member_lag_entries", "How far members are behind the most advanced one.") {
            [unowned self] in
            sights.withLock { $0 }.values.sorted { $0.cluster < $1.cluster }.flatMap { sight in
                (sight.report?.rows ?? []).compactMap { row in
                    row.isMember
                        ? row.lag.map { .init(Double($0), [("cluster", sight.cluster), ("member", row.host.name)]) }
                        : nil
                }
            }
        }
    }

    private func declareOperation() {
        let clock = clock
        each("covey_operation_open", "1 while an operation has not ended.") { $0.operation?.state == "open" ? 1 : 0 }
        each("covey_operation_open_seconds", "Since the open operation began or was taken over.") { sight in
            guard let operation = sight.operation, operation.state == "open" else { return 0 }
            return Double(max(0, clock().wall - operation.changed))
        }
        each("covey_operation_failed", "1 when the last operation failed or was given up.") {
            $0.operation?.state == "failed" || $0.operation?.state == "aborted" ? 1 : 0
        }
        each("covey_operation_epoch", "Of the last operation; it only grows.") { Double($0.operation?.epoch ?? 0) }
        each("covey_cluster_paused", "1 while operations are refused.") { $0.isPaused ? 1 : 0 }
    }
}
