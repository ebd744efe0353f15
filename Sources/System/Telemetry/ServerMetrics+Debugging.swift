// Families under etcd_debugging_.

/// Names that upstream does not promise to keep; dashboards use some.
package struct DebuggingFamilies: Sendable {
    package let authRevision: Gauge
    package let diskBackendCommitRebalanceDurationSeconds: Histogram
    package let diskBackendCommitSpillDurationSeconds: Histogram
    package let diskBackendCommitWriteDurationSeconds: Histogram
    package let leaseGrantedTotal: Counter
    package let leaseRenewedTotal: Counter
    package let leaseRevokedTotal: Counter
    package let leaseTtlTotal: Histogram
    package let mvccCompactRevision: Gauge
    package let mvccCurrentRevision: Gauge
    package let mvccDBCompactionKeysTotal: Counter
    package let mvccDBCompactionLast: Gauge
    package let mvccDBCompactionPauseDurationMilliseconds: Histogram
    package let mvccDBCompactionTotalDurationMilliseconds: Histogram
    package let mvccEventsTotal: Counter
    package let mvccIndexCompactionPauseDurationMilliseconds: Histogram
    package let mvccKeysTotal: Gauge
    package let mvccPendingEventsTotal: Gauge
    package let mvccRangeTotal: Counter
    package let mvccSlowWatcherTotal: Gauge
    package let mvccTotalPutSizeInBytes: Gauge
    package let mvccWatchStreamTotal: Gauge
    package let mvccWatcherTotal: Gauge
    package let serverAlarms: Labelled<Gauge>
    package let serverLeaseExpiredTotal: Counter
    package let snapSaveMarshallingDurationSeconds: Histogram
    package let snapSaveTotalDurationSeconds: Histogram
    package let storeExpiresTotal: Counter
    package let storeWatchRequestsTotal: Counter
    package let storeWatchers: Gauge

    init(_ registry: MetricsRegistry) {
        authRevision = registry.gauge("etcd_debugging_auth_revision", "The current revision of auth store")
        diskBackendCommitRebalanceDurationSeconds = registry.histogram(
            "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
            "Latency of commit.rebalance called by bboltdb backend", Histogram.exponential(0.001, 2, 14))
        diskBackendCommitSpillDurationSeconds = registry.histogram(
            "etcd_debugging_disk_backend_commit_spill_duration_seconds",
            "Latency of commit.spill called by bboltdb backend", Histogram.exponential(0.001, 2, 14))
        diskBackendCommitWriteDurationSeconds = registry.histogram(
            "etcd_debugging_disk_backend_commit_write_duration_seconds",
            "Latency of commit.write called by bboltdb backend", Histogram.exponential(0.001, 2, 14))
        leaseGrantedTotal = registry.counter("etcd_debugging_lease_granted_total", "Count of granted leases")
        leaseRenewedTotal = registry.counter(
            "etcd_debugging_lease_renewed_total", "Count of renewed leases seen by the leader")
        leaseRevokedTotal = registry.counter("etcd_debugging_lease_revoked_total", "Count of revoked leases")
        leaseTtlTotal = registry.histogram(
            "etcd_debugging_lease_ttl_total", "Distribution of lease TTLs", Histogram.exponential(1, 2, 24))
        mvccCompactRevision = registry.gauge(
            "etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store")
        mvccCurrentRevision = registry.gauge("etcd_debugging_mvcc_current_revision", "The current revision of store")
        mvccDBCompactionKeysTotal = registry.counter(
            "etcd_debugging_mvcc_db_compaction_keys_total", "Count of db keys compacted")
        mvccDBCompactionLast = registry.gauge(
            "etcd_debugging_mvcc_db_compaction_last", "The unix time of the last db compaction. Resets to 0 on start")
        mvccDBCompactionPauseDurationMilliseconds = registry.histogram(
            "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
            "Distribution of db compaction pause duration", Histogram.exponential(1, 2, 13))
        mvccDBCompactionTotalDurationMilliseconds = registry.histogram(
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
            "Distribution of db compaction total duration", Histogram.exponential(100, 2, 14))
        mvccEventsTotal = registry.counter("etcd_debugging_mvcc_events_total", "Count of events sent by this member")
        mvccIndexCompactionPauseDurationMilliseconds = registry.histogram(
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
            "Distribution of index compaction pause duration", Histogram.exponential(0.5, 2, 14))
        mvccKeysTotal = registry.gauge("etcd_debugging_mvcc_keys_total", "Count of keys")
        mvccPendingEventsTotal = registry.gauge(
            "etcd_debugging_mvcc_pending_events_total", "Count of pending events to be sent")
        mvccRangeTotal = registry.counter("etcd_debugging_mvcc_range_total", "Count of ranges seen by this member")
        mvccSlowWatcherTotal = registry.gauge(
            "etcd_debugging_mvcc_slow_watcher_total", "Count of unsynced slow watchers")
        mvccTotalPutSizeInBytes = registry.gauge(
            "etcd_debugging_mvcc_total_put_size_in_bytes", "Sum of key+value sizes put since start (gauge)")
        mvccWatchStreamTotal = registry.gauge("etcd_debugging_mvcc_watch_stream_total", "Count of watch streams")
        mvccWatcherTotal = registry.gauge("etcd_debugging_mvcc_watcher_total", "Count of watchers")
        serverAlarms = registry.gauges(
            "etcd_debugging_server_alarms", "Active alarms; value = 1 per server_id/alarm_type",
            ["server_id", "alarm_type"])
        serverLeaseExpiredTotal = registry.counter(
            "etcd_debugging_server_lease_expired_total", "Count of expired leases")
        snapSaveMarshallingDurationSeconds = registry.histogram(
            "etcd_debugging_snap_save_marshalling_duration_seconds",
            "The marshalling cost distributions of save called by snapshot", Histogram.exponential(0.001, 2, 14))
        snapSaveTotalDurationSeconds = registry.histogram(
            "etcd_debugging_snap_save_total_duration_seconds",
            "The total latency distributions of save called by snapshot", Histogram.exponential(0.001, 2, 14))
        storeExpiresTotal = registry.counter("etcd_debugging_store_expires_total", "Count of expired keys")
        storeWatchRequestsTotal = registry.counter(
            "etcd_debugging_store_watch_requests_total", "Count of incoming watch requests (new or reestablished)")
        storeWatchers = registry.gauge("etcd_debugging_store_watchers", "Count of currently active watchers")
    }
}
