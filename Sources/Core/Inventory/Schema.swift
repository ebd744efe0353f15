// Every key of an inventory. The order here is the order of the canonical form and of listings.

import Flags
import Foundations

package enum Schema {
    package static let root: [Setting] = [
        Setting(
            "apiVersion", .choice([version]), default: version, "The version of this format."),
        Setting("kind", .choice(["Cluster"]), default: "Cluster", "What the file describes."),
        Setting(
            "metadata",
            .record([
                Setting(
                    "name", .text(.name), required: true, becomes: "folders, units, certificates",
                    "The cluster's name, unique among the clusters of a host."),
                Setting(
                    "generation", .integer(0...Int64.max), default: "0",
                    "A number that only grows: an inventory older than the one in effect is refused. 0: counted by the ledger."
                ),
            ]), required: true, "Which cluster this is."),
        Setting("spec", .record(spec), required: true, "What the cluster should be."),
    ]

    package static let version = "covey/v1"

    private static let spec: [Setting] = [
        Setting(
            "supervisor", .choice(["systemd", "processes"]), default: "systemd",
            "Who runs the members: systemd on hosts of their own, or `covey up` as processes on this one."),
        Setting("server", .record(server), "The program that runs."),
        Setting(
            "hosts", .table(key: .name, .short("address", host), count: 1...64), required: true,
            "The hosts by name; their order has no meaning. A value that is only an address is short for the group."),
        Setting("network", .record(network), "Ports and addresses, on every host that does not say otherwise."),
        Setting("storage", .record(storage), "Where data is kept, and how much."),
        Setting("tuning", .record(tuning), "Times and limits of the server."),
        Setting("limits", .record(limits), "What the machine may give the server."),
        Setting(
            "tls", .record(tls), "Certificates. There is always TLS, in both directions, for clients and for peers."),
        Setting("log", .record(log), "What the server writes about itself."),
        Setting("backup", .record(backup), pending: true, "Backups that count: verified by restoring them."),
        Setting("maintenance", .record(maintenance), pending: true, "When work that costs may be done."),
        Setting("policy", .record(policy), "What may happen without asking."),
        Setting("hooks", .record(hooks), pending: true, "Programs to run around changes."),
    ]

    private static let server: [Setting] = [
        Setting(
            "engine", .choice(["covey", "etcd"]), default: "covey", becomes: "ExecStart=",
            "Whose server the members run: the bundled one, or upstream etcd 3.4 or 3.5 as installed on the hosts."),
        Setting(
            "program", .text(.path), follows: "/usr/bin/etcd, for engine etcd", becomes: "ExecStart=",
            "Where upstream's program is, on every host."),
        Setting(
            "version", .text(.any), follows: "what the artifact, or the package on the hosts, is",
            becomes: "a condition of every version slot that is installed",
            "The version to run: a program that is another is refused."),
        Setting(
            "channel", .choice(["stable", "testing"]), default: "stable", pending: true, "Where new versions come from."
        ),
        Setting(
            "artifact",
            .record([
                Setting(
                    "file", .text(.path), follows: "the program of the package on each host",
                    becomes: "a version slot on every host, and /etc/covey/NAME/program",
                    """
                    The program to run, on the operator's machine; beside it FILE.manifest and FILE.manifest.sig, which `covey \
                    artifact sign` makes. It is sent to the hosts, and members are restarted into it one by one.
                    """),
                Setting(
                    "sha256", .text(hexDigest), becomes: "a condition of every version slot that is installed",
                    "Digest the program must have."),
                Setting(
                    "signer", .text(.name), follows: "any of the trusted keys",
                    "Name of the key that must have signed it: of `keys`, or of a file in /etc/covey/release-keys.d on the hosts."),
                Setting(
                    "keys", .table(key: .name, .text(releaseKey), count: 0...16),
                    "Public keys of those whose programs may run, by name; beside those in /etc/covey/release-keys.d on the hosts."),
                Setting(
                    "allowUnsigned", .flag, default: "false",
                    "Take a file nobody has signed; every plan says so. A signature that is there must be right in any case."),
            ]), "The program the members run, and the proof that it is the one that is meant."),
    ]

    private static let host: [Setting] = [
        Setting(
            "address", .text(.address), required: true, becomes: "advertised URLs, certificate names",
            "Where clients and peers reach this host."),
        Setting("zone", .text(.name), "What fails together with it: a rack, a room, a provider's zone."),
        Setting("role", .choice(["voter", "spare"]), default: "voter", "A member that votes, or a host kept ready."),
        Setting("client", .integer(ports), follows: "spec.network.client", "Port for clients on this host."),
        Setting("peer", .integer(ports), follows: "spec.network.peer", "Port for peers on this host."),
        Setting(
            "metrics", .integer(ports), follows: "spec.network.metrics", "Port for metrics and health on this host."),
        Setting("agentKey", .text(agentKey), pending: true, "Public key of the host's agent."),
    ]

    private static let ports: ClosedRange<Int64> = 1...65535

    private static let network: [Setting] = [
        Setting(
            "client", .integer(ports), default: "2379", becomes: "--listen-client-urls, --advertise-client-urls",
            "Port for clients."),
        Setting(
            "peer", .integer(ports), default: "2380", becomes: "--listen-peer-urls, --initial-advertise-peer-urls",
            "Port for the other members."),
        Setting(
            "metrics", .integer(ports), default: "2381", becomes: "--listen-metrics-urls",
            "Port for /metrics and /health without TLS, on the loopback only."),
        Setting(
            "listen", .text(.address), follows: "the host's address", becomes: "the address in the --listen-*-urls",
            "Address to listen on when it is not the host's own, for example 0.0.0.0 behind address translation."),
        Setting("peerCIDRs", .list(.text(.cidr), countMax: 64), pending: true, "Networks peers may come from."),
    ]

    private static let storage: [Setting] = [
        Setting(
            "dataDir", .text(.path), follows: "/var/lib/covey/NAME", becomes: "--data-dir, RequiresMountsFor=",
            "Folder of a member's data. Local clusters keep it in their state folder."),
        Setting(
            "walDir", .text(.path), becomes: "--wal-dir", "Folder of the write-ahead log, when on a disk of its own."),
        Setting(
            "quota", .size(16 << 20...1 << 40), default: "8GiB", becomes: "--quota-backend-bytes",
            "Size of the store at which writes are refused."),
        Setting(
            "maxFsyncP99", .duration(GoDuration.millisecond...GoDuration.second), default: "10ms",
            becomes: "the gate DISK",
            "Slowest disk that is still called healthy; members are not changed when one is two and a half times as slow."
        ),
    ]

    private static let tuning: [Setting] = [
        Setting(
            "heartbeat", .duration(10 * GoDuration.millisecond...5 * GoDuration.second), default: "100ms",
            becomes: "--heartbeat-interval",
            "How often a leader says that it is there; about the round trip between members."),
        Setting(
            "election", .duration(50 * GoDuration.millisecond...50 * GoDuration.second), default: "1s",
            becomes: "--election-timeout",
            "Silence of the leader after which another is elected; at least five heartbeats."),
        Setting(
            "autoCompaction",
            .record([
                Setting(
                    "mode", .choice(["periodic", "revision", "off"]), default: "periodic",
                    becomes: "--auto-compaction-mode",
                    "Whether history is kept by age, by number of revisions, or without end."),
                Setting(
                    "retention", .text(retention), default: "1h", becomes: "--auto-compaction-retention",
                    "How much: a duration for periodic, a number for revision."),
            ]), "History to keep."),
        Setting(
            "snapshotEntries", .integer(1_000...10_000_000), default: "10000", becomes: "--snapshot-count",
            "Applied entries between two snapshots of consensus."),
        Setting("preVote", .flag, default: "true", becomes: "--pre-vote", "Ask before standing for election."),
        Setting(
            "requestMax", .size(64 << 10...64 << 20), default: "1536KiB", becomes: "--max-request-bytes",
            "Largest request of a client."),
        Setting(
            "transactionMax", .integer(1...10_000), default: "128", becomes: "--max-txn-ops",
            "Most operations in one transaction."),
        Setting(
            "corruptionCheck", .duration(0...30 * DurationText.day), default: "4h", becomes: "--corrupt-check-time",
            "How often members compare their data; 0s: never."),
    ]

    private static let limits: [Setting] = [
        Setting(
            "memoryMin", .size(0...1 << 40), default: "256MiB", becomes: "MemoryMin=",
            "Memory that is never taken from the server."),
        Setting("memoryMax", .size(64 << 20...1 << 42), becomes: "MemoryMax=", "Most memory it may have."),
        Setting(
            "openFiles", .integer(1_024...1_048_576), default: "65536", becomes: "LimitNOFILE=",
            "Descriptors, which bound the number of connections."),
    ]

    private static func authority(_ whom: String) -> [Setting] {
        [
            Setting(
                "mode", .choice(["managed", "files", "leaves"]), default: "managed",
                """
                Who issues: `managed` is an authority of this cluster, made and kept by Covey; `files` is another, whose files on the \
                operator's machine are only read; `leaves`: somebody else, who puts certificates and keys on the hosts.
                """),
            Setting(
                "certificate", .text(.path), becomes: "the bundle \(whom) are checked by",
                "Of mode files: the authority's certificate, and behind it more that are to be trusted."),
            Setting(
                "folder", .text(.path),
                """
                Of mode leaves: where the certificates for \(whom) lie, on each host, with their keys and the bundle they are checked \
                by; and on the operator's machine client.crt, client.key and client-ca.crt.
                """),
            Setting(
                "lifetime", .duration(DurationText.day...30 * 365 * DurationText.day), default: "10y",
                "How long the authority for \(whom) is valid."),
            Setting(
                "key",
                .record([
                    Setting(
                        "file", .text(.path),
                        "Of mode files: the authority's key, on the operator's machine; readable by its owner alone."),
                    Setting(
                        "holders", .list(.text(.name), countMax: 7), becomes: "an issuing authority in the agent's folder",
                        """
                        Hosts whose agents issue certificates for the others, so that these renew by themselves. Each makes a key of \
                        its own; the authority's key stays with the operator. Without holders: covey certs renew.
                        """),
                ]), "Who may issue in its name."),
        ]
    }

    private static let tls: [Setting] = [
        Setting("peerCA", .record(authority("members")), "Who issues the certificates members show each other."),
        Setting("clientCA", .record(authority("clients")), "Who issues those of clients and those shown to clients."),
        Setting(
            "leaf",
            .record([
                Setting(
                    "lifetime", .duration(3_600 * GoDuration.second...825 * DurationText.day), default: "30d",
                    "How long a certificate is valid."),
                Setting(
                    "renewAt", .fraction(0.1...0.9), default: "0.66", "Part of its life after which it is renewed."),
                Setting(
                    "extraSANs", .table(key: .name, .list(.text(.address), countMax: 32), count: 0...64),
                    "More names and addresses, by host, that clients may use."),
            ]), "The certificates of members and clients."),
        Setting(
            "minVersion", .choice(["TLS1.2", "TLS1.3"]), default: "TLS1.2", becomes: "--tls-min-version",
            "Oldest version of TLS that is spoken."),
    ]

    private static let log: [Setting] = [
        Setting(
            "level", .choice(["debug", "info", "warn", "error"]), default: "info", becomes: "--log-level",
            "The least important lines that are written."),
        Setting("format", .choice(["json", "console"]), default: "json", becomes: "--log-format", "Their form."),
    ]

    private static let backup: [Setting] = [
        Setting("schedule", .text(.any), pending: true, "When, in the notation of systemd's OnCalendar."),
        Setting("dir", .text(.path), pending: true, "A folder that receives backups."),
        Setting("encryptTo", .list(.text(.any), countMax: 8), pending: true, "Public keys of those who can read them."),
        Setting(
            "retention",
            .record([
                Setting("hourly", .integer(0...10_000), default: "24", pending: true, "Hours of which one is kept."),
                Setting("daily", .integer(0...10_000), default: "14", pending: true, "Days of which one is kept."),
                Setting("monthly", .integer(0...10_000), default: "12", pending: true, "Months of which one is kept."),
            ]), pending: true, "What is kept. The newest verified backup always is."),
    ]

    private static let maintenance: [Setting] = [
        Setting("windows", .list(.text(.any), countMax: 32), pending: true, "`Sun 02:00-04:00 UTC`."),
        Setting("defrag", .choice(["auto", "off"]), default: "auto", pending: true, "Return free space to the disk."),
        Setting(
            "reboot", .choice(["coordinated", "off"]), default: "coordinated", pending: true, "One host at a time."),
    ]

    private static let policy: [Setting] = [
        Setting(
            "evenVoters", .flag, default: "false",
            "Allow an even number of voters, which tolerates no more failures than one voter fewer."),
        Setting(
            "minTolerance", .integer(0...3), default: "1",
            "Voters that may fail before the cluster is called degraded; a single voter has none to lose."),
        Setting(
            "quietTime", .duration(0...600 * GoDuration.second), default: "30s",
            "Members change when no leader was elected for so long, but by an operation; commands wait for it."),
        Setting(
            "leaderOffSlowDisk", .flag, default: "true",
            "A leader whose disk takes two and a half times storage.maxFsyncP99 hands over to a voter whose disk does not."),
        Setting(
            "autoReplace", .choice(["off"]), default: "off", pending: true, "Replace a dead member without asking."),
        Setting("finalize", .choice(["manual"]), default: "manual", pending: true, "When an upgrade becomes final."),
    ]

    private static let hooks: [Setting] = [
        Setting("beforeRestart", .list(.text(.path), countMax: 16), pending: true, "Before a member is restarted."),
        Setting("afterApply", .list(.text(.path), countMax: 16), pending: true, "After a change is done."),
    ]

    // MARK: Kinds of text used once

    private static let hexDigest = TextRule("digest", allowed: "64 hexadecimal digits", pattern: "^[0-9a-f]{64}$") {
        text in
        text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    private static let releaseKey = TextRule(
        "key", allowed: "ed25519: and 32 bytes in base64, as `covey artifact key` prints it", pattern: "^ed25519:[A-Za-z0-9+/]{43}=$"
    ) { text in
        text.hasPrefix("ed25519:") && Base64.decode(text.dropFirst(8).utf8)?.count == 32
    }

    private static let agentKey = TextRule(
        "key", allowed: "ed25519: and a public key in base64", pattern: "^ed25519:.+"
    ) {
        $0.hasPrefix("ed25519:") && $0.utf8.count <= 100
    }

    private static let retention = TextRule(
        "retention", allowed: "a duration such as 1h, or a number of revisions"
    ) { DurationText.parse($0) != nil || Int64($0).map { $0 > 0 } == true }
}
