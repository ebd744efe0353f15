// CoveyClient: a client of an etcd-compatible cluster. The one module whose `public` API others build on.
//
// Three layers, each usable by itself:
//
//   1. what a program wants:      client.put("a", "1"), client.watch(prefix: "app/"), lease, lock, election, snapshot
//                                 (public; Client+KV.swift, Watch.swift, Lease.swift, ...)
//   2. every RPC, typed, raw:     client.kv.range(RangeRequest(key: k)) -> RangeResponse
//                                 (package; Raw/Services.swift; messages exactly as on the wire)
//   3. any method by descriptor:  client.unary(RPC.KV.put, request), client.open(RPC.Watch.watch)  (package; this file)
//
// Layer 2 in an example, as `covey ctl` uses it:
//
//     var configuration = ClientConfiguration(endpoints: ["127.0.0.1:2379"], timeout: nil)
//     configuration.connectTimeout = .seconds(2)                    // --dial-timeout
//     configuration.credentials = .init(user: "root", password: p)  // --user; or configuration.token
//     configuration.tls = .init(trustedCA: ca, certificate: cert, key: key)
//     let client = try Client(configuration)                        // throws: unusable certificates
//     defer { client.close() }
//     try await client.authenticate()      // optional: login failures apart from those of the call (ctl's exit code 2)
//
//     let options = CallOptions(deadline: .after(.seconds(5)))      // --command-timeout, shared by several calls
//     do {
//         let answer = try await client.kv.range(RangeRequest(key: k, rangeEnd: e), options)
//         answer.header?.revision; answer.kvs
//     } catch {                             // typed: ClientError
//         error.status                      // GRPCStatus: code and exact text
//         "\(error)"                        // as etcd's own clients print it: `etcdserver: permission denied`,
//                                           // `context deadline exceeded`, `rpc error: code = Unavailable desc = ...`
//         error.detail                      // "connection error: ... connect: connection refused"
//     }
//     var there = options; there.endpoint = "10.0.0.1:2379"         // this member and no other, known or not
//     try await client.maintenance.status(StatusRequest(), there)
//     options.requireLeader, options.isSafe                         // hasleader metadata; override of the retry rules
//
//     let stream = client.watches.open()                            // bidirectional; server streams likewise
//     try await stream.send(WatchRequest(requestUnion: .createRequest(create)))
//     while let answer = try await stream.next() { ... }            // nil: ended with OK
//     for try await piece in client.maintenance.snapshot(SnapshotRequest(), there) { ... }

import Foundations
import GRPC
import Linux
import Wire

/// A connection to a cluster: covey's, or any other that speaks etcd's API.
///
///     let client = try Client(ClientConfiguration(endpoints: ["127.0.0.1:2379"]))
///     try await client.put("greeting", "hello")
///     if let pair = try await client.get("greeting") {
///         print(pair.value.text, "since revision", pair.modRevision)
///     }
///     client.close()
///
/// One client serves a whole program: it may be used from any number of tasks at once, keeps one connection to each
/// endpoint, spreads calls over them and moves away from those that fail. Nothing is connected before the first call.
public final class Client: Sendable {
    public let configuration: ClientConfiguration
    let transport: Transport
    private let tokens: TokenKeeper

    /// Fails only for what is wrong on this side: certificates that cannot be read, no endpoints.
    public init(_ configuration: ClientConfiguration) throws(ClientError) {
        guard !configuration.endpoints.isEmpty else {
            throw ClientError(code: .invalidArgument, message: "etcdclient: no available endpoints")
        }
        self.configuration = configuration
        let transport = try Transport(configuration)
        self.transport = transport
        guard let credentials = configuration.credentials else {
            tokens = TokenKeeper(fixed: configuration.token, ask: nil)
            return
        }
        tokens = TokenKeeper(fixed: configuration.token) { [weak transport] in
            guard let transport else { return .failure(.closed) }
            return await Client.logIn(credentials, transport)
        }
    }

    deinit { transport.close() }

    /// Ends every call and stream, and lets go of the connections. Calls made afterwards fail.
    public func close() { transport.close() }

    /// Uses these endpoints from now on, after a change of membership for example.
    public func setEndpoints(_ endpoints: [String]) {
        invariant(!endpoints.isEmpty, "a client needs an endpoint")
        transport.setEndpoints(endpoints)
    }

    /// Logs in now instead of with the first call. Clients without credentials have nothing to do here.
    /// False: the cluster has authentication switched off, and calls go as if there were no credentials.
    @discardableResult
    public func authenticate(timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await tokens.token(.after(timeout ?? configuration.timeout)) != nil || !tokens.canAsk
    }

    // MARK: Any method

    /// Calls a method with one answer; again where that is allowed (see RetryRules).
    package func unary<Request: WireMessage, Response: WireMessage>(
        _ method: MethodDescriptor, _ request: Request, _ options: CallOptions = CallOptions()
    ) async throws(ClientError) -> Response {
        let message = try framed(request)
        let deadline = options.deadline ?? (RetryRules.waits(method) ? .never : .after(configuration.timeout))
        let isSafe = options.isSafe ?? RetryRules.isSafe(method, request)
        var avoiding: Int?
        var authentications = 0
        var attempt = 1
        var lastFailure = ""
        while true {
            let token = try await tokens.token(deadline)
            var call = self.request(method, token, options)
            call.message = message
            call.deadline = deadline
            call.avoiding = avoiding
            let (result, answer) = await transport.unary(call)
            if result.status.isOK { return try decode(answer, result) }
            var error = result.error
            // A server that notices our deadline before we do may call it UNKNOWN.
            if error.message == EtcdError.contextDeadlineExceeded.message { error.code = .deadlineExceeded }
            if error.detail.isEmpty { error.detail = lastFailure }
            switch RetryRules.decide(result, isSafe: isSafe, hasCredentials: tokens.canAsk) {
            case .fail: throw error
            case .authenticate:
                authentications += 1
                guard authentications <= RetryRules.authenticationsMax else { throw error }
                tokens.forget(token)
            case .again:
                attempt += 1
                guard attempt <= RetryRules.attemptsMax else { throw error }
                lastFailure = error.description
                avoiding = result.link
                try await pause(before: attempt, deadline, lastFailure)
            }
        }
    }

