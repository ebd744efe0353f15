// /proxy/metrics: what passed through this process, under the names that gRPC servers have.

import Connections
import Foundations
import GRPC
import Telemetry

final class ProxyMetrics {
    private unowned let server: GRPCServer
    private let registry = MetricsRegistry()
    private let started: Labelled<Counter>
    private let handled: Labelled<Counter>
    /// Method and service, by the router's numbers.
    private let labels: [[String]]

    /// After the router has its methods.
    init(_ server: GRPCServer) {
        self.server = server
        ProcessMetrics.declare(in: registry)
        started = registry.counters(
            "grpc_server_started_total", "Total number of RPCs started on the server.", ["grpc_method", "grpc_service"])
        handled = registry.counters(
            "grpc_server_handled_total", "Total number of RPCs completed on the server, regardless of success or failure.",
            ["grpc_code", "grpc_method", "grpc_service"])
        labels = server.router.paths.map { path in
            let parts = path.split(separator: "/").map(String.init)
            return [parts.last ?? "", parts.first ?? ""]
        }
        let (handled, labels) = (handled, labels)
        server.observeFailure = { method, code in
            guard method >= 0, Int(method) < labels.count else { return }
            handled.child([code.name] + labels[Int(method)]).increment()
        }
    }

    func page() -> String {
        for (list, counts) in zip(labels, server.callCounts) where counts.started > 0 {
            advance(started.child(list), to: counts.started)
            advance(handled.child(["OK"] + list), to: counts.succeeded)
        }
        return String(decoding: registry.exposition(), as: UTF8.self)
    }

    private func advance(_ counter: Counter, to total: UInt64) {
        if total > UInt64(counter.value) { counter.increment(by: Int(total - UInt64(counter.value))) }
    }
}
