// What a host's agent says of itself, and how its clock stands to ours.

import GRPC
import Inventory
import Linux
import Wire

extension Fleet {
    private static let clearEnough: Int64 = 100_000_000
    private static let attempts = 5

    /// The clock was read somewhere between question and answer, which on a busy host is a long time: of a few calls the shortest
    /// counts. Nanoseconds by which the host is ahead.
    func describe(_ name: String) async throws(FleetFailure) -> (facts: AgentPB.DescribeResponse, clockOffset: Int64) {
        let (facts, first, firstTook) = try await ask(name, inventory.installedProgram ?? "")
        var (offset, shortest) = (first, firstTook)
        for _ in 1..<Self.attempts where shortest > Self.clearEnough {
            let (_, again, took) = try await ask(name, "")
            if took < shortest { (offset, shortest) = (again, took) }
        }
        return (facts, offset)
    }

    private func ask(_ name: String, _ program: String) async throws(FleetFailure)
        -> (facts: AgentPB.DescribeResponse, offset: Int64, took: Int64)
    {
        let before = Int64(Clock.wall())
        let facts: AgentPB.DescribeResponse = try await agents.call(
            name, RPC.Agent.describe, AgentPB.DescribeRequest(program: program))
        let after = Int64(Clock.wall())
        return (facts, facts.wallClock - (before + after) / 2, after - before)
    }
}
