// The definitions of the commands that work on hosts, and the few of them that ask no agent.

import Flags
import Inventory
import JSON
import PKI
import Rendering
import Wire

enum FleetCommands {
    private static let file = Option("file", .text, default: "cluster.yaml", shorthand: "f", "The inventory.")
    private static let state = Option(
        "state-dir", .text, default: OperatorProgram.stateFolder,
        "Folder with the authorities and the operator's identity.")
    private static let usual = [file, state]
    static let soak = Option("soak", .duration, default: "30s", "Pause after each member.")
    private static let overrides = [
        Option("override", .list, "Gates you answer for: ALARM, CAUGHTUP, CERT, CLOCK, DISK, QUORUM, VERSION."),
        Option("reason", .text, "Why; recorded with the operation."),
    ]
    static let membership =
        [
            Option("attest-dead", .list, "Hosts that are off and stay off, by your word; recorded."),
            Option("accept-even", .bool, "An even number of voters is meant."),
            Option("dry-run", .bool, "Show the plan and change nothing."),
            Option("budget", .duration, default: "30m0s", "How long a new member may take to catch up; then it is taken out again."),
        ] + overrides

    private static let agent: Command = {
        var agent = Command(
            "agent", "", "the daemon of a host: does what the operator's commands ask of it",
            description: "A host gets its agent's identity by `covey enroll`, on the operator's machine.",
            options: [
                Option("root", .text, "Folder all paths are below; for tests."),
                Option(
                    "supervisor", .text,
                    "Who runs members: systemd or processes. Without it: systemd where it runs the machine.",
                    choices: ["systemd", "processes"]),
                Option(
                    "metrics", .text, "HOST:PORT for /metrics; without it the host's address and port 2377; or off."),
                Option(
                    "inventory", .text,
                    "The file agents of one mind make the cluster by, without an operator; without it "
                        + "\(HostInventory.usualPath); or off."),
                soak,
            ],
            commands: [
                Command(
                    "join", "", "give this host's agent its identity, with the line `covey enroll --token` printed",
                    options: [
                        Option("server", .text, "ADDRESS:PORT of the operator's machine.", required: true),
                        Option("host", .text, "The name of this host in the inventory.", required: true),
                        Option("token", .text, "The one-time token; - reads it from standard input.", required: true),
                        Option("ca-pin", .text, "Hash of the agents' authority: sha256:...", required: true),
                        Option("root", .text, "Folder all paths are below; for tests."),
                    ])
            ])
        agent.runnable = true
        return agent
    }()

