// Elections as agents see them: which of them hold up a change, and for how long.

import TestSupport
import Testing
import Wire

@testable import Operations

@Suite struct ElectionWatchTests {
    private static let second: UInt64 = 1_000_000_000

    /// Looks a quarter of a minute apart, each with the term and the operation there was; told ten seconds after the last.
    private func told(_ looks: [(term: UInt64, operation: AgentPB.Operation?)]) -> AgentPB.Elections? {
        var watch = ElectionWatch()
        for (number, look) in looks.enumerated() {
            watch.saw(
                term: look.term, operation: look.operation, at: UInt64(100 + 15 * number) * Self.second, wall: Int64(1_000 + 15 * number))
        }
        return watch.told(at: UInt64(100 + 15 * (looks.count - 1) + 10) * Self.second)
    }

    @Test func `a higher term than before is an election, and the first look is none`() throws {
        #expect(told([(0, nil)]) == nil, "nobody answered")
        #expect(told([(7, nil), (7, nil)]) == AgentPB.Elections(term: 7, looked: 10, hasElected: false))
        #expect(told([(7, nil), (8, nil), (8, nil)]) == AgentPB.Elections(term: 8, looked: 10, hasElected: true, elected: 25))
    }

    @Test func `what happened while nobody answered is seen when somebody does`() throws {
        #expect(told([(7, nil), (0, nil), (9, nil)]) == AgentPB.Elections(term: 9, looked: 10, hasElected: true, elected: 10))
        #expect(told([(7, nil), (0, nil)]) == AgentPB.Elections(term: 7, looked: 25, hasElected: false))
    }

    @Test func `what an operation does is no election to be afraid of`() throws {
        let open = AgentPB.Operation(id: "a", state: "open", changed: 900)
        // It ended between the looks at 1000 and 1015.
        let ended = AgentPB.Operation(id: "a", state: "done", changed: 1_004)
        let longAgo = AgentPB.Operation(id: "a", state: "done", changed: 999)
        #expect(told([(7, nil), (8, open)])?.hasElected == false)
        #expect(told([(7, open), (8, ended)])?.hasElected == false)
        #expect(told([(7, longAgo), (8, longAgo)])?.hasElected == true)
    }

    private func agent(
        _ term: UInt64, looked: Int64, elected: Int64? = nil, ended: Int64 = 0, state: String = "done"
    ) -> AgentPB.ObserveResponse {
        var seen = AgentPB.ObserveResponse()
        seen.elections = AgentPB.Elections(term: term, looked: looked, hasElected: elected != nil, elected: elected ?? 0)
        seen.operation = AgentPB.Operation(id: "a", state: state, changed: ended)
        return seen
    }

    @Test func `of all agents the last election counts`() throws {
        let agents = [agent(8, looked: 3, elected: 40), agent(8, looked: 12, elected: 33), agent(8, looked: 1)]
        #expect(ElectionWatch.secondsSince(term: 8, agents, now: 5_000) == 33)
        #expect(ElectionWatch.secondsSince(term: 8, [agent(8, looked: 1), AgentPB.ObserveResponse()], now: 5_000) == nil)
        #expect(ElectionWatch.secondsSince(term: 8, [], now: 5_000) == nil, "nobody has looked")
    }

    @Test func `a term no agent knows is an election after their last look, unless an operation held the cluster since`() throws {
        #expect(ElectionWatch.secondsSince(term: 9, [agent(8, looked: 9), agent(7, looked: 2)], now: 5_000) == 0)
        #expect(ElectionWatch.secondsSince(term: 9, [agent(8, looked: 9, ended: 4_990), agent(8, looked: 9)], now: 5_000) == nil)
        #expect(ElectionWatch.secondsSince(term: 9, [agent(8, looked: 9, ended: 4_989)], now: 5_000) == 0)
        #expect(ElectionWatch.secondsSince(term: 9, [agent(8, looked: 9, elected: 50, state: "open")], now: 5_000) == 50)
    }
}
