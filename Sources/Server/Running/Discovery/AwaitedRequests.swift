// Requests of a task over the loop's HTTP client. A task that is cancelled waits for nothing more, whatever the loop does.

import Connections
import Foundations
import HTTP1
import Linux

final class AwaitedRequests: Sendable {
    struct Answer: Sendable, Equatable {
        var status: Int
        /// Of `X-Etcd-Index`.
        var index: Int64?
        /// Where else to ask.
        var redirect: String?
        var body: Bytes
    }

    struct TooLong: Error, Equatable, CustomStringConvertible {
        var description: String { "the answer is longer than \(AwaitedRequests.bodyBytesMax) bytes" }
    }

    static let bodyBytesMax = 1 << 20

    private let mailbox: Mailbox
    private let client: LoopBound<HTTP1Client>

    /// On the loop's thread. The client stops with this.
    init(_ client: HTTP1Client) {
        mailbox = client.loop.mailbox
        self.client = LoopBound(client)
    }

    deinit { mailbox.post { [client] in client.value.stop() } }

    /// `form`: what a body says, as forms do. `timeout`: for all of it. Over a connection of its own, so that nothing is sent twice.
    func send(
        _ method: String, _ target: String, form: String? = nil, timeout: UInt64, to origin: HTTPOrigin
    ) async throws -> Answer {
        let wait = Wait()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                guard wait.begin(continuation) else { return }
                mailbox.post { [client] in
                    var request = HTTP1ClientRequest(method, target, body: form.map { .bytes(Bytes($0.utf8)) } ?? .none)
                    if form != nil { request.fields.append("Content-Type", "application/x-www-form-urlencoded") }
                    request.timeout = timeout
                    request.usesPool = false
                    let collector = Collector(wait)
                    collector.call = client.value.send(request, to: origin, collector)
                }
            }
        } onCancel: {
            wait.end(.failure(HTTPClientError.stopped))
        }
    }

    /// Ends once, with whatever comes first.
    private final class Wait: Sendable {
        private enum State {
            case new, ended
            case waiting(CheckedContinuation<Answer, any Error>)
        }

        private let state = Mutex(State.new)

        /// False when it was cancelled before.
        func begin(_ continuation: CheckedContinuation<Answer, any Error>) -> Bool {
            let begun = state.withLock { state in
                guard case .new = state else { return false }
                state = .waiting(continuation)
                return true
            }
            if !begun { continuation.resume(throwing: HTTPClientError.stopped) }
            return begun
        }

        func end(_ result: Result<Answer, any Error>) {
            let continuation: CheckedContinuation<Answer, any Error>? = state.withLock { state in
                defer { state = .ended }
                if case .waiting(let continuation) = state { return continuation }
                return nil
            }
            continuation?.resume(with: result)
        }
    }

    private final class Collector: HTTP1ResponseHandler {
        weak var call: HTTP1ClientCall?
        private let wait: Wait
        private var answer = Answer(status: 0, index: nil, redirect: nil, body: [])

        init(_ wait: Wait) { self.wait = wait }

        func head(_ head: HTTPResponseHead) {
            answer.status = head.status
            answer.index = head.fields["x-etcd-index"].flatMap { Int64($0) }
            if [301, 302, 307, 308].contains(head.status) { answer.redirect = head.fields["location"] }
        }

        func body(_ bytes: RawSpan) {
            guard answer.body.count + bytes.byteCount <= AwaitedRequests.bodyBytesMax else {
                call?.cancel()
                return wait.end(.failure(TooLong()))
            }
            answer.body.append(bytes)
        }

        func ended() { wait.end(.success(answer)) }
        func failed(_ error: HTTPClientError) { wait.end(.failure(error)) }
    }
}
