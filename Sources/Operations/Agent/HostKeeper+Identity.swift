// The agent's own certificate, and how a new one takes its place: a key made here, a certificate from a holder's agent or
// from the operator, the switch, and the proof on the agent's own port, or the way back.
//
// Two files cannot be renamed at once, and need not be: whoever reads them while they do not belong together keeps what it
// has (TLSContext), and what a crash left between the two is finished before the agent serves.

import Foundations
import GRPC
import Glibc
import Inventory
import Linux
import PKI
import Systemd
import Wire

/// What the agent is about to renew of its own.
struct IdentityOrder: Sendable {
    var cluster: String
    /// In the order they are asked.
    var holders: [Inventory.Host]
    var retrySeconds: Int64
}

/// The agent's identity as it is on disk.
struct IdentityState: Sendable {
    var certificate: Certificate?
    var problem: String?
    var age: RenewalRules.Age
    /// Seconds.
    var left: Int64
    /// Seconds since 1970.
    var due: Int64
    var begins: Int64
    /// The cluster whose operator enrolled this host, and who can issue for it.
    var cluster: String
    var holders: [Inventory.Host]
}

extension AgentFolders {
    /// Of an enrolment under way.
    var pendingKey: String { key + ".pending" }
    var nextKey: String { key + ".next" }
    var nextCertificate: String { certificate + ".next" }
    /// Kept for a day.
    var previousKey: String { key + ".previous" }
    var previousCertificate: String { certificate + ".previous" }

    /// What a crash between two renames left: the one that is missing is made up for. Before anything is read.
    func mendIdentity() {
        // What cannot be read is told by who needs it.
        guard let leaf = try? Certificate.load(certificate).first, let own = try? PrivateKey.load(key), !leaf.belongs(to: own)
        else { return }
        // Renewed: the key went first. Enrolled: the certificate did.
        if let next = try? Certificate.load(nextCertificate).first, next.belongs(to: own) {
            if unsafe rename(nextCertificate, certificate) == 0 { Folder.sync(of: certificate) }
        } else if let pending = try? PrivateKey.load(pendingKey), leaf.belongs(to: pending) {
            if unsafe rename(pendingKey, key) == 0 { Folder.sync(of: key) }
        }
    }
}

extension HostKeeper {
    // MARK: Looking

    func identity() -> IdentityState {
        // What cannot be read is as good as none; `problem` says so.
        let chain = (try? Certificate.load(folders.certificate)) ?? []
        let cluster = chain.first?.organizations.first ?? ""
        let inventory = isPlainName(cluster) ? storedInventory(cluster) : nil
        let rules = AgentIdentity.rules(inventory, host.name)
        let (first, last) = (chain.first?.notBefore ?? 0, chain.first?.notAfter ?? 0)
        let holders = inventory.map { HeldAuthority.agent.holders($0) } ?? []
        return IdentityState(
            certificate: chain.first,
            problem: AgentIdentity.problem(
                chain, try? PrivateKey.load(folders.key), trusted: (try? Certificate.load(folders.authority)) ?? [], host, now: now),
            age: rules.age(first, last, now: now), left: last - now, due: rules.due(first, last),
            begins: rules.begins(first, last, serial: chain.first?.serial ?? []), cluster: cluster,
            holders: holders.compactMap { name in inventory?.hosts.first { $0.name == name } })
    }

    func describeIdentity(_ seen: inout AgentPB.ObserveResponse) {
        let own = identity()
        seen.agentCertificateNotAfter = own.certificate?.notAfter ?? 0
        seen.agentCertificate = AgentPB.CertificateState(
            name: AgentIdentity.name, serial: own.certificate.map { Hexadecimal.encode($0.serial) } ?? "",
            issuer: own.certificate?.issuer ?? "", notBefore: own.certificate?.notBefore ?? 0,
            notAfter: own.certificate?.notAfter ?? 0,
            fingerprint: own.certificate.map { Hexadecimal.encode($0.fingerprint) } ?? "", problem: own.problem ?? "", due: own.due)
        if let failure = identityRenewal.failure {
            seen.agentRenewal = "failed: \(failure)"
        } else if own.holders.isEmpty {
            seen.agentRenewal = "with covey apply"
        } else {
            seen.agentRenewal = own.begins > now ? "by itself in \(CertificateNews.span(own.begins - now))" : "by itself, now"
        }
    }

