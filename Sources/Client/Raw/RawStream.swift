// A stream of wire messages. Ends when it is let go of.

import Foundations
import Linux
import Wire

package final class RawStream<Request: WireMessage, Response: WireMessage>: Sendable {
    private enum Phase: Sendable {
        /// Waits for the token; opened by the first who reads or writes.
        case planned
        case open(StreamPipe)
        case failed(ClientError)
    }

    // Keeps the client open while the stream is in use.
    private let client: Client
    private let method: MethodDescriptor
    private let options: CallOptions
    private let only: Request?
    private let phase = Mutex(Phase.planned)

    init(_ client: Client, _ method: MethodDescriptor, _ options: CallOptions, only: Request?) {
        self.client = client
        self.method = method
        self.options = options
        self.only = only
    }

    deinit { cancel() }

    /// The next message; nil after the last, when the call ended with OK. A cancelled task ends the stream.
    package func next() async throws(ClientError) -> Response? {
        guard let bytes = try await pipe().next() else { return nil }
        do {
            return try Response(decoding: bytes)
        } catch {
            cancel()
            let text = "grpc: failed to unmarshal the received message: \(error)"
            throw ClientError(code: .internal, message: text)
        }
    }

    /// Returns when there is room for more.
    package func send(_ request: Request) async throws(ClientError) {
        try await pipe().send(client.framed(request))
    }

    /// Nothing more is sent; answers still come.
    package func finishSending() async throws(ClientError) { try await pipe().finishSending() }

    package func cancel() {
        let open = phase.withLock { phase -> StreamPipe? in
            if case .open(let pipe) = phase { return pipe }
            if case .planned = phase { phase = .failed(.cancelled) }
            return nil
        }
        open?.cancel()
    }

    private func pipe() async throws(ClientError) -> StreamPipe {
        if let open = try current() { return open }
        let deadline = options.deadline ?? .never
        let token = try await client.token(deadline)
        var call = client.request(method, token, options)
        call.deadline = deadline
        if let only { call.message = try client.framed(only) }
        let opened = phase.withLock { [transport = client.transport] phase -> Result<StreamPipe, ClientError> in
            switch phase {
            case .open(let pipe): return .success(pipe)
            case .failed(let error): return .failure(error)
            case .planned:
                let pipe = transport.open(call)
                phase = .open(pipe)
                return .success(pipe)
            }
        }
        return try opened.get()
    }

    private func current() throws(ClientError) -> StreamPipe? {
        switch phase.withLock({ $0 }) {
        case .planned: return nil
        case .open(let pipe): return pipe
        case .failed(let error): throw error
        }
    }
}

extension RawStream: AsyncSequence {
    package struct Iterator: AsyncIteratorProtocol {
        let stream: RawStream

        package func next(isolation actor: isolated (any Actor)?) async throws(ClientError) -> Response? {
            try await stream.next()
        }
    }

    package func makeAsyncIterator() -> Iterator { Iterator(stream: self) }
}
