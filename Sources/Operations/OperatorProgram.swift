// The operator's commands. `run` answers nil for words that are none of them.
//
// Exit codes: 0 done, 1 failed, 2 usage, 3 refused and nothing changed, 5 held by another; `status` has its own, see
// ClusterReport.

import Flags
import Foundations
import Inventory
import JSON
import Linux

package enum OperatorProgram {
    /// Where `covey up` keeps clusters.
    static let stateFolder = ".covey"

    package static func run(_ words: [String]) -> Int32? {
        guard let first = words.first else { return nil }
        if first == MemberProcess.word { return MemberProcess.become(Array(words.dropFirst())) }
        if words.starts(with: ["agent", "join", "request"]) || words.starts(with: ["agent", "join", "install"]) {
            let root = ChildProcess.environment.first { $0.hasPrefix("COVEY_AGENT_ROOT=") }?.dropFirst(17) ?? ""
            return JoinCommand(folders: AgentFolders(root: String(root))).run(words.dropFirst(2).first ?? "")
        }
        guard commands.commands.contains(where: { $0.name == first }) else { return nil }
        do throws(CommandLineFailure) {
            switch try CommandLineParser(commands, prefixMatching: false).parse(words) {
            case .run(let command): return perform(command)
            case .help(let path, let command):
                Output.data(usage.text(path, command))
                return 0
            case .unknownHelpTopic: return nil
            }
        } catch {
            return complain("\(error)")
        }
    }

    private static func complain(_ text: String, code: Int32 = 2) -> Int32 {
        Output.error("covey: \(text)\n")
        return code
    }

    // MARK: Definitions

    private static let file = Option("file", .text, shorthand: "f", "The inventory, when it is not given as a word.")
    private static let state = Option("state-dir", .text, default: stateFolder, "Folder local clusters are kept in.")

    package static let commands = Command(
        "covey", "<command>", "clusters of a key-value store",
        commands: [
            Command(
                "up", "[INVENTORY]", "run a cluster on this machine until Ctrl-C",
                description: """
                    Makes the cluster the first time, with authorities and certificates of its own, and starts it with its data from
                    then on. Members that end are started again.
                    """,
                options: [
                    file, state,
                    Option("timeout", .duration, default: "1m0s", "How long all members may take to become healthy."),
                ]),
            Command(
                "status", "[INVENTORY]", "show the members of a cluster and how they are",
                description: """
                    Members are those of the ledger; where the inventory says otherwise a line tells what to write there.
                    Exit codes: 0 HEALTHY, 10 healthy but the inventory differs, 11 DEGRADED, 12 AT-RISK, 13 NO-QUORUM, 14 UNKNOWN,
                    3 there is no such cluster.
                    """,
                options: [
                    file, state,
                    Option(
                        "output", .text, default: "table", shorthand: "o", "table or json.", choices: ["table", "json"]),
                    Option(
                        "watch", .bool, shorthand: "w",
                        "Again and again until Ctrl-C: over the screen, or a line per change when piped."),
                    Option("cacert", .text, "The authority for clients, when it is not where it usually is."),
                    Option("cert", .text, "The operator's certificate."), Option("key", .text, "Its key."),
                ]),
            Command(
                "validate", "[INVENTORY]", "check an inventory and say all that is wrong with it", options: [file]),
            Command(
                "plan", "[INVENTORY]", "say what `covey up` would do, or explain a setting",
                options: [
                    file, state, Option("explain", .text, "A setting: what it does, may be, is, and who said so."),
                ]),
            Command(
                "init", "[ADDRESS...]", "print an inventory to begin with",
                description: "Without addresses: three members on this machine.",
                options: [Option("name", .text, default: "main", "The cluster's name.")]),
            Command("schema", "", "print the JSON Schema of inventories"),
            Command(
                "render", "[INVENTORY]", "write the files of every host, or the units all hosts share",
                description: """
                    Members are configured to be part of a cluster that is there; only --new makes one, and must be used once.
                    """,
                options: [
                    file,
                    Option("output-dir", .text, shorthand: "o", "Folder to write into; without it they are printed."),
                    Option("new", .text, "A random word never used before: render the members of a new cluster."),
                    Option("units", .bool, "Render what does not depend on a cluster; no inventory is read."),
                ]),
        ] + FleetCommands.all)

    private static let usage = GroupedUsage(
        root: commands, version: ProgramVersion.covey, apiVersion: ProgramVersion.etcd)

    // MARK: Performing

    private static func perform(_ command: ParsedCommand) -> Int32 {
        if command.name == "schema" {
            Output.data(JSONSchema.text)
            return 0
        }
        if FleetCommands.all.contains(where: { $0.name == command.path.first }) {
            return FleetCommands.perform(command)
        }
        if command.name == "init" {
            let text = FirstInventory.text(name: command.values.text("name"), addresses: command.words)
            do throws(InventoryFile.Failure) { _ = try InventoryFile.parse(Array(text.utf8), "inventory") } catch {
                Output.error(error.description + "\n")
                return 2
            }
            Output.data(text)
            return 0
        }
        if command.name == "render" && command.values.bool("units") {
            return RenderCommand.shared(folder: command.values.text("output-dir"))
        }
        if command.words.count > 1 {
            return complain("one inventory at a time: \(command.words.joined(separator: " "))")
        }
        let given = command.values.text("file")
        if !given.isEmpty && !command.words.isEmpty {
            return complain("the inventory is given twice: \(given) and \(command.words[0])")
        }
        let path = command.words.first ?? (given.isEmpty ? "cluster.yaml" : given)
        let inventory: InventoryFile
        do throws(InventoryFile.Failure) { inventory = try InventoryFile.read(path) } catch {
            Output.error(error.description + "\n")
            return 2
        }
        if command.name != "status" {
            for warning in inventory.warnings { Output.error(warning.line(file: path) + "\n") }
        }
        return perform(command, inventory)
    }

    private static func perform(_ command: ParsedCommand, _ file: InventoryFile) -> Int32 {
        let values = command.values
        switch command.name {
        case "up":
            return UpCommand(
                file, stateFolder: values.text("state-dir"), readyLimit: UInt64(clamping: values.duration("timeout"))
            ).run()
        case "status":
            let output = values.text("output")
            guard output == "table" || output == "json" else {
                return complain("--output \(output): allowed are table and json")
            }
            let credentials = StatusCommand.Credentials(
                trustedCA: values.text("cacert"), certificate: values.text("cert"), key: values.text("key"))
            return StatusCommand(
                file, stateFolder: values.text("state-dir"), asJSON: output == "json", credentials: credentials
            ).run(watching: values.bool("watch"))
        case "validate":
            let inventory = file.inventory
            Output.data(
                "\(file.path): cluster \(inventory.name), \(inventory.voters.count) voters, can lose \(inventory.tolerance), "
                    + "digest \(inventory.digest.short)\n")
            return 0
        case "plan":
            return PlanCommand(file, stateFolder: values.text("state-dir"), explain: values.text("explain")).run()
        case "render":
            return RenderCommand(
                file: file, folder: values.text("output-dir"), newToken: values.text("new")
            ).run()
        default: unreachable("every command is performed")
        }
    }
}
