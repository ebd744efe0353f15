// What all members say at about the same moment, and how far each is behind the most advanced one.

import Inventory
import Linux

extension MemberView {
    /// Entries. More than the clocks and the network between two answers explain, few enough to be caught up at once.
    static let lagMax: UInt64 = 250
}

extension [String: MemberView] {
    /// The longest log anybody has told of.
    var longestLog: UInt64 { values.compactMap { $0.facts?.raftIndex }.max() ?? 0 }

    /// Entries that this member has not applied. Nil: it says nothing of itself.
    func lag(of name: String) -> UInt64? { self[name]?.facts.map { longestLog - Swift.min(longestLog, $0.appliedIndex) } }

    static func observe(_ hosts: [Inventory.Host], _ gateway: Gateway) async -> Self {
        var views = await withTaskGroup(of: (String, MemberView).self) { group in
            for host in hosts { group.addTask { (host.name, await MemberView.observe(host, gateway)) } }
            var views: [String: MemberView] = [:]
            for await (name, view) in group { views[name] = view }
            return views
        }
        await views.askWhoIsBehind(hosts, gateway)
        return views
    }

    /// Members answer one after the other, and a cluster that takes ten thousand writes a second is hundreds of entries further
    /// at the second answer. Behind is who has not applied half a second later what the longest log had.
    private mutating func askWhoIsBehind(_ hosts: [Inventory.Host], _ gateway: Gateway) async {
        let (longest, end) = (longestLog, Clock.monotonic() + 500_000_000)
        let behind = hosts.filter { lag(of: $0.name) ?? 0 > MemberView.lagMax }
        await withTaskGroup(of: (String, UInt64).self) { group in
            for host in behind {
                group.addTask { (host.name, await Self.applied(host, upTo: longest, until: end, gateway)) }
            }
            for await (name, index) in group where index > self[name]?.facts?.appliedIndex ?? .max {
                self[name]?.facts?.appliedIndex = index
            }
        }
    }

    private static func applied(
        _ host: Inventory.Host, upTo wanted: UInt64, until end: UInt64, _ gateway: Gateway
    ) async -> UInt64 {
        var index: UInt64 = 0
        repeat {
            try? await Task.sleep(for: .milliseconds(50))  // tasks are not cancelled
            index = await MemberView.Facts.ask(host, gateway)?.appliedIndex ?? index
        } while index < wanted && Clock.monotonic() < end
        return index
    }
}
