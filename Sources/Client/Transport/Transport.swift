// The client's loop as its tasks see it: calls go in, results come out. Any thread.

import Foundations
import GRPC
import Linux
import Synchronization
import TLSEngine

final class Transport: Sendable {
    let configuration: ClientConfiguration
    private let door: LoopDoor
    private let pool: LoopBound<ConnectionPool>
    private let nextID = Atomic<UInt64>(1)

    /// Fails when certificates cannot be used, or the process has no descriptors left.
    init(_ configuration: ClientConfiguration) throws(ClientError) {
        self.configuration = configuration
        let endpoints = configuration.endpoints.map { Endpoint($0) }
        var tls: TLSContext?
        do {
            if configuration.tls != nil || endpoints.contains(where: { $0.isSecure == true }) {
                tls = try TLSContext(configuration.forTLS)
            }
        } catch {
            throw ClientError(code: .invalidArgument, message: "\(error)")
        }
        let loop: EventLoop
        do {
            loop = try EventLoop()
        } catch {
            throw ClientError(code: .resourceExhausted, message: "\(error)")
        }
        door = LoopDoor(loop.mailbox)
        pool = LoopBound(value: ConnectionPool(loop: loop, configuration, tls: tls))
        // The thread keeps pool and loop; what this object holds of them is only ever used there.
        BackgroundThread(name: "covey-client") { [pool] in pool.value.loop.run() }.detach()
    }

    deinit { close() }

    /// Ends every call. Nothing can be called afterwards.
    func close() {
        _ = door.close { [pool] in
            pool.value.close()
            pool.value.loop.stop()
        }
    }

    func setEndpoints(_ endpoints: [String]) {
        // A client that is closed has no endpoints to change.
        _ = door.post { [pool] in pool.value.setEndpoints(endpoints) }
    }

    // MARK: Unary

    /// One attempt. The answer's bytes come with an OK status.
    func unary(_ request: CallRequest) async -> (CallResult, [UInt8]) {
        let id = nextID.wrappingAdd(1, ordering: .relaxed).oldValue
        let cancelled = CancelFlag()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let posted = door.post { [pool] in
                    let sink = UnarySink(continuation)
                    if cancelled.isSet { return sink.ended(CallResult(status: EtcdError.contextCanceled, isLocal: true)) }
                    pool.value.submit(id, request, sink)
                }
                if !posted { continuation.resume(returning: (CallResult(status: ClientError.closed.status, isLocal: true), [])) }
            }
        } onCancel: {
            cancelled.set()
            cancel(id)
        }
    }

    // MARK: Streams

    func open(_ request: CallRequest) -> StreamPipe {
        let id = nextID.wrappingAdd(1, ordering: .relaxed).oldValue
        let pipe = StreamPipe(id: id, transport: self)
        let posted = door.post { [pool] in pool.value.submit(id, request, StreamSink(pipe)) }
        if !posted { pipe.ended(CallResult(status: ClientError.closed.status, isLocal: true)) }
        return pipe
    }

    // False of `post` below: the client is closed, and the call has been ended by that.

    func cancel(_ id: UInt64) {
        _ = door.post { [pool] in pool.value.cancel(id) }
    }

    func withCall(_ id: UInt64, _ body: @escaping @Sendable (PendingCall?) -> Void) {
        _ = door.post { [pool] in body(pool.value.call(id)) }
    }
}

extension ClientConfiguration {
    var forTLS: TLSConfiguration {
        let files = tls ?? TLS()
        var wanted = TLSConfiguration.client(
            trustedCA: files.trustedCA, certificate: files.certificate, key: files.key,
            insecureSkipVerify: files.insecureSkipVerify)
        wanted.serverName = files.serverName
        return wanted
    }
}

/// Says that a task was cancelled before its call was begun.
final class CancelFlag: Sendable {
    private let flag = Atomic(false)
    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}

/// Gathers the one answer of a unary call.
private final class UnarySink: CallSink {
    private let continuation: CheckedContinuation<(CallResult, [UInt8]), Never>
    private var answer: [UInt8]?
    private var tooMany = false

    init(_ continuation: CheckedContinuation<(CallResult, [UInt8]), Never>) { self.continuation = continuation }

    func message(_ bytes: RawSpan, of call: PendingCall) {
        if answer != nil { tooMany = true } else { answer = [UInt8](bytes) }
    }

    func sendQueue(_ bytes: Int) {}

    func ended(_ result: CallResult) {
        var result = result
        if result.status.isOK && (answer == nil || tooMany) {
            let what = tooMany ? "more than one message" : "no message"
            result.status = GRPCStatus(.internal, "cardinality violation: \(what) in the answer to a unary call")
        }
        continuation.resume(returning: (result, answer ?? []))
    }
}
