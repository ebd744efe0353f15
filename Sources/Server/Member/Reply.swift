// Where an answer goes, and who asks. Services know neither gRPC nor HTTP: a call of either, or an inner caller (an
// election, a lock, a health check), is a `Reply`.

import Connections
import Foundations
import GRPC

package enum Reply {
    case call(Call)
    case body((Result<Bytes, GRPCStatus>) -> Void)
    case nobody
}

/// What the transport knows of the one who asks.
package struct Caller {
    package var token: Bytes?
    /// Common name of a verified client certificate.
    package var commonName: String?
    package var requiresLeader = false
    /// Through the JSON gateway, where a certificate names nobody.
    package var isGateway = false
    /// The server itself, for health checks: nobody's permissions apply.
    package var isInternal = false

    package init() {}

    package static let plain = Caller()

    package static let inner: Caller = {
        var caller = Caller()
        caller.isInternal = true
        return caller
    }()
}
