// The steps a host can perform. Each looks first: what is so already is not done again.

import CLinux
import Foundations
import GRPC
import Glibc
import Inventory
import JSON
import Linux
import PKI
import Rendering
import Systemd
import Wire

extension HostKeeper {
    // MARK: The ledger

    func writeLedger(_ request: AgentPB.WriteLedgerRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        try step(request.header, "ledger") { header throws(GRPCStatus) in
            let path = folders.ledger(header.cluster)
            let current = try ledger(header.cluster)
            if request.ledger.isEmpty {
                guard KeyFile.exists(path) else { return (false, "there is none") }
                let aside = Self.freePath(now) { "\(path).void-\($0)" }
                guard unsafe rename(path, aside) == 0 else {
                    throw GRPCStatus(.failedPrecondition, "\(SystemError("rename", path))")
                }
                Folder.sync(of: path)
                unsafe unlink(folders.ledgerCopy(header.cluster))
                return (true, "set aside as \(aside)")
            }
            guard let json = try? JSONValue(parsing: request.ledger), let wanted = Ledger(json),
                wanted.cluster == header.cluster
            else { throw GRPCStatus(.invalidArgument, "what was sent is no ledger of \(header.cluster)") }
            if let current {
                if current == wanted {
                    // It may have been cut short between the ledger and its server.
                    let word = "\(wanted.state.rawValue), generation \(wanted.generation)"
                    return try standsDown(by: wanted) ? (true, word + Self.isOff) : (false, word)
                }
                guard current.token == wanted.token else {
                    throw GRPCStatus(.failedPrecondition, "\(host.name) has the ledger of another cluster of this name")
                }
                guard current.generation <= wanted.generation else {
                    throw GRPCStatus(
                        .failedPrecondition,
                        "\(host.name) knows generation \(current.generation), newer than \(wanted.generation)")
                }
                guard current.state == .pending || wanted.state == .active else {
                    throw GRPCStatus(.failedPrecondition, "a cluster that was made is never made again")
                }
            }
            try perform { () throws(PKIError) in
                try KeyFile.makeFolder(folders.records(header.cluster))
                try wanted.save(path)
                // For who may not look into the records: it holds nothing that is secret.
                try KeyFile.makeFolder(folders.configuration(header.cluster), mode: 0o755)
                try KeyFile.write(
                    Array(PrettyJSON.text(wanted.json).utf8), to: folders.ledgerCopy(header.cluster), mode: 0o644)
            }
            let word = "\(wanted.state.rawValue), generation \(wanted.generation)"
            return (true, word + (try standsDown(by: wanted) ? Self.isOff : ""))
        }
    }

    private static let isOff = ", no member: its server is off and masked"

    /// Replaced while it was away: its server must not be started again with what it has. True when there was something to end.
    private func standsDown(by ledger: Ledger) throws(GRPCStatus) -> Bool {
        guard ledger.state == .active, !ledger.members.contains(where: { $0.name == host.name }) else { return false }
        return try perform { () throws(BackendError) in
            let unit = try backend.state(ledger.cluster)
            guard unit.isEnabled || unit.active == "active" || unit.active == "activating" else { return false }
            try standDown(ledger.cluster)
            return true
        }
    }

    // MARK: Certificates

    func requestCertificates(_ request: AgentPB.RequestCertificatesRequest) throws(GRPCStatus)
        -> AgentPB.RequestCertificatesResponse
    {
        var answer = AgentPB.RequestCertificatesResponse()
        if request.names == [AgentIdentity.name] {
            _ = try step(request.header, "identity-key") { header throws(GRPCStatus) in
                answer.requests.append(try beginIdentity())
                return (true, "made a key for the agent's identity")
            }
            return answer
        }
        for name in request.names where !["server", "peer", "client"].contains(name) {
            throw GRPCStatus(.invalidArgument, "there are no certificates of kind \"\(name)\"")
        }
        _ = try step(request.header, "keys") { header throws(GRPCStatus) in
            let folder = folders.nextTLS(header.cluster)
            let given = try givenKinds(header)
            try makeConfigurationFolder(header.cluster)
            try perform { () throws(PKIError) in try KeyFile.makeFolder(folder, mode: 0o750) }
            if !given.isEmpty { try takeGiven(given, try declared(header), into: folder) }
            try perform { () throws(PKIError) in
                for name in request.names where !given.contains(where: { $0.rawValue == name }) {
                    let key = try PrivateKey.generate()
                    try KeyFile.write(key.pem, to: "\(folder)/\(name).key", mode: 0o600)
                    let csr = try SigningRequest.create(key: key, commonName: host.name)
                    answer.requests.append(AgentPB.SigningRequestFile(name: name, pem: csr.pem))
                }
            }
            let made = answer.requests.map(\.name).joined(separator: ", ")
            let taken = given.map(\.rawValue).joined(separator: ", ")
            return (true, (made.isEmpty ? "" : "made \(made)") + (taken.isEmpty ? "" : " took \(taken), made elsewhere"))
        }
        return answer
    }

