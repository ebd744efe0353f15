// JSON Web Tokens: header.payload.signature, each in base64url. The payload's meaning is the caller's; here is whether it
// was signed by the right key with the right algorithm.

import COpenSSL
import Foundations
import JSON

package enum TokenAlgorithm: String, Sendable, CaseIterable {
    case rs256 = "RS256", rs384 = "RS384", rs512 = "RS512"
    case ps256 = "PS256", ps384 = "PS384", ps512 = "PS512"
    case es256 = "ES256", es384 = "ES384", es512 = "ES512"
    case hs256 = "HS256", hs384 = "HS384", hs512 = "HS512"
    case edDSA = "EdDSA"

    package var isSymmetric: Bool { rawValue.hasPrefix("HS") }
    fileprivate var isPSS: Bool { rawValue.hasPrefix("PS") }

    fileprivate var digest: OpaquePointer? {
        if self == .edDSA { return nil }
        return unsafe rawValue.hasSuffix("256") ? EVP_sha256() : rawValue.hasSuffix("384") ? EVP_sha384() : EVP_sha512()
    }

    /// Bytes of each half of an ECDSA signature; nil for other kinds.
    fileprivate var curveBytes: Int? {
        switch self {
        case .es256: 32
        case .es384: 48
        case .es512: 66
        default: nil
        }
    }

    fileprivate func fits(_ key: PrivateKey) -> Bool {
        switch self {
        case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512: key.isRSA
        case .es256: key.isEC && key.bits == 256
        case .es384: key.isEC && key.bits == 384
        case .es512: key.isEC && key.bits == 521
        case .edDSA: key.isEd25519
        case .hs256, .hs384, .hs512: false
        }
    }
}

package enum TokenKey: Sendable {
    case secret([UInt8])
    case pair(PrivateKey)
}

package struct JWTSigner: Sendable {
    package let algorithm: TokenAlgorithm
    private let key: TokenKey
    private let header: [UInt8]

    package init(_ algorithm: TokenAlgorithm, _ key: TokenKey) throws(PKIError) {
        try JWTSignature.check(algorithm, key)
        self.algorithm = algorithm
        self.key = key
        header = Base64URL.encode(Array("{\"alg\":\"\(algorithm.rawValue)\",\"typ\":\"JWT\"}".utf8))
    }

    /// `payload` is a JSON object.
    package func sign(payload: [UInt8]) throws(PKIError) -> [UInt8] {
        let input = header + [0x2e] + Base64URL.encode(payload)
        guard let signature = JWTSignature.make(algorithm, key, input) else {
            throw .library(what: "cannot sign a token with \(algorithm.rawValue)", reason: OpenSSLErrors.take())
        }
        return input + [0x2e] + Base64URL.encode(signature)
    }
}

package struct JWTVerifier: Sendable {
    package let algorithm: TokenAlgorithm
    private let key: TokenKey

    package init(_ algorithm: TokenAlgorithm, _ key: TokenKey) throws(PKIError) {
        try JWTSignature.check(algorithm, key)
        self.algorithm = algorithm
        self.key = key
    }

    /// The payload of a token that this key signed with this algorithm; nil for any other. The header's algorithm must be
    /// the expected one: a token may not choose how it is checked.
    package func verify(_ token: [UInt8]) -> [UInt8]? {
        let parts = token.split(separator: 0x2e, omittingEmptySubsequences: false)
        guard parts.count == 3, let head = Base64URL.decode(parts[0]), let payload = Base64URL.decode(parts[1]),
            let signature = Base64URL.decode(parts[2])
        else { return nil }
        // Malformed headers are simply not ours; why does not matter to the one who sent them.
        guard let object = try? JSONValue(parsing: head), object["alg"]?.string == algorithm.rawValue else { return nil }
        let input = Array(token[..<parts[1].endIndex])
        return JWTSignature.check(algorithm, key, input, signature) ? payload : nil
    }
}

private enum JWTSignature {
    static func check(_ algorithm: TokenAlgorithm, _ key: TokenKey) throws(PKIError) {
        switch key {
        case .secret(let bytes):
            guard algorithm.isSymmetric, !bytes.isEmpty else { throw .unsupportedKey(algorithm: algorithm.rawValue) }
        case .pair(let pair):
            guard algorithm.fits(pair) else { throw .unsupportedKey(algorithm: algorithm.rawValue) }
        }
    }

