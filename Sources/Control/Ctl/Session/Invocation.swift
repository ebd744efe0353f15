// One command line on its way: what was asked, by which name, in which environment.

import Flags
import Foundations
import Linux
import Wire

struct Invocation: Sendable {
    var parsed: ParsedCommand
    let root: Command
    let environment: EnvironmentVariables
    let console: Console
    let signals: StopSignals?

    var words: [String] { parsed.words }
    var values: OptionValues { parsed.values }

    /// The one word a command must have.
    func onlyWord(_ refusal: String) throws(CtlFailure) -> String {
        guard words.count == 1 else { throw .arguments(refusal) }
        return words[0]
    }

    func noWords(_ refusal: String) throws(CtlFailure) {
        guard words.isEmpty else { throw .arguments(refusal) }
    }

    /// Sets what the environment says about global options. A variable beside the flag it stands for is refused.
    mutating func readEnvironment() throws(CtlFailure) {
        var globals = root.inheritedOptions(along: parsed.path)
        if parsed.path == ["watch"] { globals += [Option("watch-key"), Option("watch-range-end")] }
        var fromEnvironment = OptionValues(globals)
        for option in globals where values.isSet(option.name) {
            fromEnvironment.set(option.name, values[option.name], from: .flag)
        }
        let notices: [EnvironmentVariables.Notice]
        do {
            notices = try environment.apply(prefixes: ["ETCDCTL"], to: &fromEnvironment, longReasons: true)
        } catch {
            guard console.isEtcdctl, case .shadowed(let variable) = error else {
                throw CtlFailure(.error, shown(error))
            }
            console.logLine("fatal", error.description, [("environment-variable", variable)])
            throw CtlFailure(code: CtlFailure.Exit.error.rawValue)
        }
        for option in globals where values.option(option.name) != nil && fromEnvironment.isSet(option.name) {
            parsed.values.set(option.name, fromEnvironment[option.name], from: fromEnvironment.source(option.name))
        }
        for case .unrecognized(let name, let value) in notices {
            console.warn("unrecognized environment variable", [("environment-variable", "\(name)=\(value)")])
        }
        if values.bool("debug") { showSettings(globals) }
    }

    private func shown(_ failure: EnvironmentVariables.Failure) -> String {
        guard case .shadowed(let variable) = failure else { return failure.description }
        return "both \(variable) and its flag are given; unset the variable or leave out the flag"
    }

    private func showSettings(_ globals: [Option]) {
        let shown = globals.filter { values.option($0.name) != nil && !$0.hidden && $0.name != "cluster" }
        for option in shown.sorted(by: { $0.name < $1.name }) {
            let isSecret = option.name == "password" && !values.text("password").isEmpty
            console.errorLine("\(option.variable(prefix: "ETCDCTL"))=\(isSecret ? "******" : values.shown(option.name))")
        }
    }

    func duration(_ name: String) -> Duration { .nanoseconds(values.duration(name)) }

    /// The format asked for; known before anything is asked of a server.
    func style() throws(CtlFailure) -> OutputStyle {
        guard let format = OutputFormat(rawValue: values.text("write-out")) else {
            throw CtlFailure(.badFeature, "unsupported output format")
        }
        return OutputStyle(format, hex: values.bool("hex"))
    }
}

extension Option {
    /// A variable that is known and says nothing about an option.
    fileprivate init(_ name: String) { self.init(name, .text, "", hidden: true) }
}
