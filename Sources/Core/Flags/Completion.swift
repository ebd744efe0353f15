// Shell completion, written out in full from the command tree: no program is started while a person types.

package enum Shell: String, Sendable, CaseIterable { case bash, zsh, fish }

package struct Completion: Sendable {
    package var root: Command

    package init(root: Command) { self.root = root }

    package func script(for shell: Shell) -> String {
        switch shell {
        case .bash: bash
        case .zsh: "#compdef \(program)\nautoload -U +X bashcompinit && bashcompinit\n\n" + bash
        case .fish: fish
        }
    }

    private var program: String { root.name.split(separator: " ").first.map(String.init) ?? root.name }
    /// Words before the first sub-command: `ctl` in `covey ctl`.
    private var lead: [String] { root.name.split(separator: " ").dropFirst().map(String.init) }
    private var function: String { "_" + String(root.name.map { $0.isLetter || $0.isNumber ? $0 : "_" }) }

    /// Every command with its path, groups included, the root first.
    private func all(_ command: Command, _ path: [String]) -> [(path: [String], command: Command)] {
        [(path, command)] + command.listed.flatMap { all($0, path + [$0.name]) }
    }

    private func flagWords(_ command: Command, at path: [String]) -> [String] {
        let options = (path.isEmpty ? [] : command.options) + command.sharedOptions + root.inheritedOptions(along: path)
        return options.filter { !$0.hidden }.flatMap { option in
            ["--\(option.name)"] + (option.shorthand.map { ["-\($0)"] } ?? [])
        } + ["--help"]
    }

    private var bash: String {
        let valued = all(root, []).flatMap { $0.command.options + $0.command.sharedOptions }.filter { !$0.isBool }
        var names: [String] = []
        for option in valued {
            for word in ["--\(option.name)"] + (option.shorthand.map { ["-\($0)"] } ?? []) where !names.contains(word) {
                names.append(word)
            }
        }
        let tree = all(root, []).map { path, command in
            let words = command.listed.map(\.name) + flagWords(command, at: path)
            return "        '\((lead + path).joined(separator: " "))') words='\(words.joined(separator: " "))' ;;\n"
        }.joined()
        var chosen: [(name: String, line: String)] = []
        for option in valued where !option.choices.isEmpty && !chosen.contains(where: { $0.name == option.name }) {
            let pattern = "--\(option.name)" + (option.shorthand.map { "|-\($0)" } ?? "")
            let choices = option.choices.joined(separator: " ")
            chosen.append(
                (option.name, "        \(pattern)) COMPREPLY=($(compgen -W '\(choices)' -- \"$current\")); return ;;\n")
            )
        }
        return """
            \(function)() {
                local current previous path word words skip
                current="${COMP_WORDS[COMP_CWORD]}"
                previous="${COMP_WORDS[COMP_CWORD-1]}"
                path=''
                skip=''
                for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                    if [ -n "$skip" ]; then skip=''; continue; fi
                    case "$word" in
                        \(names.joined(separator: "|"))) skip=1 ;;
                        -*) ;;
                        *) path="${path:+$path }$word" ;;
                    esac
                done
                case "$previous" in
            \(chosen.map(\.line).joined())        \(names.joined(separator: "|"))) COMPREPLY=($(compgen -f -- "$current")); return ;;
                esac
                case "$path" in
            \(tree)        *) words='' ;;
                esac
                COMPREPLY=($(compgen -W "$words" -- "$current"))
            }
            complete -o default -F \(function) \(program)

            """
    }

    private var fish: String {
        var out = ""
        for (path, command) in all(root, []) {
            let condition = fishCondition(lead + path, command)
            for child in command.listed {
                out += "complete -c \(program) -f -n '\(condition)' -a \(child.name) -d \(fishQuoted(child.summary))\n"
            }
            for option in command.options + command.sharedOptions where !option.hidden {
                let scope = path.isEmpty ? "" : " -n '\(condition)'"
                let short = option.shorthand.map { " -s \($0)" } ?? ""
                let value = option.isBool ? "" : " -r"
                let choices = option.choices.isEmpty ? "" : " -f -a '\(option.choices.joined(separator: " "))'"
                out += "complete -c \(program)\(scope)\(short) -l \(option.name)\(value)\(choices)"
                out += " -d \(fishQuoted(option.summary))\n"
            }
        }
        return out
    }

    private func fishCondition(_ path: [String], _ command: Command) -> String {
        var parts = path.map { "__fish_seen_subcommand_from \($0)" }
        let children = command.listed.map(\.name)
        if !children.isEmpty { parts.append("not __fish_seen_subcommand_from \(children.joined(separator: " "))") }
        return parts.isEmpty ? "true" : parts.joined(separator: "; and ")
    }

    private func fishQuoted(_ text: String) -> String {
        "'" + text.map { $0 == "'" || $0 == "\\" ? "\\\($0)" : $0 == "\n" ? " " : String($0) }.joined() + "'"
    }
}
