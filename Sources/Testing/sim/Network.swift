// The wires between members: each direction of each pair can be cut, and what goes through may be late, lost or doubled.

import Foundations
import Raft

struct Network {
    private var cut: Set<Link> = []
    private var random: SeededRandom
    var isFaulty = true

    struct Link: Hashable {
        var from: MemberID
        var to: MemberID
    }

    init(random: SeededRandom) { self.random = random }

    /// Delays after which copies of a message arrive; none when it is lost.
    mutating func deliveries(of message: Message, plan: Plan) -> [Microseconds] {
        guard !isCut(from: message.from, to: message.to) else { return [] }
        guard isFaulty else { return [Int.random(in: 50...500, using: &random)] }
        if random.chance(plan.lossPercent, in: 100) { return [] }
        var delays = [delay(plan)]
        // Forwarded proposals are not doubled: peers talk over TCP, and the entry would be appended twice.
        if message.kind != .propose && random.chance(plan.duplicatePercent, in: 100) { delays.append(delay(plan)) }
        return delays
    }

    func isCut(from: MemberID, to: MemberID) -> Bool { cut.contains(Link(from: from, to: to)) }

    private mutating func delay(_ plan: Plan) -> Microseconds {
        let usual = Int.random(in: 50...plan.delayMax, using: &random)
        return random.chance(1, in: plan.straggleOneIn) ? usual + Int.random(in: 0...400_000, using: &random) : usual
    }

    mutating func heal() { cut = [] }

    mutating func split(_ side: [MemberID], from others: [MemberID], bothWays: Bool) {
        for a in side {
            for b in others {
                cut.insert(Link(from: a, to: b))
                if bothWays { cut.insert(Link(from: b, to: a)) }
            }
        }
    }
}
