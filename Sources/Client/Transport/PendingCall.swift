// One attempt of a call on the loop: waits for a connection, runs on it, ends. Belongs to the loop's thread.

import Connections
import GRPC
import Linux

/// Where the results of a call go; called on the loop.
package protocol CallSink: AnyObject {
    func message(_ bytes: RawSpan, of call: PendingCall)
    /// Bytes that wait to be sent, now that they are fewer.
    func sendQueue(_ bytes: Int)
    func ended(_ result: CallResult)
}

package final class PendingCall: GRPCCallReceiver {
    let id: UInt64
    let request: CallRequest
    let submitted: UInt64
    let sink: any CallSink
    // The pool keeps its calls, and ends them before it goes.
    unowned let pool: ConnectionPool
    private(set) var link: EndpointLink?
    private var call: GRPCClientCall?
    /// What was sent before there was a connection.
    private var outbox: [[UInt8]] = []
    private var outboxEnds = false

    init(id: UInt64, _ request: CallRequest, sink: any CallSink, pool: ConnectionPool) {
        self.id = id
        self.request = request
        self.sink = sink
        self.pool = pool
        submitted = pool.loop.now
    }

    var isWaiting: Bool { call == nil }

    /// False when the connection takes no more.
    func start(on connection: GRPCClientConnection, of link: EndpointLink) -> Bool {
        var timeout: Int64?
        if !request.deadline.isNever { timeout = Int64(clamping: request.deadline.remaining) }
        let head = GRPCCallHead(path: request.path, timeout: timeout, metadata: request.metadata)
        guard let call = connection.start(head, self) else { return false }
        self.call = call
        self.link = link
        if let message = request.message {
            call.send(framed: message)
            call.finishSending()
        }
        for message in outbox { call.send(framed: message) }
        outbox = []
        if outboxEnds { call.finishSending() }
        return true
    }

    // MARK: What the client's side does

    /// Bytes that wait then.
    @discardableResult package func send(_ framed: [UInt8]) -> Int {
        if let call { return call.send(framed: framed) }
        outbox.append(framed)
        return outbox.reduce(0) { $0 + $1.count }
    }

    package func finishSending() {
        if let call { call.finishSending() } else { outboxEnds = true }
    }

    package func setPaused(_ pause: Bool) { call?.setPaused(pause) }

    /// The attempt ends here, for a reason of our own.
    func end(_ status: GRPCStatus, detail: String) {
        call?.cancel()
        conclude(CallResult(status: status, notProcessed: call == nil, isLocal: true, detail: detail))
    }

    // MARK: What the connection tells

    package func message(_ bytes: RawSpan) { sink.message(bytes, of: self) }

    package func writable() { sink.sendQueue(0) }

    package func ended(_ outcome: GRPCCallOutcome) {
        conclude(CallResult(status: outcome.status, notProcessed: outcome.notProcessed))
    }

    private func conclude(_ result: CallResult) {
        var result = result
        result.link = link?.index
        result.endpoint = link?.endpoint.text ?? ""
        pool.forget(self)
        sink.ended(result)
    }
}
