import Foundations
import Testing

@testable import Server

@Suite struct PendingProposalsTests {
    private func table() -> PendingProposals<Int> {
        PendingProposals(ids: RequestIDs(member: MemberID(0x1234), startMilliseconds: 0xff_ffff_ffff))
    }

    @Test func `ids carry the member and go up by one, through the wrap of the time`() {
        var ids = RequestIDs(member: MemberID(0xabcd_1234), startMilliseconds: 0xff_ffff_ffff)
        let all = (0..<300).map { _ in ids.next() }
        #expect(all[0] == 0x1234_ffff_ffff_ff01)
        #expect(all[255] == 0x1234_0000_0000_0000)
        #expect(Set(all).count == 300)
    }

    @Test func `every waiter is found once, whatever the order`() {
        var pending = table()
        var random = SeededRandom(seed: 3)
        var model: [UInt64: Int] = [:]
        for i in 0..<20000 {
            if random.chance(1, in: 20) { _ = pending.anonymousID() }
            model[pending.add(i, deadline: UInt64(i))] = i
            if random.chance(1, in: 2), let id = model.keys.min() {
                #expect(pending.take(id) == model.removeValue(forKey: id))
                #expect(pending.take(id) == nil)
            }
            if model.count > 3000 {
                for id in model.keys.sorted(by: >) { #expect(pending.take(id) == model.removeValue(forKey: id)) }
            }
            #expect(pending.count == model.count)
        }
        #expect(pending.takeAll().sorted() == model.values.sorted())
    }

    @Test func `the oldest expire first`() {
        var pending = table()
        let ids = (0..<10).map { pending.add($0, deadline: UInt64($0)) }
        #expect(pending.expire(now: 4) == [0, 1, 2, 3, 4])
        #expect(pending.take(ids[2]) == nil)
        #expect(pending.take(ids[7]) == 7)
        #expect(pending.expire(now: 100) == [5, 6, 8, 9])
        #expect(pending.count == 0)
    }
}
