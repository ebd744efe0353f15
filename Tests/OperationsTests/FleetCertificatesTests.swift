// The certificates of one cluster over real agents: they renew by themselves, and what is expired or wrong is repaired.

import Foundations
import PKI
import TestSupport
import Testing
import Wire

@testable import Operations

@Suite(.serialized) struct FleetCertificatesTests {
    private static let day: Int64 = 86_400

    /// A certificate as it would be had it been made so many days ago, for the key that is there.
    private func age(_ fleet: FleetTests.Fleet, _ host: String, _ name: String, days: Int64) throws {
        let folder = "\(fleet.folder)/\(host)/etc/covey/main/tls"
        let role = name == "peer" ? "peer" : "client"
        let authority = try CertificateAuthority(
            certificate: try #require(try Certificate.load("\(fleet.folder)/state/main/pki/\(role)-ca.crt").first),
            key: try PrivateKey.load("\(fleet.folder)/state/main/pki/\(role)-ca.key"))
        let old = try #require(try Certificate.load("\(folder)/\(name).crt").first)
        let begin = old.notBefore - days * Self.day
        var profile = CertificateProfile(
            commonName: old.commonName, organizations: old.organizations,
            hosts: old.dnsNames + old.ipAddresses.map(IPText.format), usages: name == "client" ? [.client] : [.server, .client],
            now: begin, validitySeconds: 30 * Self.day)
        profile.notAfter = old.notAfter - days * Self.day
        let key = try PrivateKey.load("\(folder)/\(name).key")
        try KeyFile.write(try authority.issue(profile, for: key).pem, to: "\(folder)/\(name).crt", mode: 0o644)
    }

