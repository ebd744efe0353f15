// The certificates of --auto-tls and --peer-auto-tls: made once in a folder of the data directory, used from then on.

import Foundations

package struct SelfSignedFiles: Equatable, Sendable {
    package var certificate: String
    package var key: String

    private static let yearSeconds: Int64 = 365 * 24 * 3600

    /// Uses `folder/cert.pem` and `folder/key.pem` when both are there, otherwise makes them: ECDSA P-521, organisation
    /// `etcd`, valid for 365 days times `years`. Clients of the pair do not verify it, so an expired one keeps working for
    /// them; `hosts` matter only to those that are given the certificate as their CA.
    package static func ensure(
        in folder: String, hosts: [String], years: UInt, isPeer: Bool, now: Int64
    ) throws(PKIError) -> SelfSignedFiles {
        let files = SelfSignedFiles(certificate: folder + "/cert.pem", key: folder + "/key.pem")
        if KeyFile.exists(files.certificate) && KeyFile.exists(files.key) { return files }
        guard years > 0 else {
            throw .library(what: "selfSignedCertValidity is invalid", reason: "it should be greater than 0")
        }
        try KeyFile.makeFolder(folder)
        let key = try PrivateKey.generate(.p521)
        // Peers show the same pair when they dial, so theirs is good for both roles.
        var profile = CertificateProfile(
            organizations: ["etcd"], hosts: unique(hosts), usages: isPeer ? [.server, .client] : [.server], now: now,
            validitySeconds: Int64(clamping: years) &* yearSeconds)
        profile.notBefore = now
        let certificate = try Certificate.selfSigned(profile, key)
        // The key first: a crash in between leaves a pair that is made anew.
        try KeyFile.write(key.pem, to: files.key, mode: 0o600)
        try KeyFile.write(certificate.pem, to: files.certificate, mode: 0o644)
        return files
    }

    private static func unique(_ hosts: [String]) -> [String] {
        var seen: Set<String> = []
        return hosts.filter { seen.insert($0).inserted }
    }
}
