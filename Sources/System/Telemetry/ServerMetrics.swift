// Every family the server shows, declared once with its labels and buckets, so that code only counts. Names, types, label
// spelling and bounds are etcd's, because alert rules and dashboards are written against them. A family with labels is
// shown once a combination was touched; whoever counts on a hot path keeps the child.

package final class ServerMetrics: Sendable {
    package let registry: MetricsRegistry
    package let server: ServerFamilies
    package let debugging: DebuggingFamilies
    package let mvcc: MVCCFamilies
    package let disk: DiskFamilies
    package let snap: SnapshotFamilies
    package let network: NetworkFamilies
    package let grpc: GRPCFamilies
    package let proxy: ProxyFamilies
    /// Constant 1, the cluster's version in the label; replaced when the version changes.
    package let clusterVersion: Labelled<Gauge>
    package let scrapesInFlight: Gauge
    package let scrapes: Labelled<Counter>

    /// `extensive` adds the latency of calls (--metrics=extensive).
    package init(extensive: Bool = false) {
        let registry = MetricsRegistry()
        self.registry = registry
        server = ServerFamilies(registry)
        debugging = DebuggingFamilies(registry)
        mvcc = MVCCFamilies(registry)
        disk = DiskFamilies(registry)
        snap = SnapshotFamilies(registry)
        network = NetworkFamilies(registry)
        grpc = GRPCFamilies(registry, extensive: extensive)
        proxy = ProxyFamilies(registry)
        clusterVersion = registry.gauges(
            "etcd_cluster_version", "1 for the label with the version the cluster runs at", ["cluster_version"])
        scrapesInFlight = registry.gauge(
            "promhttp_metric_handler_requests_in_flight", "Current number of scrapes being served")
        scrapes = registry.counters(
            "promhttp_metric_handler_requests_total", "Count of scrapes by HTTP status code", ["code"])
        ProcessMetrics.declare(in: registry)
    }

    /// Sets a "constant 1" family to one label value.
    package static func announce(_ family: Labelled<Gauge>, _ value: String) {
        family.remove { $0 != [value] }
        family(value).set(1.0)
    }
}

