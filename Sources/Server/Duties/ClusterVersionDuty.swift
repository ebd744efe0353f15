// The leader keeps the cluster's version at the lowest of its members' (apply-semantics 7): asked every few seconds, and at
// once when a term begins.

import Foundations
import JSON
import State

package final class ClusterVersionDuty {
    private static let interval: UInt64 = 4_000_000_000

    private unowned let member: Member
    private var isAsking = false
    /// Told when the first version of a new cluster is set, and of members that cannot be asked.
    private let report: (String, [(String, String)]) -> Void

    package init(_ member: Member, report: @escaping (String, [(String, String)]) -> Void) {
        self.member = member
        self.report = report
        schedule()
    }

    private func schedule() {
        member.loop.schedule(after: ClusterVersionDuty.interval) { [weak self] in
            guard let self, !member.isStopped else { return }
            look()
            schedule()
        }
    }

    package func look() {
        guard member.leadsForSure, !isAsking else { return }
        let members = member.state.membership.members
        let own = member.state.settings.serverVersion
        var versions: [ClusterVersion?] = []
        var left = members.count
        isAsking = true
        func answered(_ version: ClusterVersion?) {
            versions.append(version)
            left -= 1
            if left == 0 { decide(versions) }
        }
        for other in members {
            guard other.id != member.identity.member, let transport = member.transport else {
                answered(own)
                continue
            }
            transport.fetch(PeerRequest(other.peerURLs, "/version", timeout: 5_000_000_000)) { [weak self] result in
                guard let self else { return }
                if case .failure(let failure) = result {
                    report("failed to reach the peer URL", [("remote-member-id", "\(other.id)"), ("error", "\(failure)")])
                }
                answered((try? result.get()).flatMap { ClusterVersionDuty.serverVersion(in: $0) })
            }
        }
    }

    static func serverVersion(in response: PeerResponse) -> ClusterVersion? {
        guard response.status == 200, let object = try? JSONValue(parsing: response.body) else { return nil }
        return object["etcdserver"]?.string.flatMap { ClusterVersion($0) }
    }

    static func clusterVersion(in response: PeerResponse) -> ClusterVersion? {
        guard response.status == 200, let object = try? JSONValue(parsing: response.body) else { return nil }
        return object["etcdcluster"]?.string.flatMap { ClusterVersion($0) }
    }

    private func decide(_ versions: [ClusterVersion?]) {
        isAsking = false
        guard member.leadsForSure, !member.isStopped else { return }
        let downgrade = member.state.membership.downgrade
        guard
            let version = ClusterVersion.decide(
                current: member.state.membership.version, members: versions,
                downgradeTarget: downgrade.isEnabled ? ClusterVersion(downgrade.target) : nil)
        else { return }
        if member.state.membership.version == nil {
            report("setting up initial cluster version using v2 API", [("cluster-version", "\(version.major).\(version.minor)")])
        }
        member.proposeEntry(LegacyEntry.clusterVersion(requestID: member.registerID(.body { _ in }), version))
    }
}
