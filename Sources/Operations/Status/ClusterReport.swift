// The state of a cluster at one moment, judged: from what the ledger says was made, what the members say of themselves, and
// what the inventory wants. Who is a member is the ledger's word; the inventory is what is compared with it. Worst wins.

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
        /// By the ledger; where there is none, by the inventory.
        var isMember: Bool
        /// Nil for hosts nobody asks: spares.
        var view: MemberView?
        /// Seconds the certificate for clients is still good for; nil when it cannot be read.
        var certificateSecondsLeft: Int64?
        /// Of its agent's own.
        var identitySecondsLeft: Int64?
        /// Entries behind the most advanced member; nil when unknown.
        var lag: UInt64?
        /// What its agent says of the unit when it does not run: `failed (exit 1)`.
        var unit: String?
        /// The version slot its member runs; nil where that is not known.
        var slot: String?
        /// Nanoseconds within which 99 of 100 syncs of its log ended in the last minute; nil when that is not known.
        var syncTime: UInt64?
        /// Seconds since the member said what is shown; nil when that was just now.
        var age: Int64?

        var role: String {
            if !isMember { return "spare" }
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

    static let certificateWarning: Int64 = 7 * 86_400

    var name: String
    var level: Level
    /// Why it is not healthy, each a line.
    var reasons: [String] = []
    /// How it differs from its inventory.
    var drift: [String] = []
    /// What a person should know that makes nothing worse.
    var notes: [String] = []
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
    /// When it was observed, nanoseconds since 1970.
    var observed: UInt64?
    /// Where the list of members is from.
    var source: String

    var exitCode: Int32 { level == .healthy && !drift.isEmpty ? 10 : level.exitCode }

    /// What is known beside the members' own words.
    struct Evidence: Sendable, Equatable {
        /// Nil where none can be read.
        var ledger: Ledger?
        /// Where the ledger is from.
        var source = "ledger"
        /// Seconds left by host, a host without an entry has none that can be read; nil when they are on other hosts.
        var certificates: [String: Int64]?
        /// Seconds left of the agents' own, by host.
        var identities: [String: Int64] = [:]
        /// Hosts whose agents were asked and are silent: their certificates are not known.
        var silentAgents: Set<String> = []
        /// By host: how a unit is that does not run.
        var units: [String: String] = [:]
        /// By host, of members in version slots: the one that runs, and the one that is started next.
        var slots: [String: Slots] = [:]
        /// By host: how long its member waits for its disk, as it told its agent.
        var syncTimes: [String: UInt64] = [:]
        /// Seconds since a member that is silent now said what is shown of it.
        var ages: [String: Int64] = [:]
        /// Agents were asked, and none answered.
        var isBlind = false
        /// What makes the cluster as the inventory says.
        var applyCommand = "covey up"
        /// What agents make of the files put on their hosts.
        var news: [String] = []
        var observed: UInt64?

        struct Slots: Sendable, Equatable {
            var runs: String
            var next: String
        }
    }

    init(_ inventory: Inventory, _ evidence: Evidence, _ views: [String: MemberView]) {
        let ledger = evidence.ledger
        let hosts = inventory.hosts + Self.strangers(inventory, ledger)
        rows = hosts.map { host in
            let view = views[host.name]
            return Row(
                host: host, isMember: ledger.map { $0.has(host) } ?? (host.role == .voter), view: view,
                certificateSecondsLeft: evidence.certificates?[host.name], identitySecondsLeft: evidence.identities[host.name],
                lag: views.lag(of: host.name), unit: evidence.units[host.name],
                slot: evidence.slots[host.name]?.runs, syncTime: evidence.syncTimes[host.name],
                age: evidence.ages[host.name])
        }
        name = inventory.name
        generation = ledger?.generation ?? inventory.generation
        clusterID = ledger?.clusterID ?? ""
        observed = evidence.observed
        source = ledger == nil ? "inventory" : evidence.source
        let voting = rows.filter { $0.isMember && $0.view?.facts?.isLearner != true }
        let healthy = voting.filter { $0.view?.isHealthy == true }
        votersHealthy = healthy.count
        voters = voting.count
        quorum = voters / 2 + 1
        tolerance = max(0, healthy.count - quorum)
        let leading = healthy.first { $0.view?.facts?.isLeader == true }
        leader = leading?.host.name
        term = views.values.compactMap { $0.facts?.term }.max() ?? 0
        revision = views.values.compactMap { $0.facts?.revision }.max() ?? 0
        level = .healthy
        judge(inventory)
        for row in rows where row.isMember && evidence.certificates != nil {
            if !evidence.silentAgents.contains(row.host.name) { judgeCertificate(row, inventory) }
        }
        notes += evidence.news
        for (host, slots) in evidence.slots.sorted(by: { $0.key < $1.key }) where slots.runs != slots.next {
            let runs = slots.runs.isEmpty ? "the program that was installed" : slots.runs
            notes.append("\(host) runs \(runs) and is started with \(slots.next) next: \(evidence.applyCommand)")
        }
        for host in evidence.silentAgents.sorted() { notes.append("the agent of \(host) does not answer") }
        if evidence.isBlind && rows.allSatisfy({ $0.view?.facts == nil || $0.age != nil }) {
            worsen(.unknown, "no member and no agent answers: perhaps it is this machine that is cut off")
        }
        guard let ledger else { return }
        drift += Self.differences(inventory, ledger)
        if inventory.digest != ledger.digest {
            drift.append(
                "the inventory has changed since it took effect (generation \(ledger.generation)); "
                    + "\(evidence.applyCommand) applies it")
        }
        if ledger.state == .pending {
            worsen(.unknown, "its bootstrap was interrupted; \(evidence.applyCommand) goes on with it")
        }
    }

    /// Of a cluster whose certificates and ledger are at hand.
    init(_ inventory: Inventory, _ ledger: Ledger?, _ views: [String: MemberView], certificates: [String: Int64]?) {
        self.init(inventory, Evidence(ledger: ledger, certificates: certificates), views)
    }

    /// Members the inventory does not have any more.
    static func strangers(_ inventory: Inventory, _ ledger: Ledger?) -> [Inventory.Host] {
        (ledger?.members ?? []).compactMap { member in
            guard !inventory.hosts.contains(where: { $0.peerURL == member.peerURL }) else { return nil }
            return member.host(clientPort: inventory.hosts.first?.clientPort ?? 2379)
        }
    }

    /// What to write so that the inventory says what is so.
    private static func differences(_ inventory: Inventory, _ ledger: Ledger) -> [String] {
        var found: [String] = []
        for host in inventory.hosts where ledger.has(host) != (host.role == .voter) {
            found.append(
                ledger.has(host)
                    ? "\(host.name) is a member, the inventory calls it a spare; to keep it so, write role: voter there"
                    : "\(host.name) is no member, the inventory calls it a voter; to keep it so, write role: spare there"
            )
        }
        for host in strangers(inventory, ledger) {
            found.append(
                "\(host.name) (\(host.peerURL)) is a member, the inventory does not have it; write it there as a voter")
        }
        return found
    }

    private mutating func worsen(_ to: Level, _ reason: String) {
        level = max(level, to)
        reasons.append(reason)
    }

    private mutating func judge(_ inventory: Inventory) {
        let voting = rows.filter { $0.isMember && $0.view?.facts?.isLearner != true }
        let silent = rows.filter { if $0.isMember, case .unreachable? = $0.view?.health { true } else { false } }
        if votersHealthy < quorum {
            worsen(.noQuorum, "\(votersHealthy) of \(voters) voters are healthy, \(quorum) are needed")
            // Who answers and has no leader only waits for the others.
            let silent = voting.filter { $0.view?.facts == nil }.map(\.host.name)
            let needed = quorum - (voters - silent.count)
            let missing = needed > 0 ? silent : voting.filter { $0.view?.isHealthy != true }.map(\.host.name)
            reasons.append("\(needed > 0 ? needed : quorum - votersHealthy) of these bring it back: \(missing.joined(separator: ", "))")
        } else if leader == nil {
            worsen(.noQuorum, "no healthy voter leads")
        } else if votersHealthy < voters {
            let level: Level = tolerance == 0 && voters - quorum > 0 ? .atRisk : .degraded
            worsen(level, "\(voters - votersHealthy) of \(voters) voters are missing; \(tolerance) more may fail")
        } else if tolerance < min(inventory.minimumTolerance, voters - quorum) {
            worsen(.degraded, "\(tolerance) voters may fail, policy wants \(inventory.minimumTolerance)")
        }
        for row in silent {
            guard case .unreachable(let reason)? = row.view?.health else { continue }
            let unit = row.unit.map { "; its unit is \($0)" } ?? ""
            reasons.append("\(row.host.name) does not answer: \(reason)\(unit)")
        }
        for row in rows where row.isMember {
            if case .unhealthy(let reason)? = row.view?.health { reasons.append("\(row.host.name): \(reason)") }
            judge(row, inventory)
        }
        let ids = Set(rows.filter(\.isMember).compactMap { $0.view?.facts?.clusterID })
        if ids.count > 1 { worsen(.unknown, "members are of \(ids.count) different clusters") }
        if let id = ids.first, ids.count == 1, !clusterID.isEmpty, UInt64(clusterID, radix: 16) != id {
            worsen(.unknown, "cluster \(String(id, radix: 16)) answers, the ledger says \(clusterID)")
        }
    }

    private mutating func judge(_ row: Row, _ inventory: Inventory) {
        let host = row.host.name
        if let facts = row.view?.facts, row.age == nil {
            if let lag = row.lag, lag > MemberView.lagMax { worsen(.degraded, "\(host) is \(lag) entries behind") }
            if let time = row.syncTime, time > inventory.syncTimeRefused {
                worsen(
                    .atRisk,
                    "\(host): its disk is slow, 1 of 100 syncs of its log takes \(time / 1_000_000) ms or more; "
                        + "\(inventory.syncTimeRefused / 1_000_000) ms is the most (storage.maxFsyncP99)")
            }
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
