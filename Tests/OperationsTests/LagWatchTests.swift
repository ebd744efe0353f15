// Who was behind, as agents saw it: the last one that matters holds up a change.

import TestSupport
import Testing
import Wire

@testable import Operations

@Suite struct LagWatchTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func `a look remembers who was behind, and how long ago`() {
        var watch = LagWatch()
        watch.saw(["kv1": 0, "kv2": 250], at: 100 * Self.second)
        #expect(watch.told(at: 100 * Self.second).isEmpty, "nobody is behind")
        watch.saw(["kv1": 300, "kv2": 5_000, "kv3": 0], at: 110 * Self.second)
        watch.saw(["kv1": 400, "kv2": 0], at: 113 * Self.second)
        #expect(
            watch.told(at: 117 * Self.second) == [
                AgentPB.Straggler(name: "kv1", lag: 400, seconds: 4), AgentPB.Straggler(name: "kv2", lag: 5_000, seconds: 7),
            ], "that it is level now does not change when it was not")
        #expect(watch.told(at: 120 * Self.second).map(\.name) == ["kv1"], "ten seconds are enough")
        watch.saw([:], at: 130 * Self.second)
        #expect(watch.told(at: 113 * Self.second).isEmpty, "nothing is kept for longer")
    }

    @Test func `of all agents the last one comes first, among those that matter`() {
        func agent(_ name: String, _ seconds: Int64) -> AgentPB.ObserveResponse {
            var seen = AgentPB.ObserveResponse()
            seen.stragglers = [AgentPB.Straggler(name: name, lag: 300, seconds: seconds)]
            return seen
        }
        let agents = [agent("kv1", 8), agent("kv2", 3), agent("kv4", 1), AgentPB.ObserveResponse()]
        #expect(LagWatch.stragglers(of: agents, among: ["kv1", "kv2"]).map(\.name) == ["kv2", "kv1"])
        #expect(LagWatch.stragglers(of: agents, among: ["kv3"]).isEmpty)
        #expect(LagWatch.stragglers(of: [agent("kv1", -90)], among: ["kv1"]).first?.seconds == 0, "nobody has looked in the future")
    }
}
