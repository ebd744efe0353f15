import Flags
import Linux
import Testing

@testable import Server

@Suite struct ServiceDiscoveryTests {
    private func discovery(
        name: String = "m1", own: String = "http://10.0.0.1:2380", _ answers: [String: [(String, Int)]]
    ) throws -> ServiceDiscovery {
        let addresses = ["a.x": "10.0.0.1", "b.x": "10.0.0.2", "c.x": "10.0.0.3"]
        return ServiceDiscovery(
            domain: "x", serviceName: "", ownName: name, ownURLs: try URLList.parse(own),
            records: { name in
                guard let found = answers[name] else { return .failure(ServiceLookup.Refusal(reason: "no such host")) }
                return .success(found.map { ServiceAnswer.Record(priority: 0, weight: 0, host: $0.0, port: $0.1) })
            },
            resolve: { host, port in (addresses[host] ?? (host.first!.isNumber ? host : nil)).map { ["\($0):\(port)"] } })
    }

    @Test func `the record that leads here has this member's name, the others are numbered`() throws {
        let it = try discovery(["_etcd-server._tcp.x": [("b.x", 2380), ("a.x", 2380), ("c.x", 2380)]])
        var findings: [ServiceDiscovery.Finding] = []
        #expect(try it.cluster { findings.append($0) } == "0=http://b.x:2380,m1=http://a.x:2380,1=http://c.x:2380")
        #expect(findings.map(\.service) == ["etcd-server-ssl", "etcd-server"])
        #expect(findings[0].error?.hasSuffix("lookup _etcd-server-ssl._tcp.x: no such host") == true)
    }

    @Test func `another port of this host is another member`() throws {
        let it = try discovery(["_etcd-server._tcp.x": [("a.x", 2380), ("a.x", 2480)]])
        #expect(try it.cluster { _ in } == "m1=http://a.x:2380,0=http://a.x:2480")
    }

    @Test func `both services count, and a scheme that is not this member's is left out`() throws {
        let it = try discovery(
            own: "https://10.0.0.1:2380",
            [
                "_etcd-server-ssl._tcp.x": [("a.x", 2380)], "_etcd-server._tcp.x": [("a.x", 2380), ("b.x", 2380)],
            ])
        var errors: [String] = []
        let cluster = try it.cluster { finding in if let error = finding.error { errors.append(error) } }
        #expect(cluster == "m1=https://a.x:2380,0=http://b.x:2380")
        #expect(errors.count == 1 && errors[0].hasPrefix("http://a.x:2380 leads to this member"))
    }

    @Test func `records that lead elsewhere, and none, are refused`() throws {
        let elsewhere = try discovery(["_etcd-server._tcp.x": [("b.x", 2380)]])
        #expect(throws: ServiceDiscovery.Failure.self) { try elsewhere.cluster { _ in } }
        do { _ = try elsewhere.cluster { _ in } } catch {
            #expect(error.description == #"cannot find local etcd member "m1" in SRV records"#)
        }
        let none = try discovery([:])
        do { _ = try none.cluster { _ in } } catch {
            #expect(error.description.contains("error querying DNS SRV records for _etcd-server-ssl"))
            #expect(error.description.contains("; error querying DNS SRV records for _etcd-server "))
        }
    }
}
