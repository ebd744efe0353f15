// The layout of etcdctl's help: NAME, USAGE, DESCRIPTION, VERSION, API VERSION, COMMANDS, OPTIONS, GLOBAL OPTIONS.

package struct GroupedUsage: Sendable {
    package var root: Command
    package var version: String
    package var apiVersion: String

    package init(root: Command, version: String, apiVersion: String) {
        self.root = root
        self.version = version
        self.apiVersion = apiVersion
    }

    package func text(_ path: [String], _ command: Command) -> String {
        let isRoot = path.isEmpty
        var out = "NAME:\n\t\(isRoot ? root.name : path.joined(separator: " ")) - \(command.summary)\n\n"
        out += "USAGE:\n\t\(usageLine(path, command))\n\n"
        if !command.description.isEmpty {
            out += "DESCRIPTION:\n" + indented(command.description) + "\n\n"
        }
        if !command.commands.isEmpty {
            if isRoot { out += "VERSION:\n\t\(version)\n\n" }
            out += "API VERSION:\n\t\(apiVersion)\n\n\n"
            let rows = command.leaves().map { "\t\($0.path.joined(separator: " "))\t\($0.command.summary)" }
            out += "COMMANDS:\n" + TabWriter().format(rows.joined(separator: "\n")) + "\n\n"
        }
        let help = Option("help", .bool, shorthand: "h", "help for \(command.name)")
        out += "OPTIONS:\n" + optionTable((isRoot ? root.options : command.options) + command.sharedOptions + [help])
        if !isRoot {
            let inherited = root.inheritedOptions(along: path)
            out += "GLOBAL OPTIONS:\n" + optionTable(inherited)
        }
        return out
    }

    private func usageLine(_ path: [String], _ command: Command) -> String {
        let words = [root.name] + path
        let isGroup = !command.commands.isEmpty && !path.isEmpty
        let arguments = isGroup && command.arguments.isEmpty ? "<subcommand>" : command.arguments
        return (words + [arguments, "[flags]"]).filter { !$0.isEmpty }.joined(separator: " ")
    }

    private func indented(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { "\t" + $0 }.joined(separator: "\n")
    }

    /// Ends in a blank line.
    private func optionTable(_ options: [Option]) -> String {
        let rows = options.filter { !$0.hidden }.sorted { $0.name < $1.name }.map { option in
            let short = option.shorthand.map { "  -\($0), " } ?? "      "
            return "\(short)--\(option.name)\(shownDefault(option))\t\(option.summary)"
        }
        return TabWriter().format(rows.joined(separator: "\n")) + "\n\n"
    }

    private func shownDefault(_ option: Option) -> String {
        let text = option.shownDefault ?? shownValue(option)
        switch option.kind {
        case .bool: return "[=\(text)]"
        case .text: return "=\"\(text)\""
        default: return "=\(text)"
        }
    }

    private func shownValue(_ option: Option) -> String {
        var values = OptionValues([option])
        values.set(option.name, option.defaultValue, from: .defaults)
        return values.shown(option.name)
    }
}
