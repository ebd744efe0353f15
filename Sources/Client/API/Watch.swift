// Following changes, whatever happens to connections and servers.
//
//   opened --created--> following --changes--> following
//      ^                   |  |
//      |     stream ended  |  | the history we need is compacted
//      +---- (pause) ------+  +--> gap: say so, go on behind it
//
// `next` is the revision that has not been seen: every stream is opened there, so that nothing is missed or seen twice.

import Foundations
import GRPC
import Linux
import Wire

/// One key that was written or deleted.
public struct Change: Sendable {
    public enum Kind: Sendable { case put, delete }

    public var kind: Kind
    /// As it is now. Of a deleted key only `key` and `modRevision` are meaningful.
    public var pair: KeyValuePair
    /// As it was before, if that was asked for and is not compacted.
    public var previous: KeyValuePair?

    public var key: Blob { pair.key }
    /// A put of a key that did not exist.
    public var isCreation: Bool { kind == .put && pair.createRevision == pair.modRevision }
    public var revision: Int64 { pair.modRevision }

    init(_ event: Event) {
        kind = event.type == .delete ? .delete : .put
        pair = KeyValuePair(event.kv ?? KeyValue())
        previous = event.prevKv.map { KeyValuePair($0) }
    }
}

/// What a watch tells.
public enum WatchEvent: Sendable {
    /// Changes in their order. All changes of one revision come together.
    case changes([Change])
    /// Everything up to this revision has been told.
    case progress(revision: Int64)
    /// What happened in these revisions is compacted away and will not be told; read the range again if it matters.
    case gap(ClosedRange<Int64>)
}

/// The changes of a range from some revision on. Comes from ``Client/watch(_:from:options:)``.
///
/// It is an `AsyncSequence` for one reader. Losing the connection, the server or its leader does not end it: it goes on
/// elsewhere, behind the last revision it has told. It ends by ``cancel()``, with the reader's task, or with an error that
/// time does not heal, such as a missing permission.
public final class Watch: AsyncSequence, Sendable {
    public typealias Element = WatchEvent

    /// What a watch may leave out or add.
    public struct Options: Sendable {
        /// The pairs before each change.
        public var previous = false
        /// Tell of ``WatchEvent/progress(revision:)``, every ten minutes of silence or as the server is set.
        public var progress = false
        /// Leave out writes, or deletions.
        public var ignorePuts = false
        public var ignoreDeletes = false

        public init(previous: Bool = false, progress: Bool = false, ignorePuts: Bool = false, ignoreDeletes: Bool = false) {
            self.previous = previous
            self.progress = progress
            self.ignorePuts = ignorePuts
            self.ignoreDeletes = ignoreDeletes
        }
    }

    public let range: KeyRange
    /// The first revision whose changes are told.
    public let startRevision: Int64
    private let session: WatchSession

    init(_ session: WatchSession, startRevision: Int64) {
        self.session = session
        self.startRevision = startRevision
        range = session.range
    }

    deinit { session.cancel() }

    /// Ends the sequence.
    public func cancel() { session.cancel() }

    /// The next event; nil after ``cancel()``.
    public func next() async throws(ClientError) -> WatchEvent? { try await session.next() }

    public struct Iterator: AsyncIteratorProtocol {
        let watch: Watch

        public func next() async throws(ClientError) -> WatchEvent? { try await watch.next() }

        public func next(isolation actor: isolated (any Actor)?) async throws(ClientError) -> WatchEvent? {
            try await watch.next()
        }
    }

    public func makeAsyncIterator() -> Iterator { Iterator(watch: self) }
}

extension Client {
    /// Follows the changes of a range.
    ///
    ///     let watch = try await client.watch(.prefix("app/"))
    ///     for try await event in watch {
    ///         switch event {
    ///         case .changes(let changes): for change in changes { print(change.kind, change.key, change.pair.value) }
    ///         case .gap: try await readEverythingAgain()
    ///         case .progress: break
    ///         }
    ///     }
    ///
    /// When this returns the watch stands: every change from then on will be told. To read a range and follow it without a
    /// hole, watch from the revision behind the reading:
    ///
    ///     let now = try await client.list(.prefix("app/"))
    ///     let watch = try await client.watch(.prefix("app/"), from: now.revision + 1)
    ///
    /// - Parameters:
    ///   - revision: Begin with the changes of this one. Nil: with the next there is.
    ///   - timeout: For the first contact; afterwards there is none.
    public func watch(
        _ range: KeyRange, from revision: Int64? = nil, options: Watch.Options = Watch.Options(), timeout: Duration? = nil
    ) async throws(ClientError) -> Watch {
        let session = WatchSession(self, range, from: revision, options)
        let start = try await session.begin(.after(timeout ?? configuration.timeout))
        return Watch(session, startRevision: start)
    }
}

/// The life of one watch over its streams.
final class WatchSession: Sendable {
    private typealias Stream = RawStream<WatchRequest, WatchResponse>

    private struct State: Sendable {
        var stream: Stream?
        var isOver = false
        /// The first revision that has not been told; 0 until the server has said where we are.
        var next: Int64
        /// Of a message that comes in fragments.
        var fragments: [Event] = []
        var failures = 0
        /// Seen while the watch was opened, told first.
        var early: WatchEvent?
    }

    let range: KeyRange
    private let client: Client
    private let options: Watch.Options
    private let state: Mutex<State>

    init(_ client: Client, _ range: KeyRange, from revision: Int64?, _ options: Watch.Options) {
        self.client = client
        self.range = range
        self.options = options
        state = Mutex(State(next: revision ?? 0))
    }

