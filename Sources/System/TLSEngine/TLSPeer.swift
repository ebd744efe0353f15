// Who is at the other end of a TLS connection, by its certificate.

import PKI

package struct TLSPeer: Sendable {
    package var commonName: String
    package var dnsNames: [String]
    package var ipAddresses: [[UInt8]]
    /// Most significant byte first.
    package var serial: [UInt8]
    /// Seconds since 1970.
    package var notAfter: Int64
    /// The chain was checked against the trusted CAs.
    package var isVerified: Bool
    /// Leaf to root; empty when not verified, or resumed.
    package var chain: [Certificate]

    init(_ leaf: Certificate, chain: [Certificate], isVerified: Bool) {
        commonName = leaf.commonName
        dnsNames = leaf.dnsNames
        ipAddresses = leaf.ipAddresses
        serial = leaf.serial
        notAfter = leaf.notAfter
        self.isVerified = isVerified
        self.chain = chain
    }
}
