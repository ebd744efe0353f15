// What the TLS tests share: a folder with certificates of their own, and two sessions that talk to each other.

import Foundations
import Glibc
import PKI
import TLSEngine
import TestSupport

final class CertificateFolder {
    let path: String
    let now = Int64(time(nil))
    static let year: Int64 = 365 * 24 * 3600

    init() {
        path = temporaryFolder("tls")
    }

    deinit { for name in names() { unlink(path + "/" + name) }; rmdir(path) }

    private func names() -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var all: [String] = []
        while let entry = readdir(folder) {
            all.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return all
    }

    func file(_ name: String) -> String { path + "/" + name }

    func write(_ name: String, _ bytes: [UInt8], mode: UInt32 = 0o600) throws {
        try KeyFile.write(bytes, to: file(name), mode: mode)
    }

    func authority(_ name: String = "ca") throws -> CertificateAuthority {
        let authority = try CertificateAuthority.create(name: name, now: now, validitySeconds: Self.year)
        try write("\(name).pem", authority.certificate.pem)
        return authority
    }

    /// Writes NAME.pem and NAME.key.
    @discardableResult
    func issue(
        _ authority: CertificateAuthority, _ name: String, hosts: [String] = ["127.0.0.1", "localhost"],
        usages: [CertificateProfile.Usage] = [.server, .client], kind: PrivateKey.Kind = .p256, validity: Int64 = year,
        notBefore: Int64? = nil
    ) throws -> Certificate {
        let key = try PrivateKey.generate(kind)
        var profile = CertificateProfile(commonName: name, hosts: hosts, usages: usages, now: now, validitySeconds: validity)
        if let notBefore { profile.notBefore = notBefore }
        let certificate = try authority.issue(profile, for: key)
        try write("\(name).key", key.pem)
        try write("\(name).pem", certificate.pem)
        return certificate
    }

    func server(_ name: String = "server", ca: String? = nil) -> TLSConfiguration {
        .server(certificate: file("\(name).pem"), key: file("\(name).key"), trustedCA: ca.map { file("\($0).pem") })
    }

    func client(ca: String? = "ca", _ name: String? = nil) -> TLSConfiguration {
        .client(
            trustedCA: ca.map { file("\($0).pem") }, certificate: name.map { file("\($0).pem") } ?? "",
            key: name.map { file("\($0).key") } ?? "")
    }
}

/// Two sessions and the wire between them.
struct TLSPair {
    let client: TLSSession
    let server: TLSSession
    var toServer: [UInt8] = []
    var toClient: [UInt8] = []
    var atServer: [UInt8] = []
    var atClient: [UInt8] = []

    init(_ client: TLSSession, _ server: TLSSession) {
        self.client = client
        self.server = server
        client.start(cipher: &toServer)
    }

    /// Moves bytes until nothing moves any more; `piece` at a time.
    mutating func run(piece: Int = .max) {
        while !toServer.isEmpty || !toClient.isEmpty {
            let up = Array(toServer.prefix(piece))
            toServer.removeFirst(up.count)
            if !up.isEmpty { _ = server.receive(up.rawSpan, plain: &atServer, cipher: &toClient) }
            let down = Array(toClient.prefix(piece))
            toClient.removeFirst(down.count)
            if !down.isEmpty { _ = client.receive(down.rawSpan, plain: &atClient, cipher: &toServer) }
        }
    }

    /// What became of both sides, in a line.
    var outcome: String { "\(Self.text(client)) / \(Self.text(server))" }

    private static func text(_ session: TLSSession) -> String {
        session.reason.map { "\($0)" } ?? "\(session.state)"
    }
}

func handshake(
    _ client: TLSConfiguration, _ server: TLSConfiguration, host: String = "127.0.0.1", piece: Int = .max
) throws -> TLSPair {
    var pair = TLSPair(
        try TLSContext(client).makeClientSession(host: host), try TLSContext(server).makeServerSession())
    pair.run(piece: piece)
    return pair
}
