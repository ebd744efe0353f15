// grpc.health.v1, for load balancers: the whole server under the empty name.

import Foundations
import GRPC
import Wire

extension ClientAPI {
    func addHealth() {
        add("/grpc.health.v1.Health/Check", HealthPB.HealthCheckRequest.self) {
            [unowned self] (_, request, reply) throws(GRPCStatus) in
            guard request.service.isEmpty else { throw EtcdError.unknownHealthService }
            answer(reply, HealthPB.HealthCheckResponse(status: isServing ? .serving : .notServing))
        }
        add(stream: "/grpc.health.v1.Health/Watch") { [unowned self] _, outlet in HealthStream(self, outlet) }
    }

    /// Tells those who watch.
    package func setServing(_ serving: Bool) {
        guard serving != isServing else { return }
        isServing = serving
        for stream in healthStreams { stream.tell() }
    }
}

final class HealthStream: ServiceStream {
    private let api: ClientAPI
    private let outlet: any StreamOutlet
    private var isKnown = false

    init(_ api: ClientAPI, _ outlet: any StreamOutlet) {
        self.api = api
        self.outlet = outlet
    }

    func message(_ message: RawSpan) {
        guard let request = try? HealthPB.HealthCheckRequest(decoding: message) else {
            return outlet.finish(EtcdError.undecodableRequest("grpc.health.v1.HealthCheckRequest"))
        }
        isKnown = request.service.isEmpty
        api.healthStreams.append(self)
        tell()
    }

    func tell() {
        let response = HealthPB.HealthCheckResponse(
            status: !isKnown ? .serviceUnknown : api.isServing ? .serving : .notServing)
        _ = outlet.send { response.append(to: &$0) }
    }

    func halfClosed() {}
    func writable() {}

    func cancelled() { api.healthStreams.removeAll { $0 === self } }
}
