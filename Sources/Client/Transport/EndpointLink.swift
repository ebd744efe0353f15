// One endpoint: the connection to it, made again whenever it is lost. Belongs to the loop's thread.
//
//     idle --wanted--> resolving -> connecting --ready--> ready
//                          ^            | failed            | lost, draining
//                          |            v                   |
//                          +------ waiting (backoff) <------+
//
// A server that drains keeps its connection until its calls have ended, while a new one is made.

import Connections
import Foundations
import GRPC
import Linux
import TLSEngine
import Wire

final class EndpointLink: GRPCClientConnectionOwner {
    private enum State { case idle, resolving, connecting, ready, waiting, closed }

    let index: Int
    let endpoint: Endpoint
    /// Why there is no connection; empty before the first failure.
    private(set) var lastError = ""
    /// As its health service says. Without that service: true.
    private(set) var isServing = true

    // The pool keeps its links.
    private unowned let pool: ConnectionPool
    /// Its own, so that a name that takes long holds up nobody else.
    private let resolver: Resolver
    private var state = State.idle
    private var connection: GRPCClientConnection?
    private var addresses: ArraySlice<SocketAddress> = []
    /// Without a connection that lasted in between.
    private var failures = 0
    private var readySince: UInt64 = 0
    private var ticket: TLSTicket?
    private var keepaliveTime: UInt64
    private var timer: TimerID?
    private var health: GRPCClientCall?

    init(index: Int, _ endpoint: Endpoint, pool: ConnectionPool) {
        self.index = index
        self.endpoint = endpoint
        self.pool = pool
        resolver = Resolver(pool.loop)
        keepaliveTime = max(pool.configuration.keepaliveInterval, pool.configuration.keepaliveFloor).nanoseconds
    }

    /// The connection on which calls can start now.
    var usable: GRPCClientConnection? { state == .ready ? connection : nil }

    /// Begins to connect, if that has not begun.
    func want() {
        if state == .idle { resolve() }
    }

    func close(_ reason: GRPCStatus) {
        state = .closed
        if let timer { pool.loop.cancel(timer) }
        connection?.close(reason)
    }

    // MARK: Connecting

    private func resolve() {
        state = .resolving
        if endpoint.isUnix {
            guard let address = SocketAddress.unix(endpoint.host) else {
                return failed(GRPCClientConnection.dialError("unix \(endpoint.host)", "connect: invalid argument").message)
            }
            return resolved(.success([address]))
        }
        guard !endpoint.port.isEmpty else {
            let reason = "address \(endpoint.host): missing port in address"
            return failed(GRPCClientConnection.dialError("tcp", reason).message)
        }
        let host = endpoint.host
        resolver.resolve(host: host, port: endpoint.port) { [weak self] answer in
            self?.resolved(
                answer.mapError { GRPCClientConnection.dialError("tcp", "lookup \(host): \($0.call)") })
        }
    }

    private func resolved(_ found: Result<[SocketAddress], GRPCStatus>) {
        guard state == .resolving else { return }
        switch found {
        case .success(let list):
            addresses = list[...]
            connectNext()
        case .failure(let status): failed(status.message)
        }
    }

    /// The next address of the endpoint's; there is at least one.
    private func connectNext() {
        state = .connecting
        guard let address = addresses.popFirst() else { return failed("no addresses for \(endpoint.text)") }
        var settings = GRPCDialler.Settings()
        settings.authority = endpoint.authority
        settings.connectTimeout = pool.configuration.connectTimeout.nanoseconds
        settings.keepaliveTime = keepaliveTime
        settings.keepaliveTimeout = pool.configuration.keepaliveTimeout.nanoseconds
        settings.receiveBytesMax = pool.configuration.receiveBytesMax
        var tls: TLSSession?
        if endpoint.isSecure ?? (pool.configuration.tls != nil) {
            do {
                tls = try pool.tls().makeClientSession(host: endpoint.isUnix ? "localhost" : endpoint.host, ticket: ticket)
            } catch {
                return failed("\(error)")
            }
        }
        do {
            connection = try pool.dialler.dial(address, settings, tls: tls, self)
        } catch {
            notConnected(GRPCClientConnection.dialError(address, error).message)
        }
    }

