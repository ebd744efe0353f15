// What the operator's machine keeps of a cluster: its authorities, and who the operator is.
//
//     .covey/main/pki/          agent-ca, client-ca, peer-ca: .crt and .key (0600)
//     .covey/main/operator/     agent.crt, agent.key, ca.crt: shown to agents
//     .covey/main/client/       client.crt, client.key, ca.crt: shown to members

import FileFormats
import Foundations
import Inventory
import Linux
import PKI

enum InventoryHash {
    static func of(_ text: String) -> String { Hexadecimal.encode(SHA256.of(Array(text.utf8))) }
}

struct FleetAuthorities {
    private static let second: Int64 = 1_000_000_000
    private static let year: Int64 = 365 * 86_400

    let folder: StateFolder
    let inventory: Inventory
    let now: Int64
    let agents: CertificateAuthority
    /// Not there where somebody else makes the certificates.
    private let issuing: [AuthorityRole: CertificateAuthority]
    private let bundles: [HeldAuthority: [UInt8]]
    /// What was made, a line each.
    private(set) var events: [String] = []

    static func operatorFolder(_ folder: StateFolder) -> String { folder.root + "/operator" }

    /// Loads the authorities; makes them, once, when none of the three is there.
    init(_ folder: StateFolder, _ inventory: Inventory) throws(PKIError) {
        self.folder = folder
        self.inventory = inventory
        now = Int64(Clock.wall() / 1_000_000_000)
        try KeyFile.makeFolder(folder.pki)
        var made: [String] = []
        agents = try Self.authority("agent", 10 * Self.year, folder, inventory, now, &made)
        var issuing: [AuthorityRole: CertificateAuthority] = [:]
        var bundles: [HeldAuthority: [UInt8]] = [:]
        for role in AuthorityRole.allCases {
            let settings = role.settings(inventory)
            if let given = try GivenAuthority(settings, now: now) {
                issuing[role] = given.authority
                bundles[HeldAuthority(role)] = given.bundle
            } else if settings.leaves == nil {
                let own = try Self.authority(role.rawValue, settings.lifetime / Self.second, folder, inventory, now, &made)
                issuing[role] = own
                bundles[HeldAuthority(role)] = own.certificate.pem
            }
        }
        if let given = try GivenClient(inventory, to: folder.client, now: now) { bundles[.client] = given.bundle }
        (self.issuing, self.bundles) = (issuing, bundles)
        events = made
        try operatorIdentity()
    }

    /// For commands that only look: who has looked for a month and changed nothing must not be shown a cluster nobody can see.
    static func renewOperator(_ folder: StateFolder, _ inventory: Inventory) {
        guard KeyFile.exists(operatorFolder(folder) + "/agent.crt"), KeyFile.exists(folder.pki + "/agent-ca.key") else { return }
        do throws(PKIError) {
            for event in try FleetAuthorities(folder, inventory).events { EventLines(inventory).tell(event) }
        } catch {
            // With what is there it may work all the same.
            EventLines(inventory).tell("the operator's certificates cannot be renewed: \(error)")
        }
    }

    private static func authority(
        _ role: String, _ seconds: Int64, _ folder: StateFolder, _ inventory: Inventory, _ now: Int64,
        _ made: inout [String]
    ) throws(PKIError) -> CertificateAuthority {
        let certificate = "\(folder.pki)/\(role)-ca.crt"
        let key = "\(folder.pki)/\(role)-ca.key"
        if KeyFile.exists(certificate) || KeyFile.exists(key) {
            guard let first = try Certificate.load(certificate).first else { throw .noCertificate(source: certificate) }
            guard first.secondsLeft(now: now) > 0 else {
                let remedy =
                    role == "agent"
                    ? "; move it and its key away, and give every host an identity of the next one: covey enroll" : ""
                throw .library(what: certificate, reason: "the authority has expired\(remedy)")
            }
            return try CertificateAuthority(certificate: first, key: PrivateKey.load(key, mustBePrivate: true))
        }
        let authority = try CertificateAuthority.create(
            name: "\(inventory.name) \(role) CA", organizations: [inventory.name], now: now, validitySeconds: seconds)
        try KeyFile.write(authority.key.pem, to: key, mode: 0o600)
        try KeyFile.write(authority.certificate.pem, to: certificate, mode: 0o644)
        made.append("made the authority for \(role)s in \(folder.pki)")
        return authority
    }

