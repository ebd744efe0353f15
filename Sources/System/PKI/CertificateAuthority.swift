// Making certificates: self-signed ones, authorities, and what they issue for keys and signing requests.
//
//     let ca = try CertificateAuthority.create(name: "prod-eu", validitySeconds: 10 * year, now: now)
//     let key = try PrivateKey.generate()
//     let leaf = try ca.issue(CertificateProfile(commonName: "m1", hosts: ["10.0.0.1", "m1.local"], ...), for: key)

import COpenSSL
import Foundations
import Linux

/// What a new certificate says.
package struct CertificateProfile: Sendable, Equatable {
    package enum Usage: String, Sendable { case server = "serverAuth", client = "clientAuth" }

    package var commonName = ""
    package var organizations: [String] = []
    /// DNS names and IP addresses.
    package var hosts: [String] = []
    package var usages: [Usage] = [.server, .client]
    package var isAuthority = false
    /// How many authorities may stand between this one and a leaf; nil: any number.
    package var pathLength: Int?
    /// Seconds since 1970.
    package var notBefore: Int64
    package var notAfter: Int64

    /// Valid from `now` less five minutes, because clocks differ.
    package init(
        commonName: String = "", organizations: [String] = [], hosts: [String] = [], usages: [Usage] = [.server, .client],
        isAuthority: Bool = false, now: Int64, validitySeconds: Int64
    ) {
        self.commonName = commonName
        self.organizations = organizations
        self.hosts = hosts
        self.usages = usages
        self.isAuthority = isAuthority
        notBefore = now - 300
        notAfter = now + validitySeconds
    }
}

package struct CertificateAuthority: Sendable {
    package let certificate: Certificate
    package let key: PrivateKey

    package init(certificate: Certificate, key: PrivateKey) throws(PKIError) {
        guard certificate.belongs(to: key) else {
            throw .mismatch(certificate: certificate.subject, key: key.algorithm)
        }
        self.certificate = certificate
        self.key = key
    }

    /// A root of its own.
    package static func create(
        name: String, organizations: [String] = [], kind: PrivateKey.Kind = .p256, now: Int64, validitySeconds: Int64
    ) throws(PKIError) -> CertificateAuthority {
        let key = try PrivateKey.generate(kind)
        let profile = CertificateProfile(
            commonName: name, organizations: organizations, usages: [], isAuthority: true, now: now,
            validitySeconds: validitySeconds)
        return try CertificateAuthority(certificate: Certificate.selfSigned(profile, key), key: key)
    }

    package func issue(_ profile: CertificateProfile, for key: PrivateKey) throws(PKIError) -> Certificate {
        try CertificateBuilder.build(profile, subjectKey: key, issuer: certificate, issuerKey: self.key)
    }

    /// Issues what `profile` says for the key of a request whose signature has been checked. Names in the request are
    /// wishes; the profile decides.
    package func issue(_ profile: CertificateProfile, for request: SigningRequest) throws(PKIError) -> Certificate {
        try issue(profile, for: request.publicKey)
    }

    /// A list of revoked serials, signed.
    package func revoke(
        _ serials: [[UInt8]], number: UInt64, now: Int64, validitySeconds: Int64
    ) throws(PKIError) -> RevocationList {
        try RevocationList.create(self, serials, number: number, now: now, validitySeconds: validitySeconds)
    }
}

extension Certificate {
    package static func selfSigned(_ profile: CertificateProfile, _ key: PrivateKey) throws(PKIError) -> Certificate {
        try CertificateBuilder.build(profile, subjectKey: key, issuer: nil, issuerKey: key)
    }
}

