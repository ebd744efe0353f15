// One X.509 certificate, and what we ask of it: names, serial, validity, key.

import COpenSSL
import Foundations
import Glibc
import Linux

// OpenSSL's certificates are reference counted and cached values in them are made under their own lock; nobody changes
// one after it is made.
@safe package final class Certificate: @unchecked Sendable {
    package let pointer: OpaquePointer

    /// Takes over the reference.
    package init(owned pointer: OpaquePointer) { unsafe self.pointer = pointer }

    /// Shares a certificate that something else holds.
    package init(shared pointer: OpaquePointer) {
        unsafe X509_up_ref(pointer)
        unsafe self.pointer = pointer
    }

    deinit { unsafe X509_free(pointer) }

    /// All certificates of a PEM file, leaf first as they stand. `source` names it in errors.
    package static func chain(pem: [UInt8], source: String = "certificate") throws(PKIError) -> [Certificate] {
        ERR_clear_error()
        var all: [Certificate] = []
        unsafe PEMBytes.reading(pem) { bio in
            while let next = unsafe PEM_read_bio_X509(bio, nil, nil, nil) { unsafe all.append(Certificate(owned: next)) }
        }
        guard PEMBytes.lastErrorIsEnd() else {
            throw .malformedCertificate(source: source, reason: OpenSSLErrors.take())
        }
        ERR_clear_error()
        guard !all.isEmpty else { throw .noCertificate(source: source) }
        return all
    }

    package static func load(_ path: String) throws(PKIError) -> [Certificate] {
        try chain(pem: try KeyFile.read(path).bytes, source: path)
    }

    package convenience init(der: [UInt8]) throws(PKIError) {
        ERR_clear_error()
        let pointer = unsafe der.withUnsafeBufferPointer { bytes in
            var at = bytes.baseAddress
            return unsafe d2i_X509(nil, &at, bytes.count)
        }
        guard let pointer = unsafe pointer else {
            throw .malformedCertificate(source: "DER bytes", reason: OpenSSLErrors.take())
        }
        unsafe self.init(owned: pointer)
    }

    // MARK: Facts

    package var pem: [UInt8] {
        guard let bytes = unsafe PEMBytes.written({ bio in unsafe PEM_write_bio_X509(bio, pointer) }) else {
            unreachable("a certificate in memory can be written: \(OpenSSLErrors.take())")
        }
        return bytes
    }

    package var der: [UInt8] { unsafe PEMBytes.der { unsafe i2d_X509(pointer, $0) } }

    package var fingerprint: [UInt8] { SHA256Digest.hash(der) }

    /// The last common name of the subject, as Go has it; empty without one.
    package var commonName: String { subjectEntries(NID_commonName).last ?? "" }
    package var organizations: [String] { subjectEntries(NID_organizationName) }

    private func subjectEntries(_ kind: Int32) -> [String] {
        let name = unsafe X509_get_subject_name(pointer)
        var entries: [String] = []
        var at: Int32 = -1
        while true {
            at = unsafe X509_NAME_get_index_by_NID(name, kind, at)
            guard at >= 0 else { return entries }
            let data = unsafe X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at))
            var utf8: UnsafeMutablePointer<UInt8>?
            let count = unsafe ASN1_STRING_to_UTF8(&utf8, data)
            guard count >= 0, let text = unsafe utf8 else { continue }
            unsafe entries.append(String(decoding: UnsafeBufferPointer(start: text, count: Int(count)), as: UTF8.self))
            unsafe CRYPTO_free(text, "", 0)
        }
    }

    package var subject: String { unsafe Self.oneLine(X509_get_subject_name(pointer)) }
    package var issuer: String { unsafe Self.oneLine(X509_get_issuer_name(pointer)) }

    private static func oneLine(_ name: OpaquePointer?) -> String {
        let bytes = unsafe PEMBytes.written { bio in
            unsafe covey_print_name(bio, name)
        }
        return String(decoding: bytes ?? [], as: UTF8.self)
    }

    /// As an unsigned number, most significant byte first, without leading zeros.
    package var serial: [UInt8] { unsafe Self.integerBytes(X509_get0_serialNumber(pointer)) }

    static func integerBytes(_ integer: UnsafePointer<ASN1_INTEGER>?) -> [UInt8] {
        let count = unsafe Int(ASN1_STRING_length(integer))
        guard count > 0, let data = unsafe ASN1_STRING_get0_data(integer) else { return [] }
        return unsafe Array(UnsafeBufferPointer(start: data, count: count).drop { $0 == 0 })
    }

    /// Seconds since 1970.
    package var notBefore: Int64 { unsafe Self.unixTime(X509_get0_notBefore(pointer)) }
    package var notAfter: Int64 { unsafe Self.unixTime(X509_get0_notAfter(pointer)) }

    private static func unixTime(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var parts = unsafe tm()
        guard unsafe ASN1_TIME_to_tm(time, &parts) == 1 else { return 0 }
        return unsafe Int64(timegm(&parts))
    }

    package var dnsNames: [String] { alternativeNames(GEN_DNS).map { String(decoding: $0, as: UTF8.self) } }

    /// Four or sixteen bytes each.
    package var ipAddresses: [[UInt8]] { alternativeNames(GEN_IPADD) }

    private func alternativeNames(_ kind: Int32) -> [[UInt8]] {
        guard let names = unsafe covey_alternative_names(pointer) else { return [] }
        defer { unsafe GENERAL_NAMES_free(names) }
        var found: [[UInt8]] = []
        for i in unsafe 0..<covey_names_count(names) where unsafe covey_names_type(names, i) == kind {
            let text = unsafe covey_names_string(names, i)
            let count = unsafe Int(ASN1_STRING_length(text))
            unsafe found.append(Array(UnsafeBufferPointer(start: ASN1_STRING_get0_data(text), count: count)))
        }
        return found
    }

    /// How many authorities may follow below this one; nil: any number.
    package var pathLength: Int? {
        let length = unsafe X509_get_pathlen(pointer)
        return length < 0 ? nil : Int(length)
    }

    package var isAuthority: Bool { unsafe X509_check_ca(pointer) == 1 }

    package var publicKey: PrivateKey {
        guard let key = unsafe X509_get_pubkey(pointer) else { unreachable("a parsed certificate has a key OpenSSL knows") }
        return unsafe PrivateKey(owned: key)
    }

    package func belongs(to key: PrivateKey) -> Bool {
        defer { ERR_clear_error() }
        return unsafe X509_check_private_key(pointer, key.pointer) == 1
    }

    /// Whether the certificate is good for this host name or IP address. The common name does not count; a wildcard stands
    /// for one whole label.
    package func isValid(forHost host: String) -> Bool {
        let flags = UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        if let address = IPText.parse(bare) { return ipAddresses.contains(address) }
        return unsafe X509_check_host(pointer, bare, bare.utf8.count, flags, nil) == 1
    }

    /// How much of the validity is left, in seconds; negative when it is over.
    package func secondsLeft(now: Int64) -> Int64 { notAfter - now }
}
