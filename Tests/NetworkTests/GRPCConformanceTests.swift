// Our server under grpcio, the C core's client in Python.

import Connections
import Foundations
import GRPC
import TestSupport
import Testing

private let script = RealTools.root + "/Tests/NetworkTests/Data/grpc_conformance.py"

@Suite(.enabled(if: RealTools.required(RealTools.python))) struct GRPCConformanceTests {
    private static let cases = [
        "unary", "many_at_once", "too_large", "compressed", "status", "unknown", "metadata", "server_stream",
        "client_stream", "server_stops_early", "bidi", "deadline", "cancel", "later", "slow_reader", "health", "threads",
    ]

    @Test(arguments: cases) func `grpcio is served as it expects`(name: String) throws {
        var limits = GRPCServer.Limits()
        limits.messageBytesMax = 8 << 20
        let server = TestServer(limits)
        defer { server.stop() }
        let result = Subprocess.run(try #require(RealTools.python), [script, "\(server.port)", name])
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.contains("ok \(name)"), "\(result.output)")
    }
}
