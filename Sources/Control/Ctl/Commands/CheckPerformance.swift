// check perf: puts at a steady rate for a minute, and judges how well the cluster kept up.

import CoveyClient
import Flags
import Foundations
import Linux
import Wire

import struct Synchronization.Atomic

enum CheckPerformance {
    private static let seconds = 60
    private static let keyBytes = 256
    private static let valueBytes = 1024

    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        let load = try CheckLoad.perf(invocation.values.text("load"))
        let session = try await CtlSession(invocation)
        let ground = CheckGround(session: session, prefix: invocation.values.text("prefix"))
        try await ground.claim()
        let results = PutResults()
        await putForAMinute(load, ground, results)
        session.console.endProgress()
        try await ground.clean()
        let verdict = PerformanceVerdict(results.values, rate: load.count, seconds: Double(seconds))
        for line in verdict.lines { session.console.line(line) }
        if !verdict.isPassed { throw CtlFailure(code: CtlFailure.Exit.error.rawValue) }
    }

    private static func putForAMinute(_ load: CheckLoad, _ ground: CheckGround, _ results: PutResults) async {
        let pace = Pace(rate: load.count, total: load.count * seconds)
        let bar = Task {
            for second in 1...seconds {
                // Cancelled when all is done.
                guard (try? await Task.sleep(for: .seconds(1))) != nil else { return }
                ground.session.console.progress("check perf: \(second) of \(seconds) s, \(results.count) writes")
            }
        }
        defer { bar.cancel() }
        let value = Bytes(repeating: UInt8(ascii: "v"), count: valueBytes)
        await withTaskGroup(of: Void.self) { group in
            for client in 0..<load.clients {
                group.addTask {
                    var random = SeededRandom(seed: Clock.wall() ^ UInt64(client) << 32)
                    while await pace.wait() {
                        let key = ground.range.key + CheckGround.noise(keyBytes, using: &random)
                        let start = Clock.monotonic()
                        do {
                            _ = try await ground.session.client.kv.put(PutRequest(key: key, value: value))
                            results.add(Double(Clock.monotonic() - start) / 1e9)
                        } catch {
                            results.add("\(error)")
                        }
                    }
                }
            }
        }
    }
}

/// Lets so many a second pass, evenly; who comes late does not make others wait.
final class Pace: Sendable {
    private let interval: Double
    private let total: Int
    private let start = ContinuousClock.now
    private let next = Atomic(0)

    init(rate: Int, total: Int) {
        interval = 1 / Double(rate)
        self.total = total
    }

    /// False when all have passed.
    func wait() async -> Bool {
        let turn = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard turn < total else { return false }
        // Nobody cancels these tasks.
        try? await Task.sleep(until: start + .seconds(interval * Double(turn)), clock: .continuous)
        return true
    }
}

final class PutResults: Sendable {
    struct Values: Sendable {
        var seconds: [Double] = []
        var errors: [String: Int] = [:]
    }

    private let state = Mutex(Values())

    func add(_ seconds: Double) { state.withLock { $0.seconds.append(seconds) } }
    func add(_ error: String) { state.withLock { $0.errors[error, default: 0] += 1 } }
    var values: Values { state.withLock { $0 } }
    var count: Int { state.withLock { $0.seconds.count } }
}

/// PASS or FAIL, line by line.
package struct PerformanceVerdict: Equatable, Sendable {
    package private(set) var lines: [String] = []
    package private(set) var isPassed = true

    init(_ results: PutResults.Values, rate: Int, seconds: Double) {
        self.init(results.seconds, errors: results.errors, rate: rate, seconds: seconds)
    }

    package init(_ durations: [Double], errors: [String: Int], rate: Int, seconds: Double) {
        let throughput = Double(durations.count) / seconds
        if !errors.isEmpty {
            fail("too many errors")
            for (text, count) in errors.sorted(by: { $0.key < $1.key }) { fail("ERROR(\(text)) -> \(count)") }
        }
        let shown = Int(throughput.rounded(.down)) + (throughput.truncatingRemainder(dividingBy: 1) > 0 ? 1 : 0)
        judge(throughput / Double(rate) > 0.9, "Throughput is \(shown) writes/s", "Throughput too low: \(shown) writes/s")
        let slowest = durations.max() ?? 0
        let slowestText = Self.sixDigits(slowest)
        judge(slowest <= 0.5, "Slowest request took \(slowestText)s", "Slowest request took too long: \(slowestText)s")
        let deviation = Self.deviation(durations)
        let deviationText = Self.sixDigits(deviation)
        judge(deviation <= 0.1, "Stddev is \(deviationText)s", "Stddev too high: \(deviationText)s")
        lines.append(isPassed ? "PASS" : "FAIL")
    }

    private mutating func judge(_ good: Bool, _ pass: String, _ failure: String) {
        good ? lines.append("PASS: " + pass) : fail(failure)
    }

    private mutating func fail(_ text: String) {
        lines.append("FAIL: " + text)
        isPassed = false
    }

    private static func deviation(_ values: [Double]) -> Double {
        guard !values.isEmpty else { return 0 }
        let mean = values.reduce(0, +) / Double(values.count)
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)).squareRoot()
    }

    private static func sixDigits(_ value: Double) -> String {
        let millionths = Int64((value * 1e6).rounded())
        let fraction = String(millionths % 1_000_000)
        return "\(millionths / 1_000_000)." + String(repeating: "0", count: 6 - fraction.count) + fraction
    }
}
