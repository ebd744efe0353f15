// Whether a certificate would be accepted by those who trust a bundle, judged before it is shown to them: at any time, and
// for each of its uses.

import COpenSSL
import Foundations

package enum CertificateChain {
    /// `chain`: leaf first, then what stands between it and the bundle. The first reason against it; nil when there is none.
    package static func problem(
        _ chain: [Certificate], trusted: [Certificate], usages: [CertificateProfile.Usage], at time: Int64
    ) -> String? {
        guard let leaf = chain.first else { return "there is no certificate" }
        for usage in usages {
            let purpose = usage == .server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT
            if let reason = problem(leaf, chain, trusted, purpose, time) {
                return usages.count > 1 ? "as a \(usage == .server ? "server" : "client"): \(reason)" : reason
            }
        }
        return nil
    }

    private static func problem(
        _ leaf: Certificate, _ chain: [Certificate], _ trusted: [Certificate], _ purpose: Int32, _ time: Int64
    ) -> String? {
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let store = unsafe X509_STORE_new(), let context = unsafe X509_STORE_CTX_new() else {
            unreachable("no memory for a certificate store: \(OpenSSLErrors.take())")
        }
        // The stack borrows; the certificates outlive it in `chain`.
        let between = unsafe covey_certificates_new()
        defer {
            unsafe X509_STORE_CTX_free(context)
            unsafe X509_STORE_free(store)
            unsafe covey_certificates_free(between)
            withExtendedLifetime((chain, trusted)) {}
        }
        for certificate in trusted { unsafe X509_STORE_add_cert(store, certificate.pointer) }
        for certificate in chain.dropFirst() { _ = unsafe covey_certificates_push(between, certificate.pointer) }
        guard unsafe X509_STORE_CTX_init(context, store, leaf.pointer, between) == 1 else { return OpenSSLErrors.take() }
        let rules = unsafe X509_STORE_CTX_get0_param(context)
        unsafe X509_VERIFY_PARAM_set_time(rules, Int(time))
        unsafe X509_VERIFY_PARAM_set_purpose(rules, purpose)
        // As on the wire: what is in the bundle is trusted, root or not.
        unsafe X509_VERIFY_PARAM_set_flags(rules, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        guard unsafe X509_verify_cert(context) != 1 else { return nil }
        let code = unsafe X509_STORE_CTX_get_error(context)
        return unsafe String(cString: X509_verify_cert_error_string(Int(code)))
    }
}
