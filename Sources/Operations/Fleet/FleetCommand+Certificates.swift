// `covey certs` and `covey ca`: how long certificates are good for, new ones, and who may issue them.

import Flags
import Foundations
import Inventory
import Linux
import PKI
import Wire

extension FleetCommand {
    private static var now: Int64 { Int64(Clock.wall() / 1_000_000_000) }

    func renew(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let view = await fleet.look()
        guard let ledger = view.ledger else { throw FleetFailure(code: 3, text: "there is no cluster yet") }
        let members = ledger.members.map(\.name)
        for name in words { _ = try fleet.host(name) }
        let names = words.isEmpty ? members : words
        let silent = names.filter { view.agents[$0] == nil }
        if let name = silent.first {
            let why = await fleet.agents.endedIdentities(silent)[name].map { "; " + AgentIdentity.ended(name, $0) } ?? ""
            throw FleetFailure(code: 3, text: "the agent of \(name) does not answer; nothing was renewed\(why)")
        }
        // Spares have no member's certificates, and an agent nevertheless.
        let spares = words.isEmpty ? inventory.hosts.map(\.name).filter { view.agents[$0] != nil && !members.contains($0) } : []
        return try await held(fleet, "certs", names + spares) { held throws(FleetFailure) in
            try await fleet.renewEverything(held, names + spares)
        }
    }

    /// Needs no quorum: only the agents are asked.
    func repair(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        guard let ledger = Fleet.View(agents: seen, members: [:]).ledger else {
            throw FleetFailure(code: 3, text: "there is no cluster yet")
        }
        let members = ledger.members.map(\.name)
        for name in words where !members.contains(name) {
            throw FleetFailure(code: 2, text: "\(name) is no member of \(inventory.name)")
        }
        var names = words
        for name in members where words.isEmpty {
            guard let agent = seen[name] else {
                fleet.events.tell(name, "its agent does not answer; it is left alone")
                continue
            }
            let problems = LeafKind.allCases.compactMap { kind -> String? in
                let leaf = agent.certificates.first { $0.name == kind.rawValue }
                let problem = leaf.map(\.problem) ?? "is missing"
                return problem.isEmpty ? nil : "\(kind.rawValue) \(problem)"
            }
            for problem in problems { fleet.events.tell(name, problem) }
            if !problems.isEmpty { names.append(name) }
        }
        for name in names where seen[name] == nil {
            throw FleetFailure(code: 3, text: "the agent of \(name) does not answer; nothing was repaired")
        }
        if names.isEmpty {
            Output.data("Nothing to repair: all certificates that were seen are good.\n")
            return members.allSatisfy { seen[$0] != nil } ? 0 : 1
        }
        let chosen = names
        return try await held(fleet, "repair", chosen) { held throws(FleetFailure) in
            try await fleet.repairCertificates(held, chosen)
        }
    }

    func verify(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        guard let ledger = Fleet.View(agents: seen, members: [:]).ledger else {
            throw FleetFailure(code: 3, text: "there is no cluster yet")
        }
        let hosts = inventory.hosts.filter { host in ledger.members.contains { $0.name == host.name } }
        let checks = await fleet.shakeHands(hosts)
        var rows = [["FROM", "TO", "PORT", "SERIAL", "RESIDUAL TIME", "RESULT"]]
        for check in checks {
            let shown = check.handshake
            rows.append([
                check.from, check.edge.host, "\(check.edge.role) \(check.edge.port)",
                shown.serial.isEmpty ? "-" : String(shown.serial.prefix(16)),
                shown.serial.isEmpty ? "-" : Self.left(shown.notAfter), shown.failure.isEmpty ? "ok" : "FAILED: \(shown.failure)",
            ])
        }
        let failed = checks.count(where: { !$0.handshake.failure.isEmpty })
        Output.data(Columns.text(rows) + "\(checks.count - failed) of \(checks.count) handshakes succeed\n")
        return failed == 0 ? 0 : 1
    }

