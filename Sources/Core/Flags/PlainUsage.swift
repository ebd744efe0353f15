// The common layout of help (cobra's default): Usage, Available Commands, Flags, Global Flags. Used by `etcdutl` and by
// our own verbs.

package struct PlainUsage: Sendable {
    package var root: Command

    package init(root: Command) { self.root = root }

    /// What `--help` prints: the description, then the usage.
    package func help(_ path: [String], _ command: Command) -> String {
        let about = command.description.isEmpty ? command.summary : command.description
        return (about.isEmpty ? "" : about + "\n\n") + text(path, command)
    }

    package func text(_ path: [String], _ command: Command) -> String {
        let full = ([root.name] + path).joined(separator: " ")
        var out = "Usage:\n"
        if command.runnable {
            out += "  " + [full, command.arguments, "[flags]"].filter { !$0.isEmpty }.joined(separator: " ") + "\n"
        }
        if !command.commands.isEmpty { out += "  \(full) [command]\n" }
        if !command.aliases.isEmpty {
            out += "\nAliases:\n  " + ([command.name] + command.aliases).joined(separator: ", ") + "\n"
        }
        if !command.commands.isEmpty {
            let width = max(11, command.listed.map(\.name.count).max() ?? 0)
            let rows = command.listed.map { "  \(padded($0.name, width)) \($0.summary)\n" }
            out += "\nAvailable Commands:\n" + rows.joined()
        }
        let help = Option("help", .bool, shorthand: "h", "help for \(command.name)")
        let own = (path.isEmpty ? root.options : command.options) + command.sharedOptions
        out += "\nFlags:\n" + flags(own + [help])
        let inherited = path.isEmpty ? [] : root.inheritedOptions(along: path)
        if inherited.contains(where: { !$0.hidden }) {
            out += "\nGlobal Flags:\n" + flags(inherited)
        }
        if !command.commands.isEmpty {
            out += "\nUse \"\(full) [command] --help\" for more information about a command.\n"
        }
        return out
    }

    private func flags(_ options: [Option]) -> String {
        let rows = options.filter { !$0.hidden }.sorted { $0.name < $1.name }.map { option in
            let short = option.shorthand.map { "  -\($0), " } ?? "      "
            let type = typeName(option)
            return ("\(short)--\(option.name)" + (type.isEmpty ? "" : " \(type)"), described(option))
        }
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { "\(padded($0.0, width))   \($0.1)\n" }.joined()
    }

    private func described(_ option: Option) -> String {
        let shown = option.shownDefault ?? option.defaultText
        if shown.isEmpty || shown == "0" || shown == "false" || shown == "0s" { return option.summary }
        if case .text = option.kind { return option.summary + " (default \(GoText.quote(shown)))" }
        if case .list = option.kind { return option.summary + " (default [\(shown)])" }
        return option.summary + " (default \(shown))"
    }

    private func typeName(_ option: Option) -> String {
        switch option.kind {
        case .bool: ""
        case .text: "string"
        case .integer(let bits): bits == 64 ? "int" : "int\(bits)"
        case .unsigned(let bits): bits == 64 ? "uint" : "uint\(bits)"
        case .float: "float"
        case .duration: "duration"
        case .list: "strings"
        }
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
