// Renewal on two hosts without a network: one holds an authority, the other asks it. Time is a variable.

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

@Suite struct LeafRenewalTests {
    private static let day: Int64 = 86_400
    private static let text = """
        metadata: {name: main}
        spec:
          hosts:
            kv1: 10.0.0.1
            kv2: 10.0.0.2
            kv3: 10.0.0.3
            kv4: {address: 10.0.0.4, role: spare}
          tls:
            peerCA: {key: {holders: [kv1]}}
            clientCA: {key: {holders: [kv1]}}

        """

    private final class Idle: ServiceBackend {
        let name = "processes"
        func state(_ cluster: String) throws(BackendError) -> AgentPB.UnitState { AgentPB.UnitState(active: "active") }
        func needsReload(_ cluster: String) throws(BackendError) -> Bool { false }
        func reload() throws(BackendError) {}
        func start(_ cluster: String) throws(BackendError) {}
        func stop(_ cluster: String) throws(BackendError) {}
        func restart(_ cluster: String) throws(BackendError) {}
        func setEnabled(_ cluster: String, _ on: Bool) throws(BackendError) {}
        func setMasked(_ cluster: String, _ on: Bool) throws(BackendError) {}
        func tick() {}
    }

    private final class Time { var now: Int64 = 0 }

    private let base = temporaryFolder("renewal")
    private let time = Time()
    private let start: Int64
    private let authorities: FleetAuthorities
    private let kv1: HostKeeper
    private let kv2: HostKeeper

    init() throws {
        let inventory = try InventoryFile.parse(Array(Self.text.utf8), "test").inventory
        authorities = try FleetAuthorities(StateFolder(base, cluster: "main"), inventory)
        start = authorities.now
        time.now = start
        let time = time
        let base = base
        func keeper(_ index: Int) -> HostKeeper {
            HostKeeper(
                AgentFolders(root: "\(base)/kv\(index)"), HostRecord(name: "kv\(index)", address: "10.0.0.\(index)", port: 2378),
                Idle(), time: { time.now })
        }
        (kv1, kv2) = (keeper(1), keeper(2))
        var ledger = Ledger.pending(inventory, token: "main-1")
        ledger.state = .active
        for keeper in [kv1, kv2] {
            try operation(keeper, 1) { header in
                _ = try keeper.writeLedger(AgentPB.WriteLedgerRequest(header: header, ledger: ledger.json.text()))
                _ = try keeper.render(AgentPB.RenderRequest(header: header, inventory: Self.text, host: keeper.host.name))
                try certify(keeper, header)
            }
        }
        try operation(kv1, 2) { header in for role in HeldAuthority.allCases { try hand(role, header) } }
    }

