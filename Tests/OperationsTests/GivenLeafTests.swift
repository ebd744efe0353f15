// Certificates somebody else makes: taken from a folder of the host when they are right, followed when they are replaced, and
// never renewed here.

import Foundations
import GRPC
import Glibc
import Inventory
import Linux
import PKI
import TestSupport
import Testing
import Wire

@testable import Operations

/// An authority the cluster knows nothing of but its certificate.
private struct Corporation {
    static let day: Int64 = 86_400
    let authority: CertificateAuthority
    let now: Int64

    init(now: Int64) throws {
        self.now = now
        authority = try CertificateAuthority.create(name: "Corp CA", now: now, validitySeconds: 900 * Self.day)
    }

    /// As their tools put it on a host.
    func put(
        _ kind: LeafKind, _ host: Inventory.Host, _ inventory: Inventory, in folder: String, days: Int64 = 90,
        change: (inout CertificateProfile) -> Void = { _ in }
    ) throws {
        try KeyFile.makeFolder(folder)
        let key = try PrivateKey.generate()
        var profile = CertificateProfile(
            commonName: "svc", hosts: kind.names(host, inventory), usages: kind.usages, now: now, validitySeconds: days * Self.day)
        change(&profile)
        try KeyFile.write(try authority.issue(profile, for: key).pem, to: "\(folder)/\(kind.rawValue).crt", mode: 0o644)
        try KeyFile.write(key.pem, to: "\(folder)/\(kind.rawValue).key", mode: 0o600)
        try KeyFile.write(authority.certificate.pem, to: "\(folder)/\(kind.authority.bundle)", mode: 0o644)
    }
}

@Suite struct GivenLeafTests {
    private static let text =
        "metadata: {name: main}\nspec:\n  hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3}\n"
        + "  tls: {clientCA: {mode: leaves, folder: /pki/kv}}\n"

    private final class Time { var now = Int64(Clock.wall() / 1_000_000_000) }

    private let base = temporaryFolder("leaves")
    private let time = Time()
    private let corp: Corporation
    private let inventory: Inventory
    private let keeper: HostKeeper
    private var folder: String { base + "/kv2/pki/kv" }

    init() throws {
        let time = time
        corp = try Corporation(now: time.now)
        inventory = try InventoryFile.parse(Array(Self.text.utf8), "test").inventory
        keeper = HostKeeper(
            AgentFolders(root: base + "/kv2"), HostRecord(name: "kv2", address: "10.0.0.2", port: 2378), RememberingBackend(),
            time: { time.now })
    }

    private func put(_ kind: LeafKind, days: Int64 = 90, change: (inout CertificateProfile) -> Void = { _ in }) throws {
        try corp.put(kind, inventory.hosts[1], inventory, in: folder, days: days, change: change)
    }

    private func refusal(_ body: () throws -> some Any) -> String {
        do {
            _ = try body()
            return ""
        } catch { return (error as? GRPCStatus)?.message ?? "\(error)" }
    }

    private func load(_ kind: LeafKind) throws -> GivenLeaf {
        try GivenLeaf(kind, inventory.hosts[1], inventory, root: base + "/kv2", now: time.now)
    }

