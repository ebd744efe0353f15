// What must be so before a cluster is changed, judged from what was seen. Pure: each gate can be tested with a table. A gate
// that does not pass refuses the whole operation, before anything is changed.
//
// Who knows better says so by name and with a reason, which is recorded; but never for what tells whose cluster this is and
// whether its members agree.

import Flags
import Inventory
import Wire

enum Gate: String, Sendable, CaseIterable {
    case quorum = "QUORUM"
    case members = "MEMBERS"
    case hash = "HASH"
    case caughtUp = "CAUGHTUP"
    case alarm = "ALARM"
    case disk = "DISK"
    case certificates = "CERT"
    case clock = "CLOCK"
    case version = "VERSION"
    case margin = "MARGIN"
    /// Only told: nothing here takes backups yet, so nothing can be judged.
    case backup = "BACKUP"

    var canBeOverridden: Bool { self != .members && self != .hash && isJudged }
    var isJudged: Bool { self != .backup }

    /// For changes of members (3.2 to 3.5).
    static let change: [Gate] = [
        .quorum, .members, .hash, .caughtUp, .alarm, .disk, .certificates, .clock, .version, .backup,
    ]
    /// For restarts and for moving the leader (3.6).
    static let rolling: [Gate] = [.quorum, .members, .caughtUp, .alarm, .certificates, .clock, .version]
}

/// Gates the operator answers for.
struct Overrides: Sendable, Equatable {
    var gates: Set<String> = []
    var reason = ""

    struct Misused: Error, Equatable { var text: String }

    init() {}

    /// `names` as typed: `DISK`, `disk`, `G-DISK`.
    init(_ names: [String], reason: String) throws(Misused) {
        self.reason = reason
        for name in names {
            let plain = name.uppercased().hasPrefix("G-") ? String(name.uppercased().dropFirst(2)) : name.uppercased()
            guard let gate = Gate(rawValue: plain) else {
                let allowed = Gate.allCases.filter(\.canBeOverridden).map(\.rawValue).joined(separator: ", ")
                throw Misused(text: "--override \(name): there is no such gate to override; there are \(allowed)")
            }
            guard gate.isJudged else {
                throw Misused(text: "--override \(name): this gate is only told, it refuses nothing")
            }
            guard gate.canBeOverridden else {
                throw Misused(text: "--override \(name): nobody overrides this gate: it tells whose data is whose")
            }
            gates.insert(gate.rawValue)
        }
        guard gates.isEmpty || !reason.isEmpty else {
            throw Misused(text: "--override wants --reason TEXT: it is recorded with the operation")
        }
    }

    /// As an operation records them.
    var arguments: [String] {
        gates.isEmpty ? [] : gates.sorted().map { "--override=\($0)" } + ["--reason=\(reason)"]
    }

    /// From the arguments of an operation.
    init(recorded arguments: [String]) {
        gates = Set(arguments.compactMap { $0.hasPrefix("--override=") ? String($0.dropFirst(11)) : nil })
        reason = arguments.first { $0.hasPrefix("--reason=") }.map { String($0.dropFirst(9)) } ?? ""
    }
}

struct GateVerdict: Sendable, Equatable {
    var gate: Gate
    var passes: Bool
    var evidence: String
    /// What to do about it.
    var next = ""
}

/// What is known of the cluster when gates are judged.
struct GateFacts: Sendable, Equatable {
    struct Listed: Sendable, Equatable {
        var id: UInt64
        var name: String
        var peerURL: String
        var isLearner: Bool
    }

    struct Hash: Sendable, Equatable {
        var value: String
        var compacted: Int64
    }

    struct Voter: Sendable, Equatable {
        var isHealthy = true
        var leaderID: UInt64 = 0
        var term: UInt64 = 0
        var version = ""
        var lag: UInt64 = 0
        /// Nil: it did not say.
        var members: [Listed]?
        var hash: Hash?
        var alarms: [String]?
        var storeBytes: Int64 = 0
        /// By kind; nil when its agent does not answer.
        var certificates: [String: Int64]?
        /// What its port for clients shows is what its agent has on disk.
        var showsItsCertificate = true
    }