    func cancel() {
        let stream = state.withLock { state in
            state.isOver = true
            defer { state.stream = nil }
            return state.stream
        }
        stream?.cancel()
    }

    private var isOver: Bool { state.withLock { $0.isOver } }

    // MARK: Opening

    /// Returns the first revision that will be told.
    func begin(_ deadline: Deadline) async throws(ClientError) -> Int64 {
        let timer = Task { [weak self] in
            guard !deadline.isNever else { return }
            // Cancelled when the watch stands.
            guard (try? await Task.sleep(nanoseconds: deadline.remaining)) != nil else { return }
            self?.cancel()
        }
        defer { timer.cancel() }
        while true {
            do throws(ClientError) {
                _ = try await stream()
                return state.withLock { $0.next }
            } catch {
                if Task.isCancelled { throw .cancelled }
                if isOver { throw ClientError(EtcdError.contextDeadlineExceeded, detail: error.detail) }
                try await recover(from: error)
            }
        }
    }

    /// The stream in use, or a new one on which the watch stands.
    private func stream() async throws(ClientError) -> Stream {
        if let stream = state.withLock({ $0.stream }) { return stream }
        let stream = client.watches.open(CallOptions(requireLeader: true))
        let isOver = state.withLock { state in
            state.stream = stream
            state.fragments = []
            return state.isOver
        }
        if isOver {
            stream.cancel()
            throw .cancelled
        }
        var create = WatchCreateRequest(key: range.start.bytes, rangeEnd: range.endBytes)
        create.startRevision = state.withLock { $0.next }
        create.prevKv = options.previous
        create.progressNotify = true
        create.fragment = true
        if options.ignorePuts { create.filters.append(.noput) }
        if options.ignoreDeletes { create.filters.append(.nodelete) }
        try await stream.send(WatchRequest(requestUnion: .createRequest(create)))
        guard let answer = try await stream.next() else {
            throw ClientError(code: .unavailable, message: "the watch stream ended")
        }
        if answer.canceled { try cancelled(answer) }
        state.withLock { state in
            state.failures = 0
            // A watch from now on begins behind the revision it was created at.
            if state.next == 0, let header = answer.header { state.next = header.revision + 1 }
        }
        return stream
    }

    // MARK: Following

    func next() async throws(ClientError) -> WatchEvent? {
        while true {
            if let early = state.withLock({ state in
                defer { state.early = nil }
                return state.early
            }) {
                return early
            }
            if isOver { return nil }
            do throws(ClientError) {
                let stream = try await stream()
                guard let answer = try await stream.next() else {
                    throw ClientError(code: .unavailable, message: "the watch stream ended")
                }
                if answer.canceled { try cancelled(answer) }
                if let event = take(answer) { return event }
            } catch {
                if Task.isCancelled { throw .cancelled }
                if isOver { return nil }
                try await recover(from: error)
            }
        }
    }

    private func take(_ answer: WatchResponse) -> WatchEvent? {
        state.withLock { state in
            state.fragments += answer.events
            if answer.fragment { return nil }
            // What a server tells twice (after a change of its own history) is told once.
            let events = state.fragments.filter { ($0.kv?.modRevision ?? 0) >= state.next }
            state.fragments = []
            if let last = events.last?.kv?.modRevision {
                state.next = max(state.next, last + 1)
                return .changes(events.map { Change($0) })
            }
            guard answer.events.isEmpty, !answer.created, let revision = answer.header?.revision else { return nil }
            state.next = max(state.next, revision + 1)
            return options.progress ? .progress(revision: revision) : nil
        }
    }

    /// The server has ended the watch, not the stream.
    private func cancelled(_ answer: WatchResponse) throws(ClientError) {
        if answer.compactRevision > 0 {
            state.withLock { state in
                let first = max(state.next, 1)
                state.next = max(state.next, answer.compactRevision)
                if first < state.next { state.early = .gap(first...state.next - 1) }
                state.stream?.cancel()
                state.stream = nil
            }
            throw Self.again
        }
        throw ClientError(GRPCStatus(watchRefusal: answer.cancelReason))
    }

    private static let again = ClientError(code: .unavailable, message: "the watch begins behind the compaction")

    // MARK: Going on

    /// Returns when it is worth to try again, or throws what time does not heal.
    private func recover(from error: ClientError) async throws(ClientError) {
        let failures = state.withLock { state in
            state.stream?.cancel()
            state.stream = nil
            if error != Self.again { state.failures += 1 }
            return state.failures
        }
        if error == Self.again { return }
        if error == .closed { throw error }
        if client.hasCredentials && RetryRules.meansNewToken(error.status) && failures <= RetryRules.authenticationsMax {
            await client.forgetToken()
            return
        }
        guard error.code == .unavailable || error.code == .internal || error.code == .cancelled else { throw error }
        do {
            let endpoints = client.configuration.endpoints.count
            try await Task.sleep(for: RetryRules.pause(beforeAttempt: failures + 1, endpoints: endpoints))
        } catch {
            throw .cancelled
        }
    }
}

extension GRPCStatus {
    /// Why a server cancelled a watch, from `cancel_reason`: a text, which in case of a refusal carries code and message.
    package init(watchRefusal reason: String) {
        let (before, between) = ("rpc error: code = ", " desc = ")
        if reason.hasPrefix(before) {
            for number in 1...16 as ClosedRange<UInt32> {
                let code = GRPCCode(rawValue: number)
                let start = before + code.name + between
                if reason.hasPrefix(start) {
                    self.init(code, String(reason.dropFirst(start.count)))
                    return
                }
            }
        }
        self.init(.invalidArgument, reason.isEmpty ? EtcdError.watchCanceled.message : reason)
    }
}
