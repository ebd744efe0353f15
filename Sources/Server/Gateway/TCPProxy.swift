// Which member the next connection goes to. Targets of the best priority that are up take turns, as often as their weight
// says; one that refuses is left alone until the delay is over, unless all others refuse, too.

import Flags
import Foundations
import Glibc
import Linux

final class TCPProxy {
    struct Target: Sendable, Equatable {
        var name: String
        var priority: Int
        var weight: Int
    }

    private let loop: EventLoop
    private let resolver: Resolver
    private let retryDelay: UInt64
    private let report: (_ what: String, _ address: String, _ error: String) -> Void
    private(set) var order: ProxyOrder

    init(
        _ loop: EventLoop, _ targets: [Target], retryDelay: UInt64,
        report: @escaping (_ what: String, _ address: String, _ error: String) -> Void
    ) {
        self.loop = loop
        self.retryDelay = retryDelay
        self.report = report
        resolver = Resolver(loop)
        order = ProxyOrder(targets)
    }

    func accepted(_ client: Int32) {
        Socket.prepare(client)
        connect(client, tried: [])
    }

    private func connect(_ client: Int32, tried: Set<Int>) {
        guard let index = order.next(without: tried) else {
            Glibc.close(client)
            return
        }
        let name = order.targets[index].name
        let tried = tried.union([index])
        guard let (host, port) = HostPort.split(name) else { return failed(index, client, tried, "it is not host:port") }
        resolver.resolve(host: host, port: port) { [weak self] answer in
            guard let self else { return }
            switch answer {
            case .failure(let error): failed(index, client, tried, "\(error)")
            case .success(let addresses):
                guard let address = addresses.first else { return failed(index, client, tried, "no such host") }
                do throws(SystemError) {
                    let member = try Socket.connect(address)
                    try Connecting.wait(loop, member) { [weak self] failure in
                        guard let self else { return }
                        if let failure {
                            Glibc.close(member)
                            return failed(index, client, tried, "\(failure)")
                        }
                        order.isUp(index)
                        join(client, member)
                    }
                } catch { failed(index, client, tried, "\(error)") }
            }
        }
    }

    private func join(_ client: Int32, _ member: Int32) {
        do throws(SystemError) { try ProxiedConnection.start(loop, client, member) } catch {
            report("cannot serve a connection", "", "\(error)")
            Glibc.close(client)
            Glibc.close(member)
        }
    }

    private func failed(_ index: Int, _ client: Int32, _ tried: Set<Int>, _ error: String) {
        if order.isDown(index) {
            report("deactivated endpoint", order.targets[index].name, error)
            loop.schedule(after: retryDelay) { [weak self] in self?.order.isUp(index) }
        }
        connect(client, tried: tried)
    }
}

/// Pure: turns by priority and weight (smooth weighted round robin), those that are down last.
struct ProxyOrder {
    let targets: [TCPProxy.Target]
    private var down: Set<Int> = []
    private var credit: [Int]

    init(_ targets: [TCPProxy.Target]) {
        self.targets = targets
        credit = [Int](repeating: 0, count: targets.count)
    }

    mutating func next(without tried: Set<Int>) -> Int? {
        let left = targets.indices.filter { !tried.contains($0) }
        let up = left.filter { !down.contains($0) }
        let candidates = up.isEmpty ? left : up
        guard let best = candidates.map({ targets[$0].priority }).min() else { return nil }
        let turn = candidates.filter { targets[$0].priority == best }
        var total = 0
        for i in turn {
            let weight = max(1, targets[i].weight)
            credit[i] += weight
            total += weight
        }
        guard let chosen = turn.max(by: { (credit[$0], -$0) < (credit[$1], -$1) }) else { return nil }
        credit[chosen] -= total
        return chosen
    }

    mutating func isUp(_ index: Int) { down.remove(index) }

    /// True when this is news.
    mutating func isDown(_ index: Int) -> Bool { down.insert(index).inserted }
}
