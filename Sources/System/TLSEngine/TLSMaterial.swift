// One consistent set of files turned into an SSL_CTX: certificate, key, CAs, revocation list, all read together. It never
// changes; new files make a new one.

import COpenSSL
import Foundations
import Linux
import PKI

// Immutable after init; OpenSSL contexts may be used from several threads at once.
@safe final class TLSMaterial: @unchecked Sendable {
    let configuration: TLSConfiguration
    let revocation: RevocationList?
    /// The certificate we show.
    let certificate: Certificate?
    private let owned: OwnedContext
    var context: OpaquePointer { unsafe owned.pointer }
    /// Length-prefixed, as the extension wants it.
    private let protocols: [UInt8]

    init(_ configuration: TLSConfiguration) throws(TLSError) {
        try configuration.check()
        self.configuration = configuration
        do throws(PKIError) {
            revocation = configuration.revocationFile.isEmpty ? nil : try RevocationList.load(configuration.revocationFile)
        } catch { throw .files(error) }
        let method = unsafe configuration.role == .server ? TLS_server_method() : TLS_client_method()
        guard let context = unsafe SSL_CTX_new(method) else { throw .library(OpenSSLErrors.take()) }
        owned = unsafe OwnedContext(context)
        protocols = configuration.applicationProtocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        certificate = unsafe try Self.loadPair(configuration, context)
        unsafe try Self.loadAuthorities(configuration, context)
        unsafe try Self.chooseCiphers(configuration, context)
        setOptions()
    }

    private static func loadPair(_ configuration: TLSConfiguration, _ context: OpaquePointer) throws(TLSError) -> Certificate? {
        guard !configuration.certificateFile.isEmpty else { return nil }
        let chain: [Certificate]
        do throws(PKIError) {
            chain = try Certificate.load(configuration.certificateFile)
            let key = try PrivateKey.load(configuration.keyFile, mustBePrivate: configuration.refusesOpenKeys)
            guard chain[0].belongs(to: key) else {
                throw .mismatch(certificate: configuration.certificateFile, key: configuration.keyFile)
            }
            ERR_clear_error()
            guard unsafe SSL_CTX_use_certificate(context, chain[0].pointer) == 1,
                unsafe SSL_CTX_use_PrivateKey(context, key.pointer) == 1
            else {
                throw .malformedCertificate(source: configuration.certificateFile, reason: OpenSSLErrors.take())
            }
            for certificate in chain.dropFirst() { unsafe covey_add_chain(context, certificate.pointer) }
        } catch { throw .files(error) }
        return chain[0]
    }

    private static func loadAuthorities(_ configuration: TLSConfiguration, _ context: OpaquePointer) throws(TLSError) {
        guard configuration.verification == .required else { return }
        if configuration.trustedCAFiles.isEmpty {
            unsafe SSL_CTX_set_default_verify_paths(context)
            ERR_clear_error()
            return
        }
        let store = unsafe SSL_CTX_get_cert_store(context)
        for file in configuration.trustedCAFiles {
            let authorities: [Certificate]
            do throws(PKIError) { authorities = try Certificate.load(file) } catch { throw .files(error) }
            for authority in authorities {
                unsafe X509_STORE_add_cert(store, authority.pointer)
                if configuration.role == .server { unsafe SSL_CTX_add_client_CA(context, authority.pointer) }
            }
        }
        // What is in the bundle is trusted, root or not, as Go has it.
        unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    }

    private static func chooseCiphers(_ configuration: TLSConfiguration, _ context: OpaquePointer) throws(TLSError) {
        let chosen: [String]
        do throws(CipherSuites.Unknown) {
            chosen =
                configuration.cipherSuites.isEmpty
                ? CipherSuites.defaults : try CipherSuites.openSSLNames(configuration.cipherSuites)
        } catch { throw .cipherSuite(error) }
        // Only suites without an effect here (TLS 1.3's names): TLS 1.2 keeps its defaults.
        let list = chosen.isEmpty ? CipherSuites.defaults : chosen
        guard unsafe SSL_CTX_set_cipher_list(context, list.joined(separator: ":")) == 1 else {
            ERR_clear_error()
            throw .configuration(
                "none of the cipher suites is available: \(configuration.cipherSuites.joined(separator: ","))")
        }
        let lowest = configuration.minimumVersion == .tls13 ? TLS1_3_VERSION : TLS1_2_VERSION
        let highest = configuration.maximumVersion == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION
        guard unsafe covey_min_version(context, lowest) == 1, unsafe covey_max_version(context, highest) == 1 else {
            throw .library(OpenSSLErrors.take())
        }
    }

