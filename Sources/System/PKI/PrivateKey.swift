// A key pair, or the public half of one. Immutable; freed with the last reference.

import COpenSSL
import Foundations
import Linux

// OpenSSL's keys are reference counted and safe to use from several threads when nobody changes them; nobody does.
@safe package final class PrivateKey: @unchecked Sendable {
    package enum Kind: Sendable, Equatable {
        case p256, p384, p521, ed25519
        case rsa(bits: Int)
    }

    package let pointer: OpaquePointer

    /// Takes over the reference.
    package init(owned pointer: OpaquePointer) { unsafe self.pointer = pointer }
    deinit { unsafe EVP_PKEY_free(pointer) }

    package static func generate(_ kind: Kind = .p256) throws(PKIError) -> PrivateKey {
        let pointer: OpaquePointer? =
            switch kind {
            case .p256: unsafe covey_generate_ec("P-256")
            case .p384: unsafe covey_generate_ec("P-384")
            case .p521: unsafe covey_generate_ec("P-521")
            case .ed25519: unsafe covey_generate_ed25519()
            case .rsa(let bits): unsafe covey_generate_rsa(UInt32(bits))
            }
        guard let pointer = unsafe pointer else {
            throw .library(what: "cannot generate a key", reason: OpenSSLErrors.take())
        }
        return unsafe PrivateKey(owned: pointer)
    }

    /// PKCS#8, PKCS#1 or SEC1. `source` names it in errors.
    package convenience init(pem: [UInt8], source: String = "key") throws(PKIError) {
        ERR_clear_error()
        // An empty password instead of a question on the terminal.
        let pointer = unsafe PEMBytes.reading(pem) { bio in
            unsafe PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in 0 }, nil)
        }
        guard let pointer = unsafe pointer else {
            if !PEMBytes.hasBlock(pem, "PRIVATE KEY") {
                ERR_clear_error()
                throw .noKey(source: source)
            }
            throw .malformedKey(source: source, reason: OpenSSLErrors.take())
        }
        unsafe self.init(owned: pointer)
    }

    /// A public key in PEM form (PKIX), or the one of a certificate.
    package static func publicKey(pem: [UInt8], source: String = "key") throws(PKIError) -> PrivateKey {
        ERR_clear_error()
        if let key = unsafe PEMBytes.reading(pem, { bio in unsafe PEM_read_bio_PUBKEY(bio, nil, nil, nil) }) {
            return unsafe PrivateKey(owned: key)
        }
        if PEMBytes.hasBlock(pem, "PUBLIC KEY") { throw .malformedKey(source: source, reason: OpenSSLErrors.take()) }
        ERR_clear_error()
        guard let first = try? Certificate.chain(pem: pem, source: source).first else { throw .noKey(source: source) }
        return first.publicKey
    }

    /// Reads a file; one that every user can read is refused when `mustBePrivate`.
    package static func load(_ path: String, mustBePrivate: Bool = false) throws(PKIError) -> PrivateKey {
        let file = try KeyFile.read(path)
        if mustBePrivate && file.mode & 0o004 != 0 { throw .openToOthers(path: path, mode: file.mode & 0o777) }
        return try PrivateKey(pem: file.bytes, source: path)
    }

    /// PKCS#8.
    package var pem: [UInt8] {
        let bytes = unsafe PEMBytes.written { bio in
            unsafe PEM_write_bio_PKCS8PrivateKey(bio, pointer, nil, nil, 0, nil, nil)
        }
        guard let bytes else { unreachable("a private key in memory can be written: \(OpenSSLErrors.take())") }
        return bytes
    }

    package var publicPEM: [UInt8] {
        let bytes = unsafe PEMBytes.written { bio in unsafe PEM_write_bio_PUBKEY(bio, pointer) }
        guard let bytes else { unreachable("a public key in memory can be written: \(OpenSSLErrors.take())") }
        return bytes
    }

    package var isEC: Bool { unsafe EVP_PKEY_get_base_id(pointer) == EVP_PKEY_EC }
    package var isRSA: Bool { unsafe EVP_PKEY_get_base_id(pointer) == EVP_PKEY_RSA }
    package var isEd25519: Bool { unsafe EVP_PKEY_get_base_id(pointer) == EVP_PKEY_ED25519 }
    package var bits: Int { unsafe Int(EVP_PKEY_get_bits(pointer)) }

    package var algorithm: String {
        if isEC { return "ECDSA P-\(bits)" }
        if isRSA { return "RSA \(bits)" }
        return isEd25519 ? "Ed25519" : "unknown"
    }

    /// The same public key.
    package func matches(_ other: PrivateKey) -> Bool { unsafe EVP_PKEY_eq(pointer, other.pointer) == 1 }
}
