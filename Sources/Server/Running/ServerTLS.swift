// The certificates of a server: what clients and peers are shown, what is asked of them, and what this server shows as a
// client of its peers.

import Foundations
import Linux
import PKI
import TLSEngine

struct ServerTLS {
    /// Nil without certificates.
    var clients: TLSContext?
    var peers: TLSContext?
    var toPeers: TLSContext?

    struct Failure: Error, CustomStringConvertible {
        var description: String
        /// What clients would be shown, not what members are.
        var isOfClients = false
    }

    init(_ configuration: ServerConfiguration, report: @escaping @Sendable (String) -> Void) throws(Failure) {
        do {
            do {
                let client = try ServerTLS.files(configuration, configuration.clientTLS, isPeer: false)
                if let client { clients = try TLSContext(client) { report("client certificates: \($0)") } }
            } catch { throw Failure(description: "\(error)", isOfClients: true) }
            if let peer = try ServerTLS.files(configuration, configuration.peerTLS, isPeer: true) {
                peers = try TLSContext(peer) { report("peer certificates: \($0)") }
                var dialling = TLSConfiguration.client(
                    trustedCA: configuration.peerTLS.trustedCAFile.isEmpty ? nil : configuration.peerTLS.trustedCAFile,
                    certificate: configuration.peerTLS.clientCertFile.isEmpty ? peer.certificateFile : configuration.peerTLS.clientCertFile,
                    key: configuration.peerTLS.clientKeyFile.isEmpty ? peer.keyFile : configuration.peerTLS.clientKeyFile,
                    insecureSkipVerify: configuration.peerTLS.isEmpty && configuration.peerTLS.selfSigned)
                dialling.applicationProtocols = []
                // Who may dial us is also who may answer us.
                dialling.allowedCommonNames = peer.allowedCommonNames
                dialling.allowedHosts = peer.allowedHosts
                // Members found by DNS prove that they belong to the domain, when there is no CA of the cluster's own.
                if !configuration.discovery.srvDomain.isEmpty && configuration.peerTLS.trustedCAFile.isEmpty {
                    dialling.serverName = configuration.discovery.srvDomain
                }
                dialling.minimumVersion = peer.minimumVersion
                dialling.maximumVersion = peer.maximumVersion
                toPeers = try TLSContext(dialling)
            } else {
                toPeers = nil
            }
        } catch let error as Failure { throw error } catch { throw Failure(description: "\(error)") }
    }

    private static func files(
        _ configuration: ServerConfiguration, _ tls: ServerConfiguration.TLS, isPeer: Bool
    ) throws -> TLSConfiguration? {
        var certificate = tls.certFile, key = tls.keyFile
        // As etcd has it: to name a CA is to ask for certificates.
        var verifies = tls.requiresClientCertificate || !tls.trustedCAFile.isEmpty
        if tls.isEmpty {
            guard tls.selfSigned else { return nil }
            let urls = isPeer ? configuration.listenPeerURLs : configuration.listenClientURLs
            let files = try SelfSignedFiles.ensure(
                in: configuration.dataDirectory + "/fixtures/" + (isPeer ? "peer" : "client"), hosts: urls.map(\.host),
                years: UInt(configuration.selfSignedValidityYears), isPeer: isPeer, now: Int64(Clock.wall() / 1_000_000_000))
            (certificate, key) = (files.certificate, files.key)
            if isPeer { verifies = false }
        }
        var result = TLSConfiguration.server(
            certificate: certificate, key: key, trustedCA: tls.trustedCAFile.isEmpty ? nil : tls.trustedCAFile,
            requireClientCertificate: verifies)
        result.revocationFile = tls.crlFile
        result.allowedCommonNames = tls.allowedCommonNames
        result.allowedHosts = tls.allowedHostnames
        result.cipherSuites = configuration.cipherSuites
        result.minimumVersion = try TLSVersion.parse(configuration.tlsMinVersion) ?? .tls12
        result.maximumVersion = try TLSVersion.parse(configuration.tlsMaxVersion)
        if isPeer { result.applicationProtocols = ["http/1.1"] }
        return result
    }
}