    private func setOptions() {
        unsafe SSL_CTX_set_options(
            context, SSLOption.noRenegotiation | SSLOption.noCompression | SSLOption.ignoreUnexpectedEnd)
        // Idle connections give their record buffers back (32 kB each way).
        unsafe covey_add_mode(context, Int(SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER))
        unsafe covey_read_ahead(context)
        unsafe SSL_CTX_set_default_read_buffer_len(context, 0)
        let asksPeer = configuration.verification == .required
        let mode = asksPeer ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE
        unsafe SSL_CTX_set_verify(context, mode, nil)
        unsafe SSL_CTX_set_cert_verify_callback(context, verifyChain, Unmanaged.passUnretained(self).toOpaque())
        switch configuration.role {
        case .server:
            // Tickets, not a cache: a resumed handshake costs us no memory in between. Tickets name their context, so one
            // that was made before a reload, by another trust bundle, is not taken.
            unsafe covey_session_cache(context, Int(SSL_SESS_CACHE_OFF))
            unsafe SSL_CTX_set_num_tickets(context, 1)
            let id = Array("covey".utf8)
            unsafe SSL_CTX_set_session_id_context(context, id, UInt32(id.count))
            if !protocols.isEmpty {
                unsafe SSL_CTX_set_alpn_select_cb(context, selectProtocol, Unmanaged.passUnretained(self).toOpaque())
            }
        case .client:
            unsafe covey_session_cache(context, Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL))
            unsafe SSL_CTX_sess_set_new_cb(context, keepTicket)
            if !protocols.isEmpty { unsafe SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count)) }
        }
    }

    /// Our first preference that the client offers too.
    fileprivate func choose(_ offered: UnsafeBufferPointer<UInt8>) -> (offset: Int, count: Int)? {
        for wanted in configuration.applicationProtocols {
            var at = 0
            while at < offered.count {
                let count = unsafe Int(offered[at])
                guard at + 1 + count <= offered.count else { return nil }
                if unsafe offered[(at + 1)..<(at + 1 + count)].elementsEqual(wanted.utf8) { return (at + 1, count) }
                at += 1 + count
            }
        }
        return nil
    }
}

/// Freed with the last reference, also when the material cannot be completed.
@safe private final class OwnedContext {
    let pointer: OpaquePointer
    init(_ pointer: OpaquePointer) { unsafe self.pointer = pointer }
    deinit { unsafe SSL_CTX_free(pointer) }
}

/// Bits that are macros too large for the importer.
enum SSLOption {
    static let ignoreUnexpectedEnd: UInt64 = 1 << 7
    static let noCompression: UInt64 = 1 << 17
    static let noRenegotiation: UInt64 = 1 << 30
}

// MARK: C's way in

/// Called instead of OpenSSL's verification: that, and then our own rules.
private func verifyChain(_ store: OpaquePointer?, _ argument: UnsafeMutableRawPointer?) -> Int32 {
    unsafe Unmanaged<TLSMaterial>.fromOpaque(argument.unsafelyUnwrapped)._withUnsafeGuaranteedRef { material in
        unsafe PeerRules.verify(store.unsafelyUnwrapped, material)
    }
}

private func selectProtocol(
    _: OpaquePointer?, _ out: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ outCount: UnsafeMutablePointer<UInt8>?,
    _ offered: UnsafePointer<UInt8>?, _ offeredCount: UInt32, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    unsafe Unmanaged<TLSMaterial>.fromOpaque(argument.unsafelyUnwrapped)._withUnsafeGuaranteedRef { material in
        let list = unsafe UnsafeBufferPointer(start: offered, count: Int(offeredCount))
        guard let chosen = unsafe material.choose(list) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
        unsafe out?.pointee = offered.unsafelyUnwrapped + chosen.offset
        unsafe outCount?.pointee = UInt8(chosen.count)
        return SSL_TLSEXT_ERR_OK
    }
}

/// A client got a ticket: its session keeps it. Returning 1 takes over the reference.
private func keepTicket(_ ssl: OpaquePointer?, _ ticket: OpaquePointer?) -> Int32 {
    guard let session = unsafe TLSSession.of(ssl), let ticket = unsafe ticket else { return 0 }
    unsafe session.ticket = TLSTicket(owned: ticket)
    return 1
}
