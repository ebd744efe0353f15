// --discovery-srv: the members of a new cluster are those that DNS lists under _etcd-server-ssl._tcp and _etcd-server._tcp.
// Records have no names for members. The record that leads to one of this member's own advertised URLs gets this member's
// name, the others are numbered; ids depend on URLs alone, so every member comes to the same cluster.

import Flags
import Foundations
import Linux

struct ServiceDiscovery {
    struct Failure: Error, CustomStringConvertible { var description: String }

    /// What one question brought, for the log.
    struct Finding: Equatable {
        var service: String
        var scheme: String
        var entries: [String]
        var error: String?
    }

    var domain: String
    var serviceName: String
    var ownName: String
    var ownURLs: [MemberURL]
    /// The records of a name, or why there are none.
    var records: (String) -> Result<[ServiceAnswer.Record], ServiceLookup.Refusal>
    /// The addresses, with ports, of a host.
    var resolve: (_ host: String, _ port: String) -> [String]?

    /// --initial-cluster, as DNS has it.
    func cluster(_ found: (Finding) -> Void) throws(Failure) -> String {
        let suffix = serviceName.isEmpty ? "" : "-" + serviceName
        let own = Set(ownURLs.flatMap { resolve($0.host, $0.port) ?? [] })
        let findings = [("etcd-server-ssl", "https"), ("etcd-server", "http")].map { service, scheme in
            find(service + suffix, scheme, own)
        }
        for finding in findings { found(finding) }
        let entries = findings.flatMap(\.entries)
        guard !entries.isEmpty else { throw Failure(description: findings.compactMap(\.error).joined(separator: "; ")) }
        guard entries.contains(where: { $0.hasPrefix(ownName + "=") }) else {
            throw Failure(description: "cannot find local etcd member \(GoText.quote(ownName)) in SRV records")
        }
        return entries.joined(separator: ",")
    }

    private func find(_ service: String, _ scheme: String, _ own: Set<String>) -> Finding {
        var finding = Finding(service: service, scheme: scheme, entries: [], error: nil)
        let query = "_\(service)._tcp.\(domain)"
        switch records(query) {
        case .failure(let refusal):
            finding.error = "error querying DNS SRV records for _\(service) lookup \(query): \(refusal.reason)"
        case .success(let records) where records.isEmpty:
            finding.error = "error querying DNS SRV records for _\(service) lookup \(query): no such host"
        case .success(let records):
            var unnamed = 0
            for record in records {
                guard let addresses = resolve(record.host, "\(record.port)") else {
                    finding.error = "lookup \(record.host): no such host"
                    continue
                }
                let url = "\(scheme)://\(HostPort.join(record.host, "\(record.port)"))"
                if addresses.contains(where: own.contains) {
                    // The same place under the other scheme is not this member.
                    guard ownURLs.contains(where: { $0.scheme == scheme }) else {
                        finding.error = "\(url) leads to this member, which is advertised as \(ownURLs[0])"
                        continue
                    }
                    finding.entries.append("\(ownName)=\(url)")
                } else {
                    finding.entries.append("\(unnamed)=\(url)")
                    unnamed += 1
                }
            }
        }
        return finding
    }
}

extension ServiceDiscovery {
    /// Asks the system's name servers. Blocks.
    init(_ configuration: ServerConfiguration) {
        self.init(
            domain: configuration.discovery.srvDomain, serviceName: configuration.discovery.srvName,
            ownName: configuration.name, ownURLs: configuration.advertisePeerURLs,
            records: { name in
                do throws(ServiceLookup.Refusal) {
                    return .success(ServiceAnswer.records(try ServiceLookup.query(name, type: ServiceLookup.serviceType)))
                } catch { return .failure(error) }
            },
            resolve: { host, port in
                guard let found = try? SocketAddress.resolve(host: host, port: port), !found.isEmpty else { return nil }
                return found.map(\.description)
            })
    }
}