    static let all: [Command] = [
        agent,
        Command(
            "enroll", "[HOST...]",
            "give the agents of hosts their identity, over ssh or by a token; all of the inventory without words",
            description: """
                With --token nothing reaches into the hosts: it prints a line to type on each, with a token for that host that is good
                once and for a short time, and the pin of the agents' authority. It serves hosts until all have joined.
                """,
            options: usual + [
                Option("token", .bool, "Print the line to type on each host, and wait for them."),
                Option("listen", .text, default: "0.0.0.0:2376", "ADDRESS:PORT hosts with a token come to."),
                Option("advertise", .text, "ADDRESS:PORT they are told, when it is another."),
                Option("ttl", .duration, default: "15m0s", "How long tokens are good for, at most a day."),
                Option(
                    "through", .text, "Command that runs words on a host instead of ssh; HOST in it is the host's name."
                ),
            ]),
        Command(
            "apply", "", "make the cluster, or change it to what the inventory says",
            description: """
                Shows the plan, claims the cluster, and carries the plan out step by step. What is as it should be is left alone.
                Exit codes: 0 done, 3 refused and nothing changed, 4 stopped midway, 5 another operation holds the cluster.
                Members whose settings have changed are restarted, one by one, the leader last.
                """, options: usual + membership + [soak]),
        Command(
            "member", "", "members of a cluster",
            commands: [
                Command(
                    "add", "HOST...", "add members: learner first, voter when it has caught up",
                    options: usual + membership),
                Command("remove", "HOST...", "remove members; their data is set aside", options: usual + membership),
                Command(
                    "replace", "OLD NEW", "replace a member, living or dead, by another host",
                    options: usual + membership),
                Command("ls", "", "list members", options: usual),
                Command(
                    "move-leader", "", "let another voter lead",
                    options: usual + overrides + [
                        Option("to", .text, "Which; without it the healthy voter that has the most.")
                    ]),
            ]),
        Command(
            "restart", "[HOST]", "restart the members one by one, the leader last",
            options: usual + overrides + [soak]),
        Command(
            "certs", "", "certificates",
            commands: [
                Command("ls", "", "how long certificates are good for", options: usual),
                Command(
                    "renew", "[HOST...]", "new keys and certificates, host by host, without a restart", options: usual),
                Command(
                    "repair", "[HOST...]", "renew what has expired or is wrong, host by host",
                    description: """
                        Works over the agents' own channel, so neither a quorum nor one good certificate is needed. Without words: the
                        hosts whose agents say that something is wrong.
                        """, options: usual),
                Command(
                    "verify", "", "handshakes from every host to every port of every other",
                    description: "Exit codes: 0 all succeed, 1 some do not.", options: usual),
            ]),
        Command(
            "ca", "", "authorities",
            commands: [
                Command("ls", "", "the cluster's authorities, and the hosts that issue in their name", options: usual),
                Command(
                    "distribute", "",
                    "give the holders the inventory names an issuing authority each, and take it from others",
                    description: """
                        Each holder makes a key of its own, which the operator's authority certifies over the agents' mutual TLS. The
                        authorities' own keys stay here. Every `covey apply` that changes something does this, too.
                        """, options: usual),
            ]),
        Command(
            "audit", "", "who did what to the cluster from where, and what came of it, as every host has recorded it",
            description: """
                Each record holds the hash of the one before. With --verify all are checked here, and compared with what this machine saw
                when it last looked; the first record that does not hold is named.
                Exit codes: 0 all hold, 1 one does not, or a host could not be asked.
                """,
            options: usual + [
                Option("verify", .bool, "Check the chains instead of showing records."),
                Option("host", .text, "This host only."),
                Option("op", .text, "Records of this operation only."),
                Option("last", .unsigned(bits: 32), default: "50", "So many of the newest records of each host, at most 1000."),
                Option("output", .text, default: "table", shorthand: "o", "table or json.", choices: ["table", "json"]),
                Option(
                    "dir", .text,
                    "Instead of asking agents: a folder with audit-*.log, on a host /var/lib/covey-agent/NAME/audit."),
            ]),
        Command(
            "artifact", "", "programs in version slots: who signed them, and what is installed where",
            commands: [
                Command(
                    "key", "NAME", "make a key to sign programs with, and print how to trust it",
                    options: [Option("output-dir", .text, default: ".", shorthand: "o", "Folder for NAME.key and NAME.pub.")]),
                Command(
                    "sign", "PROGRAM", "write PROGRAM.manifest, which says what it is, and PROGRAM.manifest.sig",
                    description: "Runs PROGRAM --version to learn what it is.",
                    options: [Option("key", .text, "The key's file, of `covey artifact key`.", required: true)]),
                Command(
                    "verify", "PROGRAM", "check a program against its manifest, and the manifest's signature",
                    description: """
                        Without --key the keys are those of the inventory and of /etc/covey/release-keys.d.
                        Exit codes: 0 it holds, 1 it does not.
                        """, options: [file, Option("key", .list, "Files of public keys.")]),
                Command("ls", "", "the version slots of every host, and what its member runs", options: usual),
            ]),
        Command("preflight", "", "what stands in the way of running members on the hosts", options: usual),
        Command("doctor", "", "everything that is not as it should be, and what to do about it", options: usual),
        Command(
            "op", "", "operations",
            commands: [
                Command("ls", "", "the last operation, as each host knows it", options: usual),
                Command("show", "[ID]", "its steps, host by host", options: usual),
                Command("resume", "[ID]", "go on with one that stopped", options: usual + membership + [soak]),
                Command("abort", "[ID]", "give one up: what can be taken back is", options: usual),
            ]),
        Command(
            "pause", "", "refuse operations until `covey resume`",
            options: usual + [Option("reason", .text, "Told to those who are refused.")]),
        Command("resume", "", "allow operations again", options: usual),
        Command(
            "decommission", "[HOST]",
            "take a host out of the cluster, or end the cluster; data is set aside, not deleted",
            options: usual + membership + [
                Option("cluster", .bool, "The whole cluster."),
                Option("confirm", .text, "The cluster's name, to be sure."),
            ]),
        Command("env", "", "print variables for etcdctl", options: usual),
        Command(
            "kubeadm", "",
            "print what kubeadm needs to use the cluster, and write the certificate its API server shows",
            options: usual + [
                Option(
                    "output-dir", .text, default: "kubeadm-etcd", shorthand: "o",
                    "Folder for ca.crt and apiserver-etcd-client.*")
            ]),
    ]

