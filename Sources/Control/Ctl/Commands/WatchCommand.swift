// watch: prints what happens to keys until it is stopped, and runs a program for each event if asked to.

import CoveyClient
import Flags
import Foundations
import Linux
import Wire

enum WatchCommand {
    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        let environment = WatchArguments.Environment(
            key: invocation.environment.value("ETCDCTL_WATCH_KEY") ?? "",
            rangeEnd: invocation.environment.value("ETCDCTL_WATCH_RANGE_END") ?? "")
        if environment.key.isEmpty && !environment.rangeEnd.isEmpty {
            throw WatchArguments.missingKey(environment)
        }
        if invocation.values.bool("interactive") { return try await converse(invocation, environment) }
        let arguments = try WatchArguments(invocation.parsed, environment)
        let session = try await CtlSession(invocation)
        try await follow(arguments, WatchFeed(session.client, arguments.request, lost: session.console.lostWatch), session)
        throw CtlFailure(.interrupted, "watch is canceled by the server")
    }

    /// Prints what the feed brings, to its end.
    private static func follow(
        _ arguments: WatchArguments, _ feed: WatchFeed, _ session: CtlSession
    ) async throws(CtlFailure) {
        while let answer = await feed.next() {
            if answer.canceled || answer.compactRevision != 0 {
                session.console.errorLine("watch was canceled (\(answer.endReason))")
            }
            if answer.isProgress { session.console.line("progress notify: \(answer.header?.revision ?? 0)") }
            try session.show(.watch(answer))
            guard !arguments.command.isEmpty else { continue }
            for event in answer.events { try await start(arguments.command, event, answer) }
        }
    }

    private static func start(
        _ command: [String], _ event: Event, _ answer: WatchResponse
    ) async throws(CtlFailure) {
        let pair = event.kv ?? KeyValue()
        let environment =
            ChildProcess.environment + [
                "ETCD_WATCH_REVISION=\(answer.header?.revision ?? 0)",
                "ETCD_WATCH_EVENT_TYPE=\(GoText.quote(event.type.shown))",
                "ETCD_WATCH_KEY=\(GoText.quote(pair.key))", "ETCD_WATCH_VALUE=\(GoText.quote(pair.value))",
            ]
        let result = await Children.run(command, environment: environment)
        guard let reason = Children.refusal(result, command) else { return }
        StandardStreams.write(2, Bytes("command \(Children.quoted(command)) error (\(reason))\n".utf8))
        throw CtlFailure(code: CtlFailure.Exit.error.rawValue)
    }

    // MARK: Interactive

    /// Each line starts another watch, or asks how far the running ones are.
    private static func converse(
        _ invocation: Invocation, _ environment: WatchArguments.Environment
    ) async throws(CtlFailure) {
        let session = try await CtlSession(invocation)
        var feeds: [WatchFeed] = []
        for await line in InputLines.stream() {
            switch InteractiveWatchLine(line, environment) {
            case .refused(let text): session.console.errorLine(text)
            case .wrong(let failure): throw failure
            case .progress:
                for feed in feeds {
                    do { try await feed.requestProgress() } catch {
                        session.console.errorLine("progress request failed: \(error)")
                    }
                }
            case .watch(let arguments):
                let feed = WatchFeed(session.client, arguments.request, lost: session.console.lostWatch)
                feeds.append(feed)
                // The next line may ask how far this one is.
                await feed.begin()
                Task {
                    do throws(CtlFailure) { try await follow(arguments, feed, session) } catch {
                        // A program that fails, or a format that cannot be written, ends everything, as ever.
                        session.console.show(error)
                        Exit.now(error.code)
                    }
                }
            }
        }
        throw CtlFailure(.badInput, "error reading watch request line: EOF")
    }
}

extension WatchResponse {
    /// Nothing happened up to the header's revision.
    var isProgress: Bool {
        events.isEmpty && !canceled && !created && compactRevision == 0 && (header?.revision ?? 0) != 0
    }

    var endReason: String {
        if compactRevision != 0 { return "etcdserver: mvcc: required revision has been compacted" }
        return cancelReason.isEmpty ? "etcdserver: mvcc: required revision is a future revision" : cancelReason
    }
}

extension Console {
    var lostWatch: @Sendable (ClientError) -> Void {
        { error in warn("the watch lost its connection and tries again", [("error", error.detail.isEmpty ? "\(error)" : error.detail)]) }
    }
}

/// Lines of standard input while other things happen.
enum InputLines {
    static func stream() -> AsyncStream<String> {
        AsyncStream { continuation in
            BackgroundThread(name: "stdin") {
                let input = StandardInput()
                while let line = input.readLine() { continuation.yield(ArgumentText.text(of: line)) }
                continuation.finish()
            }.detach()
        }
    }
}