    /// As `apply` does it; the peers' certificates are the cluster's own.
    private func certify(_ epoch: UInt64 = 1) throws {
        let operation = AgentPB.Operation(id: "a", kind: "apply", epoch: epoch, inventory: Self.text)
        _ = try keeper.claim(AgentPB.ClaimRequest(cluster: "main", operation: operation))
        let header = AgentPB.StepHeader(cluster: "main", operation: "a", epoch: epoch)
        var ledger = Ledger.pending(inventory, token: "main-1")
        ledger.state = .active
        _ = try keeper.writeLedger(AgentPB.WriteLedgerRequest(header: header, ledger: ledger.json.text()))
        let asked = try keeper.requestCertificates(
            AgentPB.RequestCertificatesRequest(header: header, names: ["server", "peer", "client"]))
        #expect(asked.requests.map(\.name) == ["peer"])
        let peers = try CertificateAuthority.create(name: "main peer CA", now: time.now, validitySeconds: 900 * Corporation.day)
        let profile = LeafKind.peer.profile(inventory.hosts[1], inventory, now: time.now)
        let leaf = try peers.issue(profile, for: try SigningRequest(pem: asked.requests[0].pem))
        _ = try keeper.installCertificates(
            AgentPB.InstallCertificatesRequest(
                header: header, certificates: [.init(name: "peer", pem: leaf.pem)],
                authorities: [
                    .init(name: "client-ca", pem: peers.certificate.pem), .init(name: "peer-ca", pem: peers.certificate.pem),
                ]))
        _ = try keeper.render(AgentPB.RenderRequest(header: header, inventory: Self.text, host: "kv2"))
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header, state: "done"))
    }

    private func same(_ name: String) throws -> Bool {
        try KeyFile.read("\(folder)/\(name)").bytes == KeyFile.read("\(keeper.folders.tls("main"))/\(name)").bytes
    }

    @Test func `two attempts in one second, with the same certificates, do not stand in each other's way`() throws {
        for kind in [LeafKind.server, .client] { try put(kind) }
        try certify()
        let (link, serial) = (keeper.folders.tls("main"), "00112233445566")
        var used = [keeper.linkTarget(link)]
        for number in 1...3 {
            let next = "\(keeper.folders.configuration("main"))/next-\(number)"
            try KeyFile.makeFolder(next, mode: 0o750)
            try KeyFile.write([UInt8(number)], to: next + "/which", mode: 0o600)
            try keeper.switchGeneration("main", to: keeper.newGeneration("main", serial), from: next)
            #expect(try KeyFile.read(link + "/which").bytes == [UInt8(number)])
            used.append(keeper.linkTarget(link))
            // As after a failed proof: the newest is there and not in use.
            try keeper.pointLink(link, to: used[0])
        }
        #expect(Set(used).count == 4 && used.dropFirst().allSatisfy { $0.hasSuffix("-00112233") }, "\(used)")

        let header = AgentPB.StepHeader(cluster: "main", operation: "a", epoch: 2)
        _ = try keeper.claim(
            AgentPB.ClaimRequest(cluster: "main", operation: AgentPB.Operation(id: "a", kind: "apply", epoch: 2, inventory: Self.text)))
        for token in ["main-2", "main-3"] {
            _ = try keeper.writeLedger(AgentPB.WriteLedgerRequest(header: header))
            _ = try keeper.writeLedger(
                AgentPB.WriteLedgerRequest(header: header, ledger: Ledger.pending(inventory, token: token).json.text()))
        }
        #expect(try keeper.observe("main").voided.sorted() == ["main-1", "main-2"], "none was written over")
    }

    @Test func `what is put on the host is taken with its bundle, and what replaces it later as well`() throws {
        for kind in [LeafKind.server, .client] { try put(kind) }
        try certify()
        for name in ["server.crt", "server.key", "client.crt", "client.key", "client-ca.crt"] { #expect(try same(name), "\(name)") }
        #expect(try KeyFile.read(keeper.folders.tls("main") + "/server.key").mode & 0o777 == 0o600)
        let seen = try keeper.observe("main")
        #expect(seen.certificates.filter(\.isExternal).map(\.name) == ["server", "client"])
        #expect(seen.certificates.allSatisfy { $0.problem.isEmpty } && keeper.renewalOrder("main") == nil)

        time.now += 70 * Corporation.day
        #expect(keeper.renewalOrder("main") == nil, "it is not ours to renew")
        try put(.server, days: 200)
        let order = try #require(keeper.renewalOrder("main"))
        #expect(order.kinds == [.server] && order.holders.isEmpty)
        #expect(try keeper.beginRenewal(order).isEmpty)
        let proof = try keeper.switchLeaves(order, [])
        #expect(try same("server.crt") && same("server.key") && same("client.crt"))
        try keeper.endRenewal(proof, "test", failure: nil)
        #expect(keeper.renewalOrder("main") == nil)
    }

    @Test func `before it ends people are told what to do, and where`() throws {
        for kind in [LeafKind.server, .client] { try put(kind, days: 20) }
        try certify()
        time.now += 14 * Corporation.day
        let due = try #require(keeper.certificateNews("main"))
        #expect(due.level >= .warn && due.text.contains("put it at /pki/kv/server.crt and .key on kv2"), "\(due.text)")
        time.now += 5 * Corporation.day
        #expect(keeper.certificateNews("main")?.level == .fail)
    }

    @Test func `what is wrong with it names the file and what to do, and nothing of it is taken`() throws {
        for kind in [LeafKind.server, .client] { try put(kind) }
        try certify()
        let used = try KeyFile.read(keeper.folders.tls("main") + "/server.crt").bytes
        let path = folder + "/server"
        let cases: [(String, () throws -> Void, String)] = [
            (
                "for another host", { try put(.server) { $0.hosts = ["10.0.0.3"] } },
                "server.crt lacks 10.0.0.2; have it made for 10.0.0.2, kv2"
            ),
            ("for clients only", { try put(.server) { $0.usages = [.client] } }, "(serverAuth, clientAuth)"),
            ("ended", { try put(.server, days: -1) }, "has expired"),
            ("begins later", { try put(.server) { $0.notBefore += 7_200 } }, "is not valid yet"),
            ("another key", { try KeyFile.write(try PrivateKey.generate().pem, to: path + ".key", mode: 0o600) }, "its key is another one"),
            (
                "open to all",
                {
                    try put(.server); _ = chmod(path + ".key", 0o644)
                }, "chmod 600"
            ),
            ("no certificate", { try KeyFile.write([0x78], to: path + ".crt", mode: 0o644) }, "server.crt holds no certificate"),
            ("not there", { _ = unlink(path + ".key") }, "spec.tls.clientCA has mode leaves: somebody else puts it there"),
            (
                "of strangers",
                {
                    try put(.server)
                    let other = try Corporation(now: time.now).authority
                    try KeyFile.write(other.certificate.pem, to: folder + "/client-ca.crt", mode: 0o644)
                }, "by an authority of "
            ),
        ]
        for (name, spoil, said) in cases {
            for kind in [LeafKind.server, .client] { try put(kind) }
            try spoil()
            let text = refusal { try load(.server) }
            #expect(text.contains(said) && text.contains(folder), "\(name): \(text)")
            #expect(keeper.renewalOrder("main") == nil, "\(name): half of it is not taken, either")
            #expect(keeper.certificateNews("main")?.text.contains("are not taken") == true, "\(name)")
            #expect(try keeper.observe("main").renewal.hasPrefix("failed: "), "\(name)")
            #expect(refusal { try certify(9) }.contains(said), "\(name): nor by an operator")
            _ = try? keeper.release(
                AgentPB.ReleaseRequest(header: AgentPB.StepHeader(cluster: "main", operation: "a", epoch: 9), state: "failed"))
            try? KeyFile.write([], to: keeper.folders.operation("main"), mode: 0o600)
            #expect(try KeyFile.read(keeper.folders.tls("main") + "/server.crt").bytes == used, "\(name)")
        }
    }

    @Test func `the operator shows what was made for him, and no authority is made up`() throws {
        let local = base + "/pki"
        let text = Self.text.replacing("/pki/kv", with: local)
        let inventory = try InventoryFile.parse(Array(text.utf8), "test").inventory
        let state = StateFolder(base + "/state", cluster: "main")
        #expect(throws: PKIError.self) { try FleetAuthorities(state, inventory) }
        try corp.put(.client, inventory.hosts[0], inventory, in: local)
        let authorities = try FleetAuthorities(state, inventory)
        #expect(!KeyFile.exists(state.pki + "/client-ca.key") && KeyFile.exists(state.pki + "/peer-ca.key"))
        #expect(try Certificate.load(state.client + "/client.crt")[0].issuer == corp.authority.certificate.subject)
        #expect(try KeyFile.read(state.client + "/client.key").mode & 0o777 == 0o600)
        #expect(authorities.bundle(.client) == corp.authority.certificate.pem && authorities.own(.client) == nil)
        let csr = try SigningRequest.create(key: try PrivateKey.generate(), commonName: "kv1")
        #expect(refusal { try authorities.issue("server", inventory.hosts[0], csr.pem) }.contains("has mode leaves"))
        #expect(refusal { try authorities.issueAuthority(.client, inventory.hosts[0], csr.pem) }.contains("has mode leaves"))
        try corp.put(.client, inventory.hosts[0], inventory, in: local, days: -1)
        #expect(refusal { try FleetAuthorities(state, inventory) }.contains("have another made for the operator"))
        var ours = LocalCertificates(state, inventory, now: time.now)
        #expect(throws: PKIError.self) { try ours.ensure() }
    }

    @Test func `the inventory names the folder, and no holders`() {
        func complaint(_ settings: String) -> String { complaints(threeHosts("tls: {peerCA: \(settings)}")).joined() }
        #expect(complaint("{mode: leaves}").contains("mode leaves needs folder"))
        #expect(complaint("{folder: /pki}").contains("goes with mode leaves only"))
        #expect(complaint("{mode: leaves, folder: /pki, key: {holders: [kv1]}}").contains("none can hold it"))
        #expect(complaint("{mode: leaves, folder: /pki, certificate: /a.crt}").contains("goes with mode files only"))
        #expect(complaint("{mode: leaves, folder: /pki}").isEmpty)
    }
}