    /// Certificates the operation's inventory says are made elsewhere.
    private func givenKinds(_ header: AgentPB.StepHeader) throws(GRPCStatus) -> [LeafKind] {
        guard lastOperation(header.cluster)?.inventory.isEmpty == false else { return [] }
        let inventory = try declared(header)
        return LeafKind.allCases.filter { GivenLeaf.folder($0, inventory) != nil }
    }

    func installCertificates(_ request: AgentPB.InstallCertificatesRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        if let own = request.certificates.first, own.name == AgentIdentity.name {
            return try step(request.header, "identity") { _ throws(GRPCStatus) in
                (true, "serial \(try takeIdentity(own.pem)) on the wire")
            }
        }
        return try step(request.header, "certificates") { header throws(GRPCStatus) in
            let next = folders.nextTLS(header.cluster)
            let given = try givenKinds(header)
            let first = request.certificates.first?.name ?? given.first?.rawValue
            guard KeyFile.exists(next), let first else {
                throw GRPCStatus(.failedPrecondition, "no keys were made for these certificates")
            }
            let issued = AuthorityRole.allCases.filter { role in !given.contains { $0.authority == role } }.map { "\($0.rawValue)-ca" }
            try perform { () throws(PKIError) in
                for file in request.authorities where issued.contains(file.name) {
                    _ = try Certificate.chain(pem: file.pem, source: file.name)
                    try KeyFile.write(file.pem, to: "\(next)/\(file.name).crt", mode: 0o644)
                }
                for file in request.certificates where LeafKind(rawValue: file.name).map({ !given.contains($0) }) == true {
                    let chain = try Certificate.chain(pem: file.pem, source: file.name)
                    let key = try PrivateKey.load("\(next)/\(file.name).key")
                    guard chain[0].belongs(to: key) else {
                        throw PKIError.mismatch(certificate: file.name, key: "the key made on \(host.name)")
                    }
                    guard chain[0].notBefore <= now else {
                        throw PKIError.library(what: file.name, reason: "is not valid yet; compare the clocks")
                    }
                    try KeyFile.write(file.pem, to: "\(next)/\(file.name).crt", mode: 0o644)
                }
            }
            try giveAll(next)
            let leaf = try perform { () throws(PKIError) in try Certificate.load("\(next)/\(first).crt")[0] }
            let serial = Hexadecimal.encode(leaf.serial)
            try switchGeneration(header.cluster, to: newGeneration(header.cluster, serial), from: next)
            try linkClientFiles(header.cluster)
            renewals[header.cluster, default: RenewalState()].failure = nil
            removeOldGenerations(header.cluster)
            return (true, "serial \(serial)")
        }
    }

    /// Readers see the old files or the new ones, never half of each.
    func switchGeneration(_ cluster: String, to name: String, from next: String) throws(GRPCStatus) {
        try check(unsafe rename(next, "\(folders.configuration(cluster))/\(name)"), "rename", next)
        try pointLink(folders.tls(cluster), to: name)
    }

    /// Its name says when it was made. Two attempts may fall in one second, and have the same certificates when others make them.
    func newGeneration(_ cluster: String, _ serial: String) -> String {
        let made = TLSGenerations.made(linkTarget(folders.tls(cluster))) ?? 0
        let moment = Self.freeMoment(max(now, made + 1)) {
            ["\(folders.configuration(cluster))/\(TLSGenerations.name(made: $0, serial))"]
        }
        return TLSGenerations.name(made: moment, serial)
    }

    /// For names that say when: what is there never takes the place of what was there before, not even in the same second.
    static func freeMoment(_ now: Int64, _ paths: (Int64) -> [String]) -> Int64 {
        var moment = now
        while paths(moment).contains(where: KeyFile.exists) { moment += 1 }
        return moment
    }

    static func freePath(_ now: Int64, _ path: (Int64) -> String) -> String { path(freeMoment(now) { [path($0)] }) }

    func pointLink(_ link: String, to target: String) throws(GRPCStatus) {
        let temporary = link + ".new"
        unsafe unlink(temporary)
        try check(unsafe symlink(target, temporary), "link", temporary)
        try check(unsafe rename(temporary, link), "rename", temporary)
        Folder.sync(of: link)
    }