    private func notConnected(_ reason: String) {
        connection = nil
        lastError = reason
        if addresses.isEmpty { failed(reason) } else { connectNext() }
    }

    private func failed(_ reason: String) {
        lastError = reason
        failures += 1
        tryAgain(after: backoff())
    }

    private func tryAgain(after delay: UInt64) {
        state = .waiting
        timer = pool.loop.schedule(after: delay) { [weak self] in
            guard let self, self.state == .waiting else { return }
            self.timer = nil
            self.resolve()
        }
    }

    /// Grows with each failure, never twice the same, so that clients of a server that comes back do not come all at once.
    private func backoff() -> UInt64 {
        let range = pool.configuration.reconnectDelay
        var delay = Double(range.lowerBound.nanoseconds)
        let longest = Double(range.upperBound.nanoseconds)
        for _ in 1..<max(failures, 1) where delay < longest { delay *= 1.6 }
        return UInt64(min(delay, longest) * Double.random(in: 0.8...1.2, using: &pool.random))
    }

    // MARK: What the connection tells

    func connectionReady(_ connection: GRPCClientConnection) {
        guard connection === self.connection, state == .connecting else { return }
        state = .ready
        readySince = Clock.monotonic()
        isServing = true
        if pool.checksHealth { watchHealth() }
        pool.linkIsReady()
    }

    /// A server that accepts connections and drops them soon is no better than one that does not accept any.
    private static let stableAfter: UInt64 = 1_000_000_000

    func connectionDraining(_ connection: GRPCClientConnection, tooManyPings: Bool) {
        guard connection === self.connection else { return }
        if tooManyPings { keepaliveTime *= 2 }
        lost(connection, "the server closes the connection")
    }

    func connectionClosed(_ connection: GRPCClientConnection, reason: GRPCStatus) {
        guard connection === self.connection, state != .closed else { return }
        if state == .connecting { return notConnected(reason.message) }
        lost(connection, reason.message)
    }

    private func lost(_ connection: GRPCClientConnection, _ reason: String) {
        if let ticket = connection.ticket { self.ticket = ticket }
        lastError = reason
        self.connection = nil
        guard Clock.monotonic() - readySince > Self.stableAfter else { return failed(reason) }
        failures = 0
        // At once, but not in step with everybody else who lost it.
        let longest = pool.configuration.reconnectDelay.lowerBound.nanoseconds
        tryAgain(after: UInt64.random(in: 0...longest, using: &pool.random))
    }

    // MARK: Health

    private static let healthRetry: UInt64 = 5_000_000_000

    private func watchHealth() {
        guard let connection = usable else { return }
        let receiver = HealthReceiver(link: self, connection: connection)
        guard let call = connection.start(GRPCCallHead(path: RPC.Health.watch.path), receiver) else { return }
        var request: [UInt8] = []
        GRPCFraming.appendHeader(length: 0, to: &request)
        call.send(framed: request)
        call.finishSending()
    }

    fileprivate func healthSays(_ connection: GRPCClientConnection, isServing: Bool) {
        guard connection === self.connection else { return }
        self.isServing = isServing
    }

    fileprivate func healthEnded(_ connection: GRPCClientConnection, _ status: GRPCStatus) {
        guard connection === self.connection, state == .ready else { return }
        // A learner serves nearly nothing; a server without the service is taken to serve.
        isServing = status.message != EtcdError.notSupportedForLearner.message
        if status.code == .unimplemented { return }
        pool.loop.schedule(after: Self.healthRetry) { [weak self, weak connection] in
            guard let self, let connection, connection === self.connection else { return }
            self.watchHealth()
        }
    }
}

private final class HealthReceiver: GRPCCallReceiver {
    private weak var link: EndpointLink?
    private weak var connection: GRPCClientConnection?

    init(link: EndpointLink, connection: GRPCClientConnection) {
        self.link = link
        self.connection = connection
    }

    func message(_ bytes: RawSpan) {
        // One that cannot be read says nothing about health.
        guard let connection, let answer = try? HealthPB.HealthCheckResponse(decoding: bytes) else { return }
        link?.healthSays(connection, isServing: answer.status == .serving)
    }

    func writable() {}

    func ended(_ outcome: GRPCCallOutcome) {
        guard let connection else { return }
        link?.healthEnded(connection, outcome.status)
    }
}
