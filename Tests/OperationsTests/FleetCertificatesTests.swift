// The certificates of one cluster over real agents: they renew by themselves, and what is expired or wrong is repaired.

import Foundations
import PKI
import TestSupport
import Testing

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
}
