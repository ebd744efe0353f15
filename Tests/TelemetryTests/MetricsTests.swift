// The text a scraper gets.

import Testing

@testable import Telemetry

@Suite struct Metrics {
    @Test func `are written sorted, escaped, with help and type`() {
        let registry = MetricsRegistry()
        let hits = registry.counters("b_total", "Hits", ["zone", "code"])
        let level = registry.gauge("a_level", "Level")
        let spread = registry.histograms("c_seconds", "Spread", ["To"], [0.1, 0.2])
        _ = registry.counters("never_touched_total", "Nothing", ["x"])
        hits("z\"1\\\n", "OK").increment(by: 3)
        hits("a", "OK").increment()
        level.set(2_147_483_648.0)
        spread("8e").observe(0.1)
        spread("8e").observe(0.15)
        spread("8e").observe(7)
        #expect(
            String(decoding: registry.exposition(), as: UTF8.self) == """
                # HELP a_level Level
                # TYPE a_level gauge
                a_level 2.147483648e+09
                # HELP b_total Hits
                # TYPE b_total counter
                b_total{code="OK",zone="a"} 1
                b_total{code="OK",zone="z\\"1\\\\\\n"} 3
                # HELP c_seconds Spread
                # TYPE c_seconds histogram
                c_seconds_bucket{To="8e",le="0.1"} 1
                c_seconds_bucket{To="8e",le="0.2"} 2
                c_seconds_bucket{To="8e",le="+Inf"} 3
                c_seconds_sum{To="8e"} 7.25
                c_seconds_count{To="8e"} 3

                """)
    }

    @Test(
        arguments: [
            (0, "0"), (1, "1"), (-1.5, "-1.5"), (0.016200144, "0.016200144"), (524288, "524288"),
            (1_048_576, "1.048576e+06"),
            (0.0001, "0.0001"), (0.00001, "1e-05"), (0.00027909100000000003, "0.00027909100000000003"),
            (1e100, "1e+100"),
            (.infinity, "+Inf"), (999999, "999999"), (1_000_000, "1e+06"), (52.4288, "52.4288"),
            (0x1p64, "1.8446744073709552e+19"),
        ] as [(Double, String)])
    func `numbers are in Go's notation`(value: Double, text: String) {
        #expect(MetricNumber.text(value) == text)
    }

    @Test func `label values cannot fill memory`() {
        let registry = MetricsRegistry()
        let family = registry.counters("x_total", "x", ["client"])
        for i in 0..<(Labelled<Counter>.childrenMax + 50) { family("\(i)").increment() }
        #expect(family("other").value == 50)
    }

    @Test func `children can be forgotten, constants replaced`() {
        let registry = MetricsRegistry()
        let version = registry.gauges("v", "v", ["cluster_version"])
        ServerMetrics.announce(version, "3.4")
        ServerMetrics.announce(version, "3.5")
        let text = String(decoding: registry.exposition(), as: UTF8.self)
        #expect(text.contains("v{cluster_version=\"3.5\"} 1\n"))
        #expect(!text.contains("3.4"))
    }

    @Test func `concurrent observations are all counted`() async {
        let histogram = Histogram([1, 2])
        let gauge = Gauge()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<1000 {
                        histogram.observe(1.5)
                        gauge.add(1)
                    }
                }
            }
        }
        #expect(histogram.snapshot.counts == [0, 4000, 4000])
        #expect(histogram.snapshot.sum == 6000)
        #expect(gauge.value == 4000)
    }

    /// The names that upstream's alert rules and dashboard ask for.
    @Test(arguments: [
        "etcd_server_has_leader", "etcd_server_leader_changes_seen_total", "etcd_server_proposals_applied_total",
        "etcd_server_proposals_committed_total", "etcd_server_proposals_failed_total", "etcd_server_proposals_pending",
        "etcd_server_quota_backend_bytes", "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "etcd_disk_backend_commit_duration_seconds_count", "etcd_disk_wal_fsync_duration_seconds_sum",
        "etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
        "etcd_network_peer_received_bytes_total{From=\"b\"}", "etcd_network_peer_sent_bytes_total{To=\"b\"}",
        "etcd_network_peer_sent_failures_total{To=\"b\"}", "etcd_network_peer_round_trip_time_seconds_count{To=\"b\"}",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
        "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
        "grpc_server_handling_seconds_count{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
        "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_cpu_seconds_total",
        "process_start_time_seconds", "os_fd_used",
    ])
    func `must-have names are there`(name: String) {
        let metrics = ServerMetrics(extensive: true)
        _ = metrics.network.peerReceivedBytesTotal("b")
        _ = metrics.network.peerSentBytesTotal("b")
        _ = metrics.network.peerSentFailuresTotal("b")
        _ = metrics.network.peerRoundTripTimeSeconds("b")
        _ = metrics.grpc.handledTotal("OK", "Put", "etcdserverpb.KV", "unary")
        _ = metrics.grpc.startedTotal("Put", "etcdserverpb.KV", "unary")
        _ = metrics.grpc.handlingSeconds?("Put", "etcdserverpb.KV", "unary")
        let text = String(decoding: metrics.registry.exposition(), as: UTF8.self)
        #expect(text.contains("\n" + name + " "))
    }

    @Test func `latency of calls is shown only when asked for`() {
        #expect(ServerMetrics(extensive: false).grpc.handlingSeconds == nil)
    }
}
