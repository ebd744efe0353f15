// From an inventory to the settings of one member's server: one ordered list of flag and value, written out as words of a
// command line (local clusters) or as a configuration file (units).

import Flags
import Foundations
import Inventory

/// What the ledger knows that the inventory does not.
package struct MemberIdentity: Sendable, Equatable {
    package enum State: String, Sendable, Equatable { case new, existing }

    /// `new` only while the cluster is being made.
    package var state: State
    /// Random, a new one for each bootstrap and each restore. Only a new cluster's members look at it.
    package var token: String
    /// The members as the ledger has them: name and peer URL.
    package var members: [(name: String, peerURL: String)]

    package init(state: State, token: String, members: [(name: String, peerURL: String)]) {
        self.state = state
        self.token = token
        self.members = members
    }

    /// Of members that are there: what an inventory alone can tell. It never makes a cluster.
    package static func existing(_ inventory: Inventory) -> MemberIdentity {
        MemberIdentity(state: .existing, token: "", members: inventory.voters.map { ($0.name, $0.peerURL) })
    }

    package static func == (a: MemberIdentity, b: MemberIdentity) -> Bool {
        a.state == b.state && a.token == b.token && a.initialCluster == b.initialCluster
    }

    package var initialCluster: String {
        members.sorted { $0.name < $1.name }.map { "\($0.name)=\($0.peerURL)" }.joined(separator: ",")
    }
}

/// Where the files of one member are.
package struct MemberFolders: Sendable, Equatable {
    package var data: String
    package var wal: String?
    /// Holds the certificate files by the names in `CertificateFiles`.
    package var tls: String
    /// Names who may come while the cluster is being made; nil: all.
    package var admission: String?

    package init(data: String, wal: String? = nil, tls: String, admission: String? = nil) {
        self.data = data
        self.wal = wal
        self.tls = tls
        self.admission = admission
    }
}

/// The names of certificate files in a member's TLS folder.
package enum CertificateFiles {
    package static let clientCA = "client-ca.crt"
    package static let peerCA = "peer-ca.crt"
    package static let server = "server.crt"
    package static let serverKey = "server.key"
    package static let peer = "peer.crt"
    package static let peerKey = "peer.key"
}

