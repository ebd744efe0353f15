// Authorities of others: their files are read, checked, and never written.

import Inventory
import Linux
import PKI
import TestSupport
import Testing

@testable import Operations

@Suite struct GivenAuthorityTests {
    private static let year: Int64 = 365 * 86_400
    private let base = temporaryFolder("given")
    private let now = Int64(Clock.wall() / 1_000_000_000)

    private func write(_ authority: CertificateAuthority, mode: UInt32 = 0o600) throws {
        try KeyFile.write(authority.certificate.pem, to: base + "/corp.crt", mode: 0o644)
        try KeyFile.write(authority.key.pem, to: base + "/corp.key", mode: mode)
    }

    private func corporate(ends seconds: Int64 = year) throws -> CertificateAuthority {
        try CertificateAuthority.create(name: "Corp CA", now: now, validitySeconds: seconds)
    }

    private func given() throws -> FleetAuthorities {
        let files = "{mode: files, certificate: \(base)/corp.crt, key: {file: \(base)/corp.key}}"
        return try FleetAuthorities(StateFolder(base, cluster: "main"), try inventory(threeHosts("tls: {clientCA: \(files)}")))
    }

    @Test func `it issues what a managed one would, and the other stays managed`() throws {
        let corp = try corporate()
        try write(corp)
        let authorities = try given()
        #expect(!KeyFile.exists(base + "/main/pki/client-ca.key") && KeyFile.exists(base + "/main/pki/peer-ca.key"))
        let host = authorities.inventory.hosts[0]
        let csr = try SigningRequest.create(key: try PrivateKey.generate(), commonName: host.name)
        let leaf = try authorities.issue("server", host, csr.pem)
        let trusted = try Certificate.chain(pem: authorities.bundle(.client))
        #expect(LeafKind.server.problem([leaf], nil, trusted: trusted, host, authorities.inventory, now: now) == nil)
        #expect(leaf.issuer == corp.certificate.subject)
        #expect(try Certificate.load(base + "/main/client/client.crt")[0].issuer == corp.certificate.subject)
        let issuing = try authorities.issueAuthority(.client, host, csr.pem)
        #expect(issuing.pathLength == 0 && issuing.isAuthority)
    }

    @Test func `one that allows no authority below it cannot have holders`() throws {
        let key = try PrivateKey.generate()
        var profile = CertificateProfile(commonName: "Corp CA", usages: [], isAuthority: true, now: now, validitySeconds: Self.year)
        profile.pathLength = 0
        try write(try CertificateAuthority(certificate: try Certificate.selfSigned(profile, key), key: key))
        let authorities = try given()
        let host = authorities.inventory.hosts[0]
        let csr = try SigningRequest.create(key: try PrivateKey.generate(), commonName: host.name)
        #expect(throws: PKIError.self) { try authorities.issueAuthority(.client, host, csr.pem) }
        #expect(try authorities.issue("server", host, csr.pem).commonName == host.name)
    }

    @Test func `expired ones, leaves, keys of others and keys others can read are refused`() throws {
        #expect(throws: PKIError.self) { try given() }
        try write(try corporate(ends: -1))
        #expect(throws: PKIError.self) { try given() }
        try write(try corporate(), mode: 0o644)
        #expect(throws: PKIError.self) { try given() }
        let corp = try corporate()
        try write(corp)
        try KeyFile.write(try PrivateKey.generate().pem, to: base + "/corp.key", mode: 0o600)
        #expect(throws: PKIError.self) { try given() }
        let key = try PrivateKey.generate()
        let leaf = try corp.issue(CertificateProfile(commonName: "x", now: now, validitySeconds: Self.year), for: key)
        try KeyFile.write(leaf.pem, to: base + "/corp.crt", mode: 0o644)
        try KeyFile.write(key.pem, to: base + "/corp.key", mode: 0o600)
        #expect(throws: PKIError.self) { try given() }
        #expect(!KeyFile.exists(base + "/main/client/client.crt"), "nothing was made")
    }

    @Test func `the inventory names both files, or neither`() {
        func complaint(_ settings: String) -> String { complaints(threeHosts("tls: {clientCA: \(settings)}")).joined() }
        #expect(complaint("{mode: files, certificate: /a.crt}").contains("mode files needs key.file"))
        #expect(complaint("{mode: files, key: {file: /a.key}}").contains("mode files needs certificate"))
        #expect(complaint("{certificate: /a.crt}").contains("goes with mode files only"))
        #expect(complaint("{mode: files, certificate: /a.crt, key: {file: /a.key}}").isEmpty)
        #expect(complaint("{key: {holders: [kv1, kv9]}}").contains("there is no host kv9"))
        #expect(complaint("{key: {holders: [kv1, kv1]}}").contains("names kv1 twice"))
    }
}
