// Who was behind, as agents saw it: the last one that matters holds up a change.

import TestSupport
import Testing
import Wire

@testable import Operations

@Suite struct LagWatchTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func `a look remembers who was furthest behind, and how long ago`() {
        var watch = LagWatch()
        watch.saw(["kv1": 0, "kv2": 250], at: 100 * Self.second)
        #expect(watch.told(at: 100 * Self.second) == nil, "nobody is behind")
        watch.saw(["kv1": 300, "kv2": 5_000, "kv3": 5_000], at: 110 * Self.second)
        #expect(watch.told(at: 117 * Self.second) == AgentPB.Straggler(name: "kv2", lag: 5_000, seconds: 7))
        watch.saw(["kv1": 0, "kv2": 0], at: 120 * Self.second)
        watch.saw([:], at: 130 * Self.second)
        #expect(watch.told(at: 130 * Self.second)?.seconds == 20, "that all are level now does not change when they were not")
    }

    @Test func `of all agents the last one counts, among those that matter`() {
        func agent(_ name: String, _ seconds: Int64) -> AgentPB.ObserveResponse {
            var seen = AgentPB.ObserveResponse()
            seen.straggler = AgentPB.Straggler(name: name, lag: 300, seconds: seconds)
            return seen
        }
        let agents = [agent("kv1", 8), agent("kv2", 3), agent("kv4", 1), AgentPB.ObserveResponse()]
        #expect(LagWatch.last(of: agents, among: ["kv1", "kv2"])?.name == "kv2")
        #expect(LagWatch.last(of: agents, among: ["kv3"]) == nil)
        #expect(LagWatch.last(of: [agent("kv1", -90)], among: ["kv1"])?.seconds == 0, "nobody has looked in the future")
    }
}
