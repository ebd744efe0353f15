// Requests to other HTTP/1.1 servers, from a loop: for members' peer ports. Connections that are done with a request are
// kept a moment for the next; a kept one that the server has closed meanwhile is replaced silently.
//
//     let call = client.send(request, to: origin, handler)     // handler hears head, body pieces, end; or the failure
//     call.cancel()                                            // and hears nothing more

import Foundations
import HTTP1
import Linux
import TLSEngine

/// Scheme, host and port; or a socket's path.
package struct HTTPOrigin: Hashable, Sendable, CustomStringConvertible {
    package var isTLS: Bool
    /// Without brackets. Empty for a path.
    package var host: String
    package var port: String
    package var path: String?

    package init(isTLS: Bool, host: String, port: String) {
        self.isTLS = isTLS
        self.host = host
        self.port = port
    }

    package init(isTLS: Bool, path: String) {
        self.isTLS = isTLS
        host = ""
        port = ""
        self.path = path
    }

    /// As in a URL and the Host field.
    package var authority: String { path.map { _ in "localhost" } ?? (host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)") }

    package var description: String { path.map { "unix://\($0)" } ?? "\(isTLS ? "https" : "http")://\(authority)" }
}

package enum HTTPClientError: Error, Equatable, Sendable, CustomStringConvertible {
    case connect(String)
    /// Every address answered that nobody listens there.
    case refused(String)
    case tls(String)
    case timeout(String)
    case closed
    case malformed(HTTPError)
    /// The source of the request's body gave up.
    case body
    case stopped

    package var description: String {
        switch self {
        case .connect(let reason), .refused(let reason): reason
        case .tls(let reason): "TLS: \(reason)"
        case .timeout(let what): "timeout: \(what)"
        case .closed: "connection closed by the server"
        case .malformed(let error): "\(error)"
        case .body: "the body to send ended early"
        case .stopped: "stopped"
        }
    }
}

/// A request's body that is too large to hold.
package protocol HTTP1BodySource: AnyObject {
    /// Appends the next piece, some hundred KiB at most.
    func produce(into output: inout Bytes) -> HTTP1BodyProgress
}

package enum HTTP1BodyProgress: Equatable, Sendable {
    case more
    /// Nothing now: `HTTP1ClientCall.bodyReady` will tell.
    case wait
    /// What was appended is the last of it.
    case end
    /// The connection is cut, so that the server cannot take what it has for the whole.
    case failed
}

package struct HTTP1ClientRequest {
    package enum Body {
        case none
        case bytes(Bytes)
        case source(any HTTP1BodySource)
    }

    package var method: String
    package var target: String
    package var fields: HTTPFields
    package var body: Body
    /// For all of it; zero: none.
    package var timeout: UInt64 = 0
    /// Without a byte either way; zero: none.
    package var silenceTimeout: UInt64 = 0
    /// May be sent over a connection that was used before, and sent again if that turns out to be closed.
    package var usesPool = true

    package init(_ method: String, _ target: String, fields: HTTPFields = [], body: Body = .none) {
        self.method = method
        self.target = target
        self.fields = fields
        self.body = body
    }
}

/// Called on the loop, never from inside `send`. After `ended` or `failed` nothing follows.
package protocol HTTP1ResponseHandler: AnyObject {
    func head(_ head: HTTPResponseHead)
    /// Borrowed.
    func body(_ bytes: RawSpan)
    func ended()
    func failed(_ error: HTTPClientError)
}

/// One request on its way.
package final class HTTP1ClientCall {
    let request: HTTP1ClientRequest
    let origin: HTTPOrigin
    let deadline: UInt64
    var handler: (any HTTP1ResponseHandler)?
    weak var connection: HTTP1ClientConnection?

    init(_ request: HTTP1ClientRequest, _ origin: HTTPOrigin, _ handler: any HTTP1ResponseHandler, now: UInt64) {
        self.request = request
        self.origin = origin
        self.handler = handler
        deadline = request.timeout == 0 ? .max : now &+ request.timeout
    }

    /// The handler hears nothing more; the connection is cut.
    package func cancel() {
        handler = nil
        connection?.close()
    }

    /// The source of the body has more.
    package func bodyReady() { connection?.sendBody() }

    func finish() {
        let handler = handler
        self.handler = nil
        handler?.ended()
    }

    func fail(_ error: HTTPClientError) {
        let handler = handler
        self.handler = nil
        handler?.failed(error)
    }
}

package final class HTTP1Client {
    package struct Limits: Sendable {
        /// Resolving, connecting, a proxy's tunnel and the TLS handshake together.
        package var connectTimeout: UInt64 = 2_000_000_000
        /// Shorter than servers keep them: members close theirs after 5 s.
        package var idleTimeout: UInt64 = 4_000_000_000
        package var idlePerOrigin = 8
        package var parser = HTTPLimits()

        package init() {}
    }

    package let loop: EventLoop
    let limits: Limits
    let tls: TLSContext?
    let resolver: Resolver
    /// Everything goes through it: cleartext as requests for whole URLs, which are the callers' to write, TLS through tunnels.
    let proxy: HTTPOrigin?
    /// Shared by the connections of the client.
    var input = [UInt8](repeating: 0, count: 65536)
    private var connections: [ObjectIdentifier: HTTP1ClientConnection] = [:]
    private var idle: [HTTPOrigin: [HTTP1ClientConnection]] = [:]
    private var ticker: TimerID?
    private var isStopped = false

    package init(
        loop: EventLoop, tls: TLSContext?, resolver: Resolver, limits: Limits = Limits(), proxy: HTTPOrigin? = nil
    ) {
        self.loop = loop
        self.tls = tls
        self.resolver = resolver
        self.limits = limits
        self.proxy = proxy
    }

    package func send(
        _ request: HTTP1ClientRequest, to origin: HTTPOrigin, _ handler: any HTTP1ResponseHandler
    ) -> HTTP1ClientCall {
        let call = HTTP1ClientCall(request, origin, handler, now: Clock.monotonic())
        if isStopped {
            loop.schedule(after: 0) { call.fail(.stopped) }
            return call
        }
        if request.usesPool, let connection = idle[origin]?.popLast() {
            connection.take(call)
        } else {
            dial(call)
        }
        return call
    }

    private func dial(_ call: HTTP1ClientCall) {
        let connection = HTTP1ClientConnection(self, call.origin)
        connections[ObjectIdentifier(connection)] = connection
        connection.start(call)
        if ticker == nil { scheduleTick() }
    }

    /// A kept connection was closed before anything of the answer came.
    func again(_ call: HTTP1ClientCall) { dial(call) }

    func park(_ connection: HTTP1ClientConnection) {
        guard !isStopped, idle[connection.origin, default: []].count < limits.idlePerOrigin else { return connection.close() }
        idle[connection.origin, default: []].append(connection)
    }

    func removed(_ connection: HTTP1ClientConnection) {
        connections[ObjectIdentifier(connection)] = nil
        guard let parked = idle[connection.origin] else { return }
        let rest = parked.filter { $0 !== connection }
        idle[connection.origin] = rest.isEmpty ? nil : rest
    }

    package var connectionCount: Int { connections.count }

    /// Cuts every connection. Handlers hear nothing more.
    package func stop() {
        isStopped = true
        for connection in Array(connections.values) { connection.cut() }
        if let ticker { loop.cancel(ticker) }
        ticker = nil
    }

    private func scheduleTick() {
        ticker = loop.schedule(after: 250_000_000) { [weak self] in
            guard let self else { return }
            ticker = nil
            for connection in Array(connections.values) { connection.tick(loop.now) }
            if !connections.isEmpty { scheduleTick() }
        }
    }
}
