import Testing

@testable import Server

@Suite struct SyncPolicyTests {
    private let quick: UInt64 = 1_000_000

    @Test func `a quick disk, and one that is slow now and then, is synced by the member's thread`() {
        var policy = SyncPolicy()
        for round in 0..<1000 {
            policy.note(round % 25 == 0 ? 8_000_000 : quick)
            #expect(!policy.inBackground)
        }
    }

    @Test func `several slow syncs send the work away, quick ones between them do not hide them`() {
        var policy = SyncPolicy()
        for _ in 0..<4 {
            policy.note(4_000_000)
            policy.note(quick)
            #expect(!policy.inBackground)
        }
        policy.note(4_000_000)
        #expect(policy.inBackground)
    }

    @Test func `one that stands out is enough, and the way back needs quick ones in a row`() {
        var policy = SyncPolicy()
        policy.note(25_000_000)
        #expect(policy.inBackground)
        for _ in 0..<19 { policy.note(quick) }
        policy.note(4_000_000)
        for _ in 0..<19 { policy.note(quick) }
        #expect(policy.inBackground)
        policy.note(quick)
        #expect(!policy.inBackground)
        policy.note(4_000_000)
        #expect(!policy.inBackground)
    }
}
