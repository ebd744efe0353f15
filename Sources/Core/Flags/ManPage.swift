// Manual pages in roff, from the definitions that make `--help`.

package struct ManPage: Sendable {
    package var program: String
    package var section: Int
    package var summary: String
    package var description: String
    /// Extra sections in order: EXIT STATUS, FILES...
    package var sections: [(title: String, text: String)]
    package var environmentPrefix: String?

    package init(
        program: String, section: Int = 1, summary: String, description: String = "",
        sections: [(title: String, text: String)] = [], environmentPrefix: String? = nil
    ) {
        self.program = program
        self.section = section
        self.summary = summary
        self.description = description
        self.sections = sections
        self.environmentPrefix = environmentPrefix
    }

    /// A page for a tree of commands.
    package func text(_ root: Command) -> String {
        var out = head(synopsis: "\(program) [options] <command> [arguments]")
        out += ".SH OPTIONS\n" + root.options.map(entry).joined()
        out += ".SH COMMANDS\n"
        for (path, command) in root.leaves() {
            let words = ([program] + path + [command.arguments]).filter { !$0.isEmpty }.joined(separator: " ")
            out += ".SS \"\(escaped(words))\"\n\(escaped(command.summary)).\n"
            if !command.description.isEmpty { out += ".PP\n" + paragraphs(command.description) }
            let shared = root.inheritedOptions(along: path).dropFirst(root.options.count)
            out += (command.options + shared).map(entry).joined()
        }
        return out + tail
    }

    /// A page for a single command.
    package func text(of command: Command) -> String {
        var out = head(synopsis: [program, command.arguments, "[options]"].filter { !$0.isEmpty }.joined(separator: " "))
        let options = (command.options + command.sharedOptions).filter { !$0.hidden }
        if !options.isEmpty { out += ".SH OPTIONS\n" + options.map(entry).joined() }
        return out + tail
    }

    /// A page for one program with flags in groups.
    package func text(_ options: [Option]) -> String {
        var out = head(synopsis: "\(program) [flags]") + ".SH OPTIONS\n"
        var groups: [String] = []
        for option in options where !option.hidden && !groups.contains(option.group) { groups.append(option.group) }
        for group in groups {
            if !group.isEmpty { out += ".SS \"\(escaped(group))\"\n" }
            out += options.filter { $0.group == group }.map(entry).joined()
        }
        return out + tail
    }

    private func head(synopsis: String) -> String {
        let name = program.map { $0 == " " ? "-" : String($0) }.joined()
        return ".TH \"\(escaped(name.uppercased()))\" \(section)\n"
            + ".SH NAME\n\(escaped(name)) \\- \(escaped(summary))\n"
            + ".SH SYNOPSIS\n.B \(escaped(synopsis))\n"
            + (description.isEmpty ? "" : ".SH DESCRIPTION\n" + paragraphs(description))
    }

    private func entry(_ option: Option) -> String {
        if option.hidden { return "" }
        let short = option.shorthand.map { "\\fB\\-\($0)\\fR, " } ?? ""
        let shown = option.shownDefault ?? option.defaultText
        let value = option.isBool ? "" : "=\\fI\(shown.isEmpty ? "VALUE" : escaped(shown))\\fR"
        return ".TP\n\(short)\\fB\\-\\-\(escaped(option.name))\\fR\(value)\n\(lines(option.summary))"
    }

    private var tail: String {
        var out = ""
        if let environmentPrefix {
            out += ".SH ENVIRONMENT\nEvery option can be given as \\fB\(escaped(environmentPrefix))_NAME\\fR: "
            out += "upper case, dashes as underscores. Giving both an option and its variable is an error.\n"
        }
        for section in sections { out += ".SH \"\(escaped(section.title))\"\n" + paragraphs(section.text) }
        return out
    }

    private func paragraphs(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.isEmpty ? ".PP\n" : lines(String($0)) }.joined()
    }

    private func lines(_ text: String) -> String {
        text.split(separator: "\n").map { line in
            let safe = escaped(String(line))
            return (safe.hasPrefix(".") || safe.hasPrefix("'") ? "\\&" : "") + safe + "\n"
        }.joined()
    }

    private func escaped(_ text: String) -> String {
        text.map { $0 == "\\" ? "\\e" : $0 == "-" ? "\\-" : String($0) }.joined()
    }
}