    /// Opens a stream on which both sides send. Streams are not repeated: who opens one decides what to do when it ends.
    package func open<Request: WireMessage, Response: WireMessage>(
        _ method: MethodDescriptor, _ options: CallOptions = CallOptions()
    ) -> RawStream<Request, Response> {
        RawStream(self, method, options, only: nil)
    }

    /// Opens a stream of answers to one request.
    package func open<Request: WireMessage, Response: WireMessage>(
        _ method: MethodDescriptor, _ request: Request, _ options: CallOptions = CallOptions()
    ) -> RawStream<Request, Response> {
        RawStream(self, method, options, only: request)
    }

    // MARK: Parts of a call

    func framed(_ request: some WireMessage) throws(ClientError) -> [UInt8] {
        var bytes: [UInt8] = []
        let start = GRPCFraming.reserveHeader(in: &bytes)
        request.append(to: &bytes)
        let size = bytes.count - GRPCFraming.headerSize
        guard size <= configuration.sendBytesMax else {
            let text = "trying to send message larger than max (\(size) vs. \(configuration.sendBytesMax))"
            throw ClientError(code: .resourceExhausted, message: text)
        }
        GRPCFraming.setLength(headerAt: start, in: &bytes)
        return bytes
    }

    private func decode<Response: WireMessage>(_ answer: [UInt8], _ result: CallResult) throws(ClientError) -> Response {
        do {
            return try Response(decoding: answer)
        } catch {
            let text = "grpc: failed to unmarshal the received message: \(error)"
            throw ClientError(code: .internal, message: text, endpoint: result.endpoint)
        }
    }

    func request(_ method: MethodDescriptor, _ token: String?, _ options: CallOptions) -> CallRequest {
        var call = CallRequest(path: method.path)
        call.endpoint = options.endpoint
        call.metadata.append(("client-api-version", Array("3.5".utf8)))
        if let token { call.metadata.append(("token", Array(token.utf8))) }
        if options.requireLeader { call.metadata.append(("hasleader", Array("true".utf8))) }
        return call
    }

    func token(_ deadline: Deadline) async throws(ClientError) -> String? { try await tokens.token(deadline) }

    /// A stream ended because of its token.
    func forgetToken() async {
        // Without a wait: what is known now is what the stream had.
        if let token = try? await tokens.token(.after(.zero)) { tokens.forget(token) }
    }

    var hasCredentials: Bool { tokens.canAsk }

    private func pause(before attempt: Int, _ deadline: Deadline, _ failure: String) async throws(ClientError) {
        let pause = RetryRules.pause(beforeAttempt: attempt, endpoints: configuration.endpoints.count)
        guard pause > .zero else { return }
        guard pause.nanoseconds < deadline.remaining else {
            var error = ClientError.deadlineExceeded
            error.detail = failure
            throw error
        }
        do {
            try await Task.sleep(for: pause)
        } catch {
            throw .cancelled
        }
    }

    // MARK: Logging in

    private static func logIn(_ credentials: ClientConfiguration.Credentials, _ transport: Transport) async -> TokenKeeper.Answer {
        var message: [UInt8] = []
        let start = GRPCFraming.reserveHeader(in: &message)
        AuthenticateRequest(name: credentials.user, password: credentials.password).append(to: &message)
        GRPCFraming.setLength(headerAt: start, in: &message)
        let deadline = Deadline.after(transport.configuration.timeout ?? transport.configuration.connectionWait)
        var call = CallRequest(path: RPC.Auth.authenticate.path, message: message)
        call.deadline = deadline
        for attempt in 2... {
            let (result, answer) = await transport.unary(call)
            if result.status.isOK {
                // An answer that cannot be read has no token either.
                let token = (try? AuthenticateResponse(decoding: answer))?.token ?? ""
                return token.isEmpty ? .failure(ClientError(code: .internal, message: "no token in the answer")) : .success(token)
            }
            if result.status == EtcdError.authNotEnabled { return .success(nil) }
            guard RetryRules.decide(result, isSafe: true, hasCredentials: false) == .again,
                attempt <= RetryRules.attemptsMax
            else { return .failure(result.error) }
            call.avoiding = result.link
            let pause = RetryRules.pause(beforeAttempt: attempt, endpoints: transport.configuration.endpoints.count)
            guard pause.nanoseconds < deadline.remaining else { return .failure(result.error) }
            // Nobody cancels the task that asks.
            try? await Task.sleep(for: pause)
        }
        return .failure(.closed)
    }
}

/// What may be said about a call of the raw layers.
package struct CallOptions: Sendable {
    /// Nil: the client's own time-out for unary calls, none for streams.
    package var deadline: Deadline?
    /// Only this endpoint; it need not be one of the client's.
    package var endpoint: String?
    /// Refuse members that know no leader.
    package var requireLeader = false
    /// May be repeated although it may have happened. Nil: as the method and the request say.
    package var isSafe: Bool?

    package init(deadline: Deadline? = nil, endpoint: String? = nil, requireLeader: Bool = false, isSafe: Bool? = nil) {
        self.deadline = deadline
        self.endpoint = endpoint
        self.requireLeader = requireLeader
        self.isSafe = isSafe
    }
}
