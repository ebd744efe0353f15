// SHA-256, HMAC and random bytes from OpenSSL, for everyone above.

import COpenSSL
import Foundations

/// SHA-256 of bytes that come in pieces.
@safe package final class SHA256Digest {
    private let context: OpaquePointer

    package init() {
        unsafe context = EVP_MD_CTX_new()!
        invariant(unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1, "SHA-256 is always there")
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    package func update(_ bytes: RawSpan) {
        _ = unsafe bytes.withUnsafeBytes { unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
    }

    package func update(_ bytes: [UInt8]) { update(bytes.rawSpan) }

    /// The digest; the object may not be used afterwards.
    package func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        invariant(unsafe EVP_DigestFinal_ex(context, &digest, nil) == 1, "a digest finishes once")
        return digest
    }

    package static func hash(_ bytes: [UInt8]) -> [UInt8] {
        let digest = SHA256Digest()
        digest.update(bytes)
        return digest.finish()
    }
}

package enum ConstantTime {
    /// Takes as long whether the bytes differ early, late or not at all.
    package static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        unsafe a.count == b.count && CRYPTO_memcmp(a, b, a.count) == 0
    }
}

package enum SecureRandom {
    /// From the operating system's generator through OpenSSL's.
    package static func bytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        // Without randomness nothing that follows is secret; there is no way on.
        invariant(unsafe RAND_bytes(&bytes, Int32(count)) == 1, "random bytes: \(OpenSSLErrors.take())")
        return bytes
    }

    package static func uint64() -> UInt64 { bytes(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

enum Hex {
    static func random(_ count: Int) -> String { Hexadecimal.encode(SecureRandom.bytes(count)) }
}
