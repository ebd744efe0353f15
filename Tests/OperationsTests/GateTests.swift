import Inventory
import Testing

@testable import Operations

/// What must be so before members are changed: no I/O. Each gate lets a good cluster pass and refuses one thing each.
@Suite struct GateTests {
    private static let month: Int64 = 30 * 86_400

    private static func listed(_ number: Int, learner: Bool = false, name: String? = nil) -> GateFacts.Listed {
        GateFacts.Listed(
            id: UInt64(number), name: name ?? "kv\(number)", peerURL: "https://10.0.0.\(number):2380", isLearner: learner)
    }

    private static func voter() -> GateFacts.Voter {
        GateFacts.Voter(
            leaderID: 1, version: "3.5.21", members: [listed(1), listed(2), listed(3)], hash: .init(value: "5d", compacted: 7),
            alarms: [], storeBytes: 1 << 20, certificates: ["server": month, "peer": month])
    }

    private static func facts() -> GateFacts {
        let host = GateFacts.Host(agentVersion: "1.0", freeBytes: 50 << 30, diskBytes: 100 << 30, syncTime: 3_000_000)
        return GateFacts(
            voters: ["kv1": voter(), "kv2": voter(), "kv3": voter()],
            hosts: ["kv1": host, "kv2": host, "kv3": host, "kv4": host], hashRevision: 9)
    }

    private func context(resuming: Bool = false) throws -> GateContext {
        let inventory = try inventory(
            "metadata: {name: main}\nspec:\n  hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3, kv4: {address: 10.0.0.4, role: spare}}\n"
        )
        var ledger = Ledger.pending(inventory, token: "t")
        ledger.state = .active
        return GateContext(inventory: inventory, ledger: ledger, coming: ["kv4"], leaving: ["kv2"], isResuming: resuming)
    }

    @Test func `who was elected since the first look stops it, and the same leader does not`() throws {
        var (context, facts) = (try context(), Self.facts())
        for name in facts.voters.keys { facts.voters[name]?.term = 7 }
        func quorum() -> GateVerdict? { context.verdicts(facts).first { $0.gate == .quorum } }
        #expect(quorum()?.passes == true && quorum()?.evidence.hasSuffix("one leader, term 7") == true)
        context.termBefore = 7
        #expect(quorum()?.passes == true)
        facts.voters["kv3"]?.term = 8
        #expect(quorum()?.passes == false && quorum()?.evidence == "there was an election a moment ago (term 7, now 8)")
        facts.voters["kv3"]?.isHealthy = false
        #expect(quorum()?.passes == true, "whoever is not healthy has no say")
    }

    @Test func `a clock nobody keeps is told, and refuses nothing`() throws {
        var facts = Self.facts()
        func clock() throws -> GateVerdict? { try context().verdicts(facts).first { $0.gate == .clock } }
        #expect(try clock()?.evidence == "within 0 ms")
        for name in ["kv2", "kv1"] { facts.hosts[name]?.isClockKept = false }
        #expect(try clock()?.passes == true)
        #expect(try clock()?.evidence == "within 0 ms; no time service keeps the clock of kv1, kv2, says the kernel")
    }

    @Test func `half a minute without an election is waited for, but by who goes on`() throws {
        var facts = Self.facts()
        func wait(resuming: Bool = false) throws -> Int64? { try context(resuming: resuming).secondsUntilQuiet(facts) }
        #expect(try wait() == nil, "none was seen")
        for (age, left) in [(0, 30), (12, 18), (29, 1)] as [(Int64, Int64)] {
            facts.sinceElection = age
            #expect(try wait() == left)
            let verdict = try context().verdicts(facts).first { $0.gate == .quorum }
            #expect(verdict?.passes == false)
            #expect(verdict?.evidence.contains("an election \(age) s ago") == true, "\(verdict?.evidence ?? "")")
            #expect(try wait(resuming: true) == nil)
            #expect(try context(resuming: true).verdicts(facts).first { $0.gate == .quorum }?.passes == true)
        }
        facts.sinceElection = 30
        #expect(try wait() == nil)
    }