    // MARK: Listing

    /// The columns of `kubeadm certs check-expiration`, and who renews.
    func certificates(_ fleet: Fleet) async -> Int32 {
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        let ended = await fleet.agents.endedIdentities(inventory.hosts.map(\.name).filter { seen[$0] == nil })
        var rows = [["HOST", "CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY", "SERIAL", "RENEWAL"]]
        var problems: [String] = []
        for host in inventory.hosts {
            guard let agent = seen[host.name] else {
                let end = ended[host.name]
                rows.append([
                    host.name, end == nil ? "(its agent does not answer)" : AgentIdentity.name, end.map(UTCTime.text) ?? "-",
                    end.map(Self.left) ?? "-", "-", "-", "-",
                ])
                if let end { problems.append("\(host.name): \(AgentIdentity.ended(host.name, end))") }
                continue
            }
            for leaf in agent.certificates {
                rows.append([
                    host.name, leaf.name, UTCTime.text(leaf.notAfter), Self.left(leaf.notAfter),
                    Self.commonName(leaf.issuer), String(leaf.serial.prefix(16)),
                    given(leaf).map { "by others, in \($0)" } ?? (agent.renewal.isEmpty ? "-" : agent.renewal),
                ])
                guard !leaf.problem.isEmpty else { continue }
                let remedy = given(leaf).map { GivenLeaf.remedy(leaf.name, $0, host.name) } ?? "repair: covey certs repair"
                problems.append("\(host.name): \(leaf.name) \(leaf.problem); \(remedy)")
            }
            if agent.certificates.contains(where: \.isExternal), agent.renewal.hasPrefix("failed") {
                problems.append("\(host.name): what was put there is not taken: \(agent.renewal.dropFirst(8))")
            }
            if let own = agent.agentCertificate {
                rows.append([
                    host.name, own.name, UTCTime.text(own.notAfter), Self.left(own.notAfter), Self.commonName(own.issuer),
                    String(own.serial.prefix(16)), agent.agentRenewal,
                ])
                if !own.problem.isEmpty {
                    problems.append("\(host.name): its agent's identity \(own.problem); \(AgentIdentity.wayBack(host.name))")
                }
            }
        }
        for own in operatorCertificates(fleet) {
            rows.append([
                "operator", own.name, UTCTime.text(own.leaf.notAfter), Self.left(own.leaf.notAfter), Self.commonName(own.leaf.issuer),
                String(Hexadecimal.encode(own.leaf.serial).prefix(16)), "by itself, at two thirds of its life",
            ])
        }
        Output.data(Columns.text(rows) + "\n" + Columns.text(authorityRows(fleet, seen)))
        for problem in problems { Output.data("\(problem)\n") }
        return 0
    }

    func listAuthorities(_ fleet: Fleet) async -> Int32 {
        let seen = await fleet.agents.observe(inventory.hosts.map(\.name), inventory.name)
        Output.data(Columns.text(authorityRows(fleet, seen)))
        return 0
    }

    private func authorityRows(_ fleet: Fleet, _ seen: [String: AgentPB.ObserveResponse]) -> [[String]] {
        var rows = [["CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME", "KEY"]]
        func add(_ certificate: Certificate, _ place: String) {
            let end = certificate.notAfter
            rows.append([certificate.commonName, UTCTime.text(end), Self.left(end), place])
        }
        for role in HeldAuthority.allCases {
            let files = AuthorityRole(rawValue: role.rawValue)?.settings(inventory).files
            if let own = fleet.authorities.own(role) {
                add(own.certificate, files.map { "external, \($0.key)" } ?? "the operator's")
            } else {
                // What cannot be read was complained about when this command began.
                for trusted in (try? Certificate.chain(pem: fleet.authorities.bundle(role))) ?? [] { add(trusted, "not here") }
            }
            for host in inventory.hosts {
                let held = seen[host.name]?.authorities.first { $0.name == role.rawValue }
                let isHolder = role.holders(inventory).contains(host.name)
                if let held {
                    rows.append([
                        "  issued by \(host.name) for \(role.rawValue)s", UTCTime.text(held.notAfter), Self.left(held.notAfter),
                        isHolder
                            ? fleet.isGood(held, role) ? "on \(host.name)" : "on \(host.name), of another authority"
                            : "on \(host.name), which is no holder",
                    ])
                } else if isHolder {
                    let why = seen[host.name] == nil ? "its agent does not answer" : "run: covey ca distribute"
                    rows.append(["  issued by \(host.name) for \(role.rawValue)s", "-", "-", "not there, \(why)"])
                }
            }
        }
        return rows
    }

