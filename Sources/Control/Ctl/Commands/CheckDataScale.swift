// check datascale: how much memory a server takes for so many pairs, by its own metrics before and after.

import CoveyClient
import Flags
import Foundations
import Linux
import Synchronization
import Wire

enum CheckDataScale {
    private static let keyBytes = 512
    private static let valueBytes = 512

    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        let load = try CheckLoad.dataScale(invocation.values.text("load"))
        let session = try await CtlSession(invocation)
        let console = session.console
        let ground = CheckGround(session: session, prefix: invocation.values.text("prefix"))
        try await ground.claim()
        guard let endpoint = session.settings.endpoints.first, let before = await memory(endpoint, session) else {
            throw unreadable("before", console)
        }
        console.line(
            "Start data scale check for work load [\(load.count) key-value pairs, \(keyBytes + valueBytes) bytes per "
                + "key-value, \(load.clients) concurrent clients].")
        let results = PutResults()
        await put(load, ground, results)
        console.endProgress()
        let after = await memory(endpoint, session)
        try await ground.clean()
        guard let after else { throw unreadable("after", console) }
        let failures = results.values.errors
        guard failures.isEmpty else {
            console.line("FAIL: too many errors")
            for (text, count) in failures.sorted(by: { $0.key < $1.key }) { console.line("FAIL: ERROR(\(text)) -> \(count)") }
            throw CtlFailure(code: CtlFailure.Exit.error.rawValue)
        }
        console.line("PASS: Approximate system memory used : \(megabytes(max(0, after - before))) MB.")
    }

    private static func unreadable(_ when: String, _ console: Console) -> CtlFailure {
        console.line("FAIL: Could not read process_resident_memory_bytes \(when) the put operations.")
        return CtlFailure(code: CtlFailure.Exit.error.rawValue)
    }

    private static func megabytes(_ bytes: Double) -> String {
        let hundredths = Int64((bytes / 1024 / 1024 * 100).rounded())
        return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    }

    private static func put(_ load: CheckLoad, _ ground: CheckGround, _ results: PutResults) async {
        let next = Counter()
        let value = Bytes(repeating: UInt8(ascii: "v"), count: valueBytes)
        await withTaskGroup(of: Void.self) { group in
            for client in 0..<load.clients {
                group.addTask {
                    var random = SeededRandom(seed: Clock.wall() ^ UInt64(client) << 32)
                    while case let turn = next.take(), turn < load.count {
                        if turn % 100 == 0 { ground.session.console.progress("check datascale: \(turn) of \(load.count) pairs") }
                        let key = ground.range.key + CheckGround.noise(keyBytes, using: &random)
                        do {
                            _ = try await ground.session.client.kv.put(PutRequest(key: key, value: value))
                        } catch {
                            results.add("\(error)")
                        }
                    }
                }
            }
        }
    }

    private final class Counter: Sendable {
        private let value = Atomic(0)
        func take() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }
    }

    /// `process_resident_memory_bytes` of the endpoint's metrics.
    private static func memory(_ endpoint: String, _ session: CtlSession) async -> Double? {
        let page = await WebPage.read(endpoint, path: "/metrics", tls: session.settings.tls)
        let text = page.map { String(decoding: $0, as: UTF8.self) }
        let line = text?.split(separator: "\n").first { $0.hasPrefix("process_resident_memory_bytes ") }
        return line?.split(separator: " ").last.flatMap { Double($0) }
    }
}