    private func check(_ result: Int32, _ what: String, _ path: String) throws(GRPCStatus) {
        if result != 0 { throw GRPCStatus(.failedPrecondition, "\(host.name): \(SystemError(what, path))") }
    }

    /// `covey status` looks here for what it shows members.
    func linkClientFiles(_ cluster: String) throws(GRPCStatus) {
        let folder = folders.configuration(cluster) + "/client"
        try perform { () throws(PKIError) in try KeyFile.makeFolder(folder, mode: 0o750) }
        try give(folder)
        for (name, target) in [("ca.crt", "client-ca.crt"), ("client.crt", "client.crt"), ("client.key", "client.key")]
        where !KeyFile.exists("\(folder)/\(name)") {
            unsafe unlink("\(folder)/\(name)")
            guard unsafe symlink("../tls/\(target)", "\(folder)/\(name)") == 0 else {
                throw GRPCStatus(.failedPrecondition, "\(SystemError("link", folder))")
            }
        }
    }

    func giveAll(_ folder: String) throws(GRPCStatus) {
        try give(folder)
        for name in ["server", "peer", "client"] {
            for ending in ["crt", "key"] where KeyFile.exists("\(folder)/\(name).\(ending)") {
                try give("\(folder)/\(name).\(ending)")
            }
        }
    }

    func makeConfigurationFolder(_ cluster: String) throws(GRPCStatus) {
        try perform { () throws(PKIError) in try KeyFile.makeFolder(folders.configuration(cluster), mode: 0o755) }
    }

    // MARK: Rendering

    func render(_ request: AgentPB.RenderRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        try step(request.header, "render") { header throws(GRPCStatus) in
            let file: InventoryFile
            do throws(InventoryFile.Failure) {
                file = try InventoryFile.parse(Array(request.inventory.utf8), "inventory")
            } catch {
                throw GRPCStatus(.invalidArgument, error.description)
            }
            let inventory = file.inventory
            guard inventory.name == header.cluster, request.host == host.name,
                let me = inventory.hosts.first(where: { $0.name == host.name })
            else { throw GRPCStatus(.failedPrecondition, "this is \(host.name); the inventory is for others") }
            guard let ledger = try ledger(header.cluster) else {
                throw GRPCStatus(.failedPrecondition, "\(host.name) has no ledger of \(header.cluster)")
            }
            // The only place where a member is told to make a cluster: the ledger says so, nothing that answers.
            let identity = MemberIdentity(
                state: ledger.state == .pending ? .new : .existing, token: ledger.token,
                members: ledger.members.map { ($0.name, $0.peerURL) })
            if activeSlot(header.cluster) == nil, let program = inventory.installedProgram { try checkEngine(program) }
            let made = DataFolder.engine(folders.data(inventory.name, inventory))
            guard made.isEmpty || made == inventory.engine.name else {
                throw GRPCStatus(
                    .failedPrecondition,
                    "the data on \(host.name) was made by engine \(made); \(inventory.engine.name) is not started on it"
                )
            }
            try makeConfigurationFolder(header.cluster)
            var changed: [String] = []
            var files = [RenderedFile(path: folders.inventory(header.cluster), text: request.inventory)]
            if ledger.members.contains(where: { $0.name == host.name }) { files += rendered(inventory, me, identity) }
            let ofServer = Array(files.dropFirst())
            // First: whoever looks again after a crash finds files that say nothing of what runs.
            try noteSettings(header.cluster, ofServer)
            if ledger.state == .pending { try closeToClients(inventory) }
            for file in files where try put(file) { changed.append(file.path) }
            crashPoint("render/written")
            try makeOwnFolders(inventory)
            // Generators and all units again: much work for a host, and the list of members is none of systemd's business.
            let isOfUnits = changed.contains { $0.hasPrefix(folders.root + Self.unitFolder) }
            try perform { () throws(BackendError) in
                let isStale = try backend.needsReload(header.cluster)
                if isOfUnits || isStale { try backend.reload() }
            }
            openToClients(header.cluster, ledger)
            return (
                !changed.isEmpty,
                "\(identity.state.rawValue), \(changed.isEmpty ? "unchanged" : "\(changed.count) files")"
            )
        }
    }

    private static let unitFolder = "/etc/systemd/"

