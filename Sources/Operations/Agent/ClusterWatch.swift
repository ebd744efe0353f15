// The agent's own look at its clusters: every ten seconds it asks all members, as `covey status` on the host would, and keeps
// what it saw for /metrics, systemd and the gates that want quiet. A leader whose disk is slow is asked to hand over.

import Foundations
import GRPC
import Inventory
import JSON
import Linux
import PKI
import Systemd
import Wire

// Used on the loop's thread only, but for the task that waits for answers.
final class ClusterWatch: @unchecked Sendable {
    private let loop: EventLoop
    private let service: AgentService
    let metrics: AgentMetrics
    private var slowLeaders: [String: SlowLeader] = [:]
    private static let interval: UInt64 = 10_000_000_000
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
        var sight = local.sight
        sight.syncTime = slowest
        let known = sight
        let service = service
        Task {
            async let pages = DiskPages.ask(hosts.filter { $0.name != local.host }, known.cluster, gateway)
            let views = await [String: MemberView].observe(hosts, gateway)
            var evidence = ClusterReport.Evidence(ledger: local.ledger)
            evidence.applyCommand = "covey apply"
            evidence.syncTimes = await pages
            if let slowest { evidence.syncTimes[local.host] = slowest }
            var sight = known
            let report = ClusterReport(local.inventory, evidence, views)
            sight.report = report
            let whole = sight
            mailbox.post {
                gateway.stop()
                metrics.saw(whole)
            }
            // Anew: one that began while members were asked is the cause of the term they told.
            let operation = await service.host { $0.lastOperation(known.cluster) }
            mailbox.post { self.keep(local, report, operation) }
        }
    }

    /// `operation`: the last one there was after the members had answered.
    private func keep(_ local: Local, _ report: ClusterReport, _ operation: AgentPB.Operation?) {
        let cluster = local.sight.cluster
        service.elections[cluster, default: ElectionWatch()].saw(
            term: report.term, operation: operation, at: loop.now, wall: Int64(Clock.wall() / 1_000_000_000))
        service.lags[cluster, default: LagWatch()].saw(
            Dictionary(
                report.rows.compactMap { row in row.isMember ? row.lag.map { (row.host.name, $0) } : nil },
                uniquingKeysWith: { first, _ in first }),
            at: loop.now)
        let sight = SlowLeader.Sight(
            at: loop.now,
            mayMove: local.inventory.movesLeaderOffSlowDisk && !local.sight.isPaused && operation?.state != "open",
            leads: report.leader == local.host,
            syncTime: report.rows.first { $0.host.name == local.host }?.syncTime,
            syncTimeMost: local.inventory.syncTimeRefused,
            others: report.rows.compactMap { row in
                guard row.isMember, row.host.name != local.host, row.view?.isHealthy == true, let facts = row.view?.facts, !facts.isLearner
                else { return nil }
                return SlowLeader.Voter(name: row.host.name, id: facts.memberID, lag: row.lag ?? .max, syncTime: row.syncTime)
            })
        if let target = slowLeaders[cluster, default: SlowLeader()].judge(sight) { handOver(local, to: target, sight.syncTime ?? 0) }
    }

    /// The member is asked, not made: who leads then is seen at the next look.
    private func handOver(_ local: Local, to target: SlowLeader.Voter, _ syncTime: UInt64) {
        guard let gateway = try? Gateway(loop, local.credentials), let own = local.inventory.hosts.first(where: { $0.name == local.host })
        else { return }
        let cluster = local.sight.cluster
        let why = "1 of 100 syncs of its log takes \(syncTime / 1_000_000) ms or more, \((target.syncTime ?? 0) / 1_000_000) ms there"
        let mailbox = loop.mailbox
        Task { [service] in
            let isRecorded = await service.host { keeper in
                // What cannot be recorded is not done.
                (try? keeper.audit(cluster, step: "move-leader", phase: "intent", "\(local.host) to \(target.name): \(why)")) != nil
            }
            guard isRecorded else { return mailbox.post { gateway.stop() } }
            let answer = await gateway.ask(
                own.address, own.clientPort, "/v3/maintenance/transfer-leadership",
                .object([.init("targetID", .string(String(target.id)))]), timeoutSeconds: 10)
            let (phase, outcome) =
                switch answer {
                case .success(let said) where said.status == 200: ("done", "handed over to \(target.name)")
                case .success(let said):
                    ("failed", "refused to hand over to \(target.name): \(String(decoding: said.body.prefix(200), as: UTF8.self))")
                case .failure(let error): ("failed", "was asked to hand over to \(target.name), and has not answered: \(error)")
                }
            let text = "\(cluster) on \(local.host) \(outcome); \(why)"
            JournalRecord.send(
                text, id: MessageID.leaderMoved, priority: 4, fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", local.host)])
            Output.withoutJournal("covey agent: \(text)\n")
            _ = await service.host { keeper in
                // It has happened; the journal has it.
                try? keeper.audit(cluster, step: "move-leader", phase: phase, outcome)
            }
            mailbox.post { gateway.stop() }
        }
    }
}
