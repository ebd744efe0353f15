// An authority that is not ours: its files are read, never written, and every time anew.

import Inventory
import PKI

struct GivenAuthority {
    let authority: CertificateAuthority
    /// Its certificate, and what the file has behind it: all that is to be trusted.
    let bundle: [UInt8]

    /// Nil for an authority of the cluster's own.
    init?(_ settings: Inventory.Authority, now: Int64) throws(PKIError) {
        guard let files = settings.files else { return nil }
        bundle = try KeyFile.read(files.certificate).bytes
        let certificate = try Certificate.chain(pem: bundle, source: files.certificate)[0]
        guard certificate.isAuthority else {
            throw .library(what: files.certificate, reason: "is no authority's certificate; it may not issue others")
        }
        guard certificate.notAfter > now else { throw .library(what: files.certificate, reason: "the authority has expired") }
        authority = try CertificateAuthority(
            certificate: certificate, key: try PrivateKey.load(files.key, mustBePrivate: true))
    }
}
