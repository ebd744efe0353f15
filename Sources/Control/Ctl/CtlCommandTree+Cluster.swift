// The commands on clusters, members, users and stored files.

import Flags

extension CtlCommandTree {
    // MARK: Cluster

    static let alarm = Command(
        "alarm", "<subcommand>", "Alarm related commands",
        commands: [
            Command("disarm", "", "Disarms all alarms"),
            Command("list", "", "Lists all alarms"),
        ])

    static let defragment = Command(
        "defrag", "", "Defragments the storage of the etcd members with given endpoints",
        options: [
            Option("cluster", .bool, "use all endpoints from the cluster member list"),
            Option(
                "data-dir", "Optional. If present, defragments a data directory not in use by etcd.", group: ""),
        ])

    static let endpoint: Command = {
        let cluster = Option("cluster", .bool, "use all endpoints from the cluster member list")
        var group = Command(
            "endpoint", "<subcommand>", "Endpoint related commands",
            commands: [
                Command("health", "", "Checks the healthiness of endpoints specified in `--endpoints` flag"),
                Command(
                    "status", "", "Prints out the status of endpoints specified in `--endpoints` flag",
                    description: """
                        When --write-out is set to simple, this command prints out comma-separated status lists for each endpoint.
                        The items in the lists are endpoint, ID, version, db size, is leader, is learner, \
                        raft term, raft index, raft applied index, errors.
                        """),
                Command(
                    "hashkv", "", "Prints the KV history hash for each endpoint in --endpoints",
                    options: [
                        Option("rev", .integer(bits: 64), "maximum revision to hash (default: all revisions)")
                    ]),
            ])
        group.sharedOptions = [cluster]
        return group
    }()

    static let moveLeader = Command(
        "move-leader", "<transferee-member-id>", "Transfers leadership to another etcd cluster member.")

    static func member(hidingNew: Bool) -> Command {
        Command(
            "member", "<subcommand>", "Membership related commands",
            commands: [
                Command(
                    "add", "<memberName> [options]", "Adds a member into the cluster",
                    options: [
                        Option("peer-urls", "comma separated peer URLs for the new member.", group: ""),
                        Option("learner", .bool, "indicates if the new member is raft learner"),
                    ]),
                Command("remove", "<memberID>", "Removes a member from the cluster"),
                Command(
                    "update", "<memberID> [options]", "Updates a member in the cluster",
                    options: [Option("peer-urls", "comma separated peer URLs for the updated member.", group: "")]),
                Command(
                    "list", "", "Lists all members in the cluster",
                    description: """
                        When --write-out is set to simple, this command prints out comma-separated member lists for each endpoint.
                        The items in the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is Learner.
                        """,
                    options: [
                        Option(
                            "consistency", .text, default: "l", "Linearizable(l) or Serializable(s)",
                            choices: ["l", "s"], hidden: hidingNew)
                    ]),
                Command(
                    "promote", "<memberID>", "Promotes a non-voting member in the cluster",
                    description: "Promotes a non-voting learner member to a voting one in the cluster."),
            ])
    }

    static let snapshot = Command(
        "snapshot", "<subcommand>", "Manages etcd node snapshots",
        commands: [
            Command("save", "<filename>", "Stores an etcd node backend snapshot to a given file"),
            Command(
                "status", "<filename>", "[deprecated] Gets backend snapshot status of a given file",
                description: """
                    When --write-out is set to simple, this command prints out comma-separated status lists for each endpoint.
                    The items in the lists are hash, revision, total keys, total size.

                    Moved to 'etcdctl snapshot status ...'
                    """),
            Command(
                "restore", "<filename> [options]", "Restores an etcd member snapshot to an etcd directory",
                description: "Moved to `etcdctl snapshot restore ...`",
                options: [
                    Option("data-dir", "Path to the data directory", group: ""),
                    Option("wal-dir", "Path to the WAL directory (use --data-dir if none given)", group: ""),
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
                ]),
        ])

    static func mirror(hidingNew: Bool) -> Command {
        Command(
            "make-mirror", "[options] <destination>", "Makes a mirror at the destination etcd cluster",
            options: [
                Option("prefix", "Key-value prefix to mirror", group: ""),
                Option(
                    "dest-prefix",
                    "destination prefix to mirror a prefix to a different prefix in the destination cluster", group: ""),
                Option("no-dest-prefix", .bool, "mirror key-values to the root of the destination cluster"),
                Option(
                    "dest-cert",
                    "Identify secure client using this TLS certificate file for the destination cluster", group: ""),
                Option("dest-key", "Identify secure client using this TLS key file", group: ""),
                Option(
                    "dest-cacert", "Verify certificates of TLS enabled secure servers using this CA bundle", group: ""),
                Option(
                    "dest-insecure-transport", .bool, default: "true",
                    "Disable transport security for client connections"),
                Option(
                    "dest-user",
                    "Destination username[:password] for authentication (prompt if password is not supplied)", group: ""),
                Option(
                    "dest-password",
                    "Destination password for authentication (if this option is used, --user option shouldn't include password)",
                    group: ""),
                Option(
                    "rev", .integer(bits: 64), "Specify the kv revision to start to mirror", hidden: hidingNew),
                Option(
                    "max-txn-ops", .unsigned(bits: 64), default: "128",
                    "Maximum number of operations permitted in a transaction during syncing updates", hidden: hidingNew),
            ])
    }

