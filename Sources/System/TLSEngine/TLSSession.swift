// One connection's TLS, without a socket: ciphertext in, plaintext and ciphertext out.
//
//   handshaking -> established -> closed            (close_notify from either side)
//        |              |
//        +--> failed <--+                           (`reason` says why)
//
// Cost: no copies beyond OpenSSL's own. Its BIO reads from the caller's bytes and writes to the caller's buffer directly,
// so an idle connection keeps no transport buffers at all.

import COpenSSL
import Foundations
import PKI

@safe package final class TLSSession {
    package enum State: Equatable, Sendable { case handshaking, established, closed, failed }

    package private(set) var state = State.handshaking
    package private(set) var reason: TLSFailure?
    /// For clients: may shorten the next handshake with the same server. The newest that came.
    package internal(set) var ticket: TLSTicket?
    /// The name or address a client verifies.
    let wantedHost: String?

    private let material: TLSMaterial
    /// Freed in deinit, with its BIO.
    private let ssl: OpaquePointer
    private var refusal: TLSFailure.Certificate?

    // What the BIO works on; valid only while a call of this session is in progress.
    private var input: UnsafeRawBufferPointer?
    private var inputStart = 0
    private var pending: [UInt8] = []

    init(_ material: TLSMaterial, host: String?, ticket: TLSTicket?) {
        self.material = material
        wantedHost = host
        guard let ssl = unsafe SSL_new(material.context), let bio = unsafe BIO_new(SessionBIO.shared.method) else {
            unreachable("no memory for a TLS session: \(OpenSSLErrors.take())")
        }
        unsafe self.ssl = ssl
        let me = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe BIO_set_data(bio, me)
        unsafe covey_bio_init_done(bio)
        unsafe SSL_set_ex_data(ssl, 0, me)
        // One BIO both ways takes one reference.
        unsafe SSL_set_bio(ssl, bio, bio)
        if material.configuration.role == .server {
            unsafe SSL_set_accept_state(ssl)
        } else {
            unsafe SSL_set_connect_state(ssl)
            if let host { prepareClient(host) }
            if let ticket { unsafe SSL_set_session(ssl, ticket.pointer) }
        }
    }

    deinit { unsafe SSL_free(ssl) }

    private func prepareClient(_ host: String) {
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        let rules = unsafe SSL_get0_param(ssl)
        if let address = IPText.parse(bare) {
            unsafe X509_VERIFY_PARAM_set1_ip(rules, address, address.count)
        } else {
            unsafe SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            unsafe SSL_set1_host(ssl, bare)
            unsafe covey_server_name(ssl, bare)
        }
    }

    package var isEstablished: Bool { state == .established }

    // MARK: Bytes

    /// Clients begin with this; for servers it does nothing until bytes arrive.
    package func start(cipher: inout [UInt8]) {
        lend(&cipher) { handshake() }
    }

    /// Takes ciphertext from the peer; appends plaintext to `plain` and what must be sent to `cipher`. False when the
    /// session is over: send `cipher`, then close. All of `bytes` is taken.
    package func receive(_ bytes: RawSpan, plain: inout [UInt8], cipher: inout [UInt8]) -> Bool {
        guard state == .handshaking || state == .established else { return false }
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe input = buffer
            inputStart = 0
            lend(&cipher) {
                if state == .handshaking { handshake() }
                if state == .established { decrypt(into: &plain) }
            }
            unsafe input = nil
        }
        return state == .handshaking || state == .established
    }

    /// Appends `plain` as ciphertext. False when the session is not established or broke.
    package func seal(_ plain: RawSpan, cipher: inout [UInt8]) -> Bool {
        guard state == .established else { return false }
        lend(&cipher) {
            unsafe plain.withUnsafeBytes { buffer in
                var start = 0
                while start < buffer.count {
                    ERR_clear_error()
                    var count = 0
                    let result = unsafe SSL_write_ex(ssl, buffer.baseAddress! + start, buffer.count - start, &count)
                    guard result == 1 else { return fail(result) }
                    start += count
                }
            }
        }
        return state == .established
    }

    /// Says goodbye. Nothing can be sent afterwards; what still arrives is not read.
    package func shutdown(cipher: inout [UInt8]) {
        guard state == .established else { return }
        lend(&cipher) { _ = unsafe SSL_shutdown(ssl) }
        state = .closed
    }

    /// The connection ended without goodbye.
    package func ended() {
        if state == .handshaking {
            reason = .ended
            state = .failed
        } else if state == .established {
            state = .closed
        }
    }

    /// Runs `body` with the caller's buffer as the place where ciphertext goes.
    private func lend(_ cipher: inout [UInt8], _ body: () -> Void) {
        swap(&cipher, &pending)
        body()
        swap(&cipher, &pending)
    }

    private func handshake() {
        ERR_clear_error()
        let result = unsafe SSL_do_handshake(ssl)
        guard result == 1 else { return fail(result) }
        // A resumed peer shows no certificate; what is known of it from the ticket is judged anew.
        if unsafe material.configuration.verification == .required && SSL_session_reused(ssl) == 1, let leaf = peerCertificate(),
            let reason = PeerRules.judge(leaf, material)
        {
            self.reason = .certificate(reason)
            state = .failed
            return
        }
        state = .established
    }

    private func decrypt(into plain: inout [UInt8]) {
        unsafe withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 16) { buffer in
            while true {
                ERR_clear_error()
                var count = 0
                let result = unsafe SSL_read_ex(ssl, buffer.baseAddress!, buffer.count, &count)
                guard result == 1 else { return fail(result) }
                unsafe plain.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            }
        }
    }

    /// What a call that did not succeed means: wait, the end, or a failure.
    private func fail(_ result: Int32) {
        switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return
        case SSL_ERROR_ZERO_RETURN:
            // Our own goodbye, so that the peer knows nothing was cut off.
            _ = unsafe SSL_shutdown(ssl)
            state = .closed
        default:
            reason = failureReason()
            state = .failed
            ERR_clear_error()
        }
    }

    private func failureReason() -> TLSFailure {
        if let refusal { return .certificate(refusal) }
        let code = ERR_get_error()
        let reason = Int32(code & 0x7fffff)
        let text = code == 0 ? "connection failed" : OpenSSLErrors.text(code)
        switch reason {
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_WRONG_VERSION_NUMBER, SSL_R_UNKNOWN_PROTOCOL,
            SSL_R_PACKET_LENGTH_TOO_LONG, SSL_R_BAD_PACKET_LENGTH, SSL_R_RECORD_LENGTH_MISMATCH:
            return .notTLS
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH, SSL_R_NO_SHARED_CIPHER,
            SSL_R_NO_APPLICATION_PROTOCOL, SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
            return .nothingInCommon(text)
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return .noCertificate
        case 1000..<1256: return .refusedByPeer(alert: alertName(reason - 1000))
        default: return .protocol(text)
        }
    }

    private func alertName(_ number: Int32) -> String {
        unsafe String(cString: SSL_alert_desc_string_long(number))
    }

    func refuse(_ reason: TLSFailure.Certificate) { refusal = reason }

    // MARK: Facts

    package var negotiatedProtocol: String? {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        unsafe SSL_get0_alpn_selected(ssl, &name, &count)
        guard let name = unsafe name, count > 0 else { return nil }
        return unsafe String(decoding: UnsafeBufferPointer(start: name, count: Int(count)), as: UTF8.self)
    }

    /// `TLSv1.3`, `TLSv1.2`.
    package var version: String { unsafe String(cString: SSL_get_version(ssl)) }

    package var cipherSuite: String {
        guard let cipher = unsafe SSL_get_current_cipher(ssl) else { return "" }
        return unsafe String(cString: SSL_CIPHER_get_name(cipher))
    }

    package var isResumed: Bool { unsafe SSL_session_reused(ssl) == 1 }

    /// What the client asked for by SNI.
    package var requestedServerName: String? {
        unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { unsafe String(cString: $0) }
    }

    /// For logs.
    package var failure: String? { reason?.description }

    /// Of a verified certificate; nil without one.
    package var peerCommonName: String? {
        material.configuration.verification == .required ? peerCertificate()?.commonName : nil
    }

    /// Of the same certificate, as its issuer's subject reads.
    package var peerIssuer: String? {
        material.configuration.verification == .required ? peerCertificate()?.issuer : nil
    }

    package func peerCertificate() -> Certificate? {
        guard let pointer = unsafe SSL_get1_peer_certificate(ssl) else { return nil }
        return unsafe Certificate(owned: pointer)
    }

    /// Who is there; nil when no certificate was shown.
    package func peer() -> TLSPeer? {
        guard let leaf = peerCertificate() else { return nil }
        let isVerified = material.configuration.verification == .required
        var chain: [Certificate] = []
        if let verified = unsafe SSL_get0_verified_chain(ssl), isVerified {
            for i in unsafe 0..<covey_certificates_count(verified) {
                if let next = unsafe covey_certificates_at(verified, i) { unsafe chain.append(Certificate(shared: next)) }
            }
        }
        return TLSPeer(leaf, chain: chain, isVerified: isVerified)
    }

    // MARK: C's way in

    /// The session of an SSL; it outlives every call into its SSL.
    static func of(_ ssl: OpaquePointer?) -> TLSSession? {
        guard let ssl = unsafe ssl, let data = unsafe SSL_get_ex_data(ssl, 0) else { return nil }
        return unsafe Unmanaged<TLSSession>.fromOpaque(data).takeUnretainedValue()
    }

    /// Bytes for OpenSSL; 0 when there are none now.
    fileprivate func take(_ destination: UnsafeMutablePointer<CChar>, _ room: Int) -> Int {
        guard let input = unsafe input else { return 0 }
        let count = min(room, input.count - inputStart)
        if count > 0 {
            unsafe UnsafeMutableRawPointer(destination).copyMemory(from: input.baseAddress! + inputStart, byteCount: count)
            inputStart += count
        }
        return count
    }

    fileprivate func put(_ source: UnsafePointer<CChar>, _ count: Int) {
        unsafe pending.append(contentsOf: UnsafeRawBufferPointer(start: source, count: count))
    }
}