    static func make(_ algorithm: TokenAlgorithm, _ key: TokenKey, _ input: [UInt8]) -> [UInt8]? {
        ERR_clear_error()
        switch key {
        case .secret(let secret): return mac(algorithm, secret, input)
        case .pair(let pair):
            guard let context = unsafe EVP_MD_CTX_new() else { return nil }
            defer { unsafe EVP_MD_CTX_free(context) }
            var options: OpaquePointer?
            guard unsafe EVP_DigestSignInit(context, &options, algorithm.digest, nil, pair.pointer) == 1,
                unsafe setPadding(algorithm, options)
            else { return nil }
            var count = 0
            guard unsafe EVP_DigestSign(context, nil, &count, input, input.count) == 1 else { return nil }
            var signature = [UInt8](repeating: 0, count: count)
            guard unsafe EVP_DigestSign(context, &signature, &count, input, input.count) == 1 else { return nil }
            signature.removeLast(signature.count - count)
            return algorithm.curveBytes.map { ECSignature.raw(der: signature, half: $0) } ?? signature
        }
    }

    static func check(_ algorithm: TokenAlgorithm, _ key: TokenKey, _ input: [UInt8], _ signature: [UInt8]) -> Bool {
        ERR_clear_error()
        defer { ERR_clear_error() }
        switch key {
        case .secret(let secret):
            guard let expected = mac(algorithm, secret, input), expected.count == signature.count else { return false }
            return unsafe CRYPTO_memcmp(expected, signature, expected.count) == 0
        case .pair(let pair):
            var signature = signature
            if let half = algorithm.curveBytes {
                guard signature.count == 2 * half else { return false }
                signature = ECSignature.der(raw: signature, half: half)
            }
            guard let context = unsafe EVP_MD_CTX_new() else { return false }
            defer { unsafe EVP_MD_CTX_free(context) }
            var options: OpaquePointer?
            guard unsafe EVP_DigestVerifyInit(context, &options, algorithm.digest, nil, pair.pointer) == 1,
                unsafe setPadding(algorithm, options)
            else { return false }
            return unsafe EVP_DigestVerify(context, signature, signature.count, input, input.count) == 1
        }
    }

    private static func setPadding(_ algorithm: TokenAlgorithm, _ options: OpaquePointer?) -> Bool {
        guard algorithm.isPSS else { return true }
        // The salt is as long as the digest (RFC 7518, 3.5); on checking OpenSSL finds its length by itself.
        return unsafe EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1
            && EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1
    }

    private static func mac(_ algorithm: TokenAlgorithm, _ secret: [UInt8], _ input: [UInt8]) -> [UInt8]? {
        var result = [UInt8](repeating: 0, count: 64)
        var count: UInt32 = 0
        guard unsafe HMAC(algorithm.digest, secret, Int32(secret.count), input, input.count, &result, &count) != nil else {
            return nil
        }
        return Array(result[..<Int(count)])
    }
}

/// ECDSA signatures between ASN.1 (OpenSSL) and the two numbers side by side (tokens).
private enum ECSignature {
    static func raw(der: [UInt8], half: Int) -> [UInt8] {
        let parsed = unsafe der.withUnsafeBufferPointer { bytes in
            var at = bytes.baseAddress
            return unsafe d2i_ECDSA_SIG(nil, &at, bytes.count)
        }
        defer { unsafe ECDSA_SIG_free(parsed) }
        func number(_ value: OpaquePointer?) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: half)
            unsafe BN_bn2binpad(value, &bytes, Int32(half))
            return bytes
        }
        return unsafe number(ECDSA_SIG_get0_r(parsed)) + number(ECDSA_SIG_get0_s(parsed))
    }

    static func der(raw: [UInt8], half: Int) -> [UInt8] {
        let signature = unsafe ECDSA_SIG_new()
        defer { unsafe ECDSA_SIG_free(signature) }
        let r = unsafe BN_bin2bn(Array(raw[..<half]), Int32(half), nil)
        let s = unsafe BN_bin2bn(Array(raw[half...]), Int32(half), nil)
        unsafe ECDSA_SIG_set0(signature, r, s)
        return unsafe PEMBytes.der { unsafe i2d_ECDSA_SIG(signature, $0) }
    }
}

private enum Base64URL {
    static func encode(_ bytes: [UInt8]) -> [UInt8] {
        Base64.encode(bytes).utf8.filter { $0 != 0x3d }.map { $0 == 0x2b ? 0x2d : $0 == 0x2f ? 0x5f : $0 }
    }

    /// Only the URL alphabet, and no padding.
    static func decode(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        guard !text.contains(where: { $0 == 0x2b || $0 == 0x2f || $0 == 0x3d }) else { return nil }
        return Base64.decode(text, lenient: true)
    }
}