    static func perform(_ command: ParsedCommand) -> Int32 {
        let values = command.values
        if command.name == "agent" {
            return AgentProgram.run(
                .init(
                    root: values.text("root"), supervisor: values.text("supervisor"),
                    metrics: values.text("metrics"), inventory: values.text("inventory"),
                    soak: .nanoseconds(values.duration("soak"))))
        }
        if command.name == "agent join" { return join(values) }
        if command.name == "audit" {
            guard ["table", "json"].contains(values.text("output")) else {
                Output.error("covey audit: --output \(values.text("output")): allowed are table and json\n")
                return 2
            }
            if !values.text("dir").isEmpty { return AuditCommand(values).run(folder: values.text("dir")) }
        }
        if let code = ArtifactCommand.run(command.name, command.words, values) { return code }
        let inventory: InventoryFile
        do throws(InventoryFile.Failure) { inventory = try InventoryFile.read(values.text("file")) } catch {
            Output.error(error.description + "\n")
            return 2
        }
        let folder = StateFolder(values.text("state-dir"), cluster: inventory.inventory.name)
        switch command.name {
        case "enroll":
            var enroll = EnrollCommand(
                file: inventory, folder: folder, hosts: command.words, through: values.text("through"))
            if values.bool("token") {
                let seconds = values.duration("ttl") / GoDuration.second
                guard (1...86_400).contains(seconds) else {
                    Output.error("covey enroll: --ttl is at least a second and at most a day\n")
                    return 2
                }
                enroll.token = .init(
                    listen: values.text("listen"), advertise: values.text("advertise"), seconds: Int64(seconds))
            }
            return enroll.run()
        case "env":
            FleetAuthorities.renewOperator(folder, inventory.inventory)
            Output.data(ClientEnvironment(inventory.inventory, folder).file)
            return 0
        case "kubeadm": return kubeadm(inventory.inventory, folder, values.text("output-dir"))
        default: return FleetCommand(name: command.name, words: command.words, values: values, file: inventory).run()
        }
    }

    private static func join(_ values: OptionValues) -> Int32 {
        var token = values.text("token")
        if token == "-" {
            // Without input there is no token, and the operator's machine says so.
            token = String(decoding: (try? JoinCommand.standardInput()) ?? [], as: UTF8.self)
            token = String(token.prefix { !$0.isWhitespace })
        }
        return TokenJoin(
            folders: AgentFolders(root: values.text("root")), server: values.text("server"), host: values.text("host"),
            token: token, pin: values.text("ca-pin")
        ).run()
    }

    /// The set kubeadm expects for an external etcd: copy it to /etc/kubernetes/pki on every control plane node.
    private static func kubeadm(_ inventory: Inventory, _ folder: StateFolder, _ output: String) -> Int32 {
        do throws(PKIError) {
            let authorities = try FleetAuthorities(folder, inventory)
            let key = try PrivateKey.generate()
            let profile = CertificateProfile(
                commonName: "kube-apiserver-etcd-client", organizations: ["system:masters"], usages: [.client],
                now: authorities.now,
                validitySeconds: 365 * 86_400)
            guard let clients = authorities.own(.client) else {
                throw .library(
                    what: "spec.tls.clientCA",
                    reason: "has mode leaves: have apiserver-etcd-client.crt and .key made where the others are")
            }
            let leaf = try clients.issue(profile, for: key)
            try KeyFile.makeFolder(output)
            try KeyFile.write(authorities.bundle(.client), to: output + "/ca.crt", mode: 0o644)
            try KeyFile.write(key.pem, to: output + "/apiserver-etcd-client.key", mode: 0o600)
            try KeyFile.write(leaf.pem, to: output + "/apiserver-etcd-client.crt", mode: 0o644)
        } catch {
            Output.error("covey kubeadm: \(error)\n")
            return 1
        }
        let endpoints = inventory.voters.map { "      - \($0.clientURL)\n" }.joined()
        Output.data(
            """
            # Copy \(output)/ca.crt to /etc/kubernetes/pki/etcd/ca.crt and \(output)/apiserver-etcd-client.* to /etc/kubernetes/pki/
            apiVersion: kubeadm.k8s.io/v1beta3
            kind: ClusterConfiguration
            etcd:
              external:
                endpoints:
            \(endpoints)    caFile: /etc/kubernetes/pki/etcd/ca.crt
                certFile: /etc/kubernetes/pki/apiserver-etcd-client.crt
                keyFile: /etc/kubernetes/pki/apiserver-etcd-client.key

            """)
        return 0
    }
}
