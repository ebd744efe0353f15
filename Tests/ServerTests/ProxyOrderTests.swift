import Testing

@testable import Server

@Suite struct ProxyOrderTests {
    private func order(_ targets: [(Int, Int)]) -> ProxyOrder {
        ProxyOrder(targets.enumerated().map { .init(name: "m\($0):1", priority: $1.0, weight: $1.1) })
    }

    private func turns(_ order: inout ProxyOrder, _ count: Int) -> [Int?] { (0..<count).map { _ in order.next(without: []) } }

    @Test func `equals take turns`() {
        var it = order([(0, 0), (0, 0), (0, 0)])
        #expect(turns(&it, 6) == [0, 1, 2, 0, 1, 2])
    }

    @Test func `weights say how often, priorities who at all`() {
        var it = order([(1, 3), (1, 1), (2, 100)])
        let taken = turns(&it, 8)
        #expect(taken.filter { $0 == 0 }.count == 6)
        #expect(taken.filter { $0 == 1 }.count == 2)
        #expect(it.next(without: [0, 1]) == 2)
    }

    @Test func `one that is down is asked only when all are`() {
        var it = order([(0, 0), (0, 0)])
        #expect(it.isDown(0))
        #expect(!it.isDown(0))
        #expect(turns(&it, 3) == [1, 1, 1])
        #expect(it.isDown(1))
        #expect(it.next(without: [1]) == 0)
        it.isUp(0)
        #expect(it.next(without: []) == 0)
        #expect(it.next(without: [0, 1]) == nil)
    }
}
