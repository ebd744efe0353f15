// `covey ctl`, also called as `etcdctl`: from words to an exit code.

import Flags
import Foundations
import Linux

package enum CtlProgram {
    /// For manual pages and completion.
    package static var commands: Command { CtlCommandTree.root(named: "covey ctl", asEtcdctl: false) }

    /// `calledAs`: "etcdctl" or "covey ctl"; the name decides texts, not behaviour.
    package static func run(arguments: [String], calledAs name: String) -> Int32 {
        let isEtcdctl = name == "etcdctl"
        var environment = EnvironmentVariables(lines: ChildProcess.environment)
        var variables: [String: String] = [:]
        for entry in environment.entries { variables[entry.name] = entry.value }
        let console = Console(isEtcdctl: isEtcdctl, environment: variables)
        if let refusal = refusedVersion(environment.value("ETCDCTL_API")) {
            console.errorLine(refusal)
            return 1
        }
        environment.remove("ETCDCTL_API")
        let root = CtlCommandTree.root(named: name, asEtcdctl: isEtcdctl)
        let usage = GroupedUsage(root: root, version: CtlVersion.shown(name), apiVersion: ProgramVersion.api)
        do throws(CommandLineFailure) {
            switch try CommandLineParser(root, prefixMatching: true).parse(ProcessWords.exact(arguments)) {
            case .help(let path, let command): console.out(usage.text(path, command))
            case .unknownHelpTopic(let words):
                console.errorLine("Unknown help topic [\(words.map { "`\($0)`" }.joined(separator: " "))]")
                console.out(usage.text([], root))
            case .run(let parsed):
                return perform(parsed, root: root, environment, console)
            }
            return 0
        } catch {
            explain(error, usage, console)
            return 1
        }
    }

    /// There is only one API here; scripts may still name it.
    private static func refusedVersion(_ version: String?) -> String? {
        switch version {
        case nil, "3": nil
        case let other?: "unsupported API version: \(other)"
        }
    }

    private static func explain(_ failure: CommandLineFailure, _ usage: GroupedUsage, _ console: Console) {
        switch failure {
        case .unknownCommand:
            console.errorLine("Error: \(failure)")
            console.errorLine("Run '\(usage.root.name) --help' for usage.")
            console.errorLine(console.isEtcdctl ? "Error: \(failure)" : "")
        case .badFlag(let message, let path, let command):
            console.errorLine("Error: \(message)")
            guard console.isEtcdctl else {
                let full = ([usage.root.name] + path).joined(separator: " ")
                return console.errorLine("Run '\(full) --help' for usage.")
            }
            console.out(usage.text(path, command))
            console.errorLine("\nError: \(message)")
        }
    }

    private static func perform(
        _ parsed: ParsedCommand, root: Command, _ environment: EnvironmentVariables, _ console: Console
    ) -> Int32 {
        // Before any other thread is: they inherit what is blocked.
        let signals = ["lock", "elect"].contains(parsed.name) ? StopSignals() : nil
        let invocation = Invocation(
            parsed: parsed, root: root, environment: environment, console: console, signals: signals)
        let done = BlockingQueue<Int32>()
        Task.detached {
            do throws(CtlFailure) {
                try await CtlCommands.run(invocation)
                done.push(0)
            } catch {
                console.show(error)
                done.push(error.code)
            }
        }
        // Without the C library's exit handlers: OpenSSL's would take away what the client's thread still uses. Nothing
        // waits to be written, output is not buffered.
        Exit.now(done.takeAll()?.first ?? 1)
    }
}

enum CtlVersion {
    /// What `help` and `version` call us: under etcdctl's name the level of etcd we have.
    static func shown(_ name: String) -> String { name == "etcdctl" ? ProgramVersion.etcd : ProgramVersion.covey }
}
