// Every command of `covey ctl` with its options and help. The words are etcdctl 3.5's, because called by that name help is
// compared byte for byte; what later releases and we added is hidden under that name, and works all the same.

import Flags

enum CtlCommandTree {
    /// The tree. `asEtcdctl`: additions to 3.5 are accepted but not listed.
    static func root(named name: String, asEtcdctl: Bool) -> Command {
        var root = Command(
            name, "", asEtcdctl ? "A simple command line client for etcd3." : "Talks to etcd and Covey servers.",
            options: globals(hidingNew: asEtcdctl))
        root.commands =
            [
                get(hidingNew: asEtcdctl), put, delete(hidingNew: asEtcdctl), transaction, compaction, alarm,
                defragment, endpoint, moveLeader, watch, version(name), lease, member(hidingNew: asEtcdctl),
                snapshot, mirror(hidingNew: asEtcdctl), lock, elect, auth, user, role, check,
                downgrade(hidden: asEtcdctl), completion(name, hidden: asEtcdctl), help(name),
            ]
        root.runnable = false
        return root
    }

    static func globals(hidingNew: Bool) -> [Option] {
        [
            Option("endpoints", .list, default: "127.0.0.1:2379", "gRPC endpoints"),
            Option("debug", .bool, "enable client-side debug logging"),
            Option(
                "write-out", default: "simple", shorthand: "w",
                "set the output format (fields, json, protobuf, simple, table)",
                choices: ["fields", "json", "protobuf", "simple", "table"]),
            Option("hex", .bool, "print byte strings as hex encoded strings"),
            Option("dial-timeout", .duration, default: "2s", "dial timeout for client connections"),
            Option(
                "command-timeout", .duration, default: "5s",
                "timeout for short running command (excluding dial timeout)"),
            Option("keepalive-time", .duration, default: "2s", "keepalive time for client connections"),
            Option("keepalive-timeout", .duration, default: "6s", "keepalive timeout for client connections"),
            Option("insecure-transport", .bool, default: "true", "disable transport security for client connections"),
            Option(
                "insecure-discovery", .bool, default: "true",
                "accept insecure SRV records describing cluster endpoints"),
            Option(
                "insecure-skip-tls-verify", .bool,
                "skip server certificate verification (CAUTION: this option should be enabled only for testing purposes)"),
            Option("cert", "identify secure client using this TLS certificate file", group: ""),
            Option("key", "identify secure client using this TLS key file", group: ""),
            Option("cacert", "verify certificates of TLS-enabled secure servers using this CA bundle", group: ""),
            Option("user", "username[:password] for authentication (prompt if password is not supplied)", group: ""),
            Option(
                "password",
                "password for authentication (if this option is used, --user option shouldn't include password)",
                group: ""),
            Option(
                "discovery-srv", .text, shorthand: "d",
                "domain name to query for SRV records describing cluster endpoints"),
            Option("discovery-srv-name", "service name to query when using DNS discovery", group: ""),
            Option(
                "max-request-bytes", .integer(bits: 64), "client-side request send limit in bytes (0: the server's)",
                hidden: hidingNew),
            Option(
                "max-recv-bytes", .integer(bits: 64), "client-side response receive limit in bytes (0: no limit)",
                hidden: hidingNew),
            Option("auth-jwt-token", .text, "JWT token used during authentication", hidden: hidingNew),
        ]
    }

    // MARK: Keys

    static func get(hidingNew: Bool) -> Command {
        Command(
            "get", "[options] <key> [range_end]", "Gets the key or a range of keys",
            options: [
                Option("consistency", default: "l", "Linearizable(l) or Serializable(s)", choices: ["l", "s"]),
                Option(
                    "order", .text, "Order of results; ASCEND or DESCEND (ASCEND by default)",
                    choices: ["ASCEND", "DESCEND"]),
                Option(
                    "sort-by", .text, "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION",
                    choices: ["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"]),
                Option("limit", .integer(bits: 64), "Maximum number of results"),
                Option("prefix", .bool, "Get keys with matching prefix"),
                Option(
                    "from-key", .bool,
                    "Get keys that are greater than or equal to the given key using byte compare"),
                Option("rev", .integer(bits: 64), "Specify the kv revision"),
                Option("keys-only", .bool, "Get only the keys"),
                Option("count-only", .bool, "Get only the count"),
                Option("print-value-only", .bool, "Only write values when using the \"simple\" output format"),
                Option("min-create-rev", .integer(bits: 64), "Minimum create revision", hidden: hidingNew),
                Option("max-create-rev", .integer(bits: 64), "Maximum create revision", hidden: hidingNew),
                Option("min-mod-rev", .integer(bits: 64), "Minimum modification revision", hidden: hidingNew),
                Option("max-mod-rev", .integer(bits: 64), "Maximum modification revision", hidden: hidingNew),
            ])
    }

