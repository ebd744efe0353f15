// What a host knows of the certificates of its member, and how new ones take the place of old ones: a new folder, one renamed
// link, a proof, and the way back. A key is made here and stays here.

import CLinux
import Foundations
import GRPC
import Glibc
import Inventory
import JSON
import Linux
import PKI
import Systemd
import Wire

/// One certificate as it is on disk.
struct LeafState: Sendable {
    var kind: LeafKind
    var certificate: Certificate?
    /// Why it does not serve; nil when it does.
    var problem: String?
    var age: RenewalRules.Age
    /// Seconds since 1970.
    var due: Int64
    var begins: Int64
    /// Agents that can issue a new one.
    var holders: [String]
    /// Where others put it; nil for what is issued by the cluster.
    var folder: String?
    /// There is another than the one in use, and it is good.
    var hasArrived = false
    /// Why what is there cannot be used.
    var refusal: String?
}

/// What the agent is about to renew.
struct RenewalOrder: Sendable {
    var cluster: String
    var kinds: [LeafKind]
    /// In the order they are asked.
    var holders: [Inventory.Host]
    var inventory: Inventory
    /// Seconds until another attempt, when this one fails.
    var retrySeconds: Int64
}

/// Written down before the switch: after a crash the proof is made up for.
struct LeafProof: Sendable, Equatable {
    var cluster: String
    /// Folder names; the old one is empty when there was none.
    var old: String
    var new: String
    /// What the ports must show, by kind.
    var serials: [String: String]

    init(cluster: String, old: String, new: String, serials: [String: String]) {
        self.cluster = cluster
        self.old = old
        self.new = new
        self.serials = serials
    }

    init?(_ json: JSONValue) {
        guard let cluster = json["cluster"]?.string, let old = json["old"]?.string, let new = json["new"]?.string,
            let serials = json["serials"]?.members
        else { return nil }
        self.init(cluster: cluster, old: old, new: new, serials: [:])
        for serial in serials { self.serials[serial.name] = serial.value.string }
    }

    var json: JSONValue {
        .object([
            .init("cluster", .string(cluster)), .init("old", .string(old)), .init("new", .string(new)),
            .init("serials", .object(serials.sorted { $0.key < $1.key }.map { .init($0.key, .string($0.value)) })),
        ])
    }
}

extension HostKeeper {
    // MARK: Looking

    func leaves(_ cluster: String, _ inventory: Inventory) -> [LeafState] {
        guard let me = inventory.hosts.first(where: { $0.name == host.name }) else { return [] }
        let rules = RenewalRules(inventory, host.name)
        let folder = folders.tls(cluster)
        var all = LeafKind.allCases.map { kind in
            // What cannot be read is as good as none; `problem` says so.
            let chain = (try? Certificate.load("\(folder)/\(kind.rawValue).crt")) ?? []
            let trusted = (try? Certificate.load("\(folder)/\(kind.authority.bundle)")) ?? []
            let key = try? PrivateKey.load("\(folder)/\(kind.rawValue).key")
            var problem = kind.problem(chain, key, trusted: trusted, me, inventory, now: now)
            if problem == nil && key == nil { problem = "has no key here" }
            let (first, last) = (chain.first?.notBefore ?? 0, chain.first?.notAfter ?? 0)
            return LeafState(
                kind: kind, certificate: chain.first, problem: problem, age: rules.age(first, last, now: now),
                due: rules.due(first, last), begins: rules.begins(first, last, serial: chain.first?.serial ?? []),
                holders: kind.authority.settings(inventory).holders)
        }
        for index in all.indices {
            let kind = all[index].kind
            guard let outside = GivenLeaf.folder(kind, inventory) else { continue }
            all[index].folder = outside
            do throws(GivenLeaf.Refusal) {
                let given = try GivenLeaf(kind, me, inventory, root: folders.root, now: now)
                all[index].hasArrived = given.isOther(kind, than: folder)
            } catch { all[index].refusal = error.description }
        }
        // They share a bundle: all that it is for, or none.
        for role in AuthorityRole.allCases where all.contains(where: { $0.kind.authority == role && $0.refusal != nil }) {
            for index in all.indices where all[index].kind.authority == role { all[index].hasArrived = false }
        }
        return all
    }

