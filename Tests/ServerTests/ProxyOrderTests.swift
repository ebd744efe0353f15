import Testing

@testable import Server

@Suite struct ProxyOrderTests {
    private func order(_ targets: [(Int, Int)]) -> ProxyOrder {
        ProxyOrder(targets.enumerated().map { .init(name: "m\($0):1", priority: $1.0, weight: $1.1) })
    }

    private func turns(_ order: inout ProxyOrder, _ count: Int) -> [Int?] { (0..<count).map { _ in order.next(without: []) } }

    @Test func `equals take turns`() {
        var it = order([(0, 0), (0, 0), (0, 0)])
        let taken = turns(&it, 6)
        #expect(taken == [0, 1, 2, 0, 1, 2])
    }

    @Test func `weights say how often, priorities who at all`() {
        var it = order([(1, 3), (1, 1), (2, 100)])
        let taken = turns(&it, 8)
        #expect(taken.filter { $0 == 0 }.count == 6)
        #expect(taken.filter { $0 == 1 }.count == 2)
        let last = it.next(without: [0, 1])
        #expect(last == 2)
    }

    @Test func `one that is down is asked only when all are`() {
        var it = order([(0, 0), (0, 0)])
        let news = [it.isDown(0), it.isDown(0)]
        #expect(news == [true, false])
        let others = turns(&it, 3)
        #expect(others == [1, 1, 1])
        let isNews = it.isDown(1)
        let only = it.next(without: [1])
        it.isUp(0)
        let better = it.next(without: [])
        let none = it.next(without: [0, 1])
        #expect(isNews && only == 0 && better == 0 && none == nil)
    }
}
