// make-mirror: copies a range of keys to another cluster and follows its changes, one transaction a revision.

import CoveyClient
import Flags
import Foundations
import GRPC
import Linux
import Synchronization
import Wire

enum MirrorCommand {
    /// How often the running total is printed.
    private static let reportEvery: Duration = .seconds(30)

    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        let destination = try invocation.onlyWord("make-mirror takes one destination argument")
        let values = invocation.values
        let session = try await CtlSession(invocation)
        if !values.text("dest-prefix").isEmpty && values.bool("no-dest-prefix") {
            throw .arguments("`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one")
        }
        var settings = session.settings
        settings.endpoints = [destination]
        settings.tls = try CertificateFlags(values, prefix: "dest-").tls(endpoints: settings.endpoints)
        settings.credentials = try Login.credentials(invocation, userFlag: "dest-user", passwordFlag: "dest-password")
        settings.token = nil
        let target = try settings.open()
        try await CtlSession.logIn(target, settings)
        let mirror = Mirror(
            source: session.client, target: target, prefix: ArgumentText.bytes(of: values.text("prefix")),
            targetPrefix: values.bool("no-dest-prefix")
                ? [] : ArgumentText.bytes(of: values.text(values.text("dest-prefix").isEmpty ? "prefix" : "dest-prefix")),
            operationsMax: Int(clamping: values.unsigned("max-txn-ops")))
        let reports = Task { await report(mirror.total, session.console) }
        defer { reports.cancel() }
        do throws(ClientError) {
            try await mirror.run(from: values.integer("rev"))
        } catch {
            throw CtlFailure(error)
        }
    }

    private static func report(_ total: Mirror.Total, _ console: Console) async {
        while !Task.isCancelled {
            for _ in 0..<30 {
                // Cancelled: the loop's condition sees it.
                try? await Task.sleep(for: reportEvery / 30)
                console.progress("mirrored \(total.value) keys")
            }
            console.endProgress()
            console.line(String(total.value))
        }
    }
}

struct Mirror: Sendable {
    let source: Client
    let target: Client
    let prefix: Bytes
    let targetPrefix: Bytes
    let operationsMax: Int
    let total = Total()

    /// Keys written or removed so far.
    final class Total: Sendable {
        private let count = Atomic<Int64>(0)
        var value: Int64 { count.load(ordering: .relaxed) }
        func add(_ more: Int) { count.add(Int64(more), ordering: .relaxed) }
    }

    /// Ends only with a failure. With a revision only what happened from there on is copied.
    func run(from revision: Int64) async throws(ClientError) {
        var next = revision
        if revision == 0 { next = try await copyAll() + 1 }
        let feed = WatchFeed(
            source,
            WatchCreateRequest(key: range.key, rangeEnd: range.end, startRevision: next))
        while let answer = await feed.next() {
            guard !answer.canceled, answer.compactRevision == 0 else {
                throw ClientError(
                    code: answer.compactRevision != 0 ? .outOfRange : .cancelled,
                    message: answer.compactRevision != 0 ? EtcdError.compacted.message : answer.cancelReason)
            }
            try await apply(answer.events)
        }
        throw ClientError(EtcdError.contextCanceled)
    }

    private var range: KeyRange { .prefix(prefix) }

    /// All pages show the store as it was at the first; returns that revision.
    private func copyAll() async throws(ClientError) -> Int64 {
        var revision: Int64 = 0
        var start = range.key
        while true {
            let request = RangeRequest(
                key: start, rangeEnd: range.end, limit: 1000, revision: revision, sortOrder: .ascend, sortTarget: .key)
            let page = try await source.kv.range(request)
            if revision == 0 { revision = page.header?.revision ?? 0 }
            for pair in page.kvs {
                _ = try await target.kv.put(PutRequest(key: moved(pair.key), value: pair.value), CallOptions(isSafe: true))
                total.add(1)
            }
            guard page.more, let last = page.kvs.last else { return revision }
            start = last.key + [0]
        }
    }

    /// Changes of one source revision belong together, as far as the limit on operations allows.
    private func apply(_ events: [Event]) async throws(ClientError) {
        var operations: [RequestOp] = []
        var revision: Int64 = 0
        for event in events {
            guard let pair = event.kv else { continue }
            if !operations.isEmpty && (pair.modRevision != revision || operations.count >= operationsMax) {
                try await commit(&operations)
            }
            revision = pair.modRevision
            if event.type == .delete {
                operations.append(RequestOp(request: .requestDeleteRange(DeleteRangeRequest(key: moved(pair.key)))))
            } else {
                operations.append(RequestOp(request: .requestPut(PutRequest(key: moved(pair.key), value: pair.value))))
            }
        }
        try await commit(&operations)
    }

    /// Writing the same values again does no harm here.
    private func commit(_ operations: inout [RequestOp]) async throws(ClientError) {
        guard !operations.isEmpty else { return }
        _ = try await target.kv.txn(TxnRequest(success: operations), CallOptions(isSafe: true))
        total.add(operations.count)
        operations = []
    }

    private func moved(_ key: Bytes) -> Bytes { targetPrefix + key.dropFirst(prefix.count) }
}
