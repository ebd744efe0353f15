// One watch that outlives connections: when its stream breaks it is opened again behind the last revision that was seen.

import CoveyClient
import Foundations
import GRPC
import Linux
import Wire

actor WatchFeed {
    private let client: Client
    private var request: WatchCreateRequest
    private var stream: RawStream<WatchRequest, WatchResponse>?
    private var isOver = false
    private var failures = 0
    /// What `begin` met that is news.
    private var early: WatchResponse?
    /// Told once about each time the connection is lost.
    private let lost: @Sendable (ClientError) -> Void

    init(_ client: Client, _ request: WatchCreateRequest, lost: @escaping @Sendable (ClientError) -> Void = { _ in }) {
        self.client = client
        self.request = request
        self.lost = lost
    }

    /// Returns when the server has said that it watches, or that it does not.
    func begin() async { early = await take(untilCreated: true) }

    /// The next answer with something in it: events, progress, or that the server ended the watch, which is the last.
    /// Nil at the end, also when the task is cancelled.
    func next() async -> WatchResponse? {
        if let answer = early {
            early = nil
            return answer
        }
        return await take(untilCreated: false)
    }

    private func take(untilCreated: Bool) async -> WatchResponse? {
        while !isOver && !Task.isCancelled {
            do throws(ClientError) {
                guard let answer = try await opened().next() else {
                    stream = nil
                    continue
                }
                failures = 0
                if answer.canceled || answer.compactRevision != 0 {
                    isOver = true
                    return answer.created ? refused(answer.cancelReason) : answer
                }
                note(answer)
                // The answer to the creation is not news.
                if !answer.created { return answer }
                if untilCreated { return nil }
            } catch {
                stream = nil
                if error.is(EtcdError.noLeader) || isFinal(error) {
                    isOver = true
                    return refused("\(error)")
                }
                if failures == 0 { lost(error) }
                failures += 1
                // Cancelled: the loop's condition sees it.
                try? await Task.sleep(for: .milliseconds(min(1000, 25 << min(failures, 6))))
            }
        }
        return nil
    }

    /// A watch that never came to be has nothing to say but why.
    private func refused(_ reason: String) -> WatchResponse {
        var answer = WatchResponse()
        answer.canceled = true
        answer.cancelReason = reason
        return answer
    }

    /// Asks the server how far it is. The answer comes among the others.
    func requestProgress() async throws(ClientError) {
        try await opened().send(WatchRequest(requestUnion: .progressRequest(WatchProgressRequest())))
    }

    private func isFinal(_ error: ClientError) -> Bool {
        error.code == .permissionDenied || error.code == .invalidArgument || error.code == .unauthenticated
    }

    private func opened() async throws(ClientError) -> RawStream<WatchRequest, WatchResponse> {
        if let stream { return stream }
        let new = client.watches.open(CallOptions(requireLeader: true))
        stream = new
        try await new.send(WatchRequest(requestUnion: .createRequest(request)))
        return new
    }

    private func note(_ answer: WatchResponse) {
        if let last = answer.events.last?.kv?.modRevision {
            request.startRevision = last + 1
        } else if let revision = answer.header?.revision, revision > 0, request.startRevision <= revision, !isBehind(answer) {
            request.startRevision = revision + 1
        }
    }

    /// A creation answer says where the store is, not that everything up to there was sent.
    private func isBehind(_ answer: WatchResponse) -> Bool { answer.created && request.startRevision > 0 }
}
