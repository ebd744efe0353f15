// `gateway start` and `grpc-proxy start`: words of a command line that begin with the name of a program that stands in front of
// members.

import Flags
import Foundations
import Glibc

enum FrontCommand {
    /// `words` begin with `name`; `start` gets the values of its flags and the words.
    static func run(
        _ name: String, _ start: Command, _ words: [String], calledAs program: String,
        _ serve: (OptionValues, [String]) -> Int32
    ) -> Int32 {
        var root = Command(program, "", "", commands: [Command(name, "", "\(name) related command", commands: [start])])
        root.runnable = false
        let usage = PlainUsage(root: root)
        do throws(CommandLineFailure) {
            switch try CommandLineParser(root, prefixMatching: false).parse(words) {
            case .help(let path, let command):
                Process.write(usage.help(path, command), to: STDOUT_FILENO)
                return 0
            case .unknownHelpTopic(let topic):
                ServerProgram.complain("Unknown help topic \(topic)")
                return 0
            case .run(let parsed):
                guard let stray = parsed.words.first else { return serve(parsed.values, words) }
                ServerProgram.complain("Error: \(GoText.quote(stray)) is no flag of \(parsed.name)")
                return 1
            }
        } catch {
            ServerProgram.complain("Error: \(error)")
            if case .badFlag(_, let path, let command) = error { ServerProgram.complain(usage.text(path, command)) }
            return 1
        }
    }
}
