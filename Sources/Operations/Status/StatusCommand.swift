// `covey status`: asks every member of a cluster and shows what they say. The exit code is the verdict. Who is a member is
// told by the ledger: that of a local cluster, what the agents have where the operator's identity is, or the copy on a host.

import Foundations
import Inventory
import Linux
import PKI
import Rendering
import TLSEngine
import Wire

struct StatusCommand {
    /// What the operator shows members, as paths.
    struct Credentials: Sendable, Equatable {
        var trustedCA: String
        var certificate: String
        var key: String
    }

    /// Where the ledger and the certificates are found.
    private enum Standpoint {
        /// The folder of `covey up`.
        case local
        /// The operator's machine.
        case fleet
        /// A host: the agent leaves a copy of its ledger beside the inventory it rendered from.
        case host(folder: String)
        /// A host on which an inventory file was put, and no cluster is there yet.
        case waiting(news: String)
        /// Nowhere: the inventory has to do.
        case outside
    }

    let file: InventoryFile
    let folder: StateFolder
    let asJSON: Bool
    let credentials: Credentials
    private let standpoint: Standpoint
    static let watchInterval = Duration.seconds(2)

    private var inventory: Inventory { file.inventory }

    /// Empty paths: where they usually are.
    init(_ file: InventoryFile, stateFolder: String, asJSON: Bool, credentials given: Credentials) {
        self.file = file
        self.asJSON = asJSON
        folder = StateFolder(stateFolder, cluster: file.inventory.name)
        let beside = file.path.lastIndex(of: "/").map { String(file.path[..<$0]) } ?? "."
        let isProcesses = file.inventory.supervisor == .processes
        var usual = folder.client
        if KeyFile.exists(FleetAuthorities.operatorFolder(folder) + "/agent.crt") {
            standpoint = .fleet
        } else if let own = ["", "/" + file.inventory.name].map({ beside + $0 }).first(where: {
            KeyFile.exists($0 + "/ledger.json") && KeyFile.exists($0 + "/client")
        }) {
            standpoint = .host(folder: own)
            usual = own + "/client"
        } else if let news = FileNews.left(in: "\(beside)/\(file.inventory.name)") {
            standpoint = .waiting(news: news)
        } else if isProcesses {
            standpoint = .local
        } else {
            standpoint = .outside
            if !KeyFile.exists(folder.client + "/client.crt") {
                usual = HostFiles.configurationFolder(file.inventory.name) + "/client"
            }
        }
        credentials = Credentials(
            trustedCA: given.trustedCA.isEmpty ? usual + "/ca.crt" : given.trustedCA,
            certificate: given.certificate.isEmpty ? usual + "/client.crt" : given.certificate,
            key: given.key.isEmpty ? usual + "/client.key" : given.key)
    }

    func run(watching: Bool = false) -> Int32 {
        do {
            // Without a cluster there are no credentials either.
            if case .local = standpoint { _ = try localLedger() }
            if case .fleet = standpoint { FleetAuthorities.renewOperator(folder, inventory) }
            if case .waiting(let news) = standpoint {
                throw UpCommand.Refused(code: 3, text: "there is no cluster \(inventory.name) yet. \(news)")
            }
            let loop = try EventLoop()
            let screen = StatusScreen(loop, asJSON: asJSON, isWatching: watching)
            // Before any thread is made: they inherit what is blocked.
            let signals = watching ? try SignalWatch(loop) { _ in screen.end() } : nil
            let gateway = try Gateway(loop, credentials)
            let agents: Agents?
            if case .fleet = standpoint {
                try renewOperator()
                agents = try Agents(inventory, folder)
            } else {
                agents = nil
            }
            let command = self
            let mailbox = loop.mailbox
            Task {
                var memory = StatusMemory()
                while true {
                    let report: Result<ClusterReport, UpCommand.Refused>
                    do throws(UpCommand.Refused) {
                        report = .success(try await command.observe(gateway, agents, &memory))
                    } catch { report = .failure(error) }
                    mailbox.post { screen.show(report) }
                    guard watching else { return }
                    // Nobody cancels but by ending the program.
                    try? await Task.sleep(for: Self.watchInterval)
                }
            }
            loop.run()
            gateway.stop()
            _ = consume signals
            return screen.code
        } catch let error as UpCommand.Refused {
            Output.error("covey status: \(error.text)\n")
            return error.code
        } catch let error as FleetFailure {
            Output.error("covey status: \(error.text)\n")
            return error.code
        } catch {
            Output.error("covey status: \(error)\n")
            return 1
        }
    }