    private func operation(_ keeper: HostKeeper, _ epoch: UInt64, _ body: (AgentPB.StepHeader) throws -> Void) throws {
        let operation = AgentPB.Operation(id: "a", kind: "apply", epoch: epoch)
        _ = try keeper.claim(AgentPB.ClaimRequest(cluster: "main", operation: operation))
        let header = AgentPB.StepHeader(cluster: "main", operation: "a", epoch: epoch)
        try body(header)
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header, state: "done"))
    }

    private func certify(_ keeper: HostKeeper, _ header: AgentPB.StepHeader) throws {
        let host = try #require(authorities.inventory.hosts.first { $0.name == keeper.host.name })
        let asked = try keeper.requestCertificates(
            AgentPB.RequestCertificatesRequest(header: header, names: ["server", "peer", "client"]))
        let files = try asked.requests.map {
            AgentPB.CertificateFile(name: $0.name, pem: try authorities.issue($0.name, host, $0.pem).pem)
        }
        _ = try keeper.installCertificates(
            AgentPB.InstallCertificatesRequest(
                header: header, certificates: files,
                authorities: AuthorityRole.allCases.map {
                    AgentPB.CertificateFile(name: "\($0.rawValue)-ca", pem: authorities.root($0).certificate.pem)
                }))
    }

    private func hand(_ role: HeldAuthority, _ header: AgentPB.StepHeader) throws {
        let request = try kv1.requestAuthority(AgentPB.AuthorityRequest(header: header, role: role.rawValue))
        let issuing = try authorities.issueAuthority(role, authorities.inventory.hosts[0], request.pem)
        _ = try kv1.installAuthority(
            AgentPB.InstallAuthorityRequest(header: header, role: role.rawValue, pem: issuing.pem))
    }

    private func issue(
        _ requests: [AgentPB.SigningRequestFile], for host: String = "kv2", by caller: String = "agent:kv2"
    ) throws -> [AgentPB.CertificateFile] {
        try kv1.issueCertificates(
            AgentPB.IssueCertificatesRequest(cluster: "main", host: host, requests: requests), caller: caller
        ).certificates
    }

    private func refusal(_ body: () throws -> some Any) -> GRPCStatus? {
        do {
            _ = try body()
            return nil
        } catch { return error as? GRPCStatus }
    }

    private func request(_ kind: String, commonName: String) throws -> AgentPB.SigningRequestFile {
        let csr = try SigningRequest.create(key: try PrivateKey.generate(), commonName: commonName)
        return AgentPB.SigningRequestFile(name: kind, pem: csr.pem)
    }

    private func server() throws -> Certificate { try Certificate.load(kv2.folders.tls("main") + "/server.crt")[0] }

    @Test func `two thirds through their life certificates get new keys and a new life, and the old ones stay a day`() throws {
        #expect(kv2.renewalOrder("main") == nil)
        let before = try server()
        let oldKey = try PrivateKey.load(kv2.folders.tls("main") + "/server.key")
        time.now = start + 22 * Self.day
        let order = try #require(kv2.renewalOrder("main"))
        #expect(order.kinds == [.server, .peer, .client] && order.holders.map(\.name) == ["kv1"])
        let old = kv2.linkTarget(kv2.folders.tls("main"))
        let proof = try kv2.switchLeaves(order, try issue(try kv2.beginRenewal(order)))
        #expect(kv2.openProof("main") == proof && proof.old == old)
        let after = try server()
        #expect(after.notAfter == time.now + 30 * Self.day && Hexadecimal.encode(after.serial) == proof.serials["server"])
        #expect(after.isValid(forHost: "10.0.0.2") && !after.isValid(forHost: "10.0.0.1"))
        let newKey = kv2.folders.tls("main") + "/server.key"
        #expect(try !PrivateKey.load(newKey).matches(oldKey) && KeyFile.read(newKey).mode & 0o777 == 0o600)
        try kv2.endRenewal(proof, "test", failure: nil)
        #expect(kv2.openProof("main") == nil && kv2.renewalOrder("main") == nil)
        let folder = kv2.folders.configuration("main")
        #expect(try Certificate.load("\(folder)/\(old)/server.crt")[0].serial == before.serial)
        time.now += Self.day + 1
        kv2.removeOldGenerations("main")
        #expect(!KeyFile.exists("\(folder)/\(old)") && KeyFile.exists("\(folder)/\(proof.new)"))
    }

    @Test func `what the ports do not show is taken back, also when the agent ended in between`() throws {
        time.now = start + 22 * Self.day
        let before = try server().serial
        let order = try #require(kv2.renewalOrder("main"))
        _ = try kv2.switchLeaves(order, try issue(try kv2.beginRenewal(order)))
        let again = HostKeeper(kv2.folders, kv2.host, Idle(), time: { [time] in time.now })
        let proof = try #require(again.openProof("main"), "it is on disk")
        let failure = refusal { try again.endRenewal(proof, "", failure: "port 2379 shows another") }
        #expect(failure?.message.contains("the old certificates are back") == true)
        again.renewalFailed("main", failure?.message ?? "", retrySeconds: 300, isWaiting: false)
        #expect(try server().serial == before && again.openProof("main") == nil)
        #expect(again.renewalOrder("main") == nil, "not at once again")
        #expect(again.certificateNews("main")?.level == .warn, "and people are told")
        time.now += 301
        #expect(again.renewalOrder("main") != nil)
    }

    @Test func `an operation under way or a pause puts it off until the last tenth`() throws {
        time.now = start + 22 * Self.day
        _ = try kv2.claim(
            AgentPB.ClaimRequest(cluster: "main", operation: AgentPB.Operation(id: "b", kind: "apply", epoch: 9)))
        #expect(kv2.renewalOrder("main") == nil)
        time.now = start + 28 * Self.day
        #expect(kv2.renewalOrder("main") != nil)
    }

    @Test func `an agent gets what the inventory says for its own host, and nothing else`() throws {
        let good = try request("server", commonName: "kv2")
        #expect(refusal { try issue([good], by: "agent:kv3") }?.code == .permissionDenied)
        #expect(refusal { try issue([good], by: "operator") }?.code == .permissionDenied)
        #expect(refusal { try issue([good], for: "kv1") }?.code == .permissionDenied)
        #expect(refusal { try issue([good], for: "kv4", by: "agent:kv4") }?.code == .permissionDenied, "no member")
        #expect(refusal { try issue([good], for: "kv9", by: "agent:kv9") }?.code == .permissionDenied, "in no inventory")
        let other = try request("server", commonName: "kv3")
        #expect(refusal { try issue([other]) }?.code == .failedPrecondition, "a request for another name")
        #expect(refusal { try issue([AgentPB.SigningRequestFile(name: "root", pem: good.pem)]) }?.code == .invalidArgument)
        #expect(refusal { try issue([AgentPB.SigningRequestFile(name: "peer", pem: [1, 2])]) }?.code == .failedPrecondition)
        time.now += RenewalTurns.turnSeconds
        let chain = try Certificate.chain(pem: try issue([good])[0].pem)
        #expect(chain.count == 2 && chain[0].commonName == "kv2" && !chain[0].isAuthority)
        let waiting = refusal { try issue([try request("peer", commonName: "kv3")], for: "kv3", by: "agent:kv3") }
        #expect(waiting?.code == .failedPrecondition && waiting?.message == HostKeeper.waiting + "kv2")
        #expect(
            refusal { try kv2.issueCertificates(.init(cluster: "main", host: "kv2", requests: [good]), caller: "agent:kv2") }?
                .code == .failedPrecondition, "kv2 is no holder")
    }

    @Test func `the key of an issuing authority is its holder's alone, and goes when the operator takes it back`() throws {
        let key = kv1.folders.authorities("main") + "/client.key"
        #expect(try KeyFile.read(key).mode & 0o777 == 0o600)
        #expect(try !PrivateKey.load(key).matches(authorities.clients.key), "the operator's key stays with the operator")
        #expect(try kv1.observe("main").authorities.map(\.name) == ["client", "peer", "agent"])
        try operation(kv1, 5) { header in
            _ = try kv1.installAuthority(AgentPB.InstallAuthorityRequest(header: header, role: "client"))
        }
        #expect(!KeyFile.exists(key))
        let good = try request("server", commonName: "kv2")
        #expect(refusal { try issue([good]) }?.message.contains("covey ca distribute") == true)
    }

    @Test func `what does not hold under the trusted bundle is not taken, and nothing is changed`() throws {
        time.now = start + 22 * Self.day
        let before = kv2.linkTarget(kv2.folders.tls("main"))
        let order = try #require(kv2.renewalOrder("main"))
        let stranger = try CertificateAuthority.create(name: "main client CA", now: start, validitySeconds: 99 * Self.day)
        let me = authorities.inventory.hosts[1]
        let forged: [(String, (LeafKind, SigningRequest) throws -> Certificate)] = [
            (
                "another authority",
                { kind, request in
                    try stranger.issue(kind.profile(me, authorities.inventory, now: time.now), for: request)
                }
            ),
            (
                "another host's names",
                { kind, request in
                    let root = authorities.root(kind.authority)
                    return try root.issue(kind.profile(authorities.inventory.hosts[2], authorities.inventory, now: time.now), for: request)
                }
            ),
            (
                "for clients only",
                { kind, request in
                    var profile = kind.profile(me, authorities.inventory, now: time.now)
                    profile.usages = [.client]
                    return try authorities.root(kind.authority).issue(profile, for: request)
                }
            ),
            (
                "not valid yet",
                { kind, request in
                    try authorities.root(kind.authority).issue(
                        kind.profile(me, authorities.inventory, now: time.now + 3_600), for: request)
                }
            ),
            (
                "for another key",
                { kind, _ in
                    try authorities.root(kind.authority).issue(
                        kind.profile(me, authorities.inventory, now: time.now), for: try PrivateKey.generate())
                }
            ),
        ]
        for (name, make) in forged {
            let files = try kv2.beginRenewal(order).map { file in
                let kind = try #require(LeafKind(rawValue: file.name))
                return AgentPB.CertificateFile(name: file.name, pem: try make(kind, try SigningRequest(pem: file.pem)).pem)
            }
            #expect(refusal { try kv2.switchLeaves(order, files) }?.code == .failedPrecondition, "\(name)")
            #expect(kv2.linkTarget(kv2.folders.tls("main")) == before && kv2.openProof("main") == nil, "\(name)")
        }
    }

    @Test func `a name the inventory gained is a reason to renew`() throws {
        #expect(kv2.renewalOrder("main") == nil)
        try operation(kv2, 5) { header in
            let more = Self.text + "    leaf: {extraSANs: {kv2: [kv.test]}}\n"
            _ = try kv2.render(AgentPB.RenderRequest(header: header, inventory: more, host: "kv2"))
        }
        #expect(kv2.renewalOrder("main")?.kinds == [.server, .peer, .client])
        #expect(try kv2.observe("main").certificates.first?.problem == "lacks kv.test")
    }

    // MARK: The agent's own

    private static let year: Int64 = 365 * day

    private func enroll(_ keeper: HostKeeper) throws {
        let host = try #require(authorities.inventory.hosts.first { $0.name == keeper.host.name })
        let join = JoinCommand(folders: keeper.folders)
        let request = try join.prepare(host.name)
        try join.notePending(keeper.host)
        let root = authorities.agents.certificate
        _ = try join.take(
            certificate: try authorities.issueAgent(host, Array(request.utf8)).pem, authority: root.pem, pin: AuthorityPin.of(root))
    }

    private func issueIdentity(_ name: String = "agent:kv2", for host: String = "kv2", by caller: String = "agent:kv2") throws -> [UInt8] {
        try issue([try request("agent", commonName: name)], for: host, by: caller)[0].pem
    }

    /// As `IdentityRenewal` does it, without the network.
    private func renewIdentity() throws -> String {
        let asked = try kv2.beginIdentity()
        return try kv2.takeIdentity(try issue([asked])[0].pem)
    }

    @Test func `two thirds through its year an agent gets a new identity from a holder`() throws {
        try enroll(kv2)
        #expect(kv2.identity().problem == nil && kv2.identityOrder() == nil && kv2.identityNews().level == .good)
        let before = try PrivateKey.load(kv2.folders.key)
        time.now = start + Self.year * 7 / 10
        #expect(kv2.identityOrder()?.holders.map(\.name) == ["kv1"])
        #expect(kv2.identityNews().level == .good, "it is about to renew itself")
        var proven = ""
        kv2.identityProof = { _, _, serial in
            proven = serial
            return nil
        }
        let serial = try renewIdentity()
        let chain = try Certificate.load(kv2.folders.certificate)
        #expect(chain.count == 2 && chain[0].commonName == "agent:kv2" && chain[0].isValid(forHost: "10.0.0.2"))
        #expect(chain[0].notAfter == time.now + Self.year && Hexadecimal.encode(chain[0].serial) == serial && proven == serial)
        #expect(try !PrivateKey.load(kv2.folders.key).matches(before) && KeyFile.read(kv2.folders.key).mode & 0o777 == 0o600)
        #expect(kv2.identity().problem == nil && kv2.identityOrder() == nil)
        #expect(try PrivateKey.load(kv2.folders.previousKey).matches(before), "kept for a day")
        #expect(try kv2.observe("main").agentCertificate?.serial == serial)
    }

    @Test func `an identity that is not seen on the agent's port is taken back, and tried again later`() throws {
        try enroll(kv2)
        let before = try Certificate.load(kv2.folders.certificate)[0].serial
        time.now = start + Self.year * 7 / 10
        kv2.identityProof = { _, _, _ in "port 2378 shows another" }
        let failure = refusal { try renewIdentity() }
        #expect(failure?.message.hasSuffix("the old identity is back") == true)
        let identity = kv2.identity()
        #expect(identity.problem == nil && identity.certificate?.serial == before, "certificate and key")
        kv2.identityFailed("main", failure?.message ?? "", retrySeconds: 300, isWaiting: false)
        #expect(kv2.identityOrder() == nil && kv2.identityNews().level == .warn)
        #expect(try kv2.observe("main").agentRenewal.hasPrefix("failed: port 2378"))
        time.now += 301
        #expect(kv2.identityOrder() != nil)
        let stranger = try CertificateAuthority.create(name: "main agent CA", now: start, validitySeconds: Self.year * 2)
        let asked = try SigningRequest(pem: try kv2.beginIdentity().pem)
        let forged = try stranger.issue(AgentIdentity.profile(authorities.inventory.hosts[1], "main", now: time.now), for: asked)
        #expect(refusal { try kv2.takeIdentity(forged.pem) } != nil)
        #expect(try Certificate.load(kv2.folders.certificate)[0].serial == before)
    }

    @Test func `a holder certifies agents of hosts that ask for themselves, and nobody else`() throws {
        #expect(try Certificate.chain(pem: issueIdentity())[0].issuer.contains("CN=main agent CA of kv1"))
        time.now += RenewalTurns.turnSeconds
        #expect(try Certificate.chain(pem: issueIdentity("agent:kv4", for: "kv4", by: "agent:kv4"))[0].commonName == "agent:kv4", "a spare")
        #expect(refusal { try issueIdentity("operator") } != nil)
        #expect(refusal { try issueIdentity("agent:kv1") } != nil)
        #expect(refusal { try issueIdentity("agent:kv9", for: "kv9", by: "agent:kv9") }?.code == .permissionDenied)
        #expect(refusal { try issueIdentity(by: "agent:kv3") }?.code == .permissionDenied)
    }

    @Test func `what a crash left between key and certificate is made whole before the agent serves`() throws {
        try enroll(kv2)
        kv2.identityProof = { _, _, _ in nil }
        let old = try KeyFile.read(kv2.folders.certificate).bytes
        let serial = try renewIdentity()
        let folders = kv2.folders
        // The key was renamed, the certificate not yet.
        try KeyFile.write(try KeyFile.read(folders.certificate).bytes, to: folders.nextCertificate, mode: 0o644)
        try KeyFile.write(old, to: folders.certificate, mode: 0o644)
        #expect(kv2.identity().problem != nil)
        folders.mendIdentity()
        #expect(kv2.identity().problem == nil && kv2.identity().certificate.map { Hexadecimal.encode($0.serial) } == serial)
        // While enrolling, the other way round.
        let own = try KeyFile.read(folders.key).bytes
        try KeyFile.write(own, to: folders.pendingKey, mode: 0o600)
        try KeyFile.write(try PrivateKey.generate().pem, to: folders.key, mode: 0o600)
        folders.mendIdentity()
        #expect(kv2.identity().problem == nil && !KeyFile.exists(folders.pendingKey))
    }

    @Test func `an identity that has ended asks nobody, and says the way back`() throws {
        try enroll(kv2)
        time.now = start + Self.year + 1
        #expect(kv2.identityOrder() == nil)
        let news = kv2.identityNews()
        #expect(news.level == .fail && news.text.contains("has expired") && news.text.contains("covey enroll --token kv2"))
        let lines = IdentityNews.lines(authorities.inventory, ["kv2": try kv2.observe("main")], now: time.now)
        #expect(lines.first?.contains("covey enroll kv2") == true)
    }
}
