// A call on its way through the proxy: from a client's connection to a member's and back.

import Connections
import CoveyClient
import Foundations
import GRPC
import Linux
import Wire

final class UnaryPassage: CallSink, CallObserver {
    private let proxy: GRPCProxy
    private let call: Call
    private let method: MethodDescriptor
    private let isSafe: Bool
    private var request: CallRequest
    private var id: UInt64 = 0
    private var attempt = 0
    private var answer: [UInt8]?
    private var isOver = false

    init(_ proxy: GRPCProxy, _ call: Call, _ method: MethodDescriptor, _ request: CallRequest, isSafe: Bool) {
        self.proxy = proxy
        self.call = call
        self.method = method
        self.request = request
        self.isSafe = isSafe
    }

    func begin() {
        proxy.server.observe(call, self)
        submit()
    }

    private func submit() {
        guard !isOver else { return }
        attempt += 1
        answer = nil
        id = proxy.nextID()
        proxy.pool.submit(id, request, self)
    }

    // MARK: From the member

    func message(_ bytes: RawSpan, of call: PendingCall) { answer = [UInt8](bytes) }
    func sendQueue(_ bytes: Int) {}

    func ended(_ result: CallResult) {
        guard !isOver else { return }
        if result.status.isOK, let answer { return reply(answer) }
        if RetryRules.decide(result, isSafe: isSafe, hasCredentials: false) == .again, attempt < RetryRules.attemptsMax {
            request.avoiding = result.link
            let pause = RetryRules.pause(beforeAttempt: attempt + 1, endpoints: proxy.pool.endpointCount)
            proxy.pool.loop.schedule(after: pause.nanoseconds) { [self] in submit() }
            return
        }
        finish(result.status.isOK ? GRPCStatus(.internal, "no message in the answer to a unary call") : result.status)
    }

    private func reply(_ answer: [UInt8]) {
        do throws(WireError) {
            let shown = try proxy.namespace?.response(method.path, answer.rawSpan) ?? answer
            isOver = true
            proxy.server.reply(call, shown)
        } catch { finish(GRPCStatus(.internal, "grpc: failed to unmarshal the received message: \(error)")) }
    }

    private func finish(_ status: GRPCStatus) {
        isOver = true
        proxy.server.finish(call, status)
    }

    // MARK: From the client

    func cancelled(_ call: Call) {
        isOver = true
        proxy.pool.cancel(id)
    }
}

final class StreamPassage: StreamHandler, CallSink {
    /// Of a client that says more than its member takes.
    private static let waitingBytesMax = 8 << 20

    private let proxy: GRPCProxy
    private let call: Call
    private let method: MethodDescriptor
    private let id: UInt64
    private var isOver = false
    private var isPaused = false

    init(_ proxy: GRPCProxy, _ context: CallContext, _ method: MethodDescriptor) {
        self.proxy = proxy
        call = context.call
        self.method = method
        id = proxy.nextID()
        proxy.pool.submit(id, proxy.request(context, method), self)
    }

    // MARK: From the client

    func message(_ message: RawSpan) {
        guard let pending = proxy.pool.call(id) else { return }
        do throws(WireError) {
            let rewritten = try proxy.namespace?.request(method.path, message)
            let waiting = pending.send(GRPCProxy.framed(message, instead: rewritten))
            if waiting > Self.waitingBytesMax { end(GRPCStatus(.resourceExhausted, "more is sent than the member takes")) }
        } catch { end(GRPCStatus(.internal, "grpc: error unmarshalling request: \(error)")) }
    }

    func halfClosed() { proxy.pool.call(id)?.finishSending() }

    func cancelled() {
        isOver = true
        proxy.pool.cancel(id)
    }

    func writable() {
        guard isPaused else { return }
        isPaused = false
        proxy.pool.call(id)?.setPaused(false)
    }

    // MARK: From the member

    func message(_ bytes: RawSpan, of pending: PendingCall) {
        guard !isOver else { return }
        do throws(WireError) {
            let shown = try proxy.namespace?.response(method.path, bytes)
            let queued = proxy.server.send(call) { output in
                if let shown { output.append(contentsOf: shown) } else { output.append(bytes) }
            }
            guard let queued else { return }
            guard queued > proxy.server.limits.highWater, !isPaused else { return }
            isPaused = true
            pending.setPaused(true)
        } catch { end(GRPCStatus(.internal, "grpc: failed to unmarshal the received message: \(error)")) }
    }

    func sendQueue(_ bytes: Int) {}

    func ended(_ result: CallResult) {
        guard !isOver else { return }
        isOver = true
        proxy.server.finish(call, result.status)
    }

    private func end(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        proxy.server.finish(call, status)
        proxy.pool.cancel(id)
    }
}
