// What can be wrong with keys and certificates. Each case names the file or the thing, so that an operator knows where to
// look; `description` says what to do.

import COpenSSL
import Linux

package enum PKIError: Error, Equatable, Sendable, CustomStringConvertible {
    case file(SystemError)
    /// A key that others can read.
    case openToOthers(path: String, mode: UInt32)
    case noCertificate(source: String)
    case malformedCertificate(source: String, reason: String)
    case noKey(source: String)
    /// Encrypted, or not a key at all.
    case malformedKey(source: String, reason: String)
    case mismatch(certificate: String, key: String)
    case malformedRevocationList(source: String, reason: String)
    case malformedRequest(reason: String)
    case unsupportedKey(algorithm: String)
    case library(what: String, reason: String)

    package var description: String {
        switch self {
        case .file(let error): "\(error)"
        case .openToOthers(let path, let mode):
            "private key \(path) can be read by every user (mode \(String(mode, radix: 8))); run: chmod 600 \(path)"
        case .noCertificate(let source): "\(source) holds no certificate in PEM form"
        case .malformedCertificate(let source, let reason): "\(source) holds a certificate that cannot be read: \(reason)"
        case .noKey(let source): "\(source) holds no private key in PEM form"
        case .malformedKey(let source, let reason):
            "\(source) holds a private key that cannot be read (encrypted keys are not supported): \(reason)"
        case .mismatch(let certificate, let key):
            "private key \(key) does not belong to certificate \(certificate); give the files of one pair"
        case .malformedRevocationList(let source, let reason): "\(source) is no certificate revocation list: \(reason)"
        case .malformedRequest(let reason): "certificate signing request cannot be used: \(reason)"
        case .unsupportedKey(let algorithm): "a key for \(algorithm) is needed"
        case .library(let what, let reason): "\(what): \(reason)"
        }
    }
}

package enum OpenSSLErrors {
    /// The first reason in this thread's queue, which is emptied: later entries repeat it from further out.
    package static func take() -> String {
        let first = ERR_get_error()
        ERR_clear_error()
        guard first != 0 else { return "no reason given" }
        return text(first)
    }

    package static func text(_ code: UInt) -> String {
        if let reason = unsafe ERR_reason_error_string(code) { return unsafe String(cString: reason) }
        return "error \(String(code, radix: 16))"
    }
}
