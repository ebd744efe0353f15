// The token that goes with each call of a client with a user. Asked for once, by whoever needs it first, and again when a
// server says it is no longer good.

import Linux

final class TokenKeeper: Sendable {
    /// Nil: the cluster has authentication switched off, calls go without a token.
    typealias Answer = Result<String?, ClientError>

    private struct State: Sendable {
        var answer: String??
        var isAsking = false
        var waiters: [Int: CheckedContinuation<Answer, Never>] = [:]
        var nextWaiter = 0
    }

    /// Where tokens come from; nil for clients without a user.
    private let ask: (@Sendable () async -> Answer)?
    private let state: Mutex<State>

    init(fixed: String?, ask: (@Sendable () async -> Answer)?) {
        self.ask = fixed == nil ? ask : nil
        state = Mutex(State(answer: ask == nil || fixed != nil ? .some(fixed) : nil))
    }

    var canAsk: Bool { ask != nil }

    /// The token to use now; waits for it until the deadline.
    func token(_ deadline: Deadline) async throws(ClientError) -> String? {
        if let known = state.withLock({ $0.answer }) { return known }
        guard let ask else { return nil }
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        // The time-out of this waiter; the question itself goes on for the others.
        let alarm = Task {
            guard !deadline.isNever else { return }
            // Cancelled when the answer is there.
            guard (try? await Task.sleep(nanoseconds: deadline.remaining)) != nil else { return }
            resume(id, .failure(.deadlineExceeded))
        }
        defer { alarm.cancel() }
        let answer: Answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (known, begins) = state.withLock { state -> (String??, Bool) in
                    if let known = state.answer { return (.some(known), false) }
                    state.waiters[id] = continuation
                    defer { state.isAsking = true }
                    return (nil, !state.isAsking)
                }
                if let known { continuation.resume(returning: .success(known)) }
                if begins { Task { answered(await ask()) } }
                if Task.isCancelled { resume(id, .failure(.cancelled)) }
            }
        } onCancel: {
            resume(id, .failure(.cancelled))
        }
        return try answer.get()
    }

    private func answered(_ answer: Answer) {
        let waiters = state.withLock { state in
            state.isAsking = false
            if case .success(let token) = answer { state.answer = .some(token) }
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(returning: answer) }
    }

    private func resume(_ waiter: Int, _ answer: Answer) {
        state.withLock { $0.waiters.removeValue(forKey: waiter) }?.resume(returning: answer)
    }

    /// A server did not accept this token. Another one that came meanwhile stays.
    func forget(_ token: String?) {
        guard ask != nil else { return }
        state.withLock { state in
            if let known = state.answer, known == token { state.answer = nil }
        }
    }
}