@Suite(.serialized) struct FleetGivenLeafTests {
    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `a cluster lives on certificates somebody else makes, and shows new ones as soon as they are there`() throws {
        let fleet = try FleetTests.Fleet()
        let pki = fleet.folder + "/pki"
        let modes = "  tls: {clientCA: {mode: leaves, folder: \(pki)}, peerCA: {mode: leaves, folder: \(pki)}}\n"
        try KeyFile.write(Array(fleet.inventory(modes).utf8), to: fleet.folder + "/cluster.yaml", mode: 0o600)
        let inventory = try InventoryFile.read(fleet.folder + "/cluster.yaml").inventory
        let corp = try Corporation(now: Int64(Clock.wall() / 1_000_000_000))
        // Agents of this test have roots of their own.
        func put(_ kind: LeafKind, _ host: Inventory.Host) throws {
            try corp.put(kind, host, inventory, in: "\(fleet.folder)/\(host.name)\(pki)")
        }
        try corp.put(.client, inventory.hosts[0], inventory, in: pki)
        for host in inventory.voters.dropLast() { for kind in LeafKind.allCases { try put(kind, host) } }
        try #require(fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST").status == 0)
        for host in fleet.hosts { fleet.start(host) }
        let missing = fleet.covey("apply")
        #expect(missing.status == 4 && missing.output.contains("n3\(pki)/client-ca.crt"), "\(missing.output)")
        for kind in LeafKind.allCases { try put(kind, inventory.voters[2]) }
        let operation = try #require(missing.output.split(separator: " ").first { $0.hasPrefix("apply-") })
        let made = fleet.covey("op", "resume", String(operation))
        try #require(made.status == 0, "\(made.output)")
        #expect(try fleet.etcdctl("put", "greeting", "hello").output == "OK\n")

        let before = try Certificate.load("\(fleet.folder)/n2/etc/covey/main/tls/peer.crt")[0].serial
        for kind in [LeafKind.peer, .server] { try put(kind, inventory.voters[1]) }
        #expect(eventually { fleet.log("n2").contains("certificates renewed: serial") }, "\(fleet.log("n2"))")
        #expect(try Certificate.load("\(fleet.folder)/n2/etc/covey/main/tls/peer.crt")[0].serial != before)
        let verified = fleet.covey("certs", "verify")
        #expect(verified.status == 0 && verified.output.contains("21 of 21 handshakes succeed"), "\(verified.output)")
        let list = fleet.covey("certs", "ls").output
        #expect(list.contains("by others, in \(pki)") && list.contains("Corp CA"), "\(list)")
        #expect(fleet.covey("status").status == 0)
        let kubernetes = fleet.covey("kubeadm", "--output-dir", fleet.folder + "/k8s")
        #expect(kubernetes.status != 0 && kubernetes.output.contains("mode leaves"), "\(kubernetes.output)")
    }
}
