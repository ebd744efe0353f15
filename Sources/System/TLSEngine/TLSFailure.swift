// Why a connection's TLS ended, as a value: tests compare cases, logs print the text.

package enum TLSFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The first bytes were no TLS record: a cleartext client on a TLS port, or the other way round.
    case notTLS
    /// No version, suite or application protocol that both sides accept.
    case nothingInCommon(String)
    case noCertificate
    case certificate(Certificate)
    /// The peer refused and said why.
    case refusedByPeer(alert: String)
    /// The connection ended before the handshake did.
    case ended
    case `protocol`(String)

    package enum Certificate: Error, Equatable, Sendable, CustomStringConvertible {
        case unknownAuthority
        case expired
        case notYetValid
        case revoked(serial: String)
        case wrongHost(wanted: String)
        case commonName(found: String, allowed: [String])
        case hostNotAllowed(allowed: [String])
        /// Of a peer that dialled us: neither an address nor a name of the certificate fits where it came from.
        case remoteAddress(String)
        case wrongUsage
        case chain(String)

        package var description: String {
            switch self {
            case .unknownAuthority: "certificate signed by unknown authority"
            case .expired: "certificate has expired"
            case .notYetValid: "certificate is not yet valid"
            case .revoked(let serial): "certificate serial \(serial) revoked"
            case .wrongHost(let wanted): "certificate is not valid for \(wanted)"
            case .commonName(let found, let allowed):
                "client certificate authentication failed: common name \"\(found)\" is not one of the allowed: "
                    + allowed.joined(separator: ", ")
            case .hostNotAllowed(let allowed):
                "client certificate authentication failed: certificate is for none of the allowed hosts: \(allowed.joined(separator: ", "))"
            case .remoteAddress(let address): "certificate does not fit the remote address \(address)"
            case .wrongUsage: "certificate is not meant for this use (extended key usage)"
            case .chain(let reason): reason
            }
        }
    }

    package var description: String {
        switch self {
        case .notTLS: "tls: first record does not look like a TLS handshake"
        case .nothingInCommon(let what): what
        case .noCertificate: "tls: client didn't provide a certificate"
        case .certificate(let reason): "tls: failed to verify certificate: \(reason)"
        case .refusedByPeer(let alert): "remote error: tls: \(alert)"
        case .ended: "EOF"
        case .protocol(let text): text
        }
    }
}