    /// For the status line; tells the journal when it has become better or worse.
    func identityNews() -> CertificateNews {
        let own = identity()
        removeOldIdentity()
        let news = CertificateNews(identity: own, failure: identityRenewal.failure, host.name)
        if news.level != identityRenewal.told {
            identityRenewal.told = news.level
            let text = news.level == .good ? "the identity of this agent is good" : news.text
            JournalRecord.send(
                text, id: MessageID.identityAge, priority: news.level == .fail ? 3 : news.level == .warn ? 4 : 5,
                fields: [("COVEY_CLUSTER", own.cluster), ("COVEY_MEMBER", host.name)])
            Output.withoutJournal("\(EventLines.time(Clock.wall()))  \(text)\n")
        }
        return news
    }

    // MARK: Renewing

    /// What there is to do now; nil when nothing is. With one that has expired nobody is asked: nobody would answer.
    func identityOrder() -> IdentityOrder? {
        guard now >= identityRenewal.nextTry else { return nil }
        let own = identity()
        guard !own.holders.isEmpty, own.problem == nil, now >= own.begins else { return nil }
        let isBusy =
            lastOperation(own.cluster)?.state == "open" || KeyFile.exists(folders.records(own.cluster) + "/paused")
        guard AgentIdentity.rules(storedInventory(own.cluster), host.name).mayBegin(own.age, isBusy: isBusy),
            let leaf = own.certificate
        else { return nil }
        return IdentityOrder(
            cluster: own.cluster, holders: own.holders, retrySeconds: max(20, min(600, (leaf.notAfter - leaf.notBefore) / 50)))
    }

    /// A new key, beside the one that is in use.
    func beginIdentity() throws(GRPCStatus) -> AgentPB.SigningRequestFile {
        try perform { () throws(PKIError) in
            let key = try PrivateKey.generate()
            try KeyFile.write(key.pem, to: folders.nextKey, mode: 0o600)
            let csr = try SigningRequest.create(key: key, commonName: AgentIdentity.commonName(host.name))
            return AgentPB.SigningRequestFile(name: AgentIdentity.name, pem: csr.pem)
        }
    }

    /// Checks what came against what this host trusts, switches to it, and sees it on the agent's own port; what is not seen
    /// there is taken back. The serial.
    func takeIdentity(_ pem: [UInt8]) throws(GRPCStatus) -> String {
        let chain = try perform { () throws(PKIError) in
            let chain = try Certificate.chain(pem: pem, source: "the new identity")
            let problem = AgentIdentity.problem(
                chain, try PrivateKey.load(folders.nextKey), trusted: try Certificate.load(folders.authority), host, now: now)
            if let problem { throw PKIError.library(what: "the new identity", reason: problem) }
            try KeyFile.write(pem, to: folders.nextCertificate, mode: 0o644)
            try KeyFile.write(try KeyFile.read(folders.key).bytes, to: folders.previousKey, mode: 0o600)
            try KeyFile.write(try KeyFile.read(folders.certificate).bytes, to: folders.previousCertificate, mode: 0o644)
            return chain
        }
        try replace(folders.nextKey, folders.key)
        crashPoint("identity/switching")
        try replace(folders.nextCertificate, folders.certificate)
        Folder.sync(of: folders.key)
        let serial = Hexadecimal.encode(chain[0].serial)
        if let failure = identityProof(folders, host, serial) {
            try perform { () throws(PKIError) in
                try KeyFile.write(try KeyFile.read(folders.previousKey).bytes, to: folders.key, mode: 0o600)
                try KeyFile.write(try KeyFile.read(folders.previousCertificate).bytes, to: folders.certificate, mode: 0o644)
            }
            throw GRPCStatus(.failedPrecondition, failure + "; the old identity is back")
        }
        identityRenewal.failure = nil
        JournalRecord.send(
            "identity of the agent of \(host.name) renewed: serial \(serial) on the wire", id: MessageID.identityRenewed, priority: 5,
            fields: [("COVEY_MEMBER", host.name), ("COVEY_RESULT", "done")])
        Output.withoutJournal("\(EventLines.time(Clock.wall()))  identity renewed: serial \(serial) on the wire\n")
        return serial
    }

