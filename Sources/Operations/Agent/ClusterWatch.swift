// The agent's own look at its clusters: every quarter of a minute it asks all members, as `covey status` on the host would,
// and keeps what it saw for /metrics and systemd.

import Foundations
import Inventory
import Linux
import PKI
import Wire

// Used on the loop's thread only, but for the task that waits for answers.
final class ClusterWatch: @unchecked Sendable {
    private let loop: EventLoop
    private let service: AgentService
    let metrics: AgentMetrics
    private static let interval: UInt64 = 15_000_000_000
    private static let firstLook: UInt64 = 2_000_000_000

    init(_ loop: EventLoop, _ service: AgentService, _ metrics: AgentMetrics) {
        self.loop = loop
        self.service = service
        self.metrics = metrics
    }

    func begin() { loop.schedule(after: Self.firstLook) { [weak self] in self?.look() } }

    private struct Local: Sendable {
        var host: String
        var sight: ClusterSight
        var inventory: Inventory
        var ledger: Ledger
        var credentials: StatusCommand.Credentials
    }

    private func look() {
        let mailbox = loop.mailbox
        let metrics = metrics
        service.onHost { [self] keeper in
            let now = keeper.now
            if let leaf = try? Certificate.load(keeper.folders.certificate).first {
                metrics.sawAgentCertificate(secondsLeft: leaf.secondsLeft(now: now))
            }
            let found = keeper.clusters.compactMap { Self.local(keeper, $0, now) }
            mailbox.post {
                metrics.keep(found.map(\.sight.cluster))
                for local in found { self.ask(local) }
            }
        }
        loop.schedule(after: Self.interval) { [weak self] in self?.look() }
    }

    /// Nil for a cluster this host has no part in.
    private static func local(_ keeper: HostKeeper, _ cluster: String, _ now: Int64) -> Local? {
        // What cannot be read is told by the steps and by `covey doctor`; there is nothing to look at then.
        guard let inventory = keeper.storedInventory(cluster), let ledger = try? keeper.ledger(cluster),
            ledger.members.contains(where: { $0.name == keeper.host.name }), let seen = try? keeper.observe(cluster)
        else { return nil }
        let folder = keeper.folders.configuration(cluster) + "/client"
        return Local(
            host: keeper.host.name,
            sight: ClusterSight(
                cluster: cluster, at: Clock.monotonic(), report: nil, unit: seen.unit ?? AgentPB.UnitState(),
                certificates: Dictionary(
                    seen.certificates.map { ($0.name, $0.notAfter - now) }, uniquingKeysWith: { min($0, $1) }),
                operation: seen.operation, isPaused: seen.isPaused),
            inventory: inventory, ledger: ledger,
            credentials: .init(
                trustedCA: folder + "/ca.crt", certificate: folder + "/client.crt", key: folder + "/client.key"))
    }

    private func ask(_ local: Local) {
        // Anew each time: certificates change. Without them nobody can be asked, which is what level unknown says.
        guard let gateway = try? Gateway(loop, local.credentials) else { return metrics.saw(local.sight) }
        let hosts =
            local.inventory.hosts.filter(local.ledger.has) + ClusterReport.strangers(local.inventory, local.ledger)
        let mailbox = loop.mailbox
        let metrics = metrics
        let slowest = service.syncs[local.sight.cluster]?.slowest(at: loop.now)
        Task {
            var views: [String: MemberView] = [:]
            await withTaskGroup(of: (String, MemberView).self) { group in
                for host in hosts { group.addTask { (host.name, await MemberView.observe(host, gateway)) } }
                for await (name, view) in group { views[name] = view }
            }
            var evidence = ClusterReport.Evidence(ledger: local.ledger)
            evidence.applyCommand = "covey apply"
            // Of this host's own member; those of others are their agents' to tell.
            if let slowest { evidence.syncTimes[local.host] = slowest }
            var sight = local.sight
            sight.report = ClusterReport(local.inventory, evidence, views)
            let whole = sight
            mailbox.post {
                gateway.stop()
                metrics.saw(whole)
            }
        }
    }
}