package struct ServerSettings: Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
        /// A flag's name, without dashes.
        package var flag: String
        package var value: Value
    }

    package enum Value: Sendable, Equatable {
        case text(String)
        case number(Int64)
        case bool(Bool)
        /// Nanoseconds.
        case duration(Int64)
        case list([String])

        /// On a command line.
        var text: String {
            switch self {
            case .duration(let nanoseconds): GoDuration.format(nanoseconds)
            case .list(let words): words.joined(separator: ",")
            case .text(let text): text
            case .number(let number): String(number)
            case .bool(let value): value ? "true" : "false"
            }
        }
    }

    package var entries: [Entry] = []

    package init(_ inventory: Inventory, _ host: Inventory.Host, _ identity: MemberIdentity, _ folders: MemberFolders) {
        let listen = AddressText.inURL(inventory.listenAddress ?? listenable(host.address))
        set("name", host.name)
        set("data-dir", folders.data)
        if let wal = folders.wal { set("wal-dir", wal) }
        set("listen-client-urls", "https://\(listen):\(host.clientPort)")
        set("advertise-client-urls", host.clientURL)
        set("listen-peer-urls", "https://\(listen):\(host.peerPort)")
        set("initial-advertise-peer-urls", host.peerURL)
        set("listen-metrics-urls", "http://127.0.0.1:\(host.metricsPort)")
        set("initial-cluster", identity.initialCluster)
        set("initial-cluster-state", identity.state.rawValue)
        if !identity.token.isEmpty { set("initial-cluster-token", identity.token) }
        set("strict-reconfig-check", true)
        tuning(inventory)
        security(inventory, folders.tls)
        if let file = folders.admission, identity.state == .new { set("client-admission-file", file) }
        set("log-level", inventory.logLevel)
        set("log-format", inventory.logFormat)
        // Under systemd straight to the journal, with fields; elsewhere standard error.
        entries.append(Entry(flag: "log-outputs", value: .list(["default"])))
        if inventory.engine.program != nil { speakUpstream() }
    }

    /// The flags etcd 3.4 and 3.5 both know: later names become the older ones, what they lack goes. The inventory's checks
    /// tell the person what that is.
    private mutating func speakUpstream() {
        entries = entries.compactMap { entry in
            switch entry.flag {
            case "tls-min-version", "log-format", "client-admission-file": nil
            case "feature-gates": Entry(flag: "experimental-initial-corrupt-check", value: .bool(true))
            case "corrupt-check-time": Entry(flag: "experimental-corrupt-check-time", value: entry.value)
            default: entry
            }
        }
        // Of 3.4 the other logger knows neither levels nor outputs.
        set("logger", "zap")
        // With a file, 3.4 leaves it out unless it is asked for.
        set("enable-grpc-gateway", true)
    }

    private mutating func tuning(_ inventory: Inventory) {
        set("quota-backend-bytes", inventory.quotaBytes)
        set("heartbeat-interval", inventory.heartbeat / GoDuration.millisecond)
        set("election-timeout", inventory.election / GoDuration.millisecond)
        set("pre-vote", inventory.preVote)
        set("snapshot-count", inventory.snapshotEntries)
        set("max-request-bytes", inventory.requestBytesMax)
        set("max-txn-ops", inventory.transactionOperationsMax)
        switch inventory.compaction {
        case .off: set("auto-compaction-retention", "0")
        case .periodic(let age):
            set("auto-compaction-mode", "periodic")
            set("auto-compaction-retention", GoDuration.format(age))
        case .revisions(let count):
            set("auto-compaction-mode", "revision")
            set("auto-compaction-retention", String(count))
        }
        if inventory.corruptionCheck > 0 {
            set("feature-gates", "InitialCorruptCheck=true")
            entries.append(Entry(flag: "corrupt-check-time", value: .duration(inventory.corruptionCheck)))
        }
    }

    private mutating func security(_ inventory: Inventory, _ folder: String) {
        set("cert-file", "\(folder)/\(CertificateFiles.server)")
        set("key-file", "\(folder)/\(CertificateFiles.serverKey)")
        set("client-cert-auth", true)
        set("trusted-ca-file", "\(folder)/\(CertificateFiles.clientCA)")
        set("peer-cert-file", "\(folder)/\(CertificateFiles.peer)")
        set("peer-key-file", "\(folder)/\(CertificateFiles.peerKey)")
        set("peer-client-cert-auth", true)
        set("peer-trusted-ca-file", "\(folder)/\(CertificateFiles.peerCA)")
        set("tls-min-version", inventory.minimumTLS)
    }

    private mutating func set(_ flag: String, _ text: String) { entries.append(Entry(flag: flag, value: .text(text))) }
    private mutating func set(_ flag: String, _ number: Int64) {
        entries.append(Entry(flag: flag, value: .number(number)))
    }
    private mutating func set(_ flag: String, _ value: Bool) { entries.append(Entry(flag: flag, value: .bool(value))) }

    // MARK: Written out

    package var commandLine: [String] { entries.map { "--\($0.flag)=\($0.value.text)" } }

    /// etcd's configuration file: flags by name, the security of the two sides as groups.
    package var configurationFile: String {
        var out = ""
        for entry in entries where Self.sections[entry.flag] == nil { out += "\(entry.flag): \(yaml(entry.value))\n" }
        for section in ["client-transport-security", "peer-transport-security"] {
            let inside = entries.compactMap { entry in
                Self.sections[entry.flag].flatMap { $0.section == section ? ($0.key, entry.value) : nil }
            }
            if inside.isEmpty { continue }
            out += "\(section):\n" + inside.map { "  \($0): \(yaml($1))\n" }.joined()
        }
        return out
    }

    private static let sections: [String: (section: String, key: String)] = {
        var table: [String: (section: String, key: String)] = [:]
        for key in ["cert-file", "key-file", "client-cert-auth", "trusted-ca-file"] {
            table[key] = ("client-transport-security", key)
            table["peer-" + key] = ("peer-transport-security", key)
        }
        return table
    }()

    /// The file's types are strict: a duration is a number of nanoseconds there, a list is a list.
    private func yaml(_ value: Value) -> String {
        switch value {
        case .text(let text): quoted(text)
        case .list(let words): "[" + words.map(quoted).joined(separator: ", ") + "]"
        case .duration(let nanoseconds): String(nanoseconds)
        case .number, .bool: value.text
        }
    }

    /// In any case: `off`, `1h` and `a: b` need no second thought.
    private func quoted(_ text: String) -> String {
        "\""
            + text.reduce(into: "") { out, character in
                if character == "\"" || character == "\\" { out.append("\\") }
                out.append(character)
            } + "\""
    }
}

/// A name is resolved by the one who connects; the member listens on every address then, and its certificate and firewall
/// say who may.
private func listenable(_ address: String) -> String {
    AddressText.isIP(address) ? address : address == "localhost" ? "127.0.0.1" : "0.0.0.0"
}