/// The BIO whose other side is a session's current buffers; its method table is made once for the process.
@safe private final class SessionBIO: @unchecked Sendable {
    // Written once in init, read-only afterwards.
    static let shared = SessionBIO()
    let method: OpaquePointer?

    private init() {
        unsafe method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "session")
        unsafe BIO_meth_set_read(method) { bio, destination, room in
            unsafe covey_bio_clear_retry(bio)
            guard let session = unsafe SessionBIO.session(bio), let destination = unsafe destination else { return -1 }
            let count = unsafe session.take(destination, Int(room))
            if count == 0 {
                unsafe covey_bio_retry_read(bio)
                return -1
            }
            return Int32(count)
        }
        unsafe BIO_meth_set_write(method) { bio, source, count in
            guard let session = unsafe SessionBIO.session(bio), let source = unsafe source else { return -1 }
            unsafe session.put(source, Int(count))
            return count
        }
        unsafe BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
    }

    private static func session(_ bio: OpaquePointer?) -> TLSSession? {
        guard let data = unsafe BIO_get_data(bio) else { return nil }
        return unsafe Unmanaged<TLSSession>.fromOpaque(data).takeUnretainedValue()
    }
}

/// A server's permission to resume.
// Reference counted by OpenSSL, and not changed by those who hold it.
@safe package final class TLSTicket: @unchecked Sendable {
    let pointer: OpaquePointer
    init(owned pointer: OpaquePointer) { unsafe self.pointer = pointer }
    deinit { unsafe SSL_SESSION_free(pointer) }
}
