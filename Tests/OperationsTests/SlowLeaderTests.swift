// A leader whose disk is slow hands over: when, to whom, and when not.

import Inventory
import TestSupport
import Testing

@testable import Operations

@Suite struct SlowLeaderTests {
    private static let millisecond: UInt64 = 1_000_000
    private static let second: UInt64 = 1_000_000_000

    /// 80 ms where 25 are the most; one follower at 3 ms, one at 9.
    private static func sight(at: UInt64, _ change: (inout SlowLeader.Sight) -> Void = { _ in }) -> SlowLeader.Sight {
        var sight = SlowLeader.Sight(
            at: at, syncTime: 80 * millisecond, syncTimeMost: 25 * millisecond,
            others: [
                .init(name: "kv2", id: 2, lag: 0, syncTime: 9 * millisecond), .init(name: "kv3", id: 3, lag: 0, syncTime: 3 * millisecond),
            ])
        change(&sight)
        return sight
    }

    /// At looks ten seconds apart: whom it hands over to at which.
    private static func moves(_ looks: Int, _ change: (Int, inout SlowLeader.Sight) -> Void = { _, _ in }) -> [Int: String] {
        var rule = SlowLeader()
        var moves: [Int: String] = [:]
        for look in 0..<looks {
            let seen = sight(at: UInt64(look * 10) * second) { change(look, &$0) }
            moves[look] = rule.judge(seen)?.name
        }
        return moves
    }

    @Test func `it hands over to the quickest when it was slow four times in a row, and not again for ten minutes`() {
        #expect(Self.moves(60) == [3: "kv3"])
        #expect(Self.moves(64) == [3: "kv3", 63: "kv3"], "it leads again, and is as slow")
        #expect(Self.moves(5) { look, sight in if look == 1 { sight.syncTime = 25 * Self.millisecond } } == [:])
        #expect(Self.moves(6) { look, sight in if look == 1 { sight.syncTime = nil } } == [5: "kv3"])
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var moves: [Int: String]
        var change: @Sendable (inout SlowLeader.Sight) -> Void

        init(_ name: String, _ moves: [Int: String], _ change: @escaping @Sendable (inout SlowLeader.Sight) -> Void) {
            testDescription = name
            self.moves = moves
            self.change = change
        }
    }

    static let cases: [Case] = [
        Case("a follower has nothing to hand over", [:]) { $0.leads = false },
        Case("not against the policy, in an operation, or paused", [:]) { $0.mayMove = false },
        Case("one that lags is passed over", [3: "kv2"]) { $0.others[1].lag = 251 },
        Case("one whose disk is not known is passed over", [3: "kv2"]) { $0.others[1].syncTime = nil },
        Case("one that is slow as well is passed over", [3: "kv2"]) { $0.others[1].syncTime = 26 * millisecond },
        Case("a little better is not enough", [:]) {
            $0.syncTime = 26 * millisecond
            $0.others = [.init(name: "kv2", id: 2, lag: 0, syncTime: 14 * millisecond)]
        },
        Case("nobody is left", [:]) { $0.others = [] },
        Case("equals: by name", [3: "kv2"]) { $0.others[0].syncTime = 3 * millisecond },
    ]

    @Test(arguments: cases) func `who leads then`(_ example: Case) {
        #expect(Self.moves(6) { _, sight in example.change(&sight) } == example.moves)
    }
}
