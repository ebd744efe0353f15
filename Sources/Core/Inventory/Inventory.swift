// What a cluster should be: hosts, ports, sizes, times, certificates. Written by people as YAML; here it is a value that
// has been checked, in which every key has its value. The smallest one has a name and three hosts:
//
//     metadata: {name: main}
//     spec:
//       hosts:
//         kv1: 10.0.0.11
//         kv2: 10.0.0.12
//         kv3: 10.0.0.13
//
// It holds no secrets: it is meant to be in version control and to be shown.

import FileFormats
import Foundations

package struct Inventory: Sendable, Equatable {
    package enum Supervisor: String, Sendable { case systemd, processes }

    /// Whose server runs.
    package enum Engine: Sendable, Equatable {
        case covey
        /// Upstream's, by the path of its program.
        case etcd(String)

        package var program: String? { if case .etcd(let path) = self { path } else { nil } }
    }

    package struct Host: Sendable, Equatable {
        package enum Role: String, Sendable { case voter, spare }

        package var name: String
        package var address: String
        package var zone: String?
        package var role: Role
        package var clientPort: Int
        package var peerPort: Int
        package var metricsPort: Int
        package var place: Place

        package var clientURL: String { "https://\(AddressText.inURL(address)):\(clientPort)" }
        package var peerURL: String { "https://\(AddressText.inURL(address)):\(peerPort)" }

        /// A host no inventory has any more: what a ledger or a list of members still says of it.
        package init(name: String, address: String, clientPort: Int, peerPort: Int) {
            self.name = name
            self.address = address
            role = .spare
            self.clientPort = clientPort
            self.peerPort = peerPort
            metricsPort = 0
            place = Place(line: 1, column: 1)
        }
    }

    /// The program members run, and what proves that it is the right one.
    package struct Artifact: Sendable, Equatable {
        /// On the operator's machine; nil: each host's own package.
        package var file: String?
        package var sha256: String?
        package var signer: String?
        /// Public keys by name: `ed25519:...`.
        package var keys: [String: String] = [:]
        package var allowsUnsigned = false

        package init() {}
    }

    package enum Compaction: Sendable, Equatable {
        case off
        /// Nanoseconds.
        case periodic(Int64)
        case revisions(Int64)
    }

    package struct Authority: Sendable, Equatable {
        /// Nanoseconds, as all durations here.
        package var lifetime: Int64
        /// Hosts that issue in its name, in the order they are asked.
        package var holders: [String] = []
        /// Certificate and key of an authority that is not ours, on the operator's machine.
        package var files: Files?
        /// The folder, on each host, of certificates somebody else makes.
        package var leaves: String?

        package struct Files: Sendable, Equatable {
            package var certificate: String
            package var key: String
        }
    }

    package var name: String
    /// As written; zero when the ledger counts.
    package var generation: Int64
    package var supervisor: Supervisor
    package var engine: Engine
    /// Nil: whatever it is.
    package var version: String?
    package var artifact: Artifact
    /// By name.
    package var hosts: [Host]
    /// Nil: each host listens on its own address.
    package var listenAddress: String?
    package var dataDirectory: String
    package var walDirectory: String?
    package var quotaBytes: Int64
    /// Slowest disk that is still called healthy.
    package var syncTimeMax: Int64
    package var heartbeat: Int64
    package var election: Int64
    package var compaction: Compaction
    package var snapshotEntries: Int64
    package var preVote: Bool
    package var requestBytesMax: Int64
    package var transactionOperationsMax: Int64
    package var corruptionCheck: Int64
    package var memoryMinBytes: Int64
    package var memoryMaxBytes: Int64?
    package var openFilesMax: Int64
    package var peerCA: Authority
    package var clientCA: Authority
    package var leafLifetime: Int64
    package var renewAt: Double
    package var extraNames: [String: [String]]
    package var minimumTLS: String
    package var logLevel: String
    package var logFormat: String
    package var minimumTolerance: Int
    /// Nanoseconds without an election that no operation asked for, before members change.
    package var quietTime: Int64
    package var movesLeaderOffSlowDisk: Bool

    /// Everything, with defaults and places: for the explanation of a key.
    package let resolved: Resolved
    package let digest: InventoryDigest

    /// Upstream's, when hosts run what is installed on them.
    package var installedProgram: String? { artifact.file == nil ? engine.program : nil }

    package var voters: [Host] { hosts.filter { $0.role == .voter } }
    package var quorum: Int { voters.count / 2 + 1 }
    /// Voters that may fail.
    package var tolerance: Int { voters.count - quorum }
}

/// Which inventory: equal for files that mean the same, whatever their order, comments and spelt-out defaults.
package struct InventoryDigest: Sendable, Hashable, CustomStringConvertible {
    /// 64 hexadecimal digits.
    package var hex: String

    package init(hex: String) { self.hex = hex }
    package var description: String { hex }
    /// Enough for people.
    package var short: String { String(hex.prefix(12)) }
}

extension Inventory {
    package struct Reading: Sendable {
        /// Nil when there are errors.
        package var inventory: Inventory?
        /// In the order of the file's lines.
        package var problems: [Problem]

        package var errors: [Problem] { problems.filter { $0.severity == .error } }
        package var warnings: [Problem] { problems.filter { $0.severity == .warning } }
    }