    static func downgrade(hidden: Bool) -> Command {
        var command = Command(
            "downgrade", "<TARGET_VERSION>", "Downgrade related commands",
            commands: [
                Command("validate", "<TARGET_VERSION>", "Validate downgrade capability before starting downgrade"),
                Command("enable", "<TARGET_VERSION>", "Start a downgrade action to cluster"),
                Command("cancel", "", "Cancel the ongoing downgrade action to cluster"),
            ])
        command.hidden = hidden
        return command
    }

    // MARK: Users and roles

    static let auth = Command(
        "auth", "<enable or disable>", "Enable or disable authentication",
        commands: [
            Command("enable", "", "Enables authentication"),
            Command("disable", "", "Disables authentication"),
            Command("status", "", "Returns authentication status"),
        ])

    static let user = Command(
        "user", "<subcommand>", "User related commands",
        commands: [
            Command(
                "add", "<user name or user:password> [options]", "Adds a new user",
                options: [
                    Option(
                        "interactive", .bool, default: "true",
                        "Read password from stdin instead of interactive terminal"),
                    Option("new-user-password", "Supply password from the command line flag", group: ""),
                    Option("no-password", .bool, "Create a user without password (CN based auth only)"),
                ]),
            Command("delete", "<user name>", "Deletes a user"),
            Command(
                "get", "<user name> [options]", "Gets detailed information of a user",
                options: [Option("detail", .bool, "Show permissions of roles granted to the user")]),
            Command("list", "", "Lists all users"),
            Command(
                "passwd", "<user name> [options]", "Changes password of user",
                options: [
                    Option(
                        "interactive", .bool, default: "true",
                        "If true, read password from stdin instead of interactive terminal")
                ]),
            Command("grant-role", "<user name> <role name>", "Grants a role to a user"),
            Command("revoke-role", "<user name> <role name>", "Revokes a role from a user"),
        ])

    static let role = Command(
        "role", "<subcommand>", "Role related commands",
        commands: [
            Command("add", "<role name>", "Adds a new role"),
            Command("delete", "<role name>", "Deletes a role"),
            Command("get", "<role name>", "Gets detailed information of a role"),
            Command("list", "", "Lists all roles"),
            Command(
                "grant-permission", "[options] <role name> <permission type> <key> [endkey]", "Grants a key to a role",
                options: [
                    Option("prefix", .bool, "grant a prefix permission"),
                    Option(
                        "from-key", .bool,
                        "grant a permission of keys that are greater than or equal to the given key using byte compare"),
                ]),
            Command(
                "revoke-permission", "<role name> <key> [endkey]", "Revokes a key from a role",
                options: [
                    Option("prefix", .bool, "revoke a prefix permission"),
                    Option(
                        "from-key", .bool,
                        "revoke a permission of keys that are greater than or equal to the given key using byte compare"),
                ]),
        ])

    // MARK: Checks

    static let check = Command(
        "check", "<subcommand>", "commands for checking properties of the etcd cluster",
        commands: [
            Command(
                "perf", "[options]", "Check the performance of the etcd cluster",
                options: load("performance", "perf")),
            Command(
                "datascale", "[options]",
                "Check the memory usage of holding data for different workloads on a given server endpoint.",
                description: "If no endpoint is provided, localhost will be used. "
                    + "If multiple endpoints are provided, first endpoint will be used.",
                options: load("datascale", "datascale")),
        ])

    private static func load(_ name: String, _ folder: String) -> [Option] {
        [
            Option(
                "load", default: "s",
                "The \(name) check's workload model. Accepted workloads: s(small), m(medium), l(large), xl(xLarge)",
                choices: ["s", "m", "l", "xl"]),
            Option(
                "prefix", default: "/etcdctl-check-\(folder)/", "The prefix for writing the \(name) check's keys."),
            Option("auto-compact", .bool, "Compact storage with last revision after test is finished."),
            Option("auto-defrag", .bool, "Defragment storage after test is finished."),
        ]
    }
}