    struct Host: Sendable, Equatable {
        var agentVersion = ""
        /// Of upstream's program, when members run that.
        var engineVersion = ""
        /// Nanoseconds against the operator's machine.
        var clockOffset: Int64 = 0
        /// By the word of its kernel.
        var isClockKept = true
        var freeBytes: UInt64 = 0
        var diskBytes: UInt64 = 0
        /// Nanoseconds; nil when it was not measured.
        var syncTime: UInt64?
    }

    /// Members that stay, and those that leave alive.
    var voters: [String: Voter]
    /// Hosts whose agents answered: of the voters, and those to come.
    var hosts: [String: Host]
    /// The revision the hashes are of.
    var hashRevision: Int64 = 0
    /// Between the hosts.
    var ways = Ways()
    /// Seconds since the last election that no operation asked for; nil: none that the agents have seen.
    var sinceElection: Int64?
    /// Healthy voters that an agent saw behind a moment ago, the last one first.
    var stragglers: [AgentPB.Straggler] = []

    /// Handshakes and ports, host by host.
    struct Ways: Sendable, Equatable {
        var tried = 0
        /// `h3 does not reach h2 port 2378: ...`
        var closed: [String] = []

        static let remedy = "Hosts must mean the same by each other's names, and let each other in:"

        /// One host that is wrong about a name is many ways that are closed.
        var complaints: [String] {
            let more = closed.count - Self.complaintsMax
            return closed.prefix(Self.complaintsMax) + (more > 0 ? ["and \(more) more"] : [])
        }
        private static let complaintsMax = 6
    }

    /// The highest one anybody knows.
    var term: UInt64 { voters.values.filter(\.isHealthy).map(\.term).max() ?? 0 }
}

/// What the operation is about to do.
struct GateContext: Sendable, Equatable {
    var inventory: Inventory
    var ledger: Ledger
    /// Hosts to become members.
    var coming: [String] = []
    /// Members to leave, dead or alive.
    var leaving: [String] = []
    /// The member to be restarted, when it is one: that it is behind may be why.
    var restarting: String?
    /// An operation that was begun before: part of it may have been done.
    var isResuming = false
    var gates: [Gate] = Gate.change
    /// Of an earlier look: who has been elected since then was not there when the plan was made.
    var termBefore: UInt64?

    func verdicts(_ facts: GateFacts) -> [GateVerdict] {
        gates.map { gate in
            switch gate {
            case .quorum: quorum(facts)
            case .members: members(facts)
            case .hash: hash(facts)
            case .caughtUp: caughtUp(facts)
            case .alarm: alarm(facts)
            case .disk: disk(facts)
            case .certificates: certificates(facts)
            case .clock: clock(facts)
            case .version: version(facts)
            case .margin: GateVerdict(gate: .margin, passes: true, evidence: "see the plan")
            case .backup:
                GateVerdict(
                    gate: .backup, passes: true,
                    evidence: "covey takes none yet and looks for none: etcdctl snapshot save, before what has no way back")
            }
        }
    }

    private func verdict(_ gate: Gate, _ complaints: [String], good: String, _ next: String) -> GateVerdict {
        complaints.isEmpty
            ? GateVerdict(gate: gate, passes: true, evidence: good)
            : GateVerdict(gate: gate, passes: false, evidence: complaints.joined(separator: "; "), next: next)
    }

