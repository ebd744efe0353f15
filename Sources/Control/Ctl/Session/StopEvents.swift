// What ends a command that would go on for ever: a signal, or the loss of its lease.

import Foundations
import Linux

final class StopEvents: Sendable {
    enum Reason: Sendable { case signal(Int32), sessionLost }

    private struct State: Sendable {
        var reason: Reason?
        var waiters: [CheckedContinuation<Reason, Never>] = []
        var works: [Task<Void, Never>] = []
    }

    private let state = Mutex(State())

    init(_ signals: StopSignals?, _ session: LeaseSession?) {
        if let signals {
            BackgroundThread(name: "signals") { [weak self] in
                let signal = signals.wait()
                self?.happened(.signal(signal))
            }.detach()
        }
        if let session {
            Task { [weak self] in
                await session.lost()
                self?.happened(.sessionLost)
            }
        }
    }

    var reason: Reason? { state.withLock { $0.reason } }

    func first() async -> Reason {
        await withCheckedContinuation { continuation in
            let known = state.withLock { state -> Reason? in
                if state.reason == nil { state.waiters.append(continuation) }
                return state.reason
            }
            if let known { continuation.resume(returning: known) }
        }
    }

    /// Runs something that is cancelled when we are told to stop.
    func guarding<Value: Sendable, Failure: Error>(
        _ work: @escaping @Sendable () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let task = Task { () -> Result<Value, Failure> in
            do throws(Failure) { return .success(try await work()) } catch { return .failure(error) }
        }
        let handle = Task {
            await withTaskCancellationHandler {
                _ = await task.value
            } onCancel: {
                task.cancel()
            }
        }
        if state.withLock({ state in
            state.works.append(handle)
            return state.reason != nil
        }) {
            handle.cancel()
        }
        return try await task.value.get()
    }

    private func happened(_ reason: Reason) {
        let (waiters, works) = state.withLock { state -> ([CheckedContinuation<Reason, Never>], [Task<Void, Never>]) in
            if state.reason == nil { state.reason = reason }
            defer { (state.waiters, state.works) = ([], []) }
            return (state.waiters, state.works)
        }
        for work in works { work.cancel() }
        for waiter in waiters { waiter.resume(returning: reason) }
    }
}