    /// Copies what others have put here; what is wrong with it is said before anything is touched.
    func takeGiven(
        _ kinds: [LeafKind], _ inventory: Inventory, into next: String
    ) throws(GRPCStatus) {
        guard let me = inventory.hosts.first(where: { $0.name == host.name }) else {
            throw GRPCStatus(.failedPrecondition, "\(host.name) is not in the inventory")
        }
        for kind in kinds where GivenLeaf.folder(kind, inventory) != nil {
            try perform { () throws(GivenLeaf.Refusal) in
                let given = try GivenLeaf(kind, me, inventory, root: folders.root, now: now)
                do throws(PKIError) { try given.write(kind, to: next) } catch { throw GivenLeaf.Refusal(description: "\(error)") }
            }
        }
    }

    /// Members have certificates; hosts that are none may have old ones, which nobody renews.
    private func memberInventory(_ cluster: String) -> Inventory? {
        // A ledger that cannot be read says so to who orders a step.
        guard let ledger = try? ledger(cluster), ledger.state == .active,
            ledger.members.contains(where: { $0.name == host.name })
        else { return nil }
        return storedInventory(cluster)
    }

    /// For the status line; tells the journal when it has become better or worse.
    func certificateNews(_ cluster: String) -> CertificateNews? {
        guard let inventory = memberInventory(cluster) else { return nil }
        let leaves = leaves(cluster, inventory)
        let ages = leaves.compactMap { leaf in
            leaf.certificate.map { (name: leaf.kind.rawValue, age: leaf.age, left: $0.secondsLeft(now: now)) }
        }
        let state = renewals[cluster, default: RenewalState()]
        var news = CertificateNews(
            ages, renewsItself: leaves.allSatisfy { !$0.holders.isEmpty }, failure: state.failure, host.name,
            given: Dictionary(uniqueKeysWithValues: leaves.compactMap { leaf in leaf.folder.map { (leaf.kind.rawValue, $0) } }))
        if news.level == .good, let refusal = leaves.compactMap(\.refusal).first {
            (news.level, news.text) = (.warn, "certificates made elsewhere are not taken: \(refusal)")
        }
        if news.level != state.told {
            renewals[cluster, default: RenewalState()].told = news.level
            let text = news.level == .good ? "certificates of \(cluster) are good" : "\(cluster): \(news.text)"
            JournalRecord.send(
                text, id: MessageID.certificatesAge, priority: news.level == .fail ? 3 : news.level == .warn ? 4 : 5,
                fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", host.name)])
            Output.withoutJournal("\(EventLines.time(Clock.wall()))  \(cluster)  \(text)\n")
        }
        return news
    }

    /// One line for people.
    func renewalText(_ cluster: String) -> String {
        guard let inventory = memberInventory(cluster) else { return "" }
        let leaves = leaves(cluster, inventory)
        if let refusal = leaves.compactMap(\.refusal).first { return "failed: \(refusal)" }
        if let failure = renewals[cluster]?.failure { return "failed: \(failure)" }
        if leaves.allSatisfy({ $0.folder != nil }) { return "when others replace it" }
        guard leaves.allSatisfy({ !$0.holders.isEmpty || $0.folder != nil }) else { return "by hand: covey certs renew \(host.name)" }
        let next = leaves.filter { $0.folder == nil }.map(\.begins).min() ?? now
        return next > now ? "by itself in \(CertificateNews.span(next - now))" : "by itself, now"
    }

    // MARK: Renewing

    /// What there is to do now; nil when nothing is.
    func renewalOrder(_ cluster: String) -> RenewalOrder? {
        guard let inventory = memberInventory(cluster), now >= renewals[cluster]?.nextTry ?? 0 else { return nil }
        let leaves = leaves(cluster, inventory)
        let all = leaves.filter { !$0.holders.isEmpty }
        let isBusy =
            lastOperation(cluster)?.state == "open" || KeyFile.exists(folders.records(cluster) + "/paused")
        let rules = RenewalRules(inventory, host.name)
        let due = all.filter { leaf in
            (leaf.problem != nil || now >= leaf.begins) && rules.mayBegin(leaf.age, isBusy: isBusy)
        }
        let arrived = leaves.filter { $0.hasArrived && rules.mayBegin($0.age, isBusy: isBusy) }.map(\.kind)
        guard !due.isEmpty || !arrived.isEmpty else { return nil }
        let names = Set(all.flatMap(\.holders))
        let first = all.first?.holders ?? []
        return RenewalOrder(
            cluster: cluster, kinds: (due.isEmpty ? [] : all.map(\.kind)) + arrived,
            holders: first.compactMap { name in inventory.hosts.first { $0.name == name } }
                + inventory.hosts.filter { names.contains($0.name) && !first.contains($0.name) },
            inventory: inventory, retrySeconds: max(20, min(300, rules.lifetime / 50)))
    }

    /// New keys, in a folder of their own.
    func beginRenewal(_ order: RenewalOrder) throws(GRPCStatus) -> [AgentPB.SigningRequestFile] {
        let folder = folders.renewedTLS(order.cluster)
        try noteRenewal(order.cluster, .intent, order.kinds.map(\.rawValue).joined(separator: ", "))
        removeGeneration(folder)
        try perform { () throws(PKIError) in try KeyFile.makeFolder(folder, mode: 0o750) }
        try takeGiven(order.kinds, order.inventory, into: folder)
        return try perform { () throws(PKIError) in
            var requests: [AgentPB.SigningRequestFile] = []
            for kind in order.kinds where GivenLeaf.folder(kind, order.inventory) == nil {
                let key = try PrivateKey.generate()
                try KeyFile.write(key.pem, to: "\(folder)/\(kind.rawValue).key", mode: 0o600)
                let csr = try SigningRequest.create(key: key, commonName: host.name)
                requests.append(AgentPB.SigningRequestFile(name: kind.rawValue, pem: csr.pem))
            }
            return requests
        }
    }

    /// Checks what came, and switches to it. What it says must hold under the bundle that is trusted now.
    /// `trusted`: the bundle, for a host that has none yet.
    func switchLeaves(
        _ order: RenewalOrder, _ issued: [AgentPB.CertificateFile], trusted: [AgentPB.CertificateFile] = []
    ) throws(GRPCStatus) -> LeafProof {
        guard let me = order.inventory.hosts.first(where: { $0.name == host.name }) else {
            throw GRPCStatus(.failedPrecondition, "\(host.name) is not in the inventory")
        }
        let (current, next) = (folders.tls(order.cluster), folders.renewedTLS(order.cluster))
        var serials: [String: String] = [:]
        try perform { () throws(PKIError) in
            for role in AuthorityRole.allCases {
                // Came with what others have made.
                let isGiven = order.kinds.contains { $0.authority == role && GivenLeaf.folder($0, order.inventory) != nil }
                if isGiven { continue }
                var bundle = trusted.first { "\($0.name).crt" == role.bundle }?.pem ?? []
                if bundle.isEmpty { bundle = try KeyFile.read("\(current)/\(role.bundle)").bytes }
                try KeyFile.write(bundle, to: "\(next)/\(role.bundle)", mode: 0o644)
            }
            for kind in LeafKind.allCases {
                let name = kind.rawValue
                guard order.kinds.contains(kind) else {
                    try KeyFile.write(
                        try KeyFile.read("\(current)/\(name).crt").bytes, to: "\(next)/\(name).crt", mode: 0o644)
                    try KeyFile.write(
                        try KeyFile.read("\(current)/\(name).key").bytes, to: "\(next)/\(name).key", mode: 0o600)
                    continue
                }
                let isGiven = GivenLeaf.folder(kind, order.inventory) != nil
                guard let pem = isGiven ? try KeyFile.read("\(next)/\(name).crt").bytes : issued.first(where: { $0.name == name })?.pem
                else { throw PKIError.library(what: name, reason: "was not issued") }
                let chain = try Certificate.chain(pem: pem, source: name)
                let trusted = try Certificate.load("\(next)/\(kind.authority.bundle)")
                let key = try PrivateKey.load("\(next)/\(name).key")
                if let problem = kind.problem(chain, key, trusted: trusted, me, order.inventory, now: now) {
                    throw PKIError.library(what: "the new certificate \(name)", reason: problem)
                }
                try KeyFile.write(pem, to: "\(next)/\(name).crt", mode: 0o644)
                serials[name] = Hexadecimal.encode(chain[0].serial)
            }
        }
        try giveAll(next)
        let old = linkTarget(current)
        let new = newGeneration(order.cluster, serials.values.sorted().first ?? "")
        let proof = LeafProof(cluster: order.cluster, old: old, new: new, serials: serials)
        try perform { () throws(PKIError) in
            try KeyFile.write(
                Array(proof.json.text().utf8), to: folders.leafProof(order.cluster), mode: 0o600)
        }
        Folder.sync(of: folders.leafProof(order.cluster))
        try switchGeneration(order.cluster, to: new, from: next)
        crashPoint("renewal/switched")
        return proof
    }

    /// A switch that has not been proven yet.
    func openProof(_ cluster: String) -> LeafProof? {
        let path = folders.leafProof(cluster)
        guard KeyFile.exists(path) else { return nil }
        guard let bytes = try? KeyFile.read(path).bytes, let json = try? JSONValue(parsing: bytes),
            let proof = LeafProof(json), linkTarget(folders.tls(cluster)) == proof.new
        else {
            // The switch did not happen, or somebody switched since: there is nothing to prove.
            unsafe unlink(path)
            return nil
        }
        return proof
    }

    /// `failure`: nil when the ports show what they should.
    func endRenewal(_ proof: LeafProof, _ evidence: String, failure: String?) throws(GRPCStatus) {
        let link = folders.tls(proof.cluster)
        if let failure {
            let isBack = !proof.old.isEmpty && linkTarget(link) == proof.new
            if isBack { try pointLink(link, to: proof.old) }
            unsafe unlink(folders.leafProof(proof.cluster))
            throw GRPCStatus(
                .failedPrecondition, failure + (isBack ? "; the old certificates are back" : ""))
        }
        unsafe unlink(folders.leafProof(proof.cluster))
        renewals[proof.cluster, default: RenewalState()].failure = nil
        try noteRenewal(proof.cluster, .done, evidence)
        JournalRecord.send(
            "certificates of \(proof.cluster) renewed: \(evidence)", id: MessageID.certificatesRenewed, priority: 5,
            fields: [("COVEY_CLUSTER", proof.cluster), ("COVEY_MEMBER", host.name), ("COVEY_RESULT", "done")])
        Output.withoutJournal("\(EventLines.time(Clock.wall()))  \(proof.cluster)  certificates renewed: \(evidence)\n")
        removeOldGenerations(proof.cluster)
    }

    func renewalFailed(_ cluster: String, _ reason: String, retrySeconds: Int64, isWaiting: Bool) {
        renewals[cluster, default: RenewalState()].nextTry = now + retrySeconds
        // Another host's turn is no failure.
        if isWaiting { return }
        let before = renewals[cluster]?.failure
        renewals[cluster, default: RenewalState()].failure = reason
        // The journal of steps may be what fails; the journal of the system is told in any case.
        try? noteRenewal(cluster, .failed, reason)
        guard before != reason else { return }
        JournalRecord.send(
            "certificates of \(cluster) were not renewed: \(reason)", id: MessageID.certificatesNotRenewed, priority: 4,
            fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", host.name), ("COVEY_RESULT", "failed")])
        Output.withoutJournal("\(EventLines.time(Clock.wall()))  \(cluster)  certificates were not renewed: \(reason)\n")
    }

    private func noteRenewal(
        _ cluster: String, _ phase: StepJournal.Record.Phase, _ evidence: String
    ) throws(GRPCStatus) {
        try note(
            cluster,
            .init(
                operation: "renewal", epoch: lastOperation(cluster)?.epoch ?? 0, step: "renewal", phase: phase,
                evidence: evidence))
    }

    // MARK: Generations

    func linkTarget(_ link: String) -> String { Self.target(of: link) }

    /// Empty for what is no link, or may not be read.
    static func target(of link: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink(link, &buffer, buffer.count)
        guard count > 0 else { return "" }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func removeOldGenerations(_ cluster: String) {
        let folder = folders.configuration(cluster)
        let current = linkTarget(folders.tls(cluster))
        for name in TLSGenerations.old(Self.names(in: folder), current: current, now: now) {
            removeGeneration("\(folder)/\(name)")
        }
    }

    /// Keys and certificates of a member that nothing uses any more.
    private func removeGeneration(_ folder: String) {
        for name in Self.names(in: folder) { unsafe unlink("\(folder)/\(name)") }
        unsafe rmdir(folder)
    }

    static func names(in folder: String) -> [String] {
        guard let entries = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(entries) }
        var names: [String] = []
        while let entry = unsafe readdir(entries) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}

/// What an agent remembers of renewals while it runs.
struct RenewalState: Sendable {
    var nextTry: Int64 = 0
    var failure: String?
    var told = CertificateNews.Level.good
}
