// The state of a cluster at one moment, judged: from what the inventory wants, what the ledger says was made, and what the
// members say of themselves. Worst wins.

import Flags
import Foundations
import Inventory
import JSON

struct ClusterReport: Sendable, Equatable {
    enum Level: Int, Sendable, Comparable {
        case healthy, degraded, atRisk, noQuorum, unknown

        static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }

        var name: String {
            switch self {
            case .healthy: "HEALTHY"
            case .degraded: "DEGRADED"
            case .atRisk: "AT-RISK"
            case .noQuorum: "NO-QUORUM"
            case .unknown: "UNKNOWN"
            }
        }

        /// Of `covey status`; 10 is kept for a healthy cluster that differs from its inventory.
        var exitCode: Int32 {
            switch self {
            case .healthy: 0
            case .degraded: 11
            case .atRisk: 12
            case .noQuorum: 13
            case .unknown: 14
            }
        }
    }

    struct Row: Sendable, Equatable {
        var host: Inventory.Host
        /// Nil for hosts nobody asks: spares.
        var view: MemberView?
        /// Seconds the certificate for clients is still good for; nil when it cannot be read.
        var certificateSecondsLeft: Int64?
        /// Entries behind the most advanced member; nil when unknown.
        var lag: UInt64?

        var role: String {
            if host.role == .spare { return "spare" }
            guard let facts = view?.facts else { return "voter" }
            return facts.isLeader ? "leader" : facts.isLearner ? "learner" : "voter"
        }

        var state: String {
            switch view?.health {
            case .healthy?: "ok"
            case .unhealthy(let reason)?: reason
            case .unreachable?: "down"
            case nil: "-"
            }
        }
    }

    static let lagMax: UInt64 = 250
    static let certificateWarning: Int64 = 7 * 86_400

    var name: String
    var level: Level
    /// Why it is not healthy, each a line.
    var reasons: [String] = []
    /// How it differs from its inventory.
    var drift: [String] = []
    var rows: [Row]
    var votersHealthy: Int
    var voters: Int
    var quorum: Int
    /// Voters that may still fail.
    var tolerance: Int
    var leader: String?
    var term: UInt64
    var revision: Int64
    var generation: Int64
    var clusterID: String

    var exitCode: Int32 { level == .healthy && !drift.isEmpty ? 10 : level.exitCode }

    /// `ledger`: nil where this host has none. `certificates`: seconds left by host, a host without an entry has none that
    /// can be read; nil when they are on other hosts.
    init(_ inventory: Inventory, _ ledger: Ledger?, _ views: [String: MemberView], certificates: [String: Int64]?) {
        let ahead = views.values.compactMap { $0.facts?.raftIndex }.max() ?? 0
        rows = inventory.hosts.map { host in
            let view = views[host.name]
            return Row(
                host: host, view: view, certificateSecondsLeft: certificates?[host.name],
                lag: view?.facts.map { ahead - min(ahead, $0.appliedIndex) })
        }
        name = inventory.name
        generation = ledger?.generation ?? inventory.generation
        clusterID = ledger?.clusterID ?? ""
        let healthy = rows.filter { $0.host.role == .voter && $0.view?.isHealthy == true }
        votersHealthy = healthy.count
        voters = inventory.voters.count
        quorum = inventory.quorum
        tolerance = max(0, healthy.count - inventory.quorum)
        let leading = healthy.first { $0.view?.facts?.isLeader == true }
        leader = leading?.host.name
        term = views.values.compactMap { $0.facts?.term }.max() ?? 0
        revision = views.values.compactMap { $0.facts?.revision }.max() ?? 0
        level = .healthy
        judge(inventory, seesCertificates: certificates != nil)
        guard let ledger else { return }
        if inventory.digest != ledger.digest {
            drift.append(
                "the inventory has changed since it took effect (generation \(ledger.generation)); covey up applies it")
        }
        if ledger.state == .pending { worsen(.unknown, "its bootstrap was interrupted; covey up goes on with it") }
    }

    private mutating func worsen(_ to: Level, _ reason: String) {
        level = max(level, to)
        reasons.append(reason)
    }

    private mutating func judge(_ inventory: Inventory, seesCertificates: Bool) {
        let silent = rows.filter { if case .unreachable? = $0.view?.health { true } else { false } }
        if votersHealthy < quorum {
            worsen(.noQuorum, "\(votersHealthy) of \(voters) voters are healthy, \(quorum) are needed")
        } else if leader == nil {
            worsen(.noQuorum, "no healthy voter leads")
        } else if votersHealthy < voters {
            let level: Level = tolerance == 0 && inventory.tolerance > 0 ? .atRisk : .degraded
            worsen(level, "\(voters - votersHealthy) of \(voters) voters are missing; \(tolerance) more may fail")
        } else if tolerance < min(inventory.minimumTolerance, inventory.tolerance) {
            worsen(.degraded, "\(tolerance) voters may fail, policy wants \(inventory.minimumTolerance)")
        }
        for row in silent {
            guard case .unreachable(let reason)? = row.view?.health else { continue }
            reasons.append("\(row.host.name) does not answer: \(reason)")
        }
        for row in rows {
            if case .unhealthy(let reason)? = row.view?.health { reasons.append("\(row.host.name): \(reason)") }
            judge(row, inventory)
            if seesCertificates { judgeCertificate(row, inventory) }
        }
        let ids = Set(rows.compactMap { $0.view?.facts?.clusterID })
        if ids.count > 1 { worsen(.unknown, "members are of \(ids.count) different clusters") }
        if let id = ids.first, ids.count == 1, !clusterID.isEmpty, UInt64(clusterID, radix: 16) != id {
            worsen(.unknown, "cluster \(String(id, radix: 16)) answers, the ledger says \(clusterID)")
        }
    }

    private mutating func judge(_ row: Row, _ inventory: Inventory) {
        let host = row.host.name
        if let facts = row.view?.facts {
            if let lag = row.lag, lag > Self.lagMax { worsen(.degraded, "\(host) is \(lag) entries behind") }
            for error in facts.errors { worsen(.atRisk, "\(host): \(error)") }
            if facts.storeBytes > inventory.quotaBytes / 5 * 4 {
                worsen(
                    .atRisk,
                    "\(host): the store has \(SizeText.format(facts.storeBytes)) of \(SizeText.format(inventory.quotaBytes))"
                )
            }
        }
    }

    private mutating func judgeCertificate(_ row: Row, _ inventory: Inventory) {
        let host = row.host.name
        guard row.host.role == .voter else { return }
        switch row.certificateSecondsLeft {
        case nil: worsen(.atRisk, "\(host): its certificate cannot be read")
        case .some(let left) where left <= 0: worsen(.atRisk, "\(host): its certificate has expired")
        case .some(let left) where left < min(Self.certificateWarning, inventory.leafLifetime / GoDuration.second / 4):
            worsen(.atRisk, "\(host): its certificate is good for \(Self.age(left)) more")
        default: break
        }
    }

    /// `21 d`, `5 h`, `3 min`.
    static func age(_ seconds: Int64) -> String {
        if seconds >= 2 * 86_400 { return "\(seconds / 86_400) d" }
        return seconds >= 2 * 3_600 ? "\(seconds / 3_600) h" : "\(seconds / 60) min"
    }
}
