// A command and its sub-commands, as data. The program keeps the handlers; parsing yields the path of names that was
// chosen ("endpoint status"), its options and its words.

package struct Command: Sendable {
    package var name: String
    package var aliases: [String]
    /// What follows the path in the usage line: `[options] <key> [range_end]`.
    package var arguments: String
    package var summary: String
    package var description: String
    package var options: [Option]
    /// Options of a group that every command below it takes too.
    package var sharedOptions: [Option] = []
    /// In the order of suggestions; listings are sorted by name.
    package var commands: [Command]
    package var hidden: Bool
    /// A word that makes the usage line of a command with options end in `[flags]`.
    package var runnable: Bool

    package init(
        _ name: String, _ arguments: String = "", _ summary: String = "", aliases: [String] = [],
        description: String = "", options: [Option] = [], commands: [Command] = [], hidden: Bool = false
    ) {
        self.name = name
        self.aliases = aliases
        self.arguments = arguments
        self.summary = summary
        self.description = description
        self.options = options
        self.commands = commands
        self.hidden = hidden
        self.runnable = commands.isEmpty
    }

    /// Sub-commands that help lists, by name.
    package var listed: [Command] { commands.filter { !$0.hidden }.sorted { $0.name < $1.name } }

    /// The command at a path of exact names.
    package func find(_ path: [String]) -> Command? {
        var command = self
        for name in path {
            guard let next = command.commands.first(where: { $0.name == name }) else { return nil }
            command = next
        }
        return command
    }

    /// Options that commands above the end of a path share with it: the root's own, then those of its groups.
    package func inheritedOptions(along path: [String]) -> [Option] {
        var inherited = options
        var command = self
        for name in path {
            inherited += command.sharedOptions
            guard let next = command.commands.first(where: { $0.name == name }) else { break }
            command = next
        }
        return inherited
    }

    /// The commands with nothing below them, each with its path from here, sorted by path.
    package func leaves(_ prefix: [String] = []) -> [(path: [String], command: Command)] {
        var found: [(path: [String], command: Command)] = []
        for command in commands where !command.hidden {
            if command.commands.isEmpty {
                found.append((prefix + [command.name], command))
            } else {
                found += command.leaves(prefix + [command.name])
            }
        }
        return found.sorted { $0.path.joined(separator: " ") < $1.path.joined(separator: " ") }
    }
}