    private func checkEngine(_ program: String) throws(GRPCStatus) {
        guard engineVersion(program).isEmpty else { return }
        throw GRPCStatus(
            .failedPrecondition,
            "\(program) on \(host.name) is no etcd 3.4 or 3.5 that runs; install it (apt install etcd-server), or name another in "
                + "spec.server.program")
    }

    /// `3.5.1`; empty for what does not run or is no etcd of these versions.
    func engineVersion(_ program: String) -> String {
        guard let result = try? PipedProcess.run([program, "--version"], input: []), case .exited(0) = result.outcome
        else {
            return ""
        }
        let line = String(decoding: result.output, as: UTF8.self).split(separator: "\n").first ?? ""
        guard line.hasPrefix("etcd Version: 3.4.") || line.hasPrefix("etcd Version: 3.5.") else { return "" }
        return String(line.dropFirst(14))
    }

    private func rendered(_ inventory: Inventory, _ me: Inventory.Host, _ identity: MemberIdentity) -> [RenderedFile] {
        if backend.name == "systemd" {
            return HostFiles.all(
                inventory, me, identity, program: unitProgram(inventory.name), admission: admission(inventory, folders.admission)
            ).map { RenderedFile(path: folders.root + $0.path, text: $0.text) }
        }
        let places = MemberFolders(
            data: folders.data(inventory.name, inventory), wal: inventory.walDirectory.map { folders.root + $0 },
            tls: folders.tls(inventory.name), admission: admission(inventory, folders.admission))
        let settings = ServerSettings(inventory, me, identity, places)
        return [
            RenderedFile(path: folders.configuration(inventory.name) + "/server.yaml", text: settings.configurationFile)
        ]
    }

    func put(_ file: RenderedFile) throws(GRPCStatus) -> Bool {
        if let there = try? KeyFile.read(file.path).bytes, there == Array(file.text.utf8) { return false }
        try perform { () throws(PKIError) in
            if let slash = file.path.lastIndex(of: "/") {
                try KeyFile.makeFolder(String(file.path[..<slash]), mode: 0o755)
            }
            try KeyFile.write(Array(file.text.utf8), to: file.path, mode: 0o644)
        }
        return true
    }

    /// Folders that are not the unit's own must be there and be the server's before it starts.
    private func makeOwnFolders(_ inventory: Inventory) throws(GRPCStatus) {
        let data = folders.data(inventory.name, inventory)
        let isOwn = inventory.dataDirectory != "/var/lib/covey/\(inventory.name)" || backend.name == "processes"
        let all = (isOwn ? [data] : []) + (inventory.walDirectory.map { [folders.root + $0] } ?? [])
        for folder in all where !KeyFile.exists(folder) {
            try perform { () throws(PKIError) in try KeyFile.makeFolder(folder, mode: 0o755) }
            guard unsafe chmod(folder, 0o700) == 0 else {
                throw GRPCStatus(.failedPrecondition, "\(SystemError("chmod", folder))")
            }
            try give(folder)
        }
    }

    // MARK: The unit

    func control(_ request: AgentPB.ControlRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        let names = request.verbs.map(Self.word)
        return try step(request.header, names.joined(separator: "+")) { header throws(GRPCStatus) in
            for verb in request.verbs { try control(verb, header.cluster, request.reason) }
            let state = try perform { () throws(BackendError) in try backend.state(header.cluster) }
            return (true, "\(state.active) (\(state.sub))")
        }
    }

    private func control(_ verb: AgentPB.ControlRequest.Verb, _ cluster: String, _ reason: String) throws(GRPCStatus) {
        let pauseFile = folders.records(cluster) + "/paused"
        switch verb {
        case .start, .restart:
            try guardIdentity(cluster)
            try guardProgram(cluster)
            try perform { () throws(BackendError) in
                if try backend.needsReload(cluster) { try backend.reload() }
                if verb == .start { try backend.start(cluster) } else { try backend.restart(cluster) }
            }
            try noteStarted(cluster)
        case .stop: try perform { () throws(BackendError) in try backend.stop(cluster) }
        case .enable, .disable:
            try perform { () throws(BackendError) in try backend.setEnabled(cluster, verb == .enable) }
        case .mask, .unmask: try perform { () throws(BackendError) in try backend.setMasked(cluster, verb == .mask) }
        case .pause:
            let text = reason.isEmpty ? "no reason given" : reason
            try perform { () throws(PKIError) in try KeyFile.write(Array(text.utf8), to: pauseFile, mode: 0o600) }
        case .resume: unsafe unlink(pauseFile)
        default: throw GRPCStatus(.invalidArgument, "there is no such verb: \(verb.rawValue)")
        }
    }

