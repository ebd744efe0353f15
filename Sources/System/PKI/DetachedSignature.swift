// Ed25519 signatures kept beside what they are of: 64 bytes, over the bytes themselves. OpenSSL's command makes and checks the
// same: openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in FILE -sigfile FILE.sig.raw

import COpenSSL
import Foundations

package enum DetachedSignature {
    package static let size = 64

    package static func make(_ key: PrivateKey, _ bytes: [UInt8]) throws(PKIError) -> [UInt8] {
        guard key.isEd25519 else { throw .unsupportedKey(algorithm: "Ed25519") }
        ERR_clear_error()
        guard let context = unsafe EVP_MD_CTX_new() else { throw .library(what: "cannot sign", reason: OpenSSLErrors.take()) }
        defer { unsafe EVP_MD_CTX_free(context) }
        var signature = [UInt8](repeating: 0, count: size)
        var count = size
        guard unsafe EVP_DigestSignInit(context, nil, nil, nil, key.pointer) == 1,
            unsafe EVP_DigestSign(context, &signature, &count, bytes, bytes.count) == 1, count == size
        else { throw .library(what: "cannot sign", reason: OpenSSLErrors.take()) }
        return signature
    }

    package static func holds(_ key: PrivateKey, _ bytes: [UInt8], _ signature: [UInt8]) -> Bool {
        guard key.isEd25519, signature.count == size, let context = unsafe EVP_MD_CTX_new() else { return false }
        ERR_clear_error()
        defer {
            unsafe EVP_MD_CTX_free(context)
            ERR_clear_error()
        }
        return unsafe EVP_DigestVerifyInit(context, nil, nil, nil, key.pointer) == 1
            && EVP_DigestVerify(context, signature, signature.count, bytes, bytes.count) == 1
    }
}

/// A public Ed25519 key on one line: `ed25519:` and its 32 bytes in base64.
package enum PublicKeyText {
    private static let prefix = "ed25519:"
    /// What stands before the 32 bytes in the usual form of public keys (RFC 8410).
    private static let header: [UInt8] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]

    package static func text(_ key: PrivateKey) throws(PKIError) -> String {
        guard key.isEd25519 else { throw .unsupportedKey(algorithm: "Ed25519") }
        let lines = String(decoding: key.publicPEM, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("-----") }
        guard let der = Base64.decode(lines.joined().utf8), der.count == 44, Array(der.prefix(12)) == header else {
            throw .library(what: "cannot write a public key", reason: "it has an unusual form")
        }
        return prefix + Base64.encode(Array(der.dropFirst(12)))
    }

    /// Nil for what is no such key.
    package static func key(_ text: String) -> PrivateKey? {
        guard text.hasPrefix(prefix), let bytes = Base64.decode(text.dropFirst(prefix.count).utf8), bytes.count == 32 else {
            return nil
        }
        let pem = "-----BEGIN PUBLIC KEY-----\n\(Base64.encode(header + bytes))\n-----END PUBLIC KEY-----\n"
        // Any 32 bytes have this form; whether they are a point is seen when something is verified.
        return try? PrivateKey.publicKey(pem: Array(pem.utf8), source: "key")
    }
}