    private static func left(_ end: Int64) -> String {
        end > now ? CertificateNews.span(end - now) : "EXPIRED"
    }

    /// `O=main,CN=main peer CA` as people call it.
    private static func commonName(_ subject: String) -> String {
        let part = subject.split(separator: ",").first { $0.hasPrefix("CN=") }
        return part.map { String($0.dropFirst(3)) } ?? subject
    }

    // MARK: Authorities

    func distributeAuthorities(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        var missing: [String: String] = [:]
        let code = try await held(fleet, "ca", ["distribute"]) { held async throws(FleetFailure) in
            missing = await fleet.distributeAuthorities(held)
        }
        return missing.isEmpty ? code : 1
    }

    // MARK: Checks

    func certificateChecks(
        _ fleet: Fleet, _ host: String, _ agent: AgentPB.ObserveResponse, _ now: Int64
    ) -> [AgentPB.Check] {
        let rules = RenewalRules(inventory, host)
        let renewsItself = LeafKind.allCases.allSatisfy {
            !$0.authority.settings(inventory).holders.isEmpty || GivenLeaf.folder($0, inventory) != nil
        }
        var checks = agent.certificates.map { leaf in
            let age = rules.age(leaf.notBefore, leaf.notAfter, now: now)
            let failed = agent.renewal.hasPrefix("failed")
            let verdict: AgentPB.Check.Verdict
            if !leaf.problem.isEmpty || age == .ending || age == .expired {
                verdict = .fail
            } else {
                let isTold = leaf.isExternal ? age == .due || failed : age == .due && (!renewsItself || failed)
                verdict = isTold ? .warn : .pass
            }
            let evidence = leaf.problem.isEmpty ? "good for \(CertificateNews.span(leaf.notAfter - now))" : leaf.problem
            let isRepair = !leaf.problem.isEmpty || age == .expired
            return AgentPB.Check(
                name: "certs.\(leaf.name)", verdict: verdict,
                evidence: evidence + (failed ? "; renewal \(agent.renewal)" : ""),
                remedy: verdict == .pass
                    ? ""
                    : given(leaf).map { GivenLeaf.remedy(leaf.name, $0, host) } ?? "covey certs \(isRepair ? "repair" : "renew") \(host)")
        }
        for role in HeldAuthority.allCases where role.holders(inventory).contains(host) {
            let isGood = fleet.isGood(agent.authorities.first { $0.name == role.rawValue }, role)
            checks.append(
                AgentPB.Check(
                    name: "certs.holder.\(role.rawValue)", verdict: isGood ? .pass : .warn,
                    evidence: isGood ? "holds an issuing authority" : "should hold an issuing authority and does not",
                    remedy: isGood ? "" : "covey ca distribute -f \(file.path)"))
        }
        return checks
    }

    /// Where others put it; nil for what is issued here.
    private func given(_ leaf: AgentPB.CertificateState) -> String? {
        leaf.isExternal ? LeafKind(rawValue: leaf.name).flatMap { GivenLeaf.folder($0, inventory) } : nil
    }

