// A request in flight, as those who answer it hold it: a small value that may outlive the request. Answering one that is
// gone does nothing.

import Foundations
import GRPC
import HTTP2Engine

package struct Call: Sendable, Hashable {
    package var connection: Int32
    package var slot: Int32
    package var serial: UInt64
}

/// Told when a call ends before it was answered: the client cancelled it, its deadline passed, or the connection broke.
package protocol CallObserver: AnyObject {
    func cancelled(_ call: Call)
}

/// The service's side of one streaming call. Made when the call starts, released when it is over.
package protocol StreamHandler: AnyObject {
    /// A message from the client, borrowed.
    func message(_ message: RawSpan)
    /// The client will send no more.
    func halfClosed()
    /// The call is over without `finish`: cancelled, past its deadline, or the connection broke. Nothing can be sent.
    func cancelled()
    /// The queue is short again (32 KiB) after `send` had made it longer than `GRPCServer.Limits.highWater`.
    func writable()
}

/// Takes the body of an HTTP/1.1 request in pieces. Released when the body is complete or the call is answered.
package protocol HTTPBodyReceiver: AnyObject {
    /// Borrowed.
    func received(_ bytes: RawSpan)
    /// The body is complete. Only now is the connection good for another request.
    func ended()
    /// The connection broke, or what came is no body: nothing follows, and nobody can be answered.
    func failed()
}

/// Who is at the other end of a connection.
package struct PeerIdentity: Sendable, Equatable {
    package var address: String
    /// Of the verified client certificate; nil without one.
    package var commonName: String?
    /// Whoever issued that certificate.
    package var issuer: String?
    package var isTLS: Bool

    package init(address: String = "", commonName: String? = nil, issuer: String? = nil, isTLS: Bool = false) {
        self.address = address
        self.commonName = commonName
        self.issuer = issuer
        self.isTLS = isTLS
    }
}

/// What a handler may ask about its call while it is being handed over.
package struct CallContext {
    package let call: Call
    package let peer: PeerIdentity
    /// Monotonic nanoseconds; zero when there is none.
    package let deadline: UInt64
    fileprivate let session: ServerSession?

    init(call: Call, peer: PeerIdentity, deadline: UInt64, session: ServerSession?) {
        self.call = call
        self.peer = peer
        self.deadline = deadline
        self.session = session
    }

    /// The first value of a request field.
    package func metadata(_ name: StaticString) -> [UInt8]? {
        session?.withStream(Int(call.slot)) { $0.hasMetadata ? $0.field(name) : nil }
    }

    /// The same without taking the value out.
    package func hasMetadata(_ name: StaticString, _ value: [UInt8]) -> Bool {
        session?.withStream(Int(call.slot)) { $0.hasMetadata && $0.hasField(name, value) } ?? false
    }

    package func metadataText(_ name: StaticString) -> String? {
        metadata(name).map { String(decoding: $0, as: UTF8.self) }
    }

    /// True when no field beyond those of every call was sent: nothing to look up.
    package var hasNoMetadata: Bool { session?.withStream(Int(call.slot)) { !$0.hasMetadata } ?? true }

    package var allMetadata: [(name: String, value: [UInt8])] {
        var all: [(name: String, value: [UInt8])] = []
        session?.withStream(Int(call.slot)) { stream in
            stream.forEachField { all.append((String(decoding: $0, as: UTF8.self), Array($1))) }
        }
        return all
    }
}
