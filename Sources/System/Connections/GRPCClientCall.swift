// One call on a dialled connection, as the one who made it holds it. Belongs to the loop's thread.

import Foundations
import GRPC

/// Hears what a call brings, in this order: messages, then the end, once.
package protocol GRPCCallReceiver: AnyObject {
    func message(_ bytes: RawSpan)
    /// What was queued for sending is short again.
    func writable()
    func ended(_ outcome: GRPCCallOutcome)
}

package struct GRPCCallOutcome: Sendable {
    package var status: GRPCStatus
    /// The server has certainly not begun with the call: also a request that must not happen twice may be sent again.
    package var notProcessed = false

    package init(_ status: GRPCStatus, notProcessed: Bool = false) {
        self.status = status
        self.notProcessed = notProcessed
    }
}

package struct GRPCCallHead {
    package var path: String
    /// What is left until the deadline, in nanoseconds.
    package var timeout: Int64?
    package var metadata: [(name: String, value: [UInt8])] = []

    package init(path: String, timeout: Int64? = nil, metadata: [(name: String, value: [UInt8])] = []) {
        self.path = path
        self.timeout = timeout
        self.metadata = metadata
    }
}

package final class GRPCClientCall {
    /// Beyond this much waiting to be sent, the sender should wait for `writable`.
    package static let highWater = 64 * 1024

    let connection: GRPCClientConnection
    var slot = -1
    var receiver: (any GRPCCallReceiver)?
    var deframer: GRPCDeframer
    var isGzip = false
    /// Received, and its window not yet given back.
    var withheld = 0
    private(set) var isPaused = false
    var sendingIsOver = false

    init(connection: GRPCClientConnection, receiver: any GRPCCallReceiver, receiveBytesMax: Int) {
        self.connection = connection
        self.receiver = receiver
        deframer = GRPCDeframer(messageBytesMax: receiveBytesMax)
    }

    /// Ended, cancelled, or lost with its connection.
    package var isOver: Bool { receiver == nil }

    /// Sends messages that are framed already; bytes that wait then.
    @discardableResult
    package func send(framed bytes: [UInt8]) -> Int {
        guard !isOver, !sendingIsOver else { return 0 }
        return connection.send(self, bytes)
    }

    /// The client's side is complete.
    package func finishSending() {
        guard !isOver, !sendingIsOver else { return }
        connection.finishSending(self)
    }

    /// Ends the call at once; the receiver hears no more of it.
    package func cancel() {
        guard !isOver else { return }
        receiver = nil
        connection.abandon(self)
    }

    /// While paused the server may send no more than one window; a message that has begun to arrive still comes.
    package func setPaused(_ pause: Bool) {
        guard pause != isPaused, !isOver else { return }
        isPaused = pause
        if !pause { connection.giveBack(self) }
    }

    func end(_ outcome: GRPCCallOutcome) {
        guard let receiver else { return }
        self.receiver = nil
        receiver.ended(outcome)
    }
}
