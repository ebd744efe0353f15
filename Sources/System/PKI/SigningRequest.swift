// PKCS#10: a key asks to be certified. The signature proves that the one who asks holds the key.

import COpenSSL
import Foundations

// Never changed after it is made.
@safe package final class SigningRequest: @unchecked Sendable {
    let pointer: OpaquePointer

    private init(owned pointer: OpaquePointer) { unsafe self.pointer = pointer }
    deinit { unsafe X509_REQ_free(pointer) }

    package static func create(
        key: PrivateKey, commonName: String, organizations: [String] = [], hosts: [String] = []
    ) throws(PKIError) -> SigningRequest {
        ERR_clear_error()
        guard let pointer = unsafe X509_REQ_new() else { throw .malformedRequest(reason: OpenSSLErrors.take()) }
        let request = unsafe SigningRequest(owned: pointer)
        unsafe X509_REQ_set_version(pointer, 0)
        unsafe CertificateBuilder.fillName(X509_REQ_get_subject_name(pointer), commonName, organizations)
        unsafe X509_REQ_set_pubkey(pointer, key.pointer)
        if !hosts.isEmpty {
            let names = try CertificateBuilder.alternativeNames(hosts)
            let list = unsafe covey_extensions_new()
            defer { unsafe covey_extensions_free(list) }
            unsafe covey_extensions_push(list, covey_extension(nil, nil, NID_subject_alt_name, names))
            guard unsafe X509_REQ_add_extensions(pointer, list) == 1 else {
                throw .malformedRequest(reason: OpenSSLErrors.take())
            }
        }
        guard unsafe X509_REQ_sign(pointer, key.pointer, CertificateBuilder.digest(for: key)) > 0 else {
            throw .malformedRequest(reason: OpenSSLErrors.take())
        }
        return request
    }

    /// Parses, and checks the signature.
    package convenience init(pem: [UInt8]) throws(PKIError) {
        ERR_clear_error()
        guard let pointer = unsafe PEMBytes.reading(pem, { bio in unsafe PEM_read_bio_X509_REQ(bio, nil, nil, nil) }) else {
            throw .malformedRequest(reason: OpenSSLErrors.take())
        }
        unsafe self.init(owned: pointer)
        guard unsafe X509_REQ_verify(pointer, X509_REQ_get0_pubkey(pointer)) == 1 else {
            ERR_clear_error()
            throw .malformedRequest(reason: "its signature is not by its key")
        }
    }

    package var pem: [UInt8] {
        guard let bytes = unsafe PEMBytes.written({ bio in unsafe PEM_write_bio_X509_REQ(bio, pointer) }) else {
            unreachable("a request in memory can be written: \(OpenSSLErrors.take())")
        }
        return bytes
    }

    package var publicKey: PrivateKey {
        guard let key = unsafe X509_REQ_get_pubkey(pointer) else { unreachable("the key was used to check the signature") }
        return unsafe PrivateKey(owned: key)
    }

    package var commonName: String {
        let name = unsafe X509_REQ_get_subject_name(pointer)
        let count = unsafe X509_NAME_get_text_by_NID(name, NID_commonName, nil, 0)
        guard count > 0 else { return "" }
        var text = [CChar](repeating: 0, count: Int(count) + 1)
        unsafe X509_NAME_get_text_by_NID(name, NID_commonName, &text, Int32(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
