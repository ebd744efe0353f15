// The tools' dialect: cobra and pflag. Sub-commands may be shortened to any unambiguous prefix; flags and words mix
// freely; `--` ends flags; `-abc` is -a -b -c or -a with the value bc; global options belong to every command.

package struct ParsedCommand: Sendable {
    /// Names from the root's child down, spelt out in full; empty for the root itself.
    package var path: [String]
    package var command: Command
    package var values: OptionValues
    package var words: [String]
    /// How many words stood before a `--`, when there was one.
    package var wordsBeforeDashes: Int?

    package var name: String { path.joined(separator: " ") }
}

package enum CommandLineFailure: Error, Sendable, CustomStringConvertible {
    /// A word that names no command of the root; suggestions in the order of the definitions.
    case unknownCommand(String, root: String, suggestions: [String])
    /// A flag that does not exist or a value that is none. The command's usage is shown with it.
    case badFlag(message: String, path: [String], command: Command)

    package var description: String {
        switch self {
        case .unknownCommand(let word, let root, let suggestions):
            "unknown command \(GoText.quote(word)) for \(GoText.quote(root))"
                + (suggestions.isEmpty
                    ? "" : "\n\nDid you mean this?\n" + suggestions.map { "\t\($0)\n" }.joined())
        case .badFlag(let message, _, _): message
        }
    }
}

package enum CommandLineResult: Sendable {
    case run(ParsedCommand)
    /// Asked for, or a group without a sub-command: help on stdout, exit 0.
    case help(path: [String], command: Command)
    case unknownHelpTopic([String])
}

/// Parses one command line against a tree. `root.options` are the global ones.
package struct CommandLineParser: Sendable {
    package var root: Command
    package var prefixMatching: Bool

    package init(_ root: Command, prefixMatching: Bool) {
        self.root = root
        self.prefixMatching = prefixMatching
    }

    package func parse(_ words: [String]) throws(CommandLineFailure) -> CommandLineResult {
        var path: [String] = []
        var command = root
        var rest = words
        while let (index, word) = firstWord(rest, for: command, at: path), let next = child(of: command, named: word) {
            rest.remove(at: index)
            path.append(next.name)
            command = next
        }
        if path == ["help"], !rest.contains("--help"), !rest.contains("-h") { return help(about: rest) }
        if path.isEmpty, let (_, word) = firstWord(rest, for: root, at: []) {
            throw .unknownCommand(word, root: root.name, suggestions: suggestions(for: word))
        }
        var flags = FlagReader(options: options(of: command, at: path))
        do {
            try flags.read(rest)
        } catch {
            throw .badFlag(message: error.message, path: path, command: command)
        }
        if flags.values.bool("help") || !command.runnable { return .help(path: path, command: command) }
        let missing = command.options.filter { $0.required && !flags.values.isSet($0.name) }
        if !missing.isEmpty {
            let names = missing.map(\.name).sorted().map(GoText.quote).joined(separator: ", ")
            throw .badFlag(message: "required flag(s) \(names) not set", path: path, command: command)
        }
        return .run(
            ParsedCommand(
                path: path, command: command, values: flags.values, words: flags.words,
                wordsBeforeDashes: flags.wordsBeforeDashes))
    }

    /// Everything that may be set on a command, its own options first.
    private func options(of command: Command, at path: [String]) -> [Option] {
        let own = (path.isEmpty ? [] : command.options) + command.sharedOptions
        let help = Option("help", .bool, shorthand: "h", "help for \(command.name)")
        let inherited = root.inheritedOptions(along: path)
        return own + inherited.filter { option in !own.contains { $0.name == option.name } } + [help]
    }

    private func help(about words: [String]) -> CommandLineResult {
        var path: [String] = []
        var command = root
        for word in words where !word.hasPrefix("-") {
            guard let next = child(of: command, named: word) else {
                if path.isEmpty { return .unknownHelpTopic(words) }
                break
            }
            path.append(next.name)
            command = next
        }
        return .help(path: path, command: command)
    }

    /// The first word that is neither a flag nor the value of one. A flag nobody knows is taken to have a value.
    private func firstWord(_ words: [String], for command: Command, at path: [String]) -> (Int, String)? {
        let known = options(of: command, at: path)
        var i = 0
        while i < words.count {
            let word = words[i]
            if word == "--" { return nil }
            if word.hasPrefix("--") {
                let name = word.dropFirst(2)
                let takesNext = !word.contains("=") && known.first { $0.name == name }?.isBool != true
                i += takesNext ? 2 : 1
            } else if word.hasPrefix("-") {
                let takesNext =
                    word.count == 2 && known.first { $0.shorthand == word.last }?.isBool != true
                i += takesNext ? 2 : 1
            } else if word.isEmpty {
                i += 1
            } else {
                return (i, word)
            }
        }
        return nil
    }

    private func child(of command: Command, named word: String) -> Command? {
        let exact = command.commands.first { $0.name == word || $0.aliases.contains(word) }
        if exact != nil || !prefixMatching { return exact }
        let similar = command.commands.filter {
            !$0.hidden && ($0.name.hasPrefix(word) || $0.aliases.contains { $0.hasPrefix(word) })
        }
        return similar.count == 1 ? similar[0] : nil
    }

    private func suggestions(for word: String) -> [String] {
        Suggestions.nearest(to: word, among: root.commands.filter { !$0.hidden }.map(\.name))
    }
}

package enum Suggestions {
    /// Names within two edits of what was typed, or that start with it, in the order given.
    package static func nearest(to word: String, among names: [String]) -> [String] {
        let typed = word.lowercased()
        return names.filter { name in
            let candidate = name.lowercased()
            return candidate.hasPrefix(typed) || distance(typed, candidate) <= 2
        }
    }

    /// Insertions, deletions and replacements needed to turn one into the other.
    package static func distance(_ a: String, _ b: String) -> Int {
        let a = Array(a.utf8)
        let b = Array(b.utf8)
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, y) in b.enumerated() {
                let above = row[j + 1]
                row[j + 1] = x == y ? diagonal : 1 + min(diagonal, above, row[j])
                diagonal = above
            }
        }
        return row[b.count]
    }
}