    /// Why the agent's own port does not show this serial, or does not take it; nil when it does both.
    static func identityIsUnproven(_ folders: AgentFolders, _ host: HostRecord, _ serial: String) -> String? {
        let probe = HandshakeProbe(
            trustedCA: folders.authority, certificate: folders.certificate, key: folders.key, speaksHTTP2: true)
        do throws(HandshakeProbe.Failure) {
            let shown = Hexadecimal.encode(try probe.shakePatiently(host.address, host.port, name: host.address).serial)
            return shown == serial ? nil : "port \(host.port) shows serial \(shown), not \(serial)"
        } catch { return "port \(host.port): \(error)" }
    }

    func identityFailed(_ cluster: String, _ reason: String, retrySeconds: Int64, isWaiting: Bool) {
        identityRenewal.nextTry = now + retrySeconds
        // Another host's turn is no failure.
        if isWaiting { return }
        let before = identityRenewal.failure
        identityRenewal.failure = reason
        // The journal of steps may be what fails; the journal of the system is told in any case.
        try? noteIdentity(cluster, .failed, reason)
        guard before != reason else { return }
        JournalRecord.send(
            "identity of the agent of \(host.name) was not renewed: \(reason)", id: MessageID.identityNotRenewed, priority: 4,
            fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", host.name), ("COVEY_RESULT", "failed")])
        Output.withoutJournal("\(EventLines.time(Clock.wall()))  identity was not renewed: \(reason)\n")
    }

    func noteIdentity(_ cluster: String, _ phase: StepJournal.Record.Phase, _ evidence: String) throws(GRPCStatus) {
        try note(
            cluster,
            .init(
                operation: "identity", epoch: lastOperation(cluster)?.epoch ?? 0, step: "identity", phase: phase,
                evidence: evidence))
    }

    private func replace(_ from: String, _ to: String) throws(GRPCStatus) {
        guard unsafe rename(from, to) == 0 else {
            throw GRPCStatus(.failedPrecondition, "\(host.name): \(SystemError("rename", from))")
        }
    }

    private func removeOldIdentity() {
        var status = stat()
        guard unsafe stat(folders.previousKey, &status) == 0,
            now - Int64(status.st_mtim.tv_sec) > TLSGenerations.keptSeconds
        else { return }
        unsafe unlink(folders.previousKey)
        unsafe unlink(folders.previousCertificate)
    }

    // MARK: As a holder

    /// For a host of the inventory, member or spare, whose agent asks itself and is known by the identity it has.
    func issueIdentity(_ request: AgentPB.IssueCertificatesRequest) throws(GRPCStatus) -> AgentPB.IssueCertificatesResponse {
        guard request.requests.count == 1, let inventory = storedInventory(request.cluster) else {
            throw GRPCStatus(.failedPrecondition, "\(host.name) has no inventory of \(request.cluster)")
        }
        guard let asking = inventory.hosts.first(where: { $0.name == request.host }) else {
            throw GRPCStatus(.permissionDenied, "\(request.host) is no host of \(request.cluster)")
        }
        guard HeldAuthority.agent.holders(inventory).contains(host.name) else {
            throw GRPCStatus(.failedPrecondition, "\(host.name) is no holder of the authority for agents")
        }
        if let other = turns[request.cluster, default: RenewalTurns()].begin(request.host, now: now) {
            // Not `unavailable`, which clients ask again about until their time is over.
            throw GRPCStatus(.failedPrecondition, Self.waiting + other)
        }
        let profile = AgentIdentity.profile(asking, request.cluster, now: now)
        let pem = try issue(
            .agent, request.requests[0].pem, of: AgentIdentity.commonName(asking.name), profile, request.cluster)
        try noteIssued("identity of the agent", to: request)
        return AgentPB.IssueCertificatesResponse(certificates: [.init(name: AgentIdentity.name, pem: pem)])
    }
}

extension CertificateNews {
    /// Of the agent's own certificate.
    init(identity own: IdentityState, failure: String?, _ host: String) {
        self.init()
        if let problem = own.problem {
            (level, text) = (.fail, "identity of the agent \(problem); \(AgentIdentity.wayBack(host))")
            return
        }
        switch own.age {
        case .fresh: return
        case .due:
            // One that renews itself is about to.
            if !own.holders.isEmpty && failure == nil { return }
            level = .warn
        case .ending, .expired: level = .fail
        }
        text =
            "identity of the agent good for \(Self.span(own.left)) more" + (failure.map { ", renewal failed (\($0))" } ?? "")
            + ", run: covey certs renew \(host)"
    }
}