    private func observe(_ gateway: Gateway, _ agents: Agents?, _ memory: inout StatusMemory)
        async throws(UpCommand.Refused) -> ClusterReport
    {
        var evidence = ClusterReport.Evidence()
        var notes: [String] = []
        switch standpoint {
        case .local:
            evidence.ledger = try localLedger()
            evidence.certificates = localCertificates()
            if FolderLock.holder(of: folder.lock).isEmpty {
                notes.append("no `covey up` runs it; start it: covey up \(file.path)")
            }
        case .fleet:
            guard let agents else { unreachable("agents are asked from here") }
            evidence = await ask(agents)
            evidence.applyCommand = "covey apply -f \(file.path)"
            if evidence.ledger == nil && !evidence.isBlind && evidence.silentAgents.isEmpty {
                let news = evidence.news.map { "\n  - \($0)" }.joined()
                throw UpCommand.Refused(
                    code: 3, text: "no agent knows a cluster \(inventory.name); make it: \(evidence.applyCommand)\(news)")
            }
            evidence.ledger = evidence.ledger ?? memory.ledger
        case .host(let folder):
            let path = folder + "/ledger.json"
            evidence.ledger = try Ledger.load(path)
            evidence.source = path
            if let news = FileNews.left(in: folder) { evidence.news.append(news) }
            evidence.applyCommand = "covey apply"
        case .waiting, .outside: break
        }
        let members =
            evidence.ledger.map { ledger in
                inventory.hosts.filter(ledger.has) + ClusterReport.strangers(inventory, ledger)
            } ?? inventory.voters
        // Where agents do not answer who asks, their pages for everybody do.
        let isHost = if case .host = standpoint { true } else { false }
        async let pages = isHost ? DiskPages.ask(members, inventory.name, gateway) : [:]
        var views = await [String: MemberView].observe(members, gateway)
        if isHost { evidence.syncTimes = await pages }
        let now = Clock.wall()
        evidence.observed = now
        evidence.ages = memory.remember(&views, now)
        memory.ledger = evidence.ledger
        var report = ClusterReport(inventory, evidence, views)
        report.reasons += notes
        return report
    }

    /// Where the authorities are the operator's own certificates become new in time, whatever is asked.
    private func renewOperator() throws(UpCommand.Refused) {
        let path = FleetAuthorities.operatorFolder(folder) + "/agent.crt"
        let now = Int64(Clock.wall() / 1_000_000_000)
        do throws(PKIError) {
            guard KeyFile.exists(folder.pki + "/agent-ca.key") else {
                if let leaf = try Certificate.load(path).first, leaf.notAfter <= now {
                    throw PKIError.library(what: path, reason: "has expired; any command renews it where the authorities are")
                }
                return
            }
            _ = try FleetAuthorities(folder, inventory)
        } catch { throw UpCommand.Refused(code: 3, text: "\(error)") }
    }

    private func localLedger() throws(UpCommand.Refused) -> Ledger {
        guard KeyFile.exists(folder.ledger) else {
            throw UpCommand.Refused(
                code: 3, text: "there is no cluster \(inventory.name) in \(folder.root); make it: covey up \(file.path)"
            )
        }
        guard let ledger = try Ledger.load(folder.ledger) else {
            throw UpCommand.Refused(code: 1, text: "\(folder.ledger) cannot be read as a ledger")
        }
        return ledger
    }

    private func localCertificates() -> [String: Int64] {
        let now = Int64(Clock.wall() / 1_000_000_000)
        var certificates: [String: Int64] = [:]
        for host in inventory.voters {
            // What cannot be read is told as such by the report.
            let leaf = try? Certificate.load("\(folder.tls(host.name))/\(CertificateFiles.server)").first
            certificates[host.name] = leaf?.secondsLeft(now: now)
        }
        return certificates
    }

    private func ask(_ agents: Agents) async -> ClusterReport.Evidence {
        let seen = await agents.observe(inventory.hosts.map(\.name), inventory.name, isPatient: false)
        var evidence = ClusterReport.Evidence()
        let voided = Set(seen.values.flatMap(\.voided))
        evidence.ledger = Ledger.newest(seen.values.compactMap { Ledger(text: $0.ledger) }.filter { !voided.contains($0.token) })
        evidence.source = "agents of \(seen.keys.sorted().joined(separator: ", "))"
        evidence.silentAgents = Set(inventory.hosts.map(\.name).filter { seen[$0] == nil })
        evidence.isBlind = seen.isEmpty
        evidence.news = FileNews.lines(seen) + IdentityNews.lines(inventory, seen)
        for (host, end) in await agents.endedIdentities(evidence.silentAgents.sorted()).sorted(by: { $0.key < $1.key }) {
            evidence.news.append("\(host): \(AgentIdentity.ended(host, end))")
        }
        let now = Int64(Clock.wall() / 1_000_000_000)
        var certificates: [String: Int64] = [:]
        for (host, agent) in seen {
            // The one that ends first is the one that counts.
            certificates[host] = agent.certificates.map { $0.notAfter - now }.min()
            if let own = agent.agentCertificate { evidence.identities[host] = own.notAfter - now }
            if !agent.slot.isEmpty, agent.unit?.active == "active" {
                evidence.slots[host] = .init(runs: agent.runningSlot, next: agent.slot)
            }
            if agent.syncTime > 0 { evidence.syncTimes[host] = agent.syncTime }
            if let unit = agent.unit, unit.active != "active" {
                evidence.units[host] = "\(unit.isMasked ? "masked" : unit.active) (exit \(unit.exitStatus))"
            }
        }
        evidence.certificates = certificates
        return evidence
    }
}

/// What members said before they fell silent, shown with its age.
struct StatusMemory {
    var ledger: Ledger?
    private var last: [String: (facts: MemberView.Facts, at: UInt64)] = [:]

    /// Fills in what silent members said last; seconds since, by host.
    mutating func remember(_ views: inout [String: MemberView], _ now: UInt64) -> [String: Int64] {
        var ages: [String: Int64] = [:]
        for (host, view) in views {
            if let facts = view.facts {
                last[host] = (facts, now)
            } else if let old = last[host] {
                views[host]?.facts = old.facts
                ages[host] = Int64((now &- old.at) / 1_000_000_000)
            }
        }
        return ages
    }
}
