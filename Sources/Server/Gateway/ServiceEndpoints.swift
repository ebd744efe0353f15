// Endpoints that a domain's SRV records name, for the programs that stand in front of members.

import Flags
import Linux

enum ServiceEndpoints {
    struct NotFound: Error, CustomStringConvertible { var description: String }

    struct Endpoint {
        var isSecure: Bool
        /// `host:port`
        var address: String
        var priority: Int
        var weight: Int
    }

    /// The flags that say where to look.
    static let options = [
        Option("discovery-srv", .text, "DNS domain used to bootstrap initial cluster"),
        Option("discovery-srv-name", .text, "service name to query when using DNS discovery"),
        Option("insecure-discovery", .bool, default: "false", "accept insecure SRV records"),
    ]

    /// Nil when no domain was given.
    static func find(_ values: OptionValues) throws(NotFound) -> [Endpoint]? {
        let domain = values.text("discovery-srv")
        guard !domain.isEmpty else { return nil }
        let suffix = values.text("discovery-srv-name").isEmpty ? "" : "-" + values.text("discovery-srv-name")
        let takesCleartext = values.bool("insecure-discovery")
        var found: [Endpoint] = []
        for (service, isSecure) in [("etcd-client-ssl", true), ("etcd-client", false)] where isSecure || takesCleartext {
            guard let answer = try? ServiceLookup.query("_\(service)\(suffix)._tcp.\(domain)", type: ServiceLookup.serviceType)
            else { continue }
            found += ServiceAnswer.records(answer).map {
                Endpoint(
                    isSecure: isSecure, address: HostPort.join($0.host, "\($0.port)"), priority: $0.priority, weight: $0.weight)
            }
        }
        if found.isEmpty {
            throw NotFound(
                description: "no SRV records of \(domain) for clients"
                    + (takesCleartext ? "" : "; those of cleartext services count only with --insecure-discovery"))
        }
        return found
    }
}
