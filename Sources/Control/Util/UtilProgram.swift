// `covey util`, also called as `etcdutl`: from words to an exit code. Everything works on files; no server is asked.

import Flags
import Foundations
import Linux

package enum UtilProgram {
    /// For manual pages and completion.
    package static var commands: Command { UtilCommandTree.root(named: "covey util", asEtcdutl: false) }

    /// `calledAs`: "etcdutl" or "covey util"; the name decides texts, not behaviour.
    package static func run(arguments: [String], calledAs name: String) -> Int32 {
        let isEtcdutl = name == "etcdutl"
        var variables: [String: String] = [:]
        for entry in EnvironmentVariables(lines: ChildProcess.environment).entries { variables[entry.name] = entry.value }
        let console = UtilConsole(console: Console(isEtcdctl: isEtcdutl, environment: variables))
        let root = UtilCommandTree.root(named: name, asEtcdutl: isEtcdutl)
        let usage = PlainUsage(root: root)
        do throws(CommandLineFailure) {
            switch try CommandLineParser(root, prefixMatching: true).parse(ProcessWords.exact(arguments)) {
            case .help(let path, let command):
                console.out(isEtcdutl ? usage.text(path, command) : usage.help(path, command))
            case .unknownHelpTopic(let words):
                console.errorLine("Unknown help topic [\(words.map { "`\($0)`" }.joined(separator: " "))]")
                // cobra has not added its help flag yet when it says so.
                let lines = usage.text([], root).split(separator: "\n", omittingEmptySubsequences: false)
                console.errorLine(lines.dropLast().filter { !$0.contains("-h, --help") }.joined(separator: "\n"))
            case .run(let parsed):
                do throws(CtlFailure) { try perform(parsed, root, console) } catch {
                    console.console.show(error)
                    return error.code
                }
            }
            return 0
        } catch {
            explain(error, usage, console)
            return 1
        }
    }

    private static func perform(_ parsed: ParsedCommand, _ root: Command, _ console: UtilConsole) throws(CtlFailure) {
        let invocation = UtilInvocation(parsed: parsed, root: root, console: console)
        switch parsed.name {
        case "version": version(invocation)
        case "completion": try completion(invocation)
        case "snapshot status": try StatusCommand.run(invocation)
        case "snapshot restore": try RestoreCommand.run(invocation)
        case "import": try ImportCommand.run(invocation)
        case "export": try ExportCommand.run(invocation)
        case "defrag": try DefragCommand.run(invocation)
        case "verify": try VerifyCommand.run(invocation)
        case "migrate": try LegacyCommands.migrate(invocation)
        case "backup": try LegacyCommands.backup(invocation)
        case "hashkv": try HashKVCommand.run(invocation)
        default: unreachable("no command is called \(parsed.name)")
        }
    }

    private static func version(_ invocation: UtilInvocation) {
        let name = invocation.root.name
        invocation.console.line("\(name) version: \(CtlVersion.shown(name == "etcdutl" ? "etcdctl" : name))")
        invocation.console.line("API version: \(ProgramVersion.api)")
    }

    private static func completion(_ invocation: UtilInvocation) throws(CtlFailure) {
        let word = try invocation.onlyWord("completion needs one argument: bash, zsh or fish")
        guard let shell = Shell(rawValue: word) else {
            throw .arguments("completion knows bash, zsh and fish, not \(GoText.quote(word))")
        }
        invocation.console.out(Completion(root: invocation.root).script(for: shell))
    }

    /// As cobra does it: the error, the usage, the error again, all on standard error.
    private static func explain(_ failure: CommandLineFailure, _ usage: PlainUsage, _ console: UtilConsole) {
        console.errorLine("Error: \(failure)")
        switch failure {
        case .unknownCommand:
            console.errorLine("Run '\(usage.root.name) --help' for usage.")
            if console.isEtcdutl { console.errorLine("Error: \(failure)") }
        case .badFlag(_, let path, let command):
            guard console.isEtcdutl else {
                let full = ([usage.root.name] + path).joined(separator: " ")
                return console.errorLine("Run '\(full) --help' for usage.")
            }
            console.errorLine(usage.text(path, command))
            console.errorLine("Error: \(failure)")
        }
    }
}

/// One command line on its way.
struct UtilInvocation {
    let parsed: ParsedCommand
    let root: Command
    let console: UtilConsole

    init(parsed: ParsedCommand, root: Command, console: UtilConsole) {
        self.parsed = parsed
        self.root = root
        self.console = console
    }

    /// The same command of `covey ctl`, which etcdctl had before there was an etcdutl.
    init(_ invocation: Invocation) {
        self.init(parsed: invocation.parsed, root: invocation.root, console: UtilConsole(console: invocation.console))
    }

    var words: [String] { parsed.words }
    var values: OptionValues { parsed.values }

    /// The one word a command must have.
    func onlyWord(_ refusal: String) throws(CtlFailure) -> String {
        guard words.count == 1 else { throw .arguments(refusal) }
        return words[0]
    }

    func style() throws(CtlFailure) -> OutputStyle {
        guard let format = OutputFormat(rawValue: values.text("write-out")) else {
            throw CtlFailure(.badFeature, "unsupported output format")
        }
        return OutputStyle(format)
    }

    /// A path; nil when none is given.
    func path(_ option: String) -> String? {
        let text = values.text(option)
        return text.isEmpty ? nil : text
    }
}