    static let put = Command(
        "put", "[options] <key> <value> (<value> can also be given from stdin)",
        "Puts the given key into the store",
        description: """
            Puts the given key into the store.

            When <value> begins with '-', <value> is interpreted as a flag.
            Insert '--' for workaround:

            $ put <key> -- <value>
            $ put -- <key> <value>

            If <value> isn't given as a command line argument and '--ignore-value' is not specified,
            this command tries to read the value from standard input.

            If <lease> isn't given as a command line argument and '--ignore-lease' is not specified,
            this command tries to read the value from standard input.

            For example,
            $ cat file | put <key>
            will store the content of the file to <key>.
            """,
        options: [
            Option("lease", default: "0", "lease ID (in hexadecimal) to attach to the key"),
            Option("prev-kv", .bool, "return the previous key-value pair before modification"),
            Option("ignore-value", .bool, "updates the key using its current value"),
            Option("ignore-lease", .bool, "updates the key using its current lease"),
        ])

    static func delete(hidingNew: Bool) -> Command {
        Command(
            "del", "[options] <key> [range_end]",
            "Removes the specified key or range of keys [key, range_end)",
            options: [
                Option("prefix", .bool, "delete keys with matching prefix"),
                Option("prev-kv", .bool, "return deleted key-value pairs"),
                Option(
                    "from-key", .bool,
                    "delete keys that are greater than or equal to the given key using byte compare"),
                Option("range", .bool, "delete range of keys without delay", hidden: hidingNew),
            ])
    }

    static let transaction = Command(
        "txn", "[options]", "Txn processes all the requests in one transaction",
        options: [Option("interactive", .bool, shorthand: "i", "Input transaction in interactive mode")])

    static let compaction = Command(
        "compaction", "[options] <revision>", "Compacts the event history in etcd",
        options: [
            Option("physical", .bool, "'true' to wait for compaction to physically remove all old revisions")
        ])

    static let watch = Command(
        "watch", "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
        "Watches events stream on keys or prefixes",
        options: [
            Option("interactive", .bool, shorthand: "i", "Interactive mode"),
            Option("prefix", .bool, "Watch on a prefix if prefix is set"),
            Option("rev", .integer(bits: 64), "Revision to start watching"),
            Option("prev-kv", .bool, "get the previous key-value pair before the event happens"),
            Option("progress-notify", .bool, "get periodic watch progress notification from server"),
        ])

    // MARK: Leases, locks

    static let lease = Command(
        "lease", "<subcommand>", "Lease related commands",
        commands: [
            Command("grant", "<ttl>", "Creates leases"),
            Command("revoke", "<leaseID>", "Revokes leases"),
            Command(
                "timetolive", "<leaseID> [options]", "Get lease information",
                options: [Option("keys", .bool, "Get keys attached to this lease")]),
            Command("list", "", "List all active leases"),
            Command(
                "keep-alive", "[options] <leaseID>", "Keeps leases alive (renew)",
                options: [
                    Option(
                        "once", .bool,
                        "Resets the keep-alive time to its original value and cobrautl.Exits immediately")
                ]),
        ])

    static let lock = Command(
        "lock", "<lockname> [exec-command arg1 arg2 ...]", "Acquires a named lock",
        options: [Option("ttl", .integer(bits: 64), default: "10", "timeout for session")])

    static let elect = Command(
        "elect", "<election-name> [proposal]", "Observes and participates in leader election",
        options: [Option("listen", .bool, shorthand: "l", "observation mode")])

    // MARK: The tool itself

    static func version(_ name: String) -> Command {
        Command("version", "", "Prints the version of \(name)")
    }

    static func completion(_ name: String, hidden: Bool) -> Command {
        var command = Command(
            "completion", "[bash|zsh|fish]", "Generate completion script",
            description: """
                Prints a completion script for a shell.

                $ source <(\(name) completion bash)
                $ \(name) completion zsh > "${fpath[1]}/_\(name.map { $0 == " " ? "-" : String($0) }.joined())"
                $ \(name) completion fish > ~/.config/fish/completions/\(name.prefix { $0 != " " }).fish
                """)
        command.hidden = hidden
        return command
    }

    static func help(_ name: String) -> Command {
        Command(
            "help", "[command]", "Help about any command",
            description: """
                Help provides help for any command in the application.
                Simply type \(name) help [path to command] for full details.
                """)
    }
}
