// A host that holds an authority: an issuing authority with a key of its own, made here, certified by the operator's. It
// signs for agents of other hosts, which ask for their own host and get what the inventory says.

import Foundations
import GRPC
import Glibc
import Inventory
import Linux
import PKI
import Systemd
import Wire

extension HostKeeper {
    // MARK: From the operator

    func requestAuthority(_ request: AgentPB.AuthorityRequest) throws(GRPCStatus) -> AgentPB.SigningRequestFile {
        let role = try role(request.role)
        var answer = AgentPB.SigningRequestFile()
        _ = try step(request.header, "authority-key") { header throws(GRPCStatus) in
            let folder = folders.authorities(header.cluster)
            answer = try perform { () throws(PKIError) in
                try KeyFile.makeFolder(folder)
                let key = try PrivateKey.generate()
                try KeyFile.write(key.pem, to: "\(folder)/\(role.rawValue).key.pending", mode: 0o600)
                let csr = try SigningRequest.create(key: key, commonName: host.name)
                return AgentPB.SigningRequestFile(name: role.rawValue, pem: csr.pem)
            }
            return (true, "made the key of an issuing authority for \(role.rawValue)s")
        }
        return answer
    }

    func installAuthority(_ request: AgentPB.InstallAuthorityRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        let role = try role(request.role)
        return try step(request.header, "authority") { header throws(GRPCStatus) in
            let path = "\(folders.authorities(header.cluster))/\(role.rawValue)"
            if request.pem.isEmpty {
                guard KeyFile.exists(path + ".key") || KeyFile.exists(path + ".crt") else { return (false, "holds none") }
                for end in [".key", ".crt", ".key.pending", ".bundle"] { unsafe unlink(path + end) }
                return (true, "holds no authority for \(role.rawValue)s any more")
            }
            let serial = try perform { () throws(PKIError) in
                let certificate = try Certificate.chain(pem: request.pem, source: role.rawValue)[0]
                guard certificate.isAuthority, certificate.belongs(to: try PrivateKey.load(path + ".key.pending")) else {
                    throw PKIError.mismatch(certificate: certificate.subject, key: "the key made on \(host.name)")
                }
                try KeyFile.write(request.pem, to: path + ".crt", mode: 0o600)
                if !request.bundle.isEmpty { try KeyFile.write(request.bundle, to: path + ".bundle", mode: 0o644) }
                guard unsafe rename(path + ".key.pending", path + ".key") == 0 else {
                    throw PKIError.file(SystemError("rename", path + ".key.pending"))
                }
                Folder.sync(of: path)
                return Hexadecimal.encode(certificate.serial)
            }
            return (true, "holds an authority for \(role.rawValue)s, serial \(serial)")
        }
    }

    private func role(_ name: String) throws(GRPCStatus) -> HeldAuthority {
        guard let role = HeldAuthority(rawValue: name) else {
            throw GRPCStatus(.invalidArgument, "there is no authority for \"\(name)\"")
        }
        return role
    }

    func heldAuthorities(_ cluster: String) -> [AgentPB.CertificateState] {
        HeldAuthority.allCases.compactMap { role in
            // One without its key, or that cannot be read, is not held.
            guard let held = try? authority(role, cluster) else { return nil }
            let certificate = held.certificate
            return AgentPB.CertificateState(
                name: role.rawValue, serial: Hexadecimal.encode(certificate.serial), issuer: certificate.issuer,
                notBefore: certificate.notBefore, notAfter: certificate.notAfter,
                fingerprint: Hexadecimal.encode(certificate.fingerprint))
        }
    }

    private func authority(_ role: HeldAuthority, _ cluster: String) throws(PKIError) -> CertificateAuthority {
        let path = "\(folders.authorities(cluster))/\(role.rawValue)"
        return try CertificateAuthority(
            certificate: try Certificate.load(path + ".crt")[0], key: try PrivateKey.load(path + ".key", mustBePrivate: true))
    }

    // MARK: From agents