    static func word(_ verb: AgentPB.ControlRequest.Verb) -> String {
        switch verb {
        case .start: "start"
        case .stop: "stop"
        case .restart: "restart"
        case .enable: "enable"
        case .disable: "disable"
        case .mask: "mask"
        case .unmask: "unmask"
        case .pause: "pause"
        case .resume: "resume"
        default: "verb-\(verb.rawValue)"
        }
    }

    /// A server is started only on the data the ledger means, and an empty folder never becomes an old member.
    private func guardIdentity(_ cluster: String) throws(GRPCStatus) {
        guard let ledger = try ledger(cluster) else {
            throw GRPCStatus(.failedPrecondition, "\(host.name) has no ledger of \(cluster): nothing may be started")
        }
        guard let me = ledger.members.first(where: { $0.name == host.name }) else {
            throw refused(cluster, "\(host.name) is no member of \(cluster)")
        }
        let inventory = storedInventory(cluster)
        let path = identityFile(cluster, inventory)
        let hasData = KeyFile.exists(folders.data(cluster, inventory) + "/member")
        let token = Identity.token(path)
        if hasData && token != ledger.token {
            throw refused(
                cluster, "the data on \(host.name) is that of another cluster or incarnation; set it aside first")
        }
        if !hasData && me.wasStarted && ledger.state == .active {
            throw refused(
                cluster,
                "the data of \(host.name) is gone, but it was member \(me.id); replace it: covey member replace \(host.name)"
            )
        }
        if token != ledger.token {
            try perform { () throws(PKIError) in
                if let slash = path.lastIndex(of: "/") { try KeyFile.makeFolder(String(path[..<slash]), mode: 0o755) }
                try Identity.write(path, cluster, host.name, token: ledger.token)
            }
        }
    }

    private func refused(_ cluster: String, _ text: String) -> GRPCStatus {
        JournalRecord.send(
            "identity guard: \(text)", id: MessageID.identityGuard, priority: 2,
            fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", host.name)])
        return GRPCStatus(.failedPrecondition, text)
    }

    // MARK: Data

    /// Moves data aside, never deletes it. The server must be down.
    func quarantine(_ request: AgentPB.QuarantineRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        try step(request.header, "quarantine") { header throws(GRPCStatus) in
            let cluster = header.cluster
            let state = try perform { () throws(BackendError) in try backend.state(cluster) }
            guard state.active == "inactive" || state.active == "failed" else {
                throw GRPCStatus(
                    .failedPrecondition,
                    "the server on \(host.name) is \(state.active); data is set aside when it is stopped")
            }
            let inventory = storedInventory(cluster)
            let data = folders.data(cluster, inventory)
            let identity = identityFile(cluster, inventory)
            guard KeyFile.exists(data + "/member") || KeyFile.exists(identity) else {
                return (false, "there is no data")
            }
            guard isPlainName(request.label.isEmpty ? "data" : request.label) else {
                throw GRPCStatus(.invalidArgument, "\"\(request.label)\" is no name of a folder")
            }
            let parent = data.lastIndex(of: "/").map { String(data[..<$0]) } ?? data
            let label = request.label.isEmpty ? "data" : request.label
            func places(_ moment: Int64) -> [String] {
                [parent, data].map { "\($0)/quarantine/\(moment)-\(cluster)-\(label)" }
            }
            let place = try move(data + "/member", identity, to: places(Self.freeMoment(now, places)))
            if let wal = inventory?.walDirectory.map({ folders.root + $0 }), KeyFile.exists(wal) {
                guard unsafe rename(wal, Self.freePath(now) { "\(wal).quarantine-\($0)" }) == 0 else {
                    throw GRPCStatus(.failedPrecondition, "\(SystemError("rename", wal))")
                }
            }
            return (true, place)
        }
    }

    /// The first place on the same file system.
    private func move(_ data: String, _ identity: String, to places: [String]) throws(GRPCStatus) -> String {
        var failure = SystemError("rename", data, code: EXDEV)
        for place in places {
            try perform { () throws(PKIError) in try KeyFile.makeFolder(place) }
            if KeyFile.exists(data), unsafe rename(data, place + "/member") != 0 {
                failure = SystemError("rename", data)
                continue
            }
            if KeyFile.exists(identity) {
                guard let bytes = try? KeyFile.read(identity).bytes else { continue }
                try perform { () throws(PKIError) in try KeyFile.write(bytes, to: place + "/identity.json", mode: 0o600)
                }
                unsafe unlink(identity)
            }
            return place
        }
        throw GRPCStatus(.failedPrecondition, "\(failure)")
    }
}