    /// Renewed at two thirds of its life, whenever the operator does something.
    private mutating func operatorIdentity() throws(PKIError) {
        var places = [(Self.operatorFolder(folder), "agent", "operator", agents, Self.year)]
        if let clients = issuing[.client] {
            // With users switched on, a certificate of this name is the user root.
            places.append((folder.client, "client", "root", clients, inventory.leafLifetime / Self.second))
        }
        for (place, file, name, authority, seconds) in places {
            try KeyFile.makeFolder(place)
            let path = "\(place)/\(file).crt"
            // One that cannot be read is made again.
            if let there = try? Certificate.load(path).first, now - there.notBefore < seconds * 2 / 3,
                KeyFile.exists("\(place)/\(file).key"),
                CertificateChain.problem([there], trusted: [authority.certificate], usages: [.client], at: now) == nil
            {
                continue
            }
            let key = try PrivateKey.generate()
            let profile = CertificateProfile(
                commonName: name, organizations: [inventory.name], usages: [.client], now: now, validitySeconds: seconds
            )
            let leaf = try authority.issue(profile, for: key)
            try KeyFile.write(file == "client" ? bundle(.client) : authority.certificate.pem, to: place + "/ca.crt", mode: 0o644)
            try KeyFile.write(key.pem, to: "\(place)/\(file).key", mode: 0o600)
            try KeyFile.write(leaf.pem, to: path, mode: 0o644)
            events.append("made the operator's certificate for \(file)s")
        }
    }

    // MARK: Issuing

    /// What is in the request beside the key does not count: names and addresses are the inventory's.
    func issue(_ kind: String, _ host: Inventory.Host, _ pem: [UInt8]) throws(PKIError) -> Certificate {
        let request = try SigningRequest(pem: pem)
        guard request.commonName == host.name else {
            throw .malformedRequest(reason: "it is of \"\(request.commonName)\", not of \(host.name)")
        }
        guard let kind = LeafKind(rawValue: kind) else {
            throw .malformedRequest(reason: "there are no certificates of kind \(kind)")
        }
        guard let root = issuing[kind.authority] else { throw isElsewhere(HeldAuthority(kind.authority)) }
        return try root.issue(kind.profile(host, inventory, now: now), for: request)
    }

    /// What those who are shown its certificates trust.
    /// Empty where hosts find it themselves.
    func bundle(_ role: HeldAuthority) -> [UInt8] { bundles[role] ?? own(role)?.certificate.pem ?? [] }

    /// Nil where nobody here has the key.
    func own(_ role: HeldAuthority) -> CertificateAuthority? {
        switch role {
        case .client: issuing[.client]
        case .peer: issuing[.peer]
        case .agent: agents
        }
    }

    var clients: CertificateAuthority { root(.client) }

    /// Who asks for it has looked whether it is there.
    func root(_ role: AuthorityRole) -> CertificateAuthority {
        guard let own = issuing[role] else { unreachable("certificates for \(role.rawValue)s are made elsewhere") }
        return own
    }

    private func isElsewhere(_ role: HeldAuthority) -> PKIError {
        .library(what: "spec.tls.\(role.rawValue)CA", reason: "has mode leaves: nobody here has the authority's key")
    }

    /// For a host that issues in the root's name, for leaves only and as long as the root lives.
    func issueAuthority(_ role: HeldAuthority, _ host: Inventory.Host, _ pem: [UInt8]) throws(PKIError) -> Certificate {
        let request = try SigningRequest(pem: pem)
        guard request.commonName == host.name else {
            throw .malformedRequest(reason: "it is of \"\(request.commonName)\", not of \(host.name)")
        }
        guard let root = own(role) else { throw isElsewhere(role) }
        guard root.certificate.pathLength != 0 else {
            throw .library(
                what: root.certificate.subject,
                reason: "allows no authority below it (pathlen 0), so no host can hold one; leave the holders out")
        }
        var profile = CertificateProfile(
            commonName: "\(inventory.name) \(role.rawValue) CA of \(host.name)", organizations: [inventory.name], usages: [],
            isAuthority: true, now: now, validitySeconds: 0)
        profile.pathLength = 0
        profile.notAfter = root.certificate.notAfter
        return try root.issue(profile, for: request)
    }

    func issueAgent(_ host: Inventory.Host, _ pem: [UInt8]) throws(PKIError) -> Certificate {
        let request = try SigningRequest(pem: pem)
        guard request.commonName == AgentIdentity.commonName(host.name) else {
            throw .malformedRequest(reason: "it is of \"\(request.commonName)\", not of the agent of \(host.name)")
        }
        return try agents.issue(AgentIdentity.profile(host, inventory.name, now: now), for: request)
    }
}
