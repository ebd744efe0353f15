// Keys, certificates, requests, revocation and tokens; what we write is read by OpenSSL's own command where it is there.

import Foundations
import Glibc
import PKI
import TestSupport
import Testing

struct PKITests {
    @Test(arguments: [PrivateKey.Kind.p256, .p384, .p521, .ed25519, .rsa(bits: 2048)])
    func `keys survive being written`(_ kind: PrivateKey.Kind) throws {
        let key = try PrivateKey.generate(kind)
        #expect(try PrivateKey(pem: key.pem).matches(key))
        #expect(try PrivateKey.publicKey(pem: key.publicPEM).matches(key))
        #expect(!(try PrivateKey.generate(kind)).matches(key))
        let certificate = try Certificate.selfSigned(
            CertificateProfile(commonName: "x", now: 1_700_000_000, validitySeconds: 60), key)
        #expect(certificate.belongs(to: key))
        #expect(try PrivateKey.publicKey(pem: certificate.pem).matches(key))
    }

    @Test func `certificates say what their profile said`() throws {
        let ca = try CertificateAuthority.create(name: "Root Ä", organizations: ["Org"], now: 1_700_000_000, validitySeconds: 1000)
        let key = try PrivateKey.generate()
        let certificate = try ca.issue(
            CertificateProfile(
                commonName: "m1", organizations: ["etcd", "x, y"], hosts: ["m1.local", "*.example.org", "10.0.0.1", "fd00::1"],
                now: 1_700_000_000, validitySeconds: 500), for: key)
        #expect(certificate.commonName == "m1")
        #expect(certificate.organizations == ["etcd", "x, y"])
        #expect(certificate.dnsNames == ["m1.local", "*.example.org"])
        #expect(certificate.ipAddresses.map(IPText.format) == ["10.0.0.1", "fd00::1"])
        #expect(certificate.notBefore == 1_700_000_000 - 300 && certificate.notAfter == 1_700_000_500)
        #expect(certificate.secondsLeft(now: 1_700_000_600) == -100)
        #expect(certificate.issuer == "CN=Root Ä,O=Org")
        #expect(!certificate.isAuthority && ca.certificate.isAuthority)
        #expect(certificate.serial.count == 16)
        #expect(try Certificate(der: certificate.der).fingerprint == certificate.fingerprint)
        #expect(try Certificate.chain(pem: certificate.pem + ca.certificate.pem).map(\.commonName) == ["m1", "Root Ä"])
        #expect(throws: PKIError.self) {
            try ca.issue(CertificateProfile(hosts: ["a,IP:1.2.3.4"], now: 0, validitySeconds: 1), for: key)
        }
        #expect(throws: PKIError.self) { try CertificateAuthority(certificate: ca.certificate, key: key) }
    }

    @Test func `a request proves its key`() throws {
        let key = try PrivateKey.generate()
        let pem = try SigningRequest.create(key: key, commonName: "node-7", hosts: ["10.0.0.7"]).pem
        let request = try SigningRequest(pem: pem)
        #expect(request.commonName == "node-7")
        #expect(request.publicKey.matches(key))
        let ca = try CertificateAuthority.create(name: "ca", now: 1_700_000_000, validitySeconds: 1000)
        #expect(
            try ca.issue(CertificateProfile(commonName: "node-7", now: 1_700_000_000, validitySeconds: 10), for: request).belongs(to: key))
        #expect(throws: PKIError.self) { try SigningRequest(pem: Array("rubbish".utf8)) }
    }

    @Test func `revocation lists are found by serial in both forms`() throws {
        let ca = try CertificateAuthority.create(name: "ca", now: 1_700_000_000, validitySeconds: 1000)
        let list = try ca.revoke([[1, 2, 3], [0x7f]], number: 9, now: 1_700_000_000, validitySeconds: 60)
        for form in [list.pem, list.encoded] {
            let read = try RevocationList(form)
            #expect(read.count == 2 && read.contains([1, 2, 3]) && read.contains([0x7f]) && !read.contains([1, 2]))
        }
        #expect(throws: PKIError.self) { try RevocationList([]) }
    }

    @Test(.enabled(if: access("/usr/bin/openssl", X_OK) == 0))
    func `openssl's command verifies what we issue`() throws {
        let folder = CertificateFolder()
        let ca = try folder.authority()
        try folder.issue(ca, "leaf")
        let run = Subprocess.run("/usr/bin/openssl", ["verify", "-x509_strict", "-CAfile", folder.file("ca.pem"), folder.file("leaf.pem")])
        #expect(run.status == 0, "\(run.output)")
        let key = try PrivateKey.generate()
        try folder.write("r.csr", try SigningRequest.create(key: key, commonName: "n", hosts: ["a.b"]).pem)
        #expect(Subprocess.run("/usr/bin/openssl", ["req", "-verify", "-noout", "-in", folder.file("r.csr")]).status == 0)
        try folder.write("crl.pem", try ca.revoke([[5]], number: 1, now: folder.now, validitySeconds: 600).pem)
        let crl = Subprocess.run(
            "/usr/bin/openssl", ["crl", "-noout", "-text", "-CAfile", folder.file("ca.pem"), "-in", folder.file("crl.pem")])
        #expect(crl.output.contains("verify OK") && crl.output.contains("Serial Number: 05"), "\(crl.output)")
    }

    @Test func `self-signed files are made once and kept private`() throws {
        let folder = CertificateFolder()
        let place = folder.path + "/fixtures/client"
        defer { for name in ["cert.pem", "key.pem"] { unlink(place + "/" + name) }; rmdir(place); rmdir(folder.path + "/fixtures") }
        let files = try SelfSignedFiles.ensure(
            in: place, hosts: ["127.0.0.1", "localhost", "127.0.0.1"], years: 2, isPeer: false, now: folder.now)
        let certificate = try #require(try Certificate.load(files.certificate).first)
        #expect(certificate.organizations == ["etcd"])
        #expect(certificate.dnsNames == ["localhost"] && certificate.ipAddresses == [[127, 0, 0, 1]])
        #expect(certificate.publicKey.algorithm == "ECDSA P-521")
        #expect(certificate.notAfter == folder.now + 2 * 365 * 24 * 3600)
        #expect(try KeyFile.read(files.key).mode & 0o777 == 0o600)
        #expect(try KeyFile.read(files.certificate).mode & 0o777 == 0o644)
        var status = stat()
        stat(place, &status)
        #expect(status.st_mode & 0o777 == 0o700)
        #expect(try PrivateKey.load(files.key, mustBePrivate: true).matches(certificate.publicKey))
        _ = try SelfSignedFiles.ensure(in: place, hosts: ["other"], years: 0, isPeer: false, now: folder.now)
        #expect(try Certificate.load(files.certificate).first?.serial == certificate.serial, "reused")
        #expect(throws: PKIError.self) {
            try SelfSignedFiles.ensure(in: folder.path + "/none", hosts: [], years: 0, isPeer: false, now: folder.now)
        }
    }

    @Test func `digests and randomness`() {
        #expect(
            Hexadecimal.encode(SHA256Digest.hash(Array("abc".utf8))) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let digest = SHA256Digest()
        for byte in "abc".utf8 { digest.update([byte]) }
        #expect(digest.finish() == SHA256Digest.hash(Array("abc".utf8)))
        #expect(SecureRandom.bytes(16) != SecureRandom.bytes(16))
    }

    @Test(arguments: TokenAlgorithm.allCases)
    func `tokens are accepted only from their key and algorithm`(_ algorithm: TokenAlgorithm) throws {
        func key() throws -> TokenKey {
            switch algorithm {
            case .hs256, .hs384, .hs512: .secret(SecureRandom.bytes(32))
            case .es256: .pair(try .generate(.p256))
            case .es384: .pair(try .generate(.p384))
            case .es512: .pair(try .generate(.p521))
            case .edDSA: .pair(try .generate(.ed25519))
            default: .pair(try .generate(.rsa(bits: 2048)))
            }
        }
        let mine = try key()
        let payload = Array("{\"username\":\"root\",\"revision\":1}".utf8)
        let token = try JWTSigner(algorithm, mine).sign(payload: payload)
        let verifier = try JWTVerifier(algorithm, mine)
        #expect(verifier.verify(token) == payload)
        #expect(try JWTVerifier(algorithm, try key()).verify(token) == nil)
        for at in stride(from: 0, to: token.count, by: max(1, token.count / 60)) {
            var damaged = token
            damaged[at] = damaged[at] == 0x41 ? 0x42 : 0x41
            // The last letter of a part has bits that mean nothing.
            if damaged[min(at + 1, token.count - 1)] == 0x2e || at == token.count - 1 { continue }
            #expect(verifier.verify(damaged) == nil, "byte \(at)")
        }
        #expect(verifier.verify([]) == nil)
        #expect(verifier.verify(Array("a.b".utf8)) == nil)
        let none = Array("eyJhbGciOiJub25lIn0.e30.".utf8)
        #expect(verifier.verify(none) == nil)
        if case .pair(let pair) = mine {
            // The old trick: the public key as a shared secret.
            let forged = try JWTSigner(.hs256, .secret(pair.publicPEM)).sign(payload: payload)
            #expect(verifier.verify(forged) == nil)
            let publicOnly = try JWTVerifier(algorithm, .pair(PrivateKey.publicKey(pem: pair.publicPEM)))
            #expect(publicOnly.verify(token) == payload)
        } else {
            #expect(throws: PKIError.unsupportedKey(algorithm: algorithm.rawValue)) {
                try JWTSigner(algorithm, .pair(try .generate(.p256)))
            }
        }
    }

    @Test func `a token of another implementation is accepted`() throws {
        // The example of RFC 7515, appendix A.3 (ES256).
        let token =
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        let key = try PrivateKey.publicKey(
            pem: Array(
                """
                -----BEGIN PUBLIC KEY-----
                MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
                6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
                -----END PUBLIC KEY-----
                """.utf8))
        #expect(try JWTVerifier(.es256, .pair(key)).verify(Array(token.utf8)) != nil)
    }
}
