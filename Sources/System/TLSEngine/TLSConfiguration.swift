// What one side of TLS is to do, as a value made from flags. `TLSContext` turns it into something that can shake hands.

import PKI

package enum TLSVersion: String, Sendable, Comparable {
    case tls12 = "TLS1.2", tls13 = "TLS1.3"

    package struct Unknown: Error, Equatable, CustomStringConvertible {
        package var name: String
        package var description: String { "unexpected TLS version \"\(name)\" (must be one of: TLS1.2, TLS1.3)" }
    }

    /// Empty is nil: the library's own bound.
    package static func parse(_ name: String) throws(Unknown) -> TLSVersion? {
        if name.isEmpty { return nil }
        guard let version = TLSVersion(rawValue: name) else { throw Unknown(name: name) }
        return version
    }

    package static func < (a: TLSVersion, b: TLSVersion) -> Bool { a == .tls12 && b == .tls13 }
}

package struct TLSConfiguration: Sendable, Equatable {
    package enum Role: Sendable, Equatable { case server, client }

    package enum PeerVerification: Sendable, Equatable {
        /// Servers ask for no certificate; clients take any.
        case none
        /// The peer must show a certificate that chains to the trusted CAs.
        case required
    }

    package var role: Role
    /// Needed by servers; shown by clients when asked. Chain in one PEM file, leaf first.
    package var certificateFile = ""
    package var keyFile = ""
    /// PEM bundles. Empty: the system's.
    package var trustedCAFiles: [String] = []
    package var revocationFile = ""
    package var verification: PeerVerification
    /// One of these must be the peer certificate's common name. Empty: any.
    package var allowedCommonNames: [String] = []
    /// The peer certificate must be valid for one of these hosts or addresses. Empty: any.
    package var allowedHosts: [String] = []
    package var minimumVersion = TLSVersion.tls12
    package var maximumVersion: TLSVersion?
    /// Go's names; empty for the defaults.
    package var cipherSuites: [String] = []
    /// In order of preference; empty: the extension is not sent, or not looked at.
    package var applicationProtocols: [String] = []
    /// Clients: verify this name instead of the host that is dialled.
    package var serverName = ""
    /// Refuse keys that every user can read.
    package var refusesOpenKeys = false

    package static func server(
        certificate: String, key: String, trustedCA: String? = nil, requireClientCertificate: Bool? = nil
    ) -> TLSConfiguration {
        var configuration = TLSConfiguration(role: .server, verification: .none)
        configuration.certificateFile = certificate
        configuration.keyFile = key
        configuration.trustedCAFiles = trustedCA.map { [$0] } ?? []
        // As etcd has it: to name a CA is to ask for certificates.
        configuration.verification = requireClientCertificate ?? (trustedCA != nil) ? .required : .none
        configuration.applicationProtocols = ["h2", "http/1.1"]
        return configuration
    }

    package static func client(
        trustedCA: String? = nil, certificate: String = "", key: String = "", insecureSkipVerify: Bool = false
    ) -> TLSConfiguration {
        var configuration = TLSConfiguration(role: .client, verification: insecureSkipVerify ? .none : .required)
        configuration.trustedCAFiles = trustedCA.map { [$0] } ?? []
        configuration.certificateFile = certificate
        configuration.keyFile = key
        configuration.applicationProtocols = ["h2"]
        return configuration
    }

    package init(role: Role, verification: PeerVerification) {
        self.role = role
        self.verification = verification
    }

    /// Contradictions that need no file to be seen.
    package func check() throws(TLSError) {
        if certificateFile.isEmpty != keyFile.isEmpty {
            throw .configuration("certificate and key must be given together (certificate \"\(certificateFile)\", key \"\(keyFile)\")")
        }
        if role == .server && certificateFile.isEmpty { throw .configuration("a TLS server needs a certificate and a key") }
        if let maximumVersion, maximumVersion < minimumVersion {
            throw .configuration("min version (\(minimumVersion.rawValue)) is greater than max version (\(maximumVersion.rawValue))")
        }
        if minimumVersion == .tls13 && !cipherSuites.isEmpty {
            throw .configuration("cipher suites cannot be configured when only TLS1.3 is enabled")
        }
        do throws(CipherSuites.Unknown) { _ = try CipherSuites.openSSLNames(cipherSuites) } catch { throw .cipherSuite(error) }
        if role == .server && applicationProtocols.contains("h2") && maximumVersion != .tls13
            && !CipherSuites.allowsHTTP2(cipherSuites)
        {
            throw .configuration(
                "the cipher suites lack one that HTTP/2 needs: add TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or "
                    + "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
        }
    }
}

/// A context cannot be made, or a handshake failed.
package enum TLSError: Error, Equatable, Sendable, CustomStringConvertible {
    case configuration(String)
    case files(PKIError)
    case cipherSuite(CipherSuites.Unknown)
    case library(String)

    package var description: String {
        switch self {
        case .configuration(let text): text
        case .files(let error): "\(error)"
        case .cipherSuite(let error): "\(error)"
        case .library(let text): "TLS: \(text)"
        }
    }
}
