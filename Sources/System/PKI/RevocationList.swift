// Certificate revocation lists, looked up by serial as etcd does: neither the list's signature nor its dates are judged,
// because who may write the file is trusted anyway.

import COpenSSL
import Foundations

package struct RevocationList: Sendable, Equatable {
    private var serials: Set<[UInt8]>
    /// DER.
    package var encoded: [UInt8]

    /// PEM or DER.
    package init(_ bytes: [UInt8], source: String = "revocation list") throws(PKIError) {
        ERR_clear_error()
        let list: OpaquePointer? =
            unsafe PEMBytes.reading(bytes) { bio in unsafe PEM_read_bio_X509_CRL(bio, nil, nil, nil) }
            ?? bytes.withUnsafeBufferPointer { buffer in
                var at = buffer.baseAddress
                return unsafe d2i_X509_CRL(nil, &at, buffer.count)
            }
        guard let list = unsafe list else {
            throw .malformedRevocationList(source: source, reason: OpenSSLErrors.take())
        }
        ERR_clear_error()
        defer { unsafe X509_CRL_free(list) }
        unsafe self.init(list)
    }

    private init(_ list: OpaquePointer) {
        serials = []
        for i in unsafe 0..<max(covey_revoked_count(list), 0) {
            unsafe serials.insert(Certificate.integerBytes(covey_revoked_serial(list, i)))
        }
        encoded = unsafe PEMBytes.der { unsafe i2d_X509_CRL(list, $0) }
    }

    package static func load(_ path: String) throws(PKIError) -> RevocationList {
        try RevocationList(try KeyFile.read(path).bytes, source: path)
    }

    package var count: Int { serials.count }
    package func contains(_ serial: [UInt8]) -> Bool { serials.contains(serial) }

    package var pem: [UInt8] {
        var text = "-----BEGIN X509 CRL-----\n"
        var line = Base64.encode(encoded)[...]
        while !line.isEmpty {
            text += line.prefix(64) + "\n"
            line = line.dropFirst(64)
        }
        return Array((text + "-----END X509 CRL-----\n").utf8)
    }

    static func create(
        _ authority: CertificateAuthority, _ serials: [[UInt8]], number: UInt64, now: Int64, validitySeconds: Int64
    ) throws(PKIError) -> RevocationList {
        ERR_clear_error()
        let list = unsafe X509_CRL_new()!
        defer { unsafe X509_CRL_free(list) }
        unsafe X509_CRL_set_version(list, 1)
        unsafe X509_CRL_set_issuer_name(list, X509_get_subject_name(authority.certificate.pointer))
        let time = unsafe ASN1_TIME_set(nil, Int(now))
        defer { unsafe ASN1_TIME_free(time) }
        unsafe X509_CRL_set1_lastUpdate(list, time)
        for serial in serials {
            let entry = unsafe X509_REVOKED_new()
            let integer = unsafe ASN1_INTEGER_new()
            unsafe CertificateBuilder.setSerial(integer, serial)
            unsafe X509_REVOKED_set_serialNumber(entry, integer)
            unsafe X509_REVOKED_set_revocationDate(entry, time)
            unsafe ASN1_INTEGER_free(integer)
            unsafe X509_CRL_add0_revoked(list, entry)
        }
        unsafe ASN1_TIME_set(time, Int(now + validitySeconds))
        unsafe X509_CRL_set1_nextUpdate(list, time)
        let crlNumber = unsafe ASN1_INTEGER_new()
        defer { unsafe ASN1_INTEGER_free(crlNumber) }
        unsafe ASN1_INTEGER_set_uint64(crlNumber, number)
        unsafe X509_CRL_add1_ext_i2d(list, NID_crl_number, crlNumber, 0, 0)
        unsafe X509_CRL_sort(list)
        guard unsafe X509_CRL_sign(list, authority.key.pointer, CertificateBuilder.digest(for: authority.key)) > 0 else {
            throw .library(what: "cannot sign a revocation list", reason: OpenSSLErrors.take())
        }
        return unsafe RevocationList(list)
    }
}