/// Consensus and the server as a whole.
package struct ServerFamilies: Sendable {
    package let applyDurationSeconds: Labelled<Histogram>
    package let clientRequestsTotal: Labelled<Counter>
    package let featureEnabled: Labelled<Gauge>
    package let goVersion: Labelled<Gauge>
    package let hasLeader: Gauge
    package let healthFailures: Counter
    package let healthSuccess: Counter
    package let healthcheck: Labelled<Gauge>
    package let healthchecksTotal: Labelled<Counter>
    package let heartbeatSendFailuresTotal: Counter
    package let id: Labelled<Gauge>
    package let isLeader: Gauge
    package let isLearner: Gauge
    package let leaderChangesSeenTotal: Counter
    package let learnerPromoteFailures: Labelled<Counter>
    package let learnerPromoteSuccesses: Counter
    package let proposalsAppliedTotal: Gauge
    package let proposalsCommittedTotal: Gauge
    package let proposalsFailedTotal: Counter
    package let proposalsPending: Gauge
    package let quotaBackendBytes: Gauge
    package let readIndexesFailedTotal: Counter
    package let slowApplyTotal: Counter
    package let slowReadIndexesTotal: Counter
    package let snapshotApplyInProgressTotal: Gauge
    package let version: Labelled<Gauge>

    init(_ registry: MetricsRegistry) {
        applyDurationSeconds = registry.histograms(
            "etcd_server_apply_duration_seconds", "Apply latency per operation", ["version", "op", "success"],
            Histogram.exponential(0.0001, 2, 20))
        clientRequestsTotal = registry.counters(
            "etcd_server_client_requests_total", "Requests per client library version", ["type", "client_api_version"])
        featureEnabled = registry.gauges("etcd_server_feature_enabled", "Feature gate state", ["name", "stage"])
        goVersion = registry.gauges(
            "etcd_server_go_version",
            "Which Go version server is running with. 1 for 'server_go_version' label with current version",
            ["server_go_version"])
        hasLeader = registry.gauge("etcd_server_has_leader", "1 if a leader is known")
        healthFailures = registry.counter("etcd_server_health_failures", "Count of failed health checks")
        healthSuccess = registry.counter("etcd_server_health_success", "Count of successful health checks")
        healthcheck = registry.gauges(
            "etcd_server_healthcheck", "The result of each kind of healthcheck", ["type", "name"])
        healthchecksTotal = registry.counters(
            "etcd_server_healthchecks_total", "Count of each kind of healthcheck", ["type", "name", "status"])
        heartbeatSendFailuresTotal = registry.counter(
            "etcd_server_heartbeat_send_failures_total",
            "Count of leader heartbeat send failures (likely overloaded from slow disk)")
        id = registry.gauges(
            "etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID",
            ["server_id"])
        isLeader = registry.gauge(
            "etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise")
        isLearner = registry.gauge(
            "etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise")
        leaderChangesSeenTotal = registry.counter(
            "etcd_server_leader_changes_seen_total", "Count of leader changes seen")
        learnerPromoteFailures = registry.counters(
            "etcd_server_learner_promote_failures",
            "Count of failed learner promotions (likely learner not ready) while this member is leader", ["Reason"])
        learnerPromoteSuccesses = registry.counter(
            "etcd_server_learner_promote_successes",
            "Count of successful learner promotions while this member is leader")
        proposalsAppliedTotal = registry.gauge(
            "etcd_server_proposals_applied_total", "Raft index applied so far (gauge in spite of the name)")
        proposalsCommittedTotal = registry.gauge(
            "etcd_server_proposals_committed_total", "Raft commit index seen (gauge)")
        proposalsFailedTotal = registry.counter("etcd_server_proposals_failed_total", "Count of failed proposals seen")
        proposalsPending = registry.gauge(
            "etcd_server_proposals_pending", "Current count of pending proposals to commit")
        quotaBackendBytes = registry.gauge(
            "etcd_server_quota_backend_bytes",
            "Effective backend quota; 2147483648 when unset; negative values as configured")
        readIndexesFailedTotal = registry.counter(
            "etcd_server_read_indexes_failed_total", "Count of failed read indexes seen")
        slowApplyTotal = registry.counter(
            "etcd_server_slow_apply_total", "Count of slow apply requests (likely overloaded from slow disk)")
        slowReadIndexesTotal = registry.counter(
            "etcd_server_slow_read_indexes_total",
            "Count of pending read indexes not in sync with leader's or timed out read index requests")
        snapshotApplyInProgressTotal = registry.gauge(
            "etcd_server_snapshot_apply_in_progress_total",
            "1 if the server is applying the incoming snapshot. 0 if none")
        version = registry.gauges(
            "etcd_server_version", "Which version is running. 1 for 'server_version' label with current version",
            ["server_version"])
    }
}

/// The key-value store.
package struct MVCCFamilies: Sendable {
    package let dbOpenReadTransactions: Gauge
    package let dbTotalSizeInBytes: Gauge
    package let dbTotalSizeInUseInBytes: Gauge
    package let deleteTotal: Counter
    package let hashDurationSeconds: Histogram
    package let hashRevDurationSeconds: Histogram
    package let putTotal: Counter
    package let rangeTotal: Counter
    package let txnTotal: Counter

    init(_ registry: MetricsRegistry) {
        dbOpenReadTransactions = registry.gauge(
            "etcd_mvcc_db_open_read_transactions", "Count of currently open read transactions")
        dbTotalSizeInBytes = registry.gauge(
            "etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes")
        dbTotalSizeInUseInBytes = registry.gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes", "Total size of the underlying database logically in use in bytes"
        )
        deleteTotal = registry.counter("etcd_mvcc_delete_total", "Count of deletes seen by this member")
        hashDurationSeconds = registry.histogram(
            "etcd_mvcc_hash_duration_seconds", "Latency of storage hash operation", Histogram.exponential(0.01, 2, 15))
        hashRevDurationSeconds = registry.histogram(
            "etcd_mvcc_hash_rev_duration_seconds", "Latency of storage hash by revision operation",
            Histogram.exponential(0.01, 2, 15))
        putTotal = registry.counter("etcd_mvcc_put_total", "Count of puts seen by this member")
        rangeTotal = registry.counter("etcd_mvcc_range_total", "Count of ranges seen by this member")
        txnTotal = registry.counter("etcd_mvcc_txn_total", "Count of txns seen by this member")
    }
}