    private func sorted(_ facts: GateFacts) -> [(name: String, seen: GateFacts.Voter)] {
        facts.voters.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    // MARK: The cluster

    /// Nil when the last election is long enough ago. What is gone on with does not wait: half a change is worse than an election.
    func secondsUntilQuiet(_ facts: GateFacts) -> Int64? {
        guard gates.contains(.quorum), !isResuming, let age = facts.sinceElection else { return nil }
        let wanted = inventory.quietTime / GoDuration.second
        return age < wanted ? wanted - age : nil
    }

    /// The voter that has not been level for long enough, and the seconds until it has. Neither who goes nor who is gone on with.
    private func secondsUntilLevel(_ facts: GateFacts) -> (straggler: AgentPB.Straggler, seconds: Int64)? {
        guard gates.contains(.caughtUp), !isResuming, let last = facts.stragglers.first(where: { !mayLag($0.name) }),
            last.seconds < LagWatch.quiet
        else { return nil }
        return (last, LagWatch.quiet - last.seconds)
    }

    private func mayLag(_ name: String) -> Bool { leaving.contains(name) || restarting == name }

    /// What time alone will bring.
    struct Wait: Sendable, Equatable {
        var gate: Gate
        var seconds: Int64
        var text: String
    }

    func waits(_ facts: GateFacts) -> [Wait] {
        var waits: [Wait] = []
        if let seconds = secondsUntilQuiet(facts) {
            waits.append(
                Wait(
                    gate: .quorum, seconds: seconds,
                    text: "there was an election \(facts.sinceElection ?? 0) s ago that no operation asked for; waits \(seconds) s for the "
                        + "cluster to be quiet (policy.quietTime)"))
        }
        let behind = behind(facts)
        if gates.contains(.caughtUp), !behind.isEmpty {
            waits.append(
                Wait(
                    gate: .caughtUp, seconds: LagWatch.quiet,
                    text: "\(behind.joined(separator: "; ")); waits \(LagWatch.quiet) s for it to catch up"))
        } else if let (last, seconds) = secondsUntilLevel(facts) {
            waits.append(
                Wait(
                    gate: .caughtUp, seconds: seconds,
                    text: "\(last.name) was \(last.lag) entries behind \(last.seconds) s ago; waits \(seconds) s to see that it stays "
                        + "level"))
        }
        return waits
    }

    private func quorum(_ facts: GateFacts) -> GateVerdict {
        let healthy = sorted(facts).filter(\.seen.isHealthy)
        let needed = ledger.members.count / 2 + 1
        var complaints: [String] = []
        if healthy.count < needed {
            complaints.append("\(healthy.count) of \(ledger.members.count) voters are healthy, \(needed) are needed")
        }
        let leaders = Set(healthy.map(\.seen.leaderID))
        if leaders.count > 1 || leaders == [0] { complaints.append("the members do not agree on a leader") }
        let term = facts.term
        if let termBefore, term > termBefore {
            complaints.append("there was an election a moment ago (term \(termBefore), now \(term))")
        } else if let wait = secondsUntilQuiet(facts) {
            complaints.append(
                "there was an election \(facts.sinceElection ?? 0) s ago that no operation asked for; it is to be quiet for "
                    + "\(wait) s more (policy.quietTime)")
        }
        return verdict(
            .quorum, complaints, good: "\(healthy.count) of \(ledger.members.count) healthy, one leader, term \(term)",
            "Wait for an election to end, or bring members back: covey status")
    }

    private func members(_ facts: GateFacts) -> GateVerdict {
        var complaints: [String] = []
        let url = { (name: String) in inventory.hosts.first { $0.name == name }?.peerURL }
        let expected = Set(ledger.members.map(\.peerURL))
        let mayCome = isResuming ? Set(coming.compactMap(url)) : []
        let mayBeGone =
            isResuming ? Set(ledger.members.filter { leaving.contains($0.name) }.map(\.peerURL)) : []
        var first: (name: String, list: [GateFacts.Listed])?
        for (name, seen) in sorted(facts) where seen.isHealthy {
            guard let list = seen.members?.sorted(by: { $0.id < $1.id }) else {
                complaints.append("\(name) does not tell its members")
                continue
            }
            if let first, first.list != list {
                complaints.append("\(first.name) and \(name) have different lists of members")
            }
            if first == nil { first = (name, list) }
        }
        for member in first?.list ?? [] {
            let isExpected = expected.contains(member.peerURL)
            let shown = "\(String(member.id, radix: 16)) at \(member.peerURL)"
            if !isExpected && !mayCome.contains(member.peerURL) {
                complaints.append("member \(shown) is not in the ledger: somebody added it by hand")
            } else if member.name.isEmpty && !mayCome.contains(member.peerURL) {
                complaints.append("member \(shown) was never started")
            } else if member.isLearner && !mayCome.contains(member.peerURL) {
                complaints.append("member \(shown) is a learner")
            }
        }
        let there = Set(first?.list.map(\.peerURL) ?? [])
        for member in ledger.members where first != nil && !there.contains(member.peerURL) {
            if !mayBeGone.contains(member.peerURL) {
                complaints.append("\(member.name) is in the ledger and no member: somebody removed it by hand")
            }
        }
        return verdict(
            .members, complaints, good: "\(there.count) members by everyone's word, as the ledger has them",
            "Look: etcdctl member list; take out what was added by hand (etcdctl member remove ID), or covey op resume."
        )
    }

    private func hash(_ facts: GateFacts) -> GateVerdict {
        let healthy = sorted(facts).filter(\.seen.isHealthy)
        var complaints: [String] = []
        var first: (name: String, hash: GateFacts.Hash)?
        for (name, seen) in healthy where healthy.count > 1 {
            guard let hash = seen.hash else {
                complaints.append("\(name) does not tell its hash")
                continue
            }
            if let first, first.hash != hash {
                complaints.append(
                    "the data of \(first.name) and \(name) differs at revision \(facts.hashRevision) "
                        + "(\(first.hash.value), \(hash.value))")
            }
            first = first ?? (name, hash)
        }
        return verdict(
            .hash, complaints, good: "equal at revision \(facts.hashRevision)",
            "A member whose data differs must be replaced by hand from one that is right; find out which: etcdctl endpoint hashkv."
        )
    }

    private func behind(_ facts: GateFacts) -> [String] {
        sorted(facts).filter { $0.seen.isHealthy && $0.seen.lag > MemberView.lagMax && !mayLag($0.name) }
            .map { "\($0.name) is \($0.seen.lag) entries behind" }
    }

    private func caughtUp(_ facts: GateFacts) -> GateVerdict {
        var complaints = behind(facts)
        if complaints.isEmpty, let (last, _) = secondsUntilLevel(facts) {
            complaints.append("\(last.name) was \(last.lag) entries behind \(last.seconds) s ago")
        }
        return verdict(
            .caughtUp, complaints, good: "nobody more than \(MemberView.lagMax) entries behind for \(LagWatch.quiet) s",
            "Wait until all have been level for \(LagWatch.quiet) s.")
    }

    private func alarm(_ facts: GateFacts) -> GateVerdict {
        var complaints: [String] = []
        for (name, seen) in sorted(facts) where seen.isHealthy {
            guard let alarms = seen.alarms else {
                complaints.append("\(name) does not tell its alarms")
                continue
            }
            complaints += alarms
        }
        var once: Set<String> = []
        return verdict(
            .alarm, complaints.filter { once.insert($0).inserted }, good: "none",
            "NOSPACE: compact, defragment, then etcdctl alarm disarm. CORRUPT: find the member that is wrong first.")
    }

    // MARK: The hosts

    private func disk(_ facts: GateFacts) -> GateVerdict {
        var complaints: [String] = []
        let store = facts.voters.values.map(\.storeBytes).max() ?? 0
        let slowest = inventory.syncTimeRefused
        var worst: UInt64 = 0
        for (name, host) in facts.hosts.sorted(by: { $0.key < $1.key }) {
            // A fifth of a large disk is more than any store can want: twice the quota is enough.
            let share = min(host.diskBytes / 5, UInt64(clamping: inventory.quotaBytes) * 2)
            let needed = max(UInt64(clamping: store) * 2, share)
            if host.freeBytes < needed {
                complaints.append("\(name) has \(size(host.freeBytes)) free, \(size(needed)) are wanted")
            }
            guard let time = host.syncTime else { continue }
            worst = max(worst, time)
            if time > slowest {
                complaints.append(
                    "fdatasync on \(name) takes \(time / 1_000_000) ms, \(slowest / 1_000_000) ms is the most")
            }
        }
        return verdict(
            .disk, complaints, good: "room on all, fdatasync at most \(worst / 1_000_000) ms",
            "Make room, or find what keeps the disk busy: covey preflight")
    }

    private func size(_ bytes: UInt64) -> String { SizeText.format(Int64(clamping: bytes / (1 << 20) * (1 << 20))) }

    private func certificates(_ facts: GateFacts) -> GateVerdict {
        let least = min(ClusterReport.certificateWarning, inventory.leafLifetime / 1_000_000_000 / 4)
        var complaints: [String] = []
        var shortest: Int64?
        for (name, seen) in sorted(facts) {
            for (kind, left) in (seen.certificates ?? [:]).sorted(by: { $0.key < $1.key }) {
                shortest = min(shortest ?? left, left)
                if left <= 0 { complaints.append("the \(kind) certificate of \(name) has expired") }
                if left > 0 && left < least {
                    complaints.append("the \(kind) certificate of \(name) is good for \(ClusterReport.age(left)) more")
                }
            }
            if seen.isHealthy && !seen.showsItsCertificate {
                complaints.append("\(name) shows clients another certificate than it has on disk")
            }
        }
        let isClosed = complaints.isEmpty && !facts.ways.closed.isEmpty
        let good = shortest.map { "good for \(ClusterReport.age($0)) or more" } ?? "not known"
        return verdict(
            .certificates, complaints + facts.ways.complaints,
            good: facts.ways.tried > 0 ? "\(good), \(facts.ways.tried) ways between hosts are open" : good,
            isClosed ? "\(GateFacts.Ways.remedy) covey preflight" : "covey certs renew")
    }

    private func clock(_ facts: GateFacts) -> GateVerdict {
        let all = facts.hosts.mapValues(\.clockOffset)
        let median = all.values.sorted()[safe: all.count / 2] ?? 0
        let wrong = all.sorted { $0.key < $1.key }.filter { abs($0.value - median) > 500_000_000 }
        let most = all.values.map { abs($0 - median) }.max() ?? 0
        // Only told: hypervisors keep clocks right without the kernel's knowing, and what they show now is what counts.
        let loose = facts.hosts.filter { !$0.value.isClockKept }.keys.sorted()
        let told = loose.isEmpty ? "" : "; no time service keeps the clock of \(loose.joined(separator: ", ")), says the kernel"
        return verdict(
            .clock, wrong.map { "the clock of \($0.key) differs by \(($0.value - median) / 1_000_000) ms" },
            good: "within \(most / 1_000_000) ms\(told)", "Run a time service there (systemd-timesyncd, chrony).")
    }

    private func version(_ facts: GateFacts) -> GateVerdict {
        func differs(_ versions: [String: String], _ what: String) -> [String] {
            let all = versions.filter { !$0.value.isEmpty }
            guard Set(all.values).count > 1 else { return [] }
            let list = all.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            return ["\(what) of different versions: \(list)"]
        }
        let servers = facts.voters.filter(\.value.isHealthy).mapValues(\.version)
        let complaints =
            differs(facts.hosts.mapValues(\.agentVersion), "agents") + differs(servers, "servers")
            + differs(facts.hosts.mapValues(\.engineVersion), "programs")
        return verdict(
            .version, complaints, good: servers.values.first { !$0.isEmpty } ?? "not known",
            "Bring all to one version first: the same package everywhere, then covey restart.")
    }
}

extension Array {
    fileprivate subscript(safe index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}

/// The gates of one operation, judged.
struct GateReport: Sendable, Equatable {
    var verdicts: [GateVerdict]
    var overrides: Overrides
    /// When they were judged.
    var term: UInt64 = 0

