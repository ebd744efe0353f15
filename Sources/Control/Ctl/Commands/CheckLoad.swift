// The loads that `check perf` and `check datascale` put on a cluster, and a bar that shows how far they are.

import CoveyClient
import Flags
import Foundations
import Linux
import Wire

struct CheckLoad: Sendable {
    /// Puts a second, or puts altogether.
    var count: Int
    var clients: Int

    static func perf(_ name: String) throws(CtlFailure) -> CheckLoad {
        try choose(
            name,
            [
                CheckLoad(count: 150, clients: 50), CheckLoad(count: 1000, clients: 200),
                CheckLoad(count: 8000, clients: 500), CheckLoad(count: 15000, clients: 1000),
            ])
    }

    static func dataScale(_ name: String) throws(CtlFailure) -> CheckLoad {
        try choose(
            name,
            [
                CheckLoad(count: 10_000, clients: 50), CheckLoad(count: 100_000, clients: 200),
                CheckLoad(count: 1_000_000, clients: 500), CheckLoad(count: 3_000_000, clients: 1000),
            ])
    }

    private static func choose(_ name: String, _ loads: [CheckLoad]) throws(CtlFailure) -> CheckLoad {
        switch name {
        case "s", "small": loads[0]
        case "m", "medium": loads[1]
        case "l", "large": loads[2]
        case "xl", "xLarge": loads[3]
        default: throw CtlFailure(.badFeature, "unknown load option \(name)")
        }
    }
}

/// What both checks do before and after their puts.
struct CheckGround: Sendable {
    let session: CtlSession
    let prefix: String

    var range: KeyRange { .prefix(ArgumentText.bytes(of: prefix)) }

    /// Nobody's keys may be overwritten or removed.
    func claim() async throws(CtlFailure) {
        let request = RangeRequest(key: range.key, rangeEnd: range.end, limit: 1)
        let found = try await orFail { () async throws(ClientError) in
            try await session.client.kv.range(request, session.options)
        }
        guard found.kvs.isEmpty else {
            throw CtlFailure(
                .badInput, "prefix \(GoText.quote(prefix)) has keys. Delete with 'etcdctl del --prefix \(prefix)' first")
        }
    }

    /// Removes what was written; then, when asked to, the history, and the space it took.
    func clean() async throws(CtlFailure) {
        let request = DeleteRangeRequest(key: range.key, rangeEnd: range.end)
        let removed = try await orFail { () async throws(ClientError) in try await session.client.kv.deleteRange(request) }
        let console = session.console
        if session.values.bool("auto-compact") {
            let revision = removed.header?.revision ?? 0
            console.line("Compacting with revision \(revision)")
            _ = try await orFail { () async throws(ClientError) in
                try await session.client.kv.compact(CompactionRequest(revision: revision, physical: true))
            }
            console.line("Compacted with revision \(revision)")
        }
        guard session.values.bool("auto-defrag") else { return }
        for endpoint in session.settings.endpoints {
            console.line("Defragmenting \(GoText.quote(endpoint))")
            _ = try await orFail { () async throws(ClientError) in
                try await session.client.maintenance.defragment(DefragmentRequest(), CallOptions(endpoint: endpoint))
            }
            console.line("Defragmented \(GoText.quote(endpoint))")
        }
    }

    /// Printable noise.
    static func noise(_ count: Int, using random: inout SeededRandom) -> Bytes {
        let letters = Bytes("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_".utf8)
        return (0..<count).map { _ in letters[Int(random.next() & 63)] }
    }
}
