// Questions to members over HTTPS: health, and the JSON gateway for the rest, which every etcd has too; and to agents for the
// page they show everybody. Callers await; the
// connection work happens on one loop.

import Connections
import Foundations
import HTTP1
import JSON
import Linux
import PKI
import TLSEngine

// All fields are used on the loop's thread only; `ask` gets there through the mailbox.
final class Gateway: @unchecked Sendable {
    struct Answer: Sendable, Equatable {
        var status: Int
        var body: [UInt8]
        var json: JSONValue? { try? JSONValue(parsing: body) }  // what is no JSON is nobody's answer
    }

    private let loop: EventLoop
    private let mailbox: Mailbox
    private let credentials: StatusCommand.Credentials
    private var client: HTTP1Client?

    /// Fails when the certificates cannot be read.
    convenience init(_ loop: EventLoop, _ credentials: StatusCommand.Credentials) throws(TLSError) {
        self.init(whenAsked: loop, credentials)
        _ = try opened()
    }

    /// Certificates are read when the first question is asked: they may come later.
    init(whenAsked loop: EventLoop, _ credentials: StatusCommand.Credentials) {
        self.loop = loop
        self.credentials = credentials
        mailbox = loop.mailbox
    }

    private func opened() throws(TLSError) -> HTTP1Client {
        if let client { return client }
        var configuration = TLSConfiguration.client(
            trustedCA: credentials.trustedCA, certificate: credentials.certificate, key: credentials.key)
        configuration.applicationProtocols = ["http/1.1"]
        let made = HTTP1Client(loop: loop, tls: try TLSContext(configuration), resolver: Resolver(loop))
        client = made
        return made
    }

    /// `body` nil: GET.
    func ask(
        _ host: String, _ port: Int, _ path: String, _ body: JSONValue? = nil, isTLS: Bool = true,
        timeoutSeconds: UInt64 = 3
    ) async -> Result<Answer, HTTPClientError> {
        await withCheckedContinuation { continuation in
            mailbox.post { [self] in
                var request = HTTP1ClientRequest(
                    body == nil ? "GET" : "POST", path, body: body.map { .bytes(Array($0.text().utf8)) } ?? .none)
                request.timeout = timeoutSeconds * 1_000_000_000
                let origin = HTTPOrigin(isTLS: isTLS, host: host, port: String(port))
                do throws(TLSError) {
                    _ = try opened().send(request, to: origin, Collector { continuation.resume(returning: $0) })
                } catch { continuation.resume(returning: .failure(.tls("\(error)"))) }
            }
        }
    }

    /// On the loop. Questions under way stay without an answer, so only when nobody waits.
    func stop() { client?.stop() }

    private final class Collector: HTTP1ResponseHandler {
        private var answer = Answer(status: 0, body: [])
        private let done: (Result<Answer, HTTPClientError>) -> Void

        init(_ done: @escaping (Result<Answer, HTTPClientError>) -> Void) { self.done = done }

        func head(_ head: HTTPResponseHead) { answer.status = head.status }
        func body(_ bytes: RawSpan) { answer.body.append(bytes) }
        func ended() { done(.success(answer)) }
        func failed(_ error: HTTPClientError) { done(.failure(error)) }
    }
}