    /// Of an agent, member's or spare's.
    func identityCheck(_ host: String, _ agent: AgentPB.ObserveResponse, _ now: Int64) -> AgentPB.Check? {
        guard let own = agent.agentCertificate else { return nil }
        let age = AgentIdentity.rules(inventory, host).age(own.notBefore, own.notAfter, now: now)
        let failed = agent.agentRenewal.hasPrefix("failed")
        let renewsItself = !HeldAuthority.agent.holders(inventory).isEmpty
        let verdict: AgentPB.Check.Verdict =
            !own.problem.isEmpty || age == .ending || age == .expired
            ? .fail : age == .due && (!renewsItself || failed) ? .warn : .pass
        return AgentPB.Check(
            name: "certs.agent", verdict: verdict,
            evidence: (own.problem.isEmpty ? "good for \(CertificateNews.span(own.notAfter - now))" : own.problem)
                + (failed ? "; renewal \(agent.agentRenewal)" : ""),
            remedy: verdict == .pass ? "" : own.problem.isEmpty ? "covey certs renew \(host)" : AgentIdentity.wayBack(host))
    }

    /// What the operator shows, and the authorities on this machine: they end as well.
    func operatorChecks(_ fleet: Fleet, _ now: Int64) -> [AgentPB.Check] {
        let own = operatorCertificates(fleet).map { own in
            let left = own.leaf.notAfter - now
            return AgentPB.Check(
                name: "certs.operator.\(own.name)", verdict: left > 0 ? .pass : .fail,
                evidence: left > 0 ? "good for \(CertificateNews.span(left))" : "has expired",
                remedy: left > 0 ? "" : "any command renews it: covey certs ls -f \(file.path)")
        }
        let warning = AgentIdentity.lifetime
        return own
            + HeldAuthority.allCases.compactMap { role in
                guard let left = fleet.authorities.own(role).map({ $0.certificate.notAfter - now }) else { return nil }
                let remedy =
                    role == .agent
                    ? "before it ends: move agent-ca.crt and agent-ca.key out of \(fleet.authorities.folder.pki), then covey enroll"
                    : "certificates end with it: plan for another cluster, or an authority of your own that lives longer (mode: files)"
                return AgentPB.Check(
                    name: "certs.ca.\(role.rawValue)", verdict: left > warning ? .pass : .warn,
                    evidence: "good for \(CertificateNews.span(left))", remedy: left > warning ? "" : remedy)
            }
    }

    private func operatorCertificates(_ fleet: Fleet) -> [(name: String, leaf: Certificate)] {
        let (agents, members) = (fleet.identity.toAgents, fleet.identity.toMembers)
        return [("agent", agents.certificate), ("client", members.certificate)].compactMap { name, path in
            // What cannot be read was made again when this command began.
            (try? Certificate.load(path).first).map { (name, $0) }
        }
    }
}

/// Times as `kubeadm certs check-expiration` has them.
enum UTCTime {
    /// `Dec 21, 2026 14:51 UTC`
    static func text(_ seconds: Int64) -> String {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let (year, month, day) = date(Int(seconds / 86_400) - (seconds % 86_400 < 0 ? 1 : 0))
        let ofDay = ((seconds % 86_400) + 86_400) % 86_400
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : String(number) }
        return "\(months[month - 1]) \(two(Int64(day))), \(year) \(two(ofDay / 3600)):\(two(ofDay % 3600 / 60)) UTC"
    }

    /// `2026-12-21 14:51:07`
    static func stamp(_ seconds: Int64) -> String {
        let (year, month, day) = date(Int(seconds / 86_400) - (seconds % 86_400 < 0 ? 1 : 0))
        let ofDay = ((seconds % 86_400) + 86_400) % 86_400
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : String(number) }
        return "\(year)-\(two(Int64(month)))-\(two(Int64(day))) \(two(ofDay / 3600)):\(two(ofDay % 3600 / 60)):\(two(ofDay % 60))"
    }

    /// Of days since 1970-01-01, in the Gregorian calendar; a year begins in March here, so that the leap day is its last.
    private static func date(_ days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
