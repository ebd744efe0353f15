// TLS between our own two sides: who may talk to whom, what each side says when it may not, and what changes when the
// files change. Certificates are made by the tests.

import Foundations
import Glibc
import PKI
import TLSEngine
import Testing

private let good = "established / established"

struct TLSTests {
    @Test(arguments: [1, 7, 1000, Int.max])
    func `data crosses both ways however the bytes are cut`(_ piece: Int) throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        try folder.issue(ca, "server")
        try folder.issue(ca, "client")
        var pair = try handshake(folder.client("client"), folder.server(ca: "ca"), piece: piece)
        #expect(pair.outcome == good)
        #expect(pair.client.negotiatedProtocol == "h2" && pair.server.negotiatedProtocol == "h2")
        #expect(pair.client.version == "TLSv1.3")
        #expect(pair.server.peer()?.commonName == "client")
        #expect(pair.server.peerCommonName == "client")
        #expect(pair.server.peer()?.chain.map(\.commonName) == ["client", "ca"])
        let large = (0..<(piece == 1 ? 3000 : 100_000)).map { UInt8(truncatingIfNeeded: $0 * 7) }
        #expect(pair.client.seal(large.rawSpan, cipher: &pair.toServer))
        #expect(pair.server.seal(Array("hello".utf8).rawSpan, cipher: &pair.toClient))
        pair.run(piece: piece)
        #expect(pair.atServer == large)
        #expect(pair.atClient == Array("hello".utf8))
        pair.client.shutdown(cipher: &pair.toServer)
        pair.run(piece: piece)
        #expect(pair.outcome == "closed / closed")
        #expect(!pair.server.seal(large.rawSpan, cipher: &pair.toClient))
    }

    struct VersionCase: Sendable, CustomTestStringConvertible {
        var client: (TLSVersion, TLSVersion?)
        var server: (TLSVersion, TLSVersion?)
        var version: String?
        var testDescription: String { "\(client) with \(server)" }
    }

    @Test(arguments: [
        VersionCase(client: (.tls12, nil), server: (.tls12, nil), version: "TLSv1.3"),
        VersionCase(client: (.tls12, .tls12), server: (.tls12, nil), version: "TLSv1.2"),
        VersionCase(client: (.tls12, nil), server: (.tls12, .tls12), version: "TLSv1.2"),
        VersionCase(client: (.tls13, nil), server: (.tls13, nil), version: "TLSv1.3"),
        VersionCase(client: (.tls12, .tls12), server: (.tls13, nil), version: nil),
        VersionCase(client: (.tls13, nil), server: (.tls12, .tls12), version: nil),
    ])
    func `versions are negotiated within both sides' bounds`(_ row: VersionCase) throws {
        let folder = CertificateFolder()
        try folder.issue(try folder.authority(), "server")
        var client = folder.client(), server = folder.server()
        (client.minimumVersion, client.maximumVersion) = row.client
        (server.minimumVersion, server.maximumVersion) = row.server
        let pair = try handshake(client, server)
        if let version = row.version {
            #expect(pair.outcome == good)
            #expect(pair.client.version == version && pair.server.version == version)
        } else {
            #expect(pair.client.state == .failed && pair.server.state == .failed)
            guard case .nothingInCommon? = pair.server.reason else { Issue.record("\(pair.outcome)"); return }
        }
    }

    @Test func `cipher suites are taken by Go's names`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        try folder.issue(ca, "server")
        try folder.issue(ca, "rsa", kind: .rsa(bits: 2048))
        func suite(_ names: [String], server name: String = "server") throws -> String {
            var server = folder.server(name)
            server.maximumVersion = .tls12
            server.cipherSuites = names
            let pair = try handshake(folder.client(), server)
            return pair.client.isEstablished ? pair.client.cipherSuite : pair.outcome
        }
        #expect(try suite(["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]) == "ECDHE-ECDSA-AES128-GCM-SHA256")
        #expect(
            try suite(["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], server: "rsa").hasPrefix(
                "ECDHE-RSA-AES"))
        #expect(try suite(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]).contains("no shared cipher"), "the key is ECDSA")
        var server = folder.server()
        server.cipherSuites = ["BOGUS"]
        #expect(throws: TLSError.cipherSuite(.init(name: "BOGUS"))) { try TLSContext(server) }
        #expect("\(TLSError.cipherSuite(.init(name: "BOGUS")))" == "unexpected TLS cipher suite \"BOGUS\"")
        server.cipherSuites = ["TLS_RSA_WITH_AES_128_CBC_SHA"]
        #expect(throws: TLSError.self) { try TLSContext(server) }
        server.cipherSuites = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
        server.minimumVersion = .tls13
        #expect(throws: TLSError.configuration("cipher suites cannot be configured when only TLS1.3 is enabled")) { try TLSContext(server) }
        server.cipherSuites = []
        server.maximumVersion = .tls12
        #expect(throws: TLSError.configuration("min version (TLS1.3) is greater than max version (TLS1.2)")) { try TLSContext(server) }
    }

    @Test func `clients need a certificate of the trusted authority where one is required`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority(), other = try folder.authority("other")
        try folder.issue(ca, "server")
        try folder.issue(ca, "client")
        try folder.issue(other, "stranger")
        try folder.issue(ca, "expired", validity: -10)
        try folder.issue(ca, "future", notBefore: folder.now + 10_000)
        try folder.issue(ca, "server-only", usages: [.server])
        func run(_ name: String?, tls12: Bool) throws -> TLSPair {
            var server = folder.server(ca: "ca")
            if tls12 { server.maximumVersion = .tls12 }
            return try handshake(folder.client(name), server)
        }
        for tls12 in [true, false] {
            #expect(try run("client", tls12: tls12).outcome == good)
            #expect(try run(nil, tls12: tls12).server.reason == .noCertificate)
            #expect(try run("stranger", tls12: tls12).server.reason == .certificate(.unknownAuthority))
            #expect(try run("expired", tls12: tls12).server.reason == .certificate(.expired))
            #expect(try run("future", tls12: tls12).server.reason == .certificate(.notYetValid))
            #expect(try run("server-only", tls12: tls12).server.reason == .certificate(.wrongUsage))
            let refused = try run("stranger", tls12: tls12)
            guard case .refusedByPeer? = refused.client.reason else { Issue.record("\(refused.outcome)"); continue }
        }
        #expect(try handshake(folder.client("stranger"), folder.server()).outcome == good, "not asked, not judged")
        #expect(try handshake(folder.client("client"), folder.server()).server.peer() == nil)
    }

    @Test(arguments: [
        ("127.0.0.1", true), ("localhost", true), ("::1", true), ("[::1]", true), ("x.example.org", true),
        ("127.0.0.2", false), ("example.org", false), ("a.b.example.org", false), ("server", false), ("LOCALHOST", true),
    ])
    func `clients verify the host they dial`(_ host: String, _ fits: Bool) throws {
        let folder = CertificateFolder()
        try folder.issue(try folder.authority(), "server", hosts: ["127.0.0.1", "::1", "localhost", "*.example.org"])
        let pair = try handshake(folder.client(), folder.server(), host: host)
        if fits {
            #expect(pair.outcome == good)
        } else {
            #expect(pair.client.reason == .certificate(.wrongHost(wanted: host)))
        }
        var skipping = folder.client(ca: nil)
        skipping.verification = .none
        #expect(try handshake(skipping, folder.server(), host: host).outcome == good)
        var named = folder.client()
        named.serverName = "localhost"
        let other = try handshake(named, folder.server(), host: host)
        #expect(other.outcome == good)
        #expect(other.server.requestedServerName == "localhost")
    }

    @Test func `servers that clients cannot trust are refused`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority(), other = try folder.authority("other")
        try folder.issue(ca, "server")
        try folder.issue(other, "stranger")
        try folder.issue(ca, "expired", validity: -10)
        try folder.issue(ca, "client-only", usages: [.client])
        #expect(try handshake(folder.client(ca: "other"), folder.server()).client.reason == .certificate(.unknownAuthority))
        #expect(try handshake(folder.client(), folder.server("stranger")).client.reason == .certificate(.unknownAuthority))
        #expect(try handshake(folder.client(), folder.server("expired")).client.reason == .certificate(.expired))
        #expect(try handshake(folder.client(), folder.server("client-only")).client.reason == .certificate(.wrongUsage))
        var both = folder.client()
        both.trustedCAFiles.append(folder.file("other.pem"))
        #expect(try handshake(both, folder.server("stranger")).outcome == good)
    }

    @Test func `revoked serials, common names and hosts are judged on both sides`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        let serverCertificate = try folder.issue(ca, "server")
        let revoked = try folder.issue(ca, "revoked")
        try folder.issue(ca, "client", hosts: ["client.example.org", "10.0.0.9"])
        try folder.write("crl.pem", try ca.revoke([revoked.serial], number: 1, now: folder.now, validitySeconds: 60).pem)
        try folder.write("crl.der", try ca.revoke([serverCertificate.serial], number: 2, now: folder.now, validitySeconds: 60).encoded)
        var server = folder.server(ca: "ca")
        server.revocationFile = folder.file("crl.pem")
        #expect(try handshake(folder.client("client"), server).outcome == good)
        let serial = Hexadecimal.encode(revoked.serial)
        #expect(try handshake(folder.client("revoked"), server).server.reason == .certificate(.revoked(serial: serial)))
        var careful = folder.client("client")
        careful.revocationFile = folder.file("crl.der")
        guard case .certificate(.revoked)? = try handshake(careful, server).client.reason else { Issue.record("not revoked"); return }

        server.revocationFile = ""
        server.allowedCommonNames = ["admin", "client"]
        #expect(try handshake(folder.client("client"), server).outcome == good)
        server.allowedCommonNames = ["admin"]
        #expect(
            try handshake(folder.client("client"), server).server.reason == .certificate(.commonName(found: "client", allowed: ["admin"])))
        server.allowedCommonNames = []
        for host in ["client.example.org", "10.0.0.9"] {
            server.allowedHosts = ["nobody", host]
            #expect(try handshake(folder.client("client"), server).outcome == good)
        }
        server.allowedHosts = ["client"]
        #expect(try handshake(folder.client("client"), server).server.reason == .certificate(.hostNotAllowed(allowed: ["client"])))
    }

    @Test func `application protocols are chosen by the server's order`() throws {
        let folder = CertificateFolder()
        try folder.issue(try folder.authority(), "server")
        func run(_ client: [String], _ server: [String]) throws -> TLSPair {
            var c = folder.client(), s = folder.server()
            c.applicationProtocols = client
            s.applicationProtocols = server
            return try handshake(c, s)
        }
        #expect(try run(["http/1.1", "h2"], ["h2", "http/1.1"]).client.negotiatedProtocol == "h2")
        #expect(try run(["http/1.1"], ["h2", "http/1.1"]).server.negotiatedProtocol == "http/1.1")
        let silent = try run([], ["h2"])
        #expect(silent.outcome == good && silent.server.negotiatedProtocol == nil, "no extension is no refusal")
        let pair = try run(["spdy"], ["h2"])
        guard case .nothingInCommon? = pair.server.reason else { Issue.record("\(pair.outcome)"); return }
    }

    @Test func `what is not TLS is named so`() throws {
        let folder = CertificateFolder()
        try folder.issue(try folder.authority(), "server")
        let context = try TLSContext(folder.server())
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}",
        ] {
            let session = context.makeServerSession()
            var plain: [UInt8] = [], cipher: [UInt8] = []
            #expect(!session.receive(Array(text.utf8).rawSpan, plain: &plain, cipher: &cipher))
            #expect(session.reason == .notTLS, "\(text)")
            #expect(plain.isEmpty)
        }
        let session = context.makeServerSession()
        session.ended()
        #expect(session.reason == .ended)
    }

    @Test func `tickets resume sessions, unless the rules changed`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        try folder.issue(ca, "server")
        let certificate = try folder.issue(ca, "client")
        try folder.write("crl.pem", try ca.revoke([], number: 1, now: folder.now, validitySeconds: 60).pem)
        var configuration = folder.server(ca: "ca")
        configuration.revocationFile = folder.file("crl.pem")
        let server = try TLSContext(configuration), client = try TLSContext(folder.client("client"))
        var first = TLSPair(client.makeClientSession(host: "127.0.0.1"), server.makeServerSession())
        first.run()
        let ticket = try #require(first.client.ticket)
        var second = TLSPair(client.makeClientSession(host: "127.0.0.1", ticket: ticket), server.makeServerSession())
        second.run()
        #expect(second.outcome == good)
        #expect(second.server.isResumed && second.client.isResumed)
        #expect(second.server.peerCommonName == "client", "known from the ticket")
        try folder.write("crl.pem", try ca.revoke([certificate.serial], number: 2, now: folder.now, validitySeconds: 60).pem)
        var third = TLSPair(client.makeClientSession(host: "127.0.0.1", ticket: ticket), server.makeServerSession())
        third.run()
        guard case .certificate(.revoked)? = third.server.reason else { Issue.record("\(third.outcome)"); return }
    }

    @Test func `changed files are taken as one, and bad ones are not`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        let old = try folder.issue(ca, "server")
        let events = EventLog()
        let context = try TLSContext(folder.server()) { events.add("\($0)") }
        let client = try TLSContext(folder.client())
        func shown() -> [UInt8] {
            var pair = TLSPair(client.makeClientSession(host: "127.0.0.1"), context.makeServerSession())
            pair.run()
            return pair.client.peer()?.serial ?? []
        }
        #expect(shown() == old.serial)
        var connected = TLSPair(client.makeClientSession(host: "127.0.0.1"), context.makeServerSession())
        connected.run()

        // Half of a renewal: the new certificate without its key.
        let renewed = try folder.issue(ca, "renewed")
        try folder.write("server.pem", renewed.pem)
        #expect(shown() == old.serial)
        #expect(shown() == old.serial)
        #expect(events.all.count == 1, "said once: \(events.all)")
        guard case .files(.mismatch)? = context.reloadFailure else { Issue.record("\(events.all)"); return }
        try folder.write("server.key", try KeyFile.read(folder.file("renewed.key")).bytes)
        #expect(shown() == renewed.serial)
        #expect(context.reloads == 1 && context.reloadFailure == nil)
        #expect(context.certificate?.serial == renewed.serial)

        try folder.write("server.pem", Array("rubbish".utf8))
        #expect(shown() == renewed.serial)
        unlink(folder.file("server.pem"))
        #expect(shown() == renewed.serial)
        try folder.write("server.pem", renewed.pem)
        #expect(shown() == renewed.serial)
        #expect(connected.server.seal(Array("still here".utf8).rawSpan, cipher: &connected.toClient))
        connected.run()
        #expect(connected.atClient == Array("still here".utf8), "old sessions go on")
    }

    @Test func `the trust bundle is read again too`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority(), next = try folder.authority("next")
        try folder.issue(ca, "server")
        try folder.issue(next, "newcomer")
        let server = try TLSContext(folder.server(ca: "ca"))
        let client = try TLSContext(folder.client("newcomer"))
        func run() -> TLSPair {
            var pair = TLSPair(client.makeClientSession(host: "127.0.0.1"), server.makeServerSession())
            pair.run()
            return pair
        }
        // The client trusts ca.pem as well, and reads it again likewise.
        #expect(run().server.reason == .certificate(.unknownAuthority))
        try folder.write("ca.pem", ca.certificate.pem + next.certificate.pem)
        #expect(run().outcome == good)
        try folder.write("ca.pem", ca.certificate.pem)
        #expect(run().server.reason == .certificate(.unknownAuthority))
    }

    @Test func `bad files are refused by name`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        try folder.issue(ca, "server")
        try folder.issue(ca, "other")
        try folder.write("empty.pem", [])
        try folder.write("text.pem", Array("hello\n".utf8))
        try folder.write("broken.pem", Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8))
        try folder.write("open.key", try KeyFile.read(folder.file("server.key")).bytes, mode: 0o644)
        func failure(_ change: (inout TLSConfiguration) -> Void) -> TLSError? {
            var configuration = folder.server()
            change(&configuration)
            do { _ = try TLSContext(configuration); return nil } catch { return error }
        }
        guard case .files(.file(let missing))? = failure({ $0.certificateFile = folder.file("none.pem") }) else { Issue.record(); return }
        #expect("\(missing)" == "open \(folder.path)/none.pem: No such file or directory")
        #expect(failure { $0.certificateFile = folder.file("empty.pem") } == .files(.noCertificate(source: folder.file("empty.pem"))))
        #expect(failure { $0.certificateFile = folder.file("text.pem") } == .files(.noCertificate(source: folder.file("text.pem"))))
        guard case .files(.malformedCertificate)? = failure({ $0.certificateFile = folder.file("broken.pem") }) else {
            Issue.record(); return
        }
        #expect(failure { $0.keyFile = folder.file("text.pem") } == .files(.noKey(source: folder.file("text.pem"))))
        #expect(
            failure { $0.keyFile = folder.file("other.key") }
                == .files(.mismatch(certificate: folder.file("server.pem"), key: folder.file("other.key"))))
        #expect(
            failure {
                $0.keyFile = folder.file("open.key"); $0.refusesOpenKeys = true
            } == .files(.openToOthers(path: folder.file("open.key"), mode: 0o644)))
        #expect(failure { $0.keyFile = folder.file("open.key") } == nil)
        guard case .files(.malformedRevocationList)? = failure({ $0.revocationFile = folder.file("text.pem") }) else {
            Issue.record(); return
        }
        guard case .configuration? = failure({ $0.keyFile = "" }) else { Issue.record(); return }
        guard
            case .files(.noCertificate)? = failure({
                $0.trustedCAFiles = [folder.file("text.pem")]; $0.verification = .required
            })
        else { Issue.record(); return }
    }

    @Test(
        arguments: [
            ([], [], "10.0.0.1", true), ([], ["10.0.0.1"], "10.0.0.1", true), ([], ["10.0.0.2"], "10.0.0.1", false),
            (["a.x"], ["10.0.0.2"], "10.0.0.1", true), (["b.x"], [], "10.0.0.1", true), (["c.x"], [], "10.0.0.1", false),
            (["*.x"], [], "10.0.0.1", true), (["*.y"], [], "10.0.0.1", false), (["A.X"], [], "10.0.0.1", true),
            (["*.x"], [], "10.0.0.3", false),
        ] as [([String], [String], String, Bool)])
    func `a dialling member's certificate must fit its address`(
        _ dns: [String], _ addresses: [String], _ remote: String, _ accepted: Bool
    ) throws {
        // 10.0.0.1 is called a.x; b.x resolves to it.
        let result = PeerAddressRule.accepts(
            dnsNames: dns, ipAddresses: addresses.map { IPText.parse($0)! }, remote: IPText.parse(remote)!,
            reverse: { IPText.format($0) == "10.0.0.1" ? ["a.x."] : [] },
            forward: { $0 == "b.x" ? [[10, 0, 0, 1]] : [[10, 0, 0, 77]] })
        #expect(result == accepted)
    }

    @Test func `random damage never crashes a session and never invents data`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        try folder.issue(ca, "server")
        try folder.issue(ca, "client")
        let server = try TLSContext(folder.server(ca: "ca")), client = try TLSContext(folder.client("client"))
        let seed: UInt64 = 77
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            var pair = TLSPair(client.makeClientSession(host: "127.0.0.1"), server.makeServerSession())
            var damaged = false
            for _ in 0..<12 {
                if random.chance(1, in: 3), !pair.toServer.isEmpty {
                    let at = Int.random(in: 0..<pair.toServer.count, using: &random)
                    pair.toServer[at] ^= UInt8.random(in: 1...255, using: &random)
                    damaged = true
                }
                let up = pair.toServer, down = pair.toClient
                pair.toServer = []
                pair.toClient = []
                _ = pair.server.receive(up.rawSpan, plain: &pair.atServer, cipher: &pair.toClient)
                _ = pair.client.receive(down.rawSpan, plain: &pair.atClient, cipher: &pair.toServer)
            }
            #expect(pair.atServer.isEmpty && pair.atClient.isEmpty)
            if !damaged { #expect(pair.outcome == good) }
        }
    }
}

private final class EventLog: Sendable {
    private let lines = Locked<[String]>([])
    func add(_ line: String) { lines.with { $0.append(line) } }
    var all: [String] { lines.with { $0 } }
}
