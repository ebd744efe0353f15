// How long members wait for their disks, as their hosts' agents tell everybody on the page they have for Prometheus. For who
// has no identity agents would answer: `covey status` on a host, and the agents' own look at their clusters.

import Foundations
import Inventory

enum DiskPages {
    static let family = "covey_member_sync_seconds"
    private static let timeoutSeconds: UInt64 = 2

    /// By host; without those that do not tell, be it that nobody writes there or that the page is off.
    static func ask(_ hosts: [Inventory.Host], _ cluster: String, _ gateway: Gateway) async -> [String: UInt64] {
        await withTaskGroup(of: (String, UInt64?).self) { group in
            for host in hosts {
                group.addTask {
                    let answer = await gateway.ask(
                        host.address, AgentProgram.metricsPort, "/metrics", isTLS: false, timeoutSeconds: timeoutSeconds)
                    guard case .success(let page) = answer, page.status == 200 else { return (host.name, nil) }
                    return (host.name, syncTime(String(decoding: page.body, as: UTF8.self), of: cluster))
                }
            }
            var times: [String: UInt64] = [:]
            for await (name, time) in group { times[name] = time }
            return times
        }
    }

    /// Nanoseconds.
    static func syncTime(_ page: String, of cluster: String) -> UInt64? {
        for line in page.split(separator: "\n") where line.hasPrefix("\(family){cluster=\"\(cluster)\"}") {
            guard let seconds = line.split(separator: " ").last.flatMap({ Double($0) }), seconds >= 0, seconds < 3e9 else { return nil }
            return UInt64(seconds * 1e9)
        }
        return nil
    }
}
