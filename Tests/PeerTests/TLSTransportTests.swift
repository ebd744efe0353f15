// Members who show each other certificates.

import Foundations
import Glibc
import Linux
import PKI
import Raft
import Server
import TLSEngine
import Testing

/// Certificates in the folder of a test.
private struct Certificates {
    let folder: String
    let authority: CertificateAuthority
    private let now = Int64(time(nil))

    init(_ folder: String, _ name: String = "ca") throws {
        self.folder = folder
        authority = try CertificateAuthority.create(name: name, now: now, validitySeconds: 86400)
        try KeyFile.write(authority.certificate.pem, to: "\(folder)/\(name).pem", mode: 0o600)
    }

    func issue(_ name: String, hosts: [String]) throws {
        let key = try PrivateKey.generate(.p256)
        let certificate = try authority.issue(
            CertificateProfile(commonName: name, hosts: hosts, usages: [.server, .client], now: now, validitySeconds: 86400),
            for: key)
        try KeyFile.write(key.pem, to: "\(folder)/\(name).key", mode: 0o600)
        try KeyFile.write(certificate.pem, to: "\(folder)/\(name).pem", mode: 0o600)
    }

    func server(_ name: String, change: (inout TLSConfiguration) -> Void = { _ in }) throws -> TLSContext {
        var configuration = TLSConfiguration.server(
            certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key", trustedCA: "\(folder)/ca.pem")
        change(&configuration)
        return try TLSContext(configuration)
    }

    func client(_ name: String, ca: String = "ca") throws -> TLSContext {
        var configuration = TLSConfiguration.client(
            trustedCA: "\(folder)/\(ca).pem", certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
        // As members dial: without the extension.
        configuration.applicationProtocols = []
        return try TLSContext(configuration)
    }
}

private func pair(
    _ test: TestLoop, dials: TLSContext, listens: TLSContext, goodServer: TLSContext, goodClient: TLSContext
) throws -> (dialler: TestMember, listener: TestMember) {
    let dialler = try TestMember(test.loop, 0xa1, folder: test.folder, tlsServer: goodServer, tlsClient: dials)
    let listener = try TestMember(test.loop, 0xb2, folder: test.folder, tlsServer: listens, tlsClient: goodClient)
    test.members += [dialler, listener]
    dialler.transport.setPeer(listener.id, urls: [listener.url])
    return (dialler, listener)
}

@Suite struct TLSTransportTests {
    @Test func `streams, posts and snapshots over TLS`() throws {
        let test = try TestLoop()
        let certificates = try Certificates(test.folder)
        try certificates.issue("member", hosts: ["127.0.0.1"])
        let (server, client) = (try certificates.server("member"), try certificates.client("member"))
        let (a, b) = try pair(test, dials: client, listens: server, goodServer: server, goodClient: client)
        a.transport.send([Message(.vote, to: b.id, from: a.id, term: 1)])
        #expect(test.run { b.messages.count == 1 }, "\(a.reports) \(b.reports)")
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) }, "\(a.reports) \(b.reports)")
        var append = Message(.append, to: b.id, from: a.id, term: 1)
        append.entries = [Entry(term: 1, index: 1, data: Bytes(repeating: 9, count: 5 << 20))]
        a.transport.send([append])
        #expect(test.run { b.messages.contains(append) })
        var message = Message(.snapshot, to: b.id, from: a.id, term: 1)
        message.snapshot = Snapshot(metadata: SnapshotMetadata(index: 7, term: 1))
        a.transport.sendSnapshot(message, database: Zeros(20 << 20))
        #expect(test.run { a.snapshotResults == [true] && b.snapshots.count == 1 })
    }

    @Test func `a member of another authority, without a certificate, or in the clear is kept out`() throws {
        let test = try TestLoop()
        let certificates = try Certificates(test.folder)
        try certificates.issue("member", hosts: ["127.0.0.1"])
        let others = try Certificates(test.folder, "other")
        try others.issue("stranger", hosts: ["127.0.0.1"])
        let (server, client) = (try certificates.server("member"), try certificates.client("member"))
        // Trusts the listener, and is not trusted itself.
        let stranger = try certificates.client("stranger")
        let (a, b) = try pair(test, dials: stranger, listens: server, goodServer: server, goodClient: client)
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.reports.contains { $0.contains("TLS") || $0.contains("closed") } }, "\(a.reports)")
        #expect(b.transport.streamCount(to: a.id) == 0 && a.transport.activeSince(b.id) == nil)
        let plain = RawConnection(test.loop, port: b.port, Bytes("GET /members HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
        #expect(test.run { plain.isClosed })
        #expect(!plain.text.contains("200"))
        #expect(b.pages.isEmpty)
    }

    @Test(arguments: [
        (["127.0.0.1"], true), (["10.9.8.7"], false), ([], true), (["localhost"], true), (["other.invalid"], false),
    ]) func `a dialler's certificate must fit its address`(_ hosts: [String], _ fits: Bool) throws {
        let test = try TestLoop()
        let certificates = try Certificates(test.folder)
        try certificates.issue("member", hosts: ["127.0.0.1"])
        try certificates.issue("dialler", hosts: hosts)
        let (server, client) = (try certificates.server("member"), try certificates.client("member"))
        let (a, b) = try pair(
            test, dials: try certificates.client("dialler"), listens: server, goodServer: server, goodClient: client)
        b.transport.setPeer(a.id, urls: [a.url])
        if fits {
            #expect(test.run { a.transport.activeSince(b.id) != nil }, "\(a.reports) \(b.reports)")
        } else {
            #expect(test.run { b.reports.contains { $0.contains("does not fit") } }, "\(a.reports) \(b.reports)")
            #expect(a.transport.activeSince(b.id) == nil && b.transport.streamCount(to: a.id) == 0)
        }
    }

    @Test func `only allowed names get in`() throws {
        let test = try TestLoop()
        let certificates = try Certificates(test.folder)
        try certificates.issue("member", hosts: ["127.0.0.1"])
        try certificates.issue("guest", hosts: ["127.0.0.1"])
        let server = try certificates.server("member") { $0.allowedCommonNames = ["member"] }
        let client = try certificates.client("member")
        let (guest, host) = try pair(
            test, dials: try certificates.client("guest"), listens: server, goodServer: server, goodClient: client)
        host.transport.setPeer(guest.id, urls: [guest.url])
        #expect(test.run { host.transport.activeSince(guest.id) != nil })
        #expect(test.run { !guest.reports.isEmpty })
        #expect(guest.transport.activeSince(host.id) == nil)
    }
}

@Suite struct ProbeTimeTests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00Z"), (1_795_227_749_679_231_598, "2026-11-21T02:22:29.679231598Z"),
            (951_782_400_500_000_000, "2000-02-29T00:00:00.5Z"), (4_102_444_799_000_000_001, "2099-12-31T23:59:59.000000001Z"),
        ] as [(UInt64, String)]) func `times are written as members write them, and read`(_ time: UInt64, _ text: String)
    {
        #expect(UTCTime.text(time) == text)
        #expect(UTCTime.parse(text[...]) == Int64(time))
        #expect(ProbeText.time(String(decoding: ProbeText.answer(time), as: UTF8.self)) == Int64(time))
    }

    @Test func `times of other zones`() {
        #expect(UTCTime.parse("2026-11-21T03:22:29.679231598+01:00") == 1_795_227_749_679_231_598)
        #expect(UTCTime.parse("2026-11-20T18:52:29.679231598-07:30") == 1_795_227_749_679_231_598)
        for text in ["", "now", "2026-11-21", "2026-11-21T02:22Z", "2026-13-21T02:22:29Z"] {
            #expect(UTCTime.parse(text[...]) == nil)
            #expect(ProbeText.time("{\"Now\":\"\(text)\"}") == nil)
        }
    }
}