    @Test func `who fell behind a moment ago must stay level for ten seconds, but not who goes or is gone on with`() throws {
        var facts = Self.facts()
        func caughtUp(_ context: GateContext) -> GateVerdict? { context.verdicts(facts).first { $0.gate == .caughtUp } }
        #expect(try context().waits(facts).isEmpty)
        facts.stragglers = [.init(name: "kv3", lag: 400, seconds: 3), .init(name: "kv1", lag: 300, seconds: 6)]
        let wait = try #require(try context().waits(facts).first)
        #expect(wait.gate == .caughtUp && wait.seconds == 7)
        #expect(wait.text == "kv3 was 400 entries behind 3 s ago; waits 7 s to see that it stays level")
        #expect(try caughtUp(context())?.passes == false)
        #expect(try caughtUp(context())?.evidence == "kv3 was 400 entries behind 3 s ago")
        #expect(try context(resuming: true).waits(facts).isEmpty)
        #expect(try caughtUp(context(resuming: true))?.passes == true)
        var restart = try context()
        restart.restarting = "kv3"
        #expect(restart.waits(facts).map(\.seconds) == [4], "another one was behind, too")
        facts.stragglers.removeLast()
        #expect(restart.waits(facts).isEmpty && caughtUp(restart)?.passes == true)
        facts.stragglers = [.init(name: "kv2", lag: 400, seconds: 3)]
        #expect(try context().waits(facts).isEmpty, "it leaves")
        facts.stragglers.append(.init(name: "kv3", lag: 300, seconds: 6))
        #expect(try context().waits(facts).map(\.seconds) == [4], "who leaves does not hide who stays")
        facts.stragglers = [.init(name: "kv3", lag: 400, seconds: 10)]
        #expect(try context().waits(facts).isEmpty && caughtUp(context())?.passes == true)
        facts.voters["kv3"]?.lag = 251
        #expect(try context().waits(facts).map(\.text) == ["kv3 is 251 entries behind; waits 10 s for it to catch up"])
        #expect(try caughtUp(context(resuming: true))?.evidence == "kv3 is 251 entries behind", "half a change has its limits too")
        #expect(restart.waits(facts).isEmpty)
        facts.sinceElection = 4
        facts.voters["kv3"]?.lag = 0
        facts.stragglers = [.init(name: "kv3", lag: 400, seconds: 0)]
        #expect(try context().waits(facts).map(\.seconds) == [26, 10], "both are told, the longer one is waited for")
    }

    @Test func `one host that is wrong about a name is not told a hundred times`() throws {
        var facts = Self.facts()
        facts.ways = .init(tried: 40, closed: (1...9).map { "kv\($0) does not reach kv4 port 2378: refused" })
        let verdict = try #require(try context().verdicts(facts).first { $0.gate == .certificates })
        #expect(!verdict.passes)
        #expect(verdict.evidence.hasSuffix("kv6 does not reach kv4 port 2378: refused; and 3 more"), "\(verdict.evidence)")
        #expect(verdict.next.hasSuffix("covey preflight"))
        facts.ways.closed = []
        let good = try #require(try context().verdicts(facts).first { $0.gate == .certificates })
        #expect(good.passes && good.evidence == "good for 30 d or more, 40 ways between hosts are open")
    }

    @Test func `a gate nothing can judge is told as such, and nobody can answer for it`() throws {
        let report = GateReport(verdicts: try context().verdicts(Self.facts()), overrides: Overrides())
        let line = report.text.split(separator: "\n").first { $0.hasPrefix("BACKUP") }
        #expect(line?.contains("  -  ") == true, "\(report.text)")
        #expect(throws: Overrides.Misused.self) { try Overrides(["BACKUP"], reason: "test") }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var gate: Gate
        var evidence: String
        var change: @Sendable (inout GateFacts) -> Void

        init(_ gate: Gate, _ evidence: String, _ change: @escaping @Sendable (inout GateFacts) -> Void) {
            testDescription = "\(gate.rawValue): \(evidence)"
            self.gate = gate
            self.evidence = evidence
            self.change = change
        }
    }

