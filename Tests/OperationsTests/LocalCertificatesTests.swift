// The certificates of a local cluster: made once, kept while they are good, made anew when they are not.

import Foundations
import Inventory
import PKI
import TestSupport
import Testing

@testable import Operations

@Suite struct LocalCertificatesTests {
    private static let day: Int64 = 86_400
    private static let start: Int64 = 1_700_000_000

    private func made(_ folder: StateFolder, _ yaml: String = local, after days: Int64 = 0) throws -> [String] {
        var certificates = LocalCertificates(folder, try inventory(yaml), now: Self.start + days * Self.day)
        try certificates.ensure()
        return certificates.events
    }

    private func withFolder(_ body: (StateFolder) throws -> Void) throws {
        let base = temporaryFolder("certificates")
        defer { _ = Subprocess.run("/bin/rm", ["-rf", base]) }
        try body(StateFolder(base, cluster: "t"))
    }

    @Test func `two authorities, two pairs a member, one of the operator; keys are for their owner alone`() throws {
        try withFolder { folder in
            #expect(try made(folder).count == 2 + 6 + 1)
            let client = try #require(try Certificate.load(folder.pki + "/client-ca.crt").first)
            let peer = try #require(try Certificate.load(folder.pki + "/peer-ca.crt").first)
            #expect(client.fingerprint != peer.fingerprint && client.isAuthority && peer.isAuthority)
            for key in [
                folder.pki + "/client-ca.key", folder.tls("m1") + "/server.key", folder.tls("m1") + "/peer.key",
                folder.client + "/client.key",
            ] {
                #expect(try KeyFile.read(key).mode & 0o777 == 0o600, "\(key)")
            }
            let shown = try #require(try Certificate.load(folder.tls("m2") + "/server.crt").first)
            #expect(shown.issuer == client.subject && shown.isValid(forHost: "127.0.0.1") && shown.isValid(forHost: "localhost"))
            let between = try #require(try Certificate.load(folder.tls("m2") + "/peer.crt").first)
            #expect(between.issuer == peer.subject && !between.isValid(forHost: "localhost"))
            #expect(try Certificate.load(folder.client + "/client.crt").first?.commonName == "root")
        }
    }

    @Test func `good ones are kept, due ones are not`() throws {
        try withFolder { folder in
            _ = try made(folder)
            #expect(try made(folder, after: 19) == [])
            let renewed = try made(folder, after: 20)
            #expect(renewed.count == 7 && renewed.allSatisfy { $0.contains("(the old one is due)") }, "\(renewed)")
            #expect(try made(folder, after: 21) == [])
            #expect(try made(folder, after: 60).allSatisfy { $0.contains("(the old one has expired)") })
        }
    }

    @Test func `a new name makes a new certificate of that member only`() throws {
        try withFolder { folder in
            _ = try made(folder)
            let more = local + "  tls: {leaf: {extraSANs: {m2: [kv.test]}}}\n"
            #expect(try made(folder, more) == ["made the certificate of m2 for clients (the old one lacks kv.test), valid 30d"])
        }
    }

    @Test func `a key that does not fit is replaced with its certificate`() throws {
        try withFolder { folder in
            _ = try made(folder)
            try KeyFile.write(try PrivateKey.generate().pem, to: folder.tls("m3") + "/peer.key", mode: 0o600)
            #expect(try made(folder) == ["made the certificate of m3 for members (the old one cannot be read), valid 30d"])
        }
    }

    @Test func `what another authority issued is made anew`() throws {
        try withFolder { folder in
            _ = try made(folder)
            _ = Subprocess.run("/bin/rm", [folder.pki + "/peer-ca.crt", folder.pki + "/peer-ca.key"])
            let again = try made(folder)
            #expect(
                again.count == 1 + 3 && again.dropFirst().allSatisfy { $0.contains("(another authority issued the old one)") }, "\(again)")
        }
    }

    @Test func `half an authority is not replaced`() throws {
        try withFolder { folder in
            _ = try made(folder)
            _ = Subprocess.run("/bin/rm", [folder.pki + "/client-ca.key"])
            #expect(throws: PKIError.self) { try made(folder) }
        }
    }
}
