// The certificates of a local cluster: two authorities, because a client must not be able to speak as a member; for each
// member a pair shown to clients and a pair shown to members; a pair for the operator. What is good is kept; what is due,
// does not fit or cannot be read is made anew with a new key.

import Foundations
import Glibc
import Inventory
import Linux
import PKI
import Rendering

struct LocalCertificates {
    private static let second: Int64 = 1_000_000_000

    let folder: StateFolder
    let inventory: Inventory
    /// Seconds since 1970.
    let now: Int64
    /// What was made, a line each.
    private(set) var events: [String] = []

    init(_ folder: StateFolder, _ inventory: Inventory, now: Int64) {
        self.folder = folder
        self.inventory = inventory
        self.now = now
    }

    mutating func ensure() throws(PKIError) {
        for role in AuthorityRole.allCases where role.settings(inventory).leaves != nil {
            throw .library(
                what: "spec.tls.\(role.rawValue)CA", reason: "mode leaves is for hosts with agents; leave it out, covey up makes its own")
        }
        let clients = try authority("client", inventory.clientCA)
        let peers = try authority("peer", inventory.peerCA)
        for host in inventory.voters {
            let tls = folder.tls(host.name)
            try KeyFile.makeFolder(tls)
            let newClientCA = try copy(clients.certificate, to: "\(tls)/\(CertificateFiles.clientCA)")
            let newPeerCA = try copy(peers.certificate, to: "\(tls)/\(CertificateFiles.peerCA)")
            let names =
                [host.address, host.name, "localhost", "127.0.0.1", "::1"] + (inventory.extraNames[host.name] ?? [])
            try leaf(
                "certificate of \(host.name) for clients", clients, "\(tls)/\(CertificateFiles.server)",
                "\(tls)/\(CertificateFiles.serverKey)", profile(host.name, names), newCA: newClientCA)
            // Members dial each other by peer URL, and are told apart by address.
            try leaf(
                "certificate of \(host.name) for members", peers, "\(tls)/\(CertificateFiles.peer)",
                "\(tls)/\(CertificateFiles.peerKey)", profile(host.name, [host.address, host.name]),
                newCA: newPeerCA)
        }
        try KeyFile.makeFolder(folder.client)
        let newCA = try copy(clients.certificate, to: folder.client + "/ca.crt")
        // With users switched on, a certificate of this name is the user root.
        var operatorProfile = profile("root", [])
        operatorProfile.usages = [.client]
        try leaf(
            "certificate of the operator", clients, folder.client + "/client.crt", folder.client + "/client.key",
            operatorProfile,
            newCA: newCA)
    }

    private func profile(_ name: String, _ hosts: [String]) -> CertificateProfile {
        var seen: Set<String> = []
        return CertificateProfile(
            commonName: name, organizations: [inventory.name], hosts: hosts.filter { seen.insert($0).inserted },
            usages: [.server, .client], now: now, validitySeconds: inventory.leafLifetime / Self.second)
    }

    // MARK: Authorities

    private mutating func authority(_ role: String, _ settings: Inventory.Authority) throws(PKIError)
        -> CertificateAuthority
    {
        if let given = try GivenAuthority(settings, now: now) { return given.authority }
        let certificate = "\(folder.pki)/\(role)-ca.crt"
        let key = "\(folder.pki)/\(role)-ca.key"
        // Half of an authority is not replaced: every member trusts the whole of it.
        if KeyFile.exists(certificate) || KeyFile.exists(key) {
            guard let first = try Certificate.load(certificate).first else { throw .noCertificate(source: certificate) }
            let authority = try CertificateAuthority(
                certificate: first, key: PrivateKey.load(key, mustBePrivate: true))
            guard first.secondsLeft(now: now) > 0 else {
                throw .library(
                    what: certificate,
                    reason: "the authority for \(role)s has expired; its rotation is a procedure of its own")
            }
            return authority
        }
        try KeyFile.makeFolder(folder.pki)
        let made = try CertificateAuthority.create(
            name: "\(inventory.name) \(role) CA", organizations: [inventory.name], now: now,
            validitySeconds: settings.lifetime / Self.second)
        try KeyFile.write(made.key.pem, to: key, mode: 0o600)
        try KeyFile.write(made.certificate.pem, to: certificate, mode: 0o644)
        events.append("made the authority for \(role)s, valid \(DurationText.format(settings.lifetime))")
        return made
    }

    /// True when another was there, or none: what it issued is of no use then.
    private func copy(_ certificate: Certificate, to path: String) throws(PKIError) -> Bool {
        // An unreadable copy is simply written again.
        if let there = try? Certificate.load(path).first, there.fingerprint == certificate.fingerprint { return false }
        try KeyFile.write(certificate.pem, to: path, mode: 0o644)
        return true
    }

    // MARK: Leaves

    private mutating func leaf(
        _ what: String, _ authority: CertificateAuthority, _ path: String, _ keyPath: String,
        _ profile: CertificateProfile,
        newCA: Bool
    ) throws(PKIError) {
        guard let reason = whyMake(path, keyPath, profile, newCA) else { return }
        let key = try PrivateKey.generate()
        let certificate = try authority.issue(profile, for: key)
        // A server that looks in between sees a pair that does not fit, keeps the old one and looks again.
        try KeyFile.write(key.pem, to: keyPath, mode: 0o600)
        try KeyFile.write(certificate.pem, to: path, mode: 0o644)
        events.append(
            "made the \(what)\(reason.isEmpty ? "" : " (\(reason))"), valid \(DurationText.format(inventory.leafLifetime))"
        )
    }

    /// Nil when the pair on disk is good; empty when there is none.
    private func whyMake(_ path: String, _ keyPath: String, _ profile: CertificateProfile, _ newCA: Bool) -> String? {
        guard KeyFile.exists(path), KeyFile.exists(keyPath) else { return "" }
        // Whatever is wrong with the files, the answer is a new pair.
        guard let certificate = try? Certificate.load(path).first, let key = try? PrivateKey.load(keyPath),
            certificate.belongs(to: key)
        else { return "the old one cannot be read" }
        if newCA { return "another authority issued the old one" }
        let life = certificate.notAfter - certificate.notBefore
        if Double(now - certificate.notBefore) >= Double(life) * inventory.renewAt {
            return certificate.notAfter < now ? "the old one has expired" : "the old one is due"
        }
        if let missing = profile.hosts.first(where: { !certificate.isValid(forHost: $0) }) {
            return "the old one lacks \(missing)"
        }
        return nil
    }
}
