// Families of traffic: between members, with clients, through a proxy.

/// Bytes and failures between members and with clients. `To` and `From` are member ids in hexadecimal.
package struct NetworkFamilies: Sendable {
    package let activePeers: Labelled<Gauge>
    package let clientGrpcReceivedBytesTotal: Counter
    package let clientGrpcSentBytesTotal: Counter
    package let disconnectedPeersTotal: Labelled<Counter>
    package let knownPeers: Labelled<Gauge>
    package let peerReceivedBytesTotal: Labelled<Counter>
    package let peerReceivedFailuresTotal: Labelled<Counter>
    package let peerRoundTripTimeSeconds: Labelled<Histogram>
    package let peerSentBytesTotal: Labelled<Counter>
    package let peerSentFailuresTotal: Labelled<Counter>
    package let serverStreamFailuresTotal: Labelled<Counter>
    package let snapshotReceiveFailures: Labelled<Counter>
    package let snapshotReceiveInflightsTotal: Labelled<Gauge>
    package let snapshotReceiveSuccess: Labelled<Counter>
    package let snapshotReceiveTotalDurationSeconds: Labelled<Histogram>
    package let snapshotSendFailures: Labelled<Counter>
    package let snapshotSendInflightsTotal: Labelled<Gauge>
    package let snapshotSendSuccess: Labelled<Counter>
    package let snapshotSendTotalDurationSeconds: Labelled<Histogram>

    init(_ registry: MetricsRegistry) {
        activePeers = registry.gauges(
            "etcd_network_active_peers", "Current count of active peer connections", ["Local", "Remote"])
        clientGrpcReceivedBytesTotal = registry.counter(
            "etcd_network_client_grpc_received_bytes_total", "Count of bytes received from grpc clients")
        clientGrpcSentBytesTotal = registry.counter(
            "etcd_network_client_grpc_sent_bytes_total", "Count of bytes sent to grpc clients")
        disconnectedPeersTotal = registry.counters(
            "etcd_network_disconnected_peers_total", "Count of disconnected peers", ["Local", "Remote"])
        knownPeers = registry.gauges("etcd_network_known_peers", "Current count of known peers", ["Local", "Remote"])
        peerReceivedBytesTotal = registry.counters(
            "etcd_network_peer_received_bytes_total", "Count of bytes received from peers", ["From"])
        peerReceivedFailuresTotal = registry.counters(
            "etcd_network_peer_received_failures_total", "Count of receive failures from peers", ["From"])
        peerRoundTripTimeSeconds = registry.histograms(
            "etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers", ["To"],
            Histogram.exponential(0.0001, 2, 16))
        peerSentBytesTotal = registry.counters(
            "etcd_network_peer_sent_bytes_total", "Count of bytes sent to peers", ["To"])
        peerSentFailuresTotal = registry.counters(
            "etcd_network_peer_sent_failures_total", "Count of send failures from peers", ["To"])
        serverStreamFailuresTotal = registry.counters(
            "etcd_network_server_stream_failures_total", "Count of stream failures from the local server",
            ["Type", "API"])
        snapshotReceiveFailures = registry.counters(
            "etcd_network_snapshot_receive_failures", "Count of snapshot receive failures", ["From"])
        snapshotReceiveInflightsTotal = registry.gauges(
            "etcd_network_snapshot_receive_inflights_total", "Count of inflight snapshot receives", ["From"])
        snapshotReceiveSuccess = registry.counters(
            "etcd_network_snapshot_receive_success", "Count of successful snapshot receives", ["From"])
        snapshotReceiveTotalDurationSeconds = registry.histograms(
            "etcd_network_snapshot_receive_total_duration_seconds",
            "Total latency distributions of v3 snapshot receives", ["From"], Histogram.exponential(0.1, 2, 10))
        snapshotSendFailures = registry.counters(
            "etcd_network_snapshot_send_failures", "Count of snapshot send failures", ["To"])
        snapshotSendInflightsTotal = registry.gauges(
            "etcd_network_snapshot_send_inflights_total", "Count of inflight snapshot sends", ["To"])
        snapshotSendSuccess = registry.counters(
            "etcd_network_snapshot_send_success", "Count of successful snapshot sends", ["To"])
        snapshotSendTotalDurationSeconds = registry.histograms(
            "etcd_network_snapshot_send_total_duration_seconds", "Total latency distributions of v3 snapshot sends",
            ["To"], Histogram.exponential(0.1, 2, 10))
    }
}

/// Declared so that scrapers of a proxy find them; a server leaves them at zero.
package struct ProxyFamilies: Sendable {
    package let cacheHitsTotal: Gauge
    package let cacheKeysTotal: Gauge
    package let cacheMissesTotal: Gauge
    package let eventsCoalescingTotal: Counter
    package let watchersCoalescingTotal: Gauge

    init(_ registry: MetricsRegistry) {
        cacheHitsTotal = registry.gauge("etcd_grpc_proxy_cache_hits_total", "Count of cache hits")
        cacheKeysTotal = registry.gauge("etcd_grpc_proxy_cache_keys_total", "Count of keys/ranges cached")
        cacheMissesTotal = registry.gauge("etcd_grpc_proxy_cache_misses_total", "Count of cache misses")
        eventsCoalescingTotal = registry.counter(
            "etcd_grpc_proxy_events_coalescing_total", "Count of events coalescing")
        watchersCoalescingTotal = registry.gauge(
            "etcd_grpc_proxy_watchers_coalescing_total", "Count of current watchers coalescing")
    }
}
