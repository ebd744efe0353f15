// Endpoints from DNS: `--discovery-srv example.com` asks for the SRV records _etcd-client-ssl._tcp and _etcd-client._tcp.

import Foundations
import Linux

enum ServiceRecords {
    /// `name` is put behind the service: `_etcd-client-blue`. Records of cleartext services count only when wanted.
    static func endpoints(domain: String, name: String, takesInsecure: Bool) throws(CtlFailure) -> [String] {
        let suffix = name.isEmpty ? "" : "-" + name
        var endpoints: [String] = []
        var refusals: [String] = []
        for (service, scheme) in [("etcd-client-ssl", "https"), ("etcd-client", "http")] {
            if scheme == "http" && !takesInsecure { continue }
            let query = "_\(service)\(suffix)._tcp.\(domain)"
            do throws(ServiceLookup.Refusal) {
                let answer = try ServiceLookup.query(query, type: ServiceLookup.serviceType)
                endpoints += ServiceAnswer.records(answer).map { "\(scheme)://\(HostAndPort.join($0.host, $0.port))" }
            } catch {
                refusals.append("lookup \(query): \(error.reason)")
            }
        }
        guard !endpoints.isEmpty else {
            throw CtlFailure(.badArguments, "error querying DNS SRV records for _etcd-client: \(refusals.joined(separator: " and "))")
        }
        return endpoints
    }
}

private enum HostAndPort {
    static func join(_ host: String, _ port: Int) -> String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