    /// Validates a whole file. `root` is nil for an empty one.
    package static func read(_ root: SourceNode?) -> Reading {
        let start = Place(line: 1, column: 1)
        var resolver = Resolver()
        let resolved = resolver.resolve(root, .record(Schema.root), at: "", place: start)
        var problems = resolver.problems
        var inventory: Inventory?
        if !problems.contains(where: { $0.severity == .error }) {
            let typed = Inventory(resolved)
            problems += typed.crossChecks()
            if !problems.contains(where: { $0.severity == .error }) { inventory = typed }
        }
        return Reading(inventory: inventory, problems: problems.sorted { $0.place < $1.place })
    }

    private init(_ resolved: Resolved) {
        guard let spec = resolved.find("spec") else { unreachable("the schema requires spec") }
        name = resolved.text("metadata.name")
        generation = resolved.integer("metadata.generation")
        supervisor = spec.choice("supervisor")
        engine =
            spec.text("server.engine") == "etcd"
            ? .etcd(spec.textIfAny("server.program") ?? "/usr/bin/etcd") : .covey
        version = spec.textIfAny("server.version")
        artifact = Artifact(spec)
        hosts = (spec.find("hosts")?.members ?? []).map { Host($0, spec) }
        listenAddress = spec.textIfAny("network.listen")
        dataDirectory = spec.textIfAny("storage.dataDir") ?? "/var/lib/covey/\(resolved.text("metadata.name"))"
        walDirectory = spec.textIfAny("storage.walDir")
        quotaBytes = spec.integer("storage.quota")
        syncTimeMax = spec.integer("storage.maxFsyncP99")
        heartbeat = spec.integer("tuning.heartbeat")
        election = spec.integer("tuning.election")
        compaction = Compaction(
            mode: spec.text("tuning.autoCompaction.mode"), spec.text("tuning.autoCompaction.retention"))
        snapshotEntries = spec.integer("tuning.snapshotEntries")
        preVote = spec.flag("tuning.preVote")
        requestBytesMax = spec.integer("tuning.requestMax")
        transactionOperationsMax = spec.integer("tuning.transactionMax")
        corruptionCheck = spec.integer("tuning.corruptionCheck")
        memoryMinBytes = spec.integer("limits.memoryMin")
        memoryMaxBytes = spec.integerIfAny("limits.memoryMax")
        openFilesMax = spec.integer("limits.openFiles")
        peerCA = Authority(spec, "tls.peerCA")
        clientCA = Authority(spec, "tls.clientCA")
        leafLifetime = spec.integer("tls.leaf.lifetime")
        renewAt = spec.fraction("tls.leaf.renewAt")
        extraNames = Dictionary(
            uniqueKeysWithValues: (spec.find("tls.leaf.extraSANs")?.members ?? []).map { ($0.name, $0.value.texts("")) })
        minimumTLS = spec.text("tls.minVersion")
        logLevel = spec.text("log.level")
        logFormat = spec.text("log.format")
        minimumTolerance = Int(spec.integer("policy.minTolerance"))
        quietTime = spec.integer("policy.quietTime")
        movesLeaderOffSlowDisk = spec.flag("policy.leaderOffSlowDisk")
        self.resolved = resolved
        digest = Canonical.digest(resolved)
    }
}

extension Inventory.Host {
    fileprivate init(_ member: Resolved.Member, _ spec: Resolved) {
        func port(_ name: String) -> Int {
            Int(member.value.integerIfAny(name) ?? spec.integer("network.\(name)"))
        }
        name = member.name
        address = member.value.text("address")
        zone = member.value.textIfAny("zone")
        role = member.value.choice("role")
        clientPort = port("client")
        peerPort = port("peer")
        metricsPort = port("metrics")
        place = member.value.place ?? Place(line: 1, column: 1)
    }
}

extension Inventory.Artifact {
    fileprivate init(_ spec: Resolved) {
        file = spec.textIfAny("server.artifact.file")
        sha256 = spec.textIfAny("server.artifact.sha256")
        signer = spec.textIfAny("server.artifact.signer")
        keys = Dictionary(
            uniqueKeysWithValues: (spec.find("server.artifact.keys")?.members ?? []).map { ($0.name, $0.value.shown) })
        allowsUnsigned = spec.flag("server.artifact.allowUnsigned")
    }
}

extension Inventory.Authority {
    fileprivate init(_ spec: Resolved, _ path: String) {
        lifetime = spec.integer(path + ".lifetime")
        holders = spec.texts(path + ".key.holders")
        // Both are there, or the cross checks say what is missing.
        if spec.text(path + ".mode") == "files" {
            files = Files(
                certificate: spec.textIfAny(path + ".certificate") ?? "", key: spec.textIfAny(path + ".key.file") ?? "")
        }
        if spec.text(path + ".mode") == "leaves" { leaves = spec.textIfAny(path + ".folder") ?? "" }
    }
}

extension Inventory.Compaction {
    /// A retention that does not fit its mode is told by the cross checks, with its place.
    fileprivate init(mode: String, _ retention: String) {
        switch mode {
        case "periodic": self = .periodic(DurationText.parse(retention) ?? 0)
        case "revision": self = .revisions(Int64(retention) ?? 0)
        default: self = .off
        }
    }
}