enum CertificateBuilder {
    static func build(
        _ profile: CertificateProfile, subjectKey: PrivateKey, issuer: Certificate?, issuerKey: PrivateKey
    ) throws(PKIError) -> Certificate {
        ERR_clear_error()
        guard let pointer = unsafe X509_new() else { throw failure("certificate") }
        let certificate = unsafe Certificate(owned: pointer)
        unsafe X509_set_version(pointer, 2)
        // 127 random bits, never zero at the front: unique without a ledger, positive in DER.
        var serial = SecureRandom.bytes(16)
        serial[0] = serial[0] & 0x7f | 0x40
        unsafe setSerial(X509_get_serialNumber(pointer), serial)
        unsafe ASN1_TIME_set(X509_getm_notBefore(pointer), Int(profile.notBefore))
        unsafe ASN1_TIME_set(X509_getm_notAfter(pointer), Int(profile.notAfter))
        guard unsafe X509_set_pubkey(pointer, subjectKey.pointer) == 1 else { throw failure("public key") }
        let subject = unsafe X509_get_subject_name(pointer)
        unsafe fillName(subject, profile.commonName, profile.organizations)
        let issuerName = unsafe issuer.map { unsafe X509_get_subject_name($0.pointer) } ?? subject
        unsafe X509_set_issuer_name(pointer, issuerName)
        for (kind, value) in try extensions(profile, hasIssuer: issuer != nil) {
            let made = unsafe covey_extension(issuer?.pointer ?? pointer, pointer, kind, value)
            guard let made = unsafe made else { throw failure("extension \(value)") }
            defer { unsafe X509_EXTENSION_free(made) }
            guard unsafe X509_add_ext(pointer, made, -1) == 1 else { throw failure("extension \(value)") }
        }
        guard unsafe X509_sign(pointer, issuerKey.pointer, digest(for: issuerKey)) > 0 else { throw failure("signature") }
        return certificate
    }

    static func failure(_ what: String) -> PKIError { .library(what: "cannot make a certificate (\(what))", reason: OpenSSLErrors.take()) }

    static func setSerial(_ integer: UnsafeMutablePointer<ASN1_INTEGER>?, _ bytes: [UInt8]) {
        let number = unsafe BN_bin2bn(bytes, Int32(bytes.count), nil)
        unsafe BN_to_ASN1_INTEGER(number, integer)
        unsafe BN_free(number)
    }

    static func fillName(_ name: OpaquePointer?, _ commonName: String, _ organizations: [String]) {
        func add(_ field: String, _ value: String) {
            let bytes = Array(value.utf8)
            unsafe X509_NAME_add_entry_by_txt(name, field, V_ASN1_UTF8STRING, bytes, Int32(bytes.count), -1, 0)
        }
        for organization in organizations { add("O", organization) }
        if !commonName.isEmpty { add("CN", commonName) }
    }

    /// The hash that fits the key's strength; none for Ed25519, which brings its own.
    static func digest(for key: PrivateKey) -> OpaquePointer? {
        if key.isEd25519 { return nil }
        guard key.isEC else { return unsafe EVP_sha256() }
        return unsafe key.bits > 384 ? EVP_sha512() : key.bits > 256 ? EVP_sha384() : EVP_sha256()
    }

    private static func extensions(
        _ profile: CertificateProfile, hasIssuer: Bool
    ) throws(PKIError) -> [(Int32, String)] {
        var all: [(Int32, String)] = [
            (NID_basic_constraints, basicConstraints(profile)),
            (NID_key_usage, keyUsage(profile)),
            (NID_subject_key_identifier, "hash"),
        ]
        if hasIssuer { all.append((NID_authority_key_identifier, "keyid")) }
        if !profile.usages.isEmpty {
            all.append((NID_ext_key_usage, profile.usages.map(\.rawValue).joined(separator: ",")))
        }
        if !profile.hosts.isEmpty { all.append((NID_subject_alt_name, try alternativeNames(profile.hosts))) }
        return all
    }

    private static func basicConstraints(_ profile: CertificateProfile) -> String {
        guard profile.isAuthority else { return "critical,CA:FALSE" }
        return "critical,CA:TRUE" + (profile.pathLength.map { ",pathlen:\($0)" } ?? "")
    }

    private static func keyUsage(_ profile: CertificateProfile) -> String {
        profile.isAuthority
            ? profile.usages.isEmpty
                ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature,keyEncipherment,keyCertSign,cRLSign"
            : "critical,digitalSignature,keyEncipherment"
    }

    /// OpenSSL's configuration syntax; so a host may not hold a character that means something in it.
    static func alternativeNames(_ hosts: [String]) throws(PKIError) -> String {
        var parts: [String] = []
        for host in hosts {
            if let address = IPText.parse(host) {
                parts.append("IP:\(IPText.format(address))")
            } else {
                let allowed =
                    !host.isEmpty
                    && host.utf8.allSatisfy { byte in
                        switch byte {
                        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x2a: true
                        default: false
                        }
                    }
                guard allowed else { throw .library(what: "host \"\(host)\"", reason: "is no DNS name and no IP address") }
                parts.append("DNS:\(host)")
            }
        }
        return parts.joined(separator: ",")
    }
}