    /// `caller`: the name in the certificate of who asks.
    func issueCertificates(
        _ request: AgentPB.IssueCertificatesRequest, caller: String
    ) throws(GRPCStatus) -> AgentPB.IssueCertificatesResponse {
        try checkName(request.cluster)
        guard caller == "agent:\(request.host)" else {
            throw GRPCStatus(.permissionDenied, "\"\(caller)\" may not ask for certificates of \(request.host)")
        }
        if request.requests.contains(where: { $0.name == AgentIdentity.name }) { return try issueIdentity(request) }
        let coming = try inventoryOfComing(request.host, request.cluster)
        guard let inventory = coming ?? storedInventory(request.cluster) else {
            throw GRPCStatus(.failedPrecondition, "\(host.name) has no inventory of \(request.cluster)")
        }
        let members = try ledger(request.cluster)?.members ?? []
        guard let asking = inventory.hosts.first(where: { $0.name == request.host }),
            coming != nil || members.contains(where: { $0.name == request.host })
        else {
            throw GRPCStatus(.permissionDenied, "\(request.host) is no member of \(request.cluster)")
        }
        let kinds = try request.requests.map { file throws(GRPCStatus) in
            guard let kind = LeafKind(rawValue: file.name) else {
                throw GRPCStatus(.invalidArgument, "there are no certificates of kind \"\(file.name)\"")
            }
            return kind
        }
        for kind in kinds where !kind.authority.settings(inventory).holders.contains(host.name) {
            throw GRPCStatus(
                .failedPrecondition, "\(host.name) is no holder of the authority for \(kind.authority.rawValue)s")
        }
        // First certificates disturb nobody; renewals take turns.
        if coming == nil, let other = turns[request.cluster, default: RenewalTurns()].begin(request.host, now: now) {
            // Not `unavailable`, which clients ask again about until their time is over.
            throw GRPCStatus(.failedPrecondition, Self.waiting + other)
        }
        var answer = AgentPB.IssueCertificatesResponse()
        for (kind, file) in zip(kinds, request.requests) {
            answer.certificates.append(
                AgentPB.CertificateFile(name: file.name, pem: try issue(kind, file.pem, asking, inventory)))
        }
        for role in Set(kinds.map(\.authority)).sorted(by: { $0.rawValue < $1.rawValue }) {
            answer.authorities.append(AgentPB.CertificateFile(name: "\(role.rawValue)-ca", pem: heldBundle(role, request.cluster)))
        }
        try noteIssued(kinds.map(\.rawValue).joined(separator: ", "), to: request)
        return answer
    }

    /// In the journal of steps, whose operation this is none of, and in the system's.
    func noteIssued(_ what: String, to request: AgentPB.IssueCertificatesRequest) throws(GRPCStatus) {
        try note(
            request.cluster,
            .init(
                operation: "issue", epoch: lastOperation(request.cluster)?.epoch ?? 0, step: "issue", phase: .done,
                evidence: "\(what) of \(request.host)"))
        JournalRecord.send(
            "issued certificates of \(request.host) for \(request.cluster): \(what)", id: MessageID.certificatesIssued,
            priority: 6, fields: [("COVEY_CLUSTER", request.cluster), ("COVEY_MEMBER", request.host)])
    }

    /// As it came with the authority, or as the member of this host trusts it; empty when neither is there.
    private func heldBundle(_ role: AuthorityRole, _ cluster: String) -> [UInt8] {
        for path in ["\(folders.authorities(cluster))/\(role.rawValue).bundle", "\(folders.tls(cluster))/\(role.bundle)"] {
            if let bytes = try? KeyFile.read(path).bytes { return bytes }
        }
        return []
    }

    /// Begins the text that tells an agent to come back; the name of the host whose turn it is follows.
    static let waiting = "one host at a time: now "

    private func issue(
        _ kind: LeafKind, _ pem: [UInt8], _ asking: Inventory.Host, _ inventory: Inventory
    ) throws(GRPCStatus) -> [UInt8] {
        try issue(
            HeldAuthority(kind.authority), pem, of: asking.name, kind.profile(asking, inventory, now: now), inventory.name)
    }

    /// The certificate, and the issuing authority's behind it. `name`: what the request must be of.
    func issue(
        _ role: HeldAuthority, _ pem: [UInt8], of name: String, _ profile: CertificateProfile, _ cluster: String
    ) throws(GRPCStatus) -> [UInt8] {
        let now = now
        do throws(PKIError) {
            let authority = try authority(role, cluster)
            let request = try SigningRequest(pem: pem)
            guard request.commonName == name else {
                throw .malformedRequest(reason: "it is of \"\(request.commonName)\", not of \(name)")
            }
            guard authority.certificate.notAfter > now else {
                throw .library(what: "the issuing authority of \(host.name)", reason: "has expired; run: covey ca distribute")
            }
            var profile = profile
            profile.notAfter = min(profile.notAfter, authority.certificate.notAfter)
            return try authority.issue(profile, for: request).pem + authority.certificate.pem
        } catch {
            if case .file = error {
                throw GRPCStatus(
                    .failedPrecondition,
                    "\(host.name) should hold the authority for \(role.rawValue)s and does not; run: covey ca distribute"
                )
            }
            throw GRPCStatus(.failedPrecondition, "\(host.name): \(error)")
        }
    }
}