    private func serial(_ fleet: FleetTests.Fleet, _ host: String, _ name: String) throws -> String {
        let leaf = try Certificate.load("\(fleet.folder)/\(host)/etc/covey/main/tls/\(name).crt").first
        return Hexadecimal.encode(try #require(leaf).serial)
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `certificates renew by themselves, are seen on the wire, and expired ones are repaired`() throws {
        let fleet = try FleetTests.Fleet(
            "  tls: {peerCA: {key: {holders: [n1]}}, clientCA: {key: {holders: [n2, n1]}}}\n")
        try #require(fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST").status == 0)
        for host in fleet.hosts { fleet.start(host) }
        let made = fleet.covey("apply")
        try #require(made.status == 0, "\(made.output)")
        #expect(made.output.contains("n1  holds an issuing authority for peers"), "\(made.output)")

        try age(fleet, "n3", "server", days: 25)
        let aged = try serial(fleet, "n3", "server")
        #expect(eventually { fleet.log("n3").contains("certificates renewed: serial") }, "\(fleet.log("n3"))")
        #expect(try serial(fleet, "n3", "server") != aged)
        let leaf = try Certificate.load("\(fleet.folder)/n3/etc/covey/main/tls/server.crt")
        #expect(leaf.count == 2 && leaf[0].issuer.contains("CN=main client CA of n2"), "\(leaf[0].issuer)")
        // The agent's own, too; it is this host's turn still.
        try ageIdentity(fleet, "n3", days: 300)
        #expect(eventually { fleet.log("n3").contains("identity renewed: serial") }, "\(fleet.log("n3"))")
        let own = try Certificate.load("\(fleet.folder)/n3/etc/covey/agent/agent.crt")
        #expect(own.count == 2 && own[0].issuer.contains("main agent CA of n2"), "\(own[0].issuer)")
        let list = fleet.covey("certs", "ls").output
        #expect(list.contains("main peer CA of n1") && list.contains("by itself in "), "\(list)")
        #expect(try fleet.etcdctl("put", "greeting", "hello").output == "OK\n")
        #expect(try fleet.etcdctl("endpoint", "status").output.split(separator: "\n").count == 3, "nobody was restarted or lost")
        let verified = fleet.covey("certs", "verify")
        #expect(verified.status == 0 && verified.output.contains("21 of 21 handshakes succeed"), "\(verified.output)")

        // Without holders nothing renews by itself, and their keys are gone.
        #expect(KeyFile.exists("\(fleet.folder)/n2/etc/covey/agent/authorities/main/client.key"))
        try KeyFile.write(Array(fleet.inventory("").utf8), to: fleet.folder + "/cluster.yaml", mode: 0o600)
        let taken = fleet.covey("apply")
        #expect(taken.status == 0 && taken.output.contains("n2  holds no authority for clients any more"), "\(taken.output)")
        #expect(!KeyFile.exists("\(fleet.folder)/n2/etc/covey/agent/authorities/main/client.key"))
        #expect(fleet.covey("certs", "repair").output.contains("Nothing to repair"))
        try ageIdentity(fleet, "n2", days: 300)
        #expect(eventually { fleet.log("n2").contains("run: covey certs renew n2") }, "\(fleet.log("n2"))")
        let renewed = fleet.covey("certs", "renew", "n2")
        #expect(renewed.status == 0 && renewed.output.contains("n2  its agent has a new identity, serial"), "\(renewed.output)")
        for host in ["n1", "n2", "n3"] {
            for name in ["server", "peer", "client"] { try age(fleet, host, name, days: 31) }
        }
        #expect(eventually { fleet.log("n1").contains("expired, run: covey certs repair n1") }, "\(fleet.log("n1"))")
        let expired = fleet.covey("certs", "verify")
        #expect(expired.status == 1 && expired.output.contains("certificate has expired"), "\(expired.output)")
        #expect(fleet.covey("certs", "ls").output.contains("EXPIRED"))
        let repaired = fleet.covey("certs", "repair")
        try #require(repaired.status == 0 && repaired.output.contains("3/3 repair n3"), "\(repaired.output)")
        let good = fleet.covey("certs", "verify")
        #expect(good.status == 0, "\(good.output)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
        let ended = fleet.covey("decommission", "--cluster", "--confirm", "main")
        #expect(ended.status == 0, "\(ended.output)")
    }

    /// Of the agents' authority, or of one a holder could have.
    private func agentAuthority(_ fleet: FleetTests.Fleet, ofHolder: Bool) throws -> CertificateAuthority {
        let root = try CertificateAuthority(
            certificate: try #require(try Certificate.load("\(fleet.folder)/state/main/pki/agent-ca.crt").first),
            key: try PrivateKey.load("\(fleet.folder)/state/main/pki/agent-ca.key"))
        guard ofHolder else { return root }
        let key = try PrivateKey.generate()
        var profile = CertificateProfile(
            commonName: "main agent CA of n2", usages: [], isAuthority: true, now: root.certificate.notBefore + 300,
            validitySeconds: 30 * Self.day)
        profile.pathLength = 0
        return try CertificateAuthority(certificate: try root.issue(profile, for: key), key: key)
    }

    /// An agent's, as it would be had it been made so many days ago, for the key that is there.
    private func ageIdentity(_ fleet: FleetTests.Fleet, _ host: String, days: Int64) throws {
        let folder = "\(fleet.folder)/\(host)/etc/covey/agent"
        let old = try #require(try Certificate.load("\(folder)/agent.crt").first)
        var profile = CertificateProfile(
            commonName: old.commonName, organizations: old.organizations,
            hosts: old.dnsNames + old.ipAddresses.map(IPText.format), now: old.notBefore + 300 - days * Self.day, validitySeconds: 0)
        profile.notAfter = old.notAfter - days * Self.day
        let leaf = try agentAuthority(fleet, ofHolder: false).issue(profile, for: try PrivateKey.load("\(folder)/agent.key"))
        try KeyFile.write(leaf.pem, to: "\(folder)/agent.crt", mode: 0o644)
    }

    @Test func `agents take operators from the authority itself only, and who ended is enrolled again`() async throws {
        let fleet = try FleetTests.Fleet()
        let through = "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST"
        try #require(fleet.covey("enroll", "n1", "--through", through).status == 0)
        fleet.start("n1")
        let inventory = try InventoryFile.read(fleet.folder + "/cluster.yaml").inventory
        let holder = try agentAuthority(fleet, ofHolder: true)
        func call(_ name: String) async throws(FleetFailure) {
            let files = "\(fleet.folder)/\(name.hasPrefix("agent") ? "a" : "o")"
            do {
                let key = try PrivateKey.generate()
                let now = holder.certificate.notBefore + 600
                let leaf = try holder.issue(CertificateProfile(commonName: name, now: now, validitySeconds: Self.day), for: key)
                try KeyFile.write(key.pem, to: files + ".key", mode: 0o600)
                try KeyFile.write(leaf.pem + holder.certificate.pem, to: files + ".crt", mode: 0o644)
            } catch { throw FleetFailure(text: "\(error)") }
            let agents = try Agents(
                inventory,
                .init(
                    trustedCA: "\(fleet.folder)/state/main/pki/agent-ca.crt", certificate: files + ".crt", key: files + ".key"))
            defer { agents.client.close() }
            let _: AgentPB.ObserveResponse = try await agents.call("n1", RPC.Agent.observe, AgentPB.ObserveRequest(cluster: "main"))
        }
        try await call("agent:n2")
        await #expect(throws: FleetFailure.self) { try await call("operator") }
        do throws(FleetFailure) { try await call("operator") } catch { #expect(error.text.contains("a holder makes no operators")) }

        let mine = try Agents(inventory, StateFolder(fleet.folder + "/state", cluster: "main"))
        let host = inventory.hosts[0]
        let edges = [
            (host.address, 2378, EdgeCheck.agent), (host.address, host.peerPort, EdgeCheck.port),
            ("255.255.255.255", 9, EdgeCheck.port), (host.address, host.peerPort, EdgeCheck.agent),
        ].map { AgentPB.Edge(host: "n1", address: $0.0, port: UInt64($0.1), role: $0.2) }
        let tried: AgentPB.ShakeHandsResponse = try await mine.call(
            "n1", RPC.Agent.shakeHands, AgentPB.ShakeHandsRequest(cluster: "main", edges: edges))
        mine.client.close()
        #expect(tried.handshakes.map(\.failure.isEmpty) == [true, true, false, false], "a closed port can be reached")
        #expect(
            try tried.handshakes[0].serial == Hexadecimal.encode(Certificate.load(fleet.folder + "/n1/etc/covey/agent/agent.crt")[0].serial)
        )
        let results = zip(edges, tried.handshakes).map { Fleet.EdgeResult(from: "n2", edge: $0, handshake: $1) }
        let checks = Fleet.reachChecks(results)
        #expect(checks.map(\.check.name) == ["agents.handshake", "ports.reach"] && checks.allSatisfy { $0.check.verdict == .fail })
        #expect(checks[1].check.evidence.hasPrefix("n1 port 9: ") && !checks[1].check.evidence.contains(";"))
        #expect(Fleet.reachChecks(Array(results.prefix(2))).allSatisfy { $0.check.verdict == .pass })

        try ageIdentity(fleet, "n1", days: 366)
        let list = fleet.covey("certs", "ls").output
        #expect(list.contains("EXPIRED") && list.contains("covey enroll --token n1"), "\(list)")
        #expect(list.contains("operator  agent") && list.contains("operator  client"), "\(list)")
        let refused = fleet.covey("apply", "--accept-even")
        #expect(refused.status == 3, "\(refused.output)")
        #expect(eventually { fleet.log("n1").contains("identity of the agent has expired; give it a new one: covey enroll n1") })
        try #require(fleet.covey("enroll", "n1", "--through", through).status == 0)
        let good = fleet.covey("certs", "ls").output
        #expect(!good.contains("EXPIRED") && good.contains("with covey apply"), "\(good)")
    }
}