    static let cases: [Case] = [
        Case(.quorum, "1 of 3 voters are healthy, 2 are needed") {
            $0.voters["kv2"]?.isHealthy = false
            $0.voters["kv3"]?.isHealthy = false
        },
        Case(.quorum, "do not agree on a leader") { $0.voters["kv3"]?.leaderID = 3 },
        Case(.quorum, "do not agree on a leader") { for name in $0.voters.keys { $0.voters[name]?.leaderID = 0 } },
        Case(.members, "kv1 and kv3 have different lists") { $0.voters["kv3"]?.members = [listed(1), listed(3)] },
        Case(.members, "kv2 does not tell its members") { $0.voters["kv2"]?.members = nil },
        Case(.members, "member 9 at https://10.0.0.9:2380 is not in the ledger") {
            for name in $0.voters.keys { $0.voters[name]?.members?.append(listed(9)) }
        },
        Case(.members, "member 2 at https://10.0.0.2:2380 was never started") {
            for name in $0.voters.keys { $0.voters[name]?.members = [listed(1), listed(2, name: ""), listed(3)] }
        },
        Case(.members, "member 3 at https://10.0.0.3:2380 is a learner") {
            for name in $0.voters.keys { $0.voters[name]?.members = [listed(1), listed(2), listed(3, learner: true)] }
        },
        Case(.members, "kv2 is in the ledger and no member") {
            for name in $0.voters.keys { $0.voters[name]?.members = [listed(1), listed(3)] }
        },
        Case(.hash, "the data of kv1 and kv2 differs at revision 9 (5d, 5e)") { $0.voters["kv2"]?.hash?.value = "5e" },
        Case(.hash, "kv3 does not tell its hash") { $0.voters["kv3"]?.hash = nil },
        Case(.caughtUp, "kv3 is 251 entries behind") { $0.voters["kv3"]?.lag = 251 },
        Case(.alarm, "NOSPACE on kv2") { for name in $0.voters.keys { $0.voters[name]?.alarms = ["NOSPACE on kv2"] } },
        Case(.alarm, "kv1 does not tell its alarms") { $0.voters["kv1"]?.alarms = nil },
        Case(.disk, "kv4 has 1GiB free") { $0.hosts["kv4"]?.freeBytes = 1 << 30 },
        Case(.disk, "40GiB are wanted") {
            for name in $0.voters.keys { $0.voters[name]?.storeBytes = 20 << 30 }
            $0.hosts["kv1"]?.freeBytes = 30 << 30
        },
        Case(.disk, "fdatasync on kv3 takes 26 ms") { $0.hosts["kv3"]?.syncTime = 26_000_000 },
        Case(.certificates, "the peer certificate of kv2 is good for 6 d more") { $0.voters["kv2"]?.certificates?["peer"] = 6 * 86_400 },
        Case(.certificates, "the server certificate of kv1 has expired") { $0.voters["kv1"]?.certificates?["server"] = 0 },
        Case(.certificates, "kv3 shows clients another certificate") { $0.voters["kv3"]?.showsItsCertificate = false },
        Case(.certificates, "kv3 does not reach kv2 port 2378: refused") {
            $0.ways = .init(tried: 12, closed: ["kv3 does not reach kv2 port 2378: refused"])
        },
        Case(.quorum, "quiet for 18 s more") { $0.sinceElection = 12 },
        Case(.clock, "the clock of kv4 differs by 501 ms") { $0.hosts["kv4"]?.clockOffset = 501_000_000 },
        Case(.version, "agents of different versions: kv1 1.0") { $0.hosts["kv4"]?.agentVersion = "1.1" },
        Case(.version, "servers of different versions") { $0.voters["kv2"]?.version = "3.4.23" },
    ]

    private func report(_ facts: GateFacts, _ overrides: Overrides = Overrides()) throws -> GateReport {
        GateReport(verdicts: try context().verdicts(facts), overrides: overrides)
    }

    @Test func `a good cluster passes all gates`() throws {
        let report = try report(Self.facts())
        #expect(report.refusals.isEmpty && report.verdicts.map(\.gate) == Gate.change, "\(report.text)")
    }

    @Test(arguments: cases) func `one thing wrong refuses, by the gate that is about it`(_ example: Case) throws {
        var facts = Self.facts()
        example.change(&facts)
        let report = try report(facts)
        #expect(report.refusals.map(\.gate) == [example.gate], "\(report.text)")
        #expect(report.refusals.first?.evidence.contains(example.evidence) == true, "\(report.text)")
        #expect(report.refusals.first?.next.isEmpty == false)
        guard example.gate.canBeOverridden else {
            var forced = Overrides()
            forced.gates = Set(Gate.allCases.map(\.rawValue))
            return #expect(try self.report(facts, forced).refusals.map(\.gate) == [example.gate], "nobody overrides it")
        }
        let overrides = try Overrides([example.gate.rawValue], reason: "a test")
        #expect(try self.report(facts, overrides).refusals.isEmpty)
    }

    @Test func `the middle of an operation is expected when it is resumed, and only then`() throws {
        var facts = Self.facts()
        let midway = [Self.listed(1), Self.listed(2), Self.listed(3), Self.listed(4, learner: true, name: "")]
        for name in facts.voters.keys { facts.voters[name]?.members = midway }
        let fresh = try context().verdicts(facts).first { $0.gate == .members }
        #expect(fresh?.passes == false)
        let resumed = try context(resuming: true).verdicts(facts).first { $0.gate == .members }
        #expect(resumed?.passes == true, "\(resumed?.evidence ?? "")")
        for name in facts.voters.keys { facts.voters[name]?.members = [Self.listed(1), Self.listed(3), Self.listed(4)] }
        let removed = try context(resuming: true).verdicts(facts).first { $0.gate == .members }
        #expect(removed?.passes == true, "\(removed?.evidence ?? "")")
    }

    @Test func `an override names its gate and its reason`() throws {
        #expect(try Overrides(["g-disk"], reason: "slow on purpose").arguments == ["--override=DISK", "--reason=slow on purpose"])
        #expect(throws: Overrides.Misused.self) { try Overrides(["DISK"], reason: "") }
        for firm in ["MEMBERS", "HASH", "IDENTITY", "LEDGER", "FENCE", "ALL"] {
            #expect(throws: Overrides.Misused.self) { try Overrides([firm], reason: "please") }
        }
        let recorded = Overrides(recorded: ["kv1", "--override=DISK", "--reason=why not"])
        #expect(recorded.gates == ["DISK"] && recorded.reason == "why not")
    }
}
