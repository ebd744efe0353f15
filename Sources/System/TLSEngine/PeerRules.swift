// Who may be at the other end: the chain as OpenSSL judges it, then revocation by serial, allowed names and hosts, and for
// members that dial us the address they came from.

import COpenSSL
import Foundations
import Linux
import PKI

enum PeerRules {
    /// During the handshake. 1 to go on; otherwise the peer gets an alert, and the session says why.
    static func verify(_ store: OpaquePointer, _ material: TLSMaterial) -> Int32 {
        let ssl = unsafe X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
        let session = unsafe TLSSession.of(OpaquePointer(ssl))
        // Without verification (a client told to skip it) nothing is judged, the rules of this side included.
        guard material.configuration.verification == .required else { return 1 }
        guard unsafe X509_verify_cert(store) == 1 else {
            let code = unsafe X509_STORE_CTX_get_error(store)
            session?.refuse(reason(code, session))
            return 0
        }
        guard let leaf = unsafe X509_STORE_CTX_get0_cert(store) else { return 0 }
        guard let failure = unsafe judge(Certificate(shared: leaf), material) else { return 1 }
        session?.refuse(failure)
        if case .revoked = failure {
            unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED)
        } else {
            // The peer is told "bad certificate", as etcd's members tell each other.
            unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)
        }
        return 0
    }

    /// The rules beyond the chain. Also asked about peers that resumed a session: their chain is not shown again, but what
    /// is forbidden may have changed.
    static func judge(_ leaf: Certificate, _ material: TLSMaterial) -> TLSFailure.Certificate? {
        let configuration = material.configuration
        if let revocation = material.revocation, revocation.contains(leaf.serial) {
            return .revoked(serial: Hexadecimal.encode(leaf.serial))
        }
        if !configuration.allowedCommonNames.isEmpty && !configuration.allowedCommonNames.contains(leaf.commonName) {
            return .commonName(found: leaf.commonName, allowed: configuration.allowedCommonNames)
        }
        if !configuration.allowedHosts.isEmpty && !configuration.allowedHosts.contains(where: { leaf.isValid(forHost: $0) }) {
            return .hostNotAllowed(allowed: configuration.allowedHosts)
        }
        return nil
    }

    private static func reason(_ code: Int32, _ session: TLSSession?) -> TLSFailure.Certificate {
        switch code {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_CERT_UNTRUSTED:
            .unknownAuthority
        case X509_V_ERR_CERT_HAS_EXPIRED: .expired
        case X509_V_ERR_CERT_NOT_YET_VALID: .notYetValid
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: .wrongHost(wanted: session?.wantedHost ?? "")
        case X509_V_ERR_INVALID_PURPOSE: .wrongUsage
        default: .chain(unsafe String(cString: X509_verify_cert_error_string(Int(code))))
        }
    }
}

/// The check of peer connections against the address they come from (unless it is switched off): a certificate without
/// IP and DNS names passes; otherwise one of its names must fit. It needs the resolver, which blocks, so it is not part
/// of the handshake: call it on a thread that may wait, before anything the peer says is used.
package enum PeerAddressRule {
    /// `forward` and `reverse` are the resolver: names to addresses, address to names.
    package static func accepts(
        dnsNames: [String], ipAddresses: [[UInt8]], remote: [UInt8], reverse: ([UInt8]) -> [String],
        forward: (String) -> [[UInt8]]
    ) -> Bool {
        if dnsNames.isEmpty && ipAddresses.isEmpty { return true }
        if ipAddresses.contains(remote) { return true }
        if dnsNames.isEmpty { return false }
        for name in reverse(remote).map(canonical) {
            for wanted in dnsNames.map(canonical) {
                if name == wanted { return true }
                if wanted.hasPrefix("*."), name.hasSuffix(wanted.dropFirst()) { return true }
            }
        }
        return dnsNames.contains { !$0.hasPrefix("*") && forward($0).contains(remote) }
    }

    /// What can be said without a resolver; nil when one is needed.
    package static func acceptsWithoutNames(_ peer: TLSPeer, remoteHost: String) -> Bool? {
        guard let remote = IPText.parse(remoteHost) else { return false }
        let accepted = accepts(
            dnsNames: peer.dnsNames, ipAddresses: peer.ipAddresses, remote: remote, reverse: { _ in [] }, forward: { _ in [] })
        return accepted || peer.dnsNames.isEmpty ? accepted : nil
    }

    /// With the system's resolver. Blocks.
    package static func accepts(_ peer: TLSPeer, remoteHost: String) -> Bool {
        guard let remote = IPText.parse(remoteHost) else { return false }
        return accepts(
            dnsNames: peer.dnsNames, ipAddresses: peer.ipAddresses, remote: remote, reverse: SystemResolver.names,
            forward: SystemResolver.addresses)
    }

    private static func canonical(_ name: String) -> String {
        (name.hasSuffix(".") ? String(name.dropLast()) : name).lowercased()
    }
}

enum SystemResolver {
    static func addresses(_ name: String) -> [[UInt8]] {
        // A name that cannot be resolved fits no address; why is of no use to the decision.
        (try? SocketAddress.resolve(host: name, port: "0"))?.compactMap { IPText.parse($0.host) } ?? []
    }

    static func names(_ address: [UInt8]) -> [String] {
        guard let resolved = try? SocketAddress.resolve(host: IPText.format(address), port: "0").first else { return [] }
        return resolved.reverseName().map { [$0] } ?? []
    }
}