/// The log and the store on disk.
package struct DiskFamilies: Sendable {
    package let backendCommitDurationSeconds: Histogram
    package let backendDefragDurationSeconds: Histogram
    package let backendSnapshotDurationSeconds: Histogram
    package let defragInflight: Gauge
    package let walFsyncDurationSeconds: Histogram
    package let walWriteBytesTotal: Gauge
    package let walWriteDurationSeconds: Histogram

    init(_ registry: MetricsRegistry) {
        backendCommitDurationSeconds = registry.histogram(
            "etcd_disk_backend_commit_duration_seconds", "Latency of commit called by backend",
            Histogram.exponential(0.001, 2, 14))
        backendDefragDurationSeconds = registry.histogram(
            "etcd_disk_backend_defrag_duration_seconds", "Latency of backend defragmentation",
            Histogram.exponential(0.1, 2, 13))
        backendSnapshotDurationSeconds = registry.histogram(
            "etcd_disk_backend_snapshot_duration_seconds", "Latency of backend snapshots",
            Histogram.exponential(0.01, 2, 17))
        defragInflight = registry.gauge(
            "etcd_disk_defrag_inflight", "Whether or not defrag is active on the member. 1 means active, 0 means not")
        walFsyncDurationSeconds = registry.histogram(
            "etcd_disk_wal_fsync_duration_seconds", "Latency of fsync called by WAL",
            Histogram.exponential(0.001, 2, 14))
        walWriteBytesTotal = registry.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the WAL (gauge type)")
        walWriteDurationSeconds = registry.histogram(
            "etcd_disk_wal_write_duration_seconds", "Latency of write called by WAL",
            Histogram.exponential(0.001, 2, 14))
    }
}

/// Snapshot files.
package struct SnapshotFamilies: Sendable {
    package let dbFsyncDurationSeconds: Histogram
    package let dbSaveTotalDurationSeconds: Histogram
    package let fsyncDurationSeconds: Histogram

    init(_ registry: MetricsRegistry) {
        dbFsyncDurationSeconds = registry.histogram(
            "etcd_snap_db_fsync_duration_seconds", "Latency of fsyncing .snap.db file",
            Histogram.exponential(0.001, 2, 14))
        dbSaveTotalDurationSeconds = registry.histogram(
            "etcd_snap_db_save_total_duration_seconds", "The total latency distributions of v3 snapshot save",
            Histogram.exponential(0.1, 2, 10))
        fsyncDurationSeconds = registry.histogram(
            "etcd_snap_fsync_duration_seconds", "Latency of fsync called by snap", Histogram.exponential(0.001, 2, 14))
    }
}

/// Calls, by method.
package struct GRPCFamilies: Sendable {
    package let handledTotal: Labelled<Counter>
    package let handlingSeconds: Labelled<Histogram>?
    package let msgReceivedTotal: Labelled<Counter>
    package let msgSentTotal: Labelled<Counter>
    package let startedTotal: Labelled<Counter>

    init(_ registry: MetricsRegistry, extensive: Bool) {
        handledTotal = registry.counters(
            "grpc_server_handled_total", "RPCs finished, by status code name (OK, Unknown, Canceled, ...)",
            ["grpc_code", "grpc_method", "grpc_service", "grpc_type"])
        handlingSeconds =
            extensive
            ? registry.histograms(
                "grpc_server_handling_seconds", "RPC latency; exists only with --metrics=extensive",
                ["grpc_method", "grpc_service", "grpc_type"], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
            : nil
        msgReceivedTotal = registry.counters(
            "grpc_server_msg_received_total", "Count of RPC stream messages received on the server",
            ["grpc_method", "grpc_service", "grpc_type"])
        msgSentTotal = registry.counters(
            "grpc_server_msg_sent_total", "Count of gRPC stream messages sent by the server",
            ["grpc_method", "grpc_service", "grpc_type"])
        startedTotal = registry.counters(
            "grpc_server_started_total", "Count of RPCs started on the server",
            ["grpc_method", "grpc_service", "grpc_type"])
    }
}
