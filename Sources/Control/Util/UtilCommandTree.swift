// Every command of `covey util`. What etcdutl 3.5 has is in its words, because called by that name help is compared byte
// for byte; what later releases and we added is hidden under that name, and works all the same.

import Flags

enum UtilCommandTree {
    static func root(named name: String, asEtcdutl: Bool) -> Command {
        var root = Command(
            name, "", asEtcdutl ? "" : "Works on snapshot files and data directories, without a server.",
            options: [
                Option(
                    "write-out", default: "simple", shorthand: "w",
                    "set the output format (fields, json, protobuf, simple, table)",
                    choices: ["fields", "json", "protobuf", "simple", "table"])
            ])
        root.commands = [
            defrag, snapshot(hidingNew: asEtcdutl), version(name), hashKV(hidden: asEtcdutl),
            verify(hidden: asEtcdutl), importing(hidden: asEtcdutl), exporting(hidden: asEtcdutl),
            migrate(hidden: asEtcdutl), backup(listed: asEtcdutl), completion(name, hidden: asEtcdutl), help(name),
        ]
        root.runnable = false
        return root
    }

    private static func version(_ name: String) -> Command { Command("version", "", "Prints the version of \(name)") }

    private static let defrag = Command(
        "defrag", "", "Defragments the storage of the etcd",
        options: [
            Option("data-dir", .text, "Required. Defragments a data directory not in use by etcd.", required: true)
        ])

    // MARK: snapshot

    private static func snapshot(hidingNew: Bool) -> Command {
        Command(
            "snapshot", "", "Manages etcd node snapshots",
            commands: [
                restore(hidingNew: hidingNew),
                Command("status", "<filename>", "Gets backend snapshot status of a given file"),
            ])
    }

    private static func restore(hidingNew: Bool) -> Command {
        Command(
            "restore", "<filename> --data-dir {output dir} [options]",
            "Restores an etcd member snapshot to an etcd directory",
            options: [
                Option("data-dir", .text, "Path to the output data directory", required: true),
                Option("wal-dir", .text, "Path to the WAL directory (use --data-dir if none given)"),
                Option(
                    "initial-cluster", default: "default=http://localhost:2380",
                    "Initial cluster configuration for restore bootstrap"),
                Option(
                    "initial-cluster-token", default: "etcd-cluster",
                    "Initial cluster token for the etcd cluster during restore bootstrap"),
                Option(
                    "initial-advertise-peer-urls", default: "http://localhost:2380",
                    "List of this member's peer URLs to advertise to the rest of the cluster"),
                Option("name", default: "default", "Human-readable name for this member"),
                Option(
                    "skip-hash-check", .bool,
                    "Ignore snapshot integrity hash value (required if copied from data directory)"),
                Option(
                    "bump-revision", .unsigned(bits: 64), "How much to increase the latest revision after restore",
                    hidden: hidingNew),
                Option(
                    "mark-compacted", .bool,
                    "Mark the latest revision after restore as the point of scheduled compaction "
                        + "(required if --bump-revision > 0, disallowed otherwise)", hidden: hidingNew),
                Option(
                    "initial-memory-map-size", .unsigned(bits: 64),
                    "Accepted and without effect: memory use does not depend on the size", hidden: true),
            ])
    }

    // MARK: what is new

    private static func hashKV(hidden: Bool) -> Command {
        Command(
            "hashkv", "<file or data directory>", "Prints the KV history hash of a given file or directory",
            options: [Option("rev", .integer(bits: 64), "maximum revision to hash (default: latest revision)")],
            hidden: hidden)
    }

    private static func verify(hidden: Bool) -> Command {
        Command(
            "verify", "<file or data directory>", "Checks a snapshot file or a data directory in full; changes nothing",
            options: [Option("wal-dir", .text, "Path to the WAL directory, when it is not in the data directory")],
            hidden: hidden)
    }

    private static func importing(hidden: Bool) -> Command {
        Command(
            "import", "<etcd data directory> --data-dir {output dir} [options]",
            "Makes a data directory of ours from that of an etcd member, which goes on as the same member",
            description: "Makes a data directory of ours from that of an etcd member. The member keeps its identity, log, "
                + "term and vote.\nThe old directory is left as it is; never start both.",
            options: [
                Option("data-dir", .text, "Path to the output data directory", required: true),
                Option("wal-dir", .text, "Path to the new WAL directory (use --data-dir if none given)"),
                Option("source-wal-dir", .text, "Path to the WAL directory of the etcd member, when it is elsewhere"),
            ], hidden: hidden)
    }

    private static func exporting(hidden: Bool) -> Command {
        Command(
            "export", "<data directory> {--snapshot file | --data-dir output dir}",
            "Makes a snapshot file or an etcd data directory from a data directory of ours",
            options: [
                Option("snapshot", .text, "Path to a new snapshot file, as `snapshot save` makes them"),
                Option("data-dir", .text, "Path to a new data directory for an etcd server of the cluster's version or newer"),
                Option("wal-dir", .text, "Path to the new WAL directory (use --data-dir if none given)"),
                Option("source-wal-dir", .text, "Path to the WAL directory of the member, when it is elsewhere"),
            ], hidden: hidden)
    }

    private static func migrate(hidden: Bool) -> Command {
        Command(
            "migrate", "", "Migrates schema of etcd data dir files to make them compatible with different etcd version",
            options: [
                Option("data-dir", .text, "Path to the etcd data dir", required: true),
                Option("target-version", .text, "Target etcd version to migrate contents of data dir", required: true),
                Option("force", .bool, "Ignore migration failure and forcefully override storage version."),
            ], hidden: hidden)
    }

    private static func backup(listed: Bool) -> Command {
        Command(
            "backup", "", "[legacy] offline backup of etcd directory",
            options: [
                Option("data-dir", .text, "Path to the etcd data dir", required: true),
                Option("wal-dir", .text, "Path to the etcd wal dir"),
                Option("backup-dir", .text, "Path to the backup dir", required: true),
                Option("backup-wal-dir", .text, "Path to the backup wal dir"),
                Option("with-v3", .bool, default: "true", "Backup v3 backend data"),
            ], hidden: !listed)
    }

    private static func completion(_ name: String, hidden: Bool) -> Command {
        Command("completion", "[bash|zsh|fish]", "Generate completion script", hidden: hidden)
    }

    private static func help(_ name: String) -> Command { Command("help", "[command]", "Help about any command") }
}
