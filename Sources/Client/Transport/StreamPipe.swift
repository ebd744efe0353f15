// A stream's two directions between the loop and the tasks that read and write it. Bounded both ways: a stream that is not
// read is paused, so that the server stops; a writer that is faster than the server waits.

import Foundations
import GRPC
import Linux

final class StreamPipe: Sendable {
    /// Received bytes that wait for their reader: beyond the first the stream is paused, below the second it goes on.
    static let receiveHighWater = 256 * 1024
    static let receiveLowWater = 64 * 1024
    /// Bytes a writer may have waiting.
    static let sendHighWater = 256 * 1024

    typealias Reader = CheckedContinuation<Result<[UInt8]?, ClientError>, Never>
    typealias Writer = CheckedContinuation<ClientError?, Never>

    private struct State: Sendable {
        var messages = Deque<[UInt8]>()
        var bytes = 0
        var isPaused = false
        var readers = Deque<Reader>()
        var writers: [Writer] = []
        /// Handed over to the loop and not yet taken by it.
        var handedOver = 0
        /// Waiting on the loop.
        var queued = 0
        var result: CallResult?

        /// What a reader gets who comes after the last message.
        var end: Result<[UInt8]?, ClientError>? {
            result.map { $0.status.isOK ? .success(nil) : .failure($0.error) }
        }
    }

    let id: UInt64
    // Of the client; streams do not keep it open.
    private let transport: WeakReference<Transport>
    private let state = Mutex(State())

    init(id: UInt64, transport: Transport) {
        self.id = id
        self.transport = WeakReference(transport)
    }

    // MARK: Reading

    /// The next message; nil at the end. A task that is cancelled while it waits ends the stream.
    func next() async throws(ClientError) -> [UInt8]? {
        let got = await withTaskCancellationHandler {
            await withCheckedContinuation { (reader: Reader) in
                let (ready, resume) = state.withLock { state -> (Result<[UInt8]?, ClientError>?, Bool) in
                    if !state.messages.isEmpty {
                        let message = state.messages.removeFirst()
                        state.bytes -= message.count
                        guard state.isPaused && state.bytes <= Self.receiveLowWater else { return (.success(message), false) }
                        state.isPaused = false
                        return (.success(message), true)
                    }
                    if let end = state.end { return (end, false) }
                    state.readers.append(reader)
                    return (nil, false)
                }
                if resume { transport.value?.withCall(id) { [self] call in goOn(call) } }
                if let ready { reader.resume(returning: ready) }
            }
        } onCancel: {
            cancel()
        }
        return try got.get()
    }

    /// On the loop: unless the stream was paused again meanwhile.
    private func goOn(_ call: PendingCall?) {
        if !state.withLock({ $0.isPaused }) { call?.setPaused(false) }
    }

    /// On the loop.
    fileprivate func received(_ bytes: RawSpan, _ call: PendingCall) {
        let message = [UInt8](bytes)
        let (reader, pause) = state.withLock { state -> (Reader?, Bool) in
            if !state.readers.isEmpty { return (state.readers.removeFirst(), false) }
            state.messages.append(message)
            state.bytes += message.count
            guard !state.isPaused && state.bytes > Self.receiveHighWater else { return (nil, false) }
            state.isPaused = true
            return (nil, true)
        }
        if pause { call.setPaused(true) }
        reader?.resume(returning: .success(message))
    }

    // MARK: Writing

    /// Returns when there is room for more.
    func send(_ framed: [UInt8]) async throws(ClientError) {
        if let error = state.withLock({ Self.refusal($0) }) { throw error }
        state.withLock { $0.handedOver += framed.count }
        transport.value?.withCall(id) { [self] call in
            let queued = call?.send(framed) ?? 0
            state.withLock { $0.handedOver -= framed.count }
            setQueued(queued)
        }
        let error = await withTaskCancellationHandler {
            await withCheckedContinuation { (writer: Writer) in
                let (waits, error) = state.withLock { state -> (Bool, ClientError?) in
                    if state.result != nil { return (false, Self.refusal(state)) }
                    guard state.handedOver + state.queued > Self.sendHighWater else { return (false, nil) }
                    state.writers.append(writer)
                    return (true, nil)
                }
                if !waits { writer.resume(returning: error) }
            }
        } onCancel: {
            cancel()
        }
        if let error { throw error }
    }

    private static func refusal(_ state: State) -> ClientError? {
        guard let result = state.result else { return nil }
        return result.status.isOK ? ClientError(code: .internal, message: "the stream has ended") : result.error
    }

    func finishSending() { transport.value?.withCall(id) { $0?.finishSending() } }

    /// On the loop.
    fileprivate func setQueued(_ bytes: Int) {
        let writers = state.withLock { state -> [Writer] in
            state.queued = bytes
            guard state.handedOver + bytes <= Self.sendHighWater else { return [] }
            defer { state.writers = [] }
            return state.writers
        }
        for writer in writers { writer.resume(returning: nil) }
    }

    // MARK: The end

    func cancel() { transport.value?.cancel(id) }

    /// Once. What was received before can still be read.
    func ended(_ result: CallResult) {
        let (readers, writers, error) = state.withLock { state -> ([Reader], [Writer], ClientError?) in
            state.result = result
            var readers: [Reader] = []
            while !state.readers.isEmpty { readers.append(state.readers.removeFirst()) }
            defer { state.writers = [] }
            return (readers, state.writers, Self.refusal(state))
        }
        let end: Result<[UInt8]?, ClientError> = result.status.isOK ? .success(nil) : .failure(result.error)
        for reader in readers { reader.resume(returning: end) }
        for writer in writers { writer.resume(returning: error) }
    }
}

/// The loop's side of a pipe.
final class StreamSink: CallSink {
    private let pipe: StreamPipe

    init(_ pipe: StreamPipe) { self.pipe = pipe }

    func message(_ bytes: RawSpan, of call: PendingCall) { pipe.received(bytes, call) }
    func sendQueue(_ bytes: Int) { pipe.setQueued(bytes) }
    func ended(_ result: CallResult) { pipe.ended(result) }
}