    var refusals: [GateVerdict] {
        verdicts.filter { !$0.passes && !(overrides.gates.contains($0.gate.rawValue) && $0.gate.canBeOverridden) }
    }

    /// For people, below the plan.
    var text: String {
        guard !verdicts.isEmpty else { return "" }
        return Columns.text(
            [["GATE", "", "SEEN"]]
                + verdicts.map { verdict in
                    let isRefusal = refusals.contains(verdict)
                    return [
                        verdict.gate.rawValue, !verdict.gate.isJudged ? "-" : verdict.passes ? "ok" : isRefusal ? "REFUSED" : "overridden",
                        verdict.evidence,
                    ]
                })
    }

    /// What, evidence, what to do.
    var refusal: String {
        refusals.map { verdict in
            let override =
                verdict.gate.canBeOverridden
                ? "\nOr answer for it: --override \(verdict.gate.rawValue) --reason TEXT"
                : "\nThis gate cannot be overridden."
            return "\(verdict.gate.rawValue): \(verdict.evidence).\n\(verdict.next)\(override)"
        }.joined(separator: "\n")
    }
}

extension Inventory {
    /// Nanoseconds. What is wanted is less; a disk that takes longer than this stands in the way.
    var syncTimeRefused: UInt64 { UInt64(clamping: syncTimeMax / 2 * 5) }
}
