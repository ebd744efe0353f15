// From the words and the environment of a process to a configuration, or to what to print and with which code to end.
// Reads one file at most, through a closure; everything else is pure.

import Flags
import Telemetry

package enum ServerCommandLine {
    /// Something to say once there is a log.
    package struct Notice: Sendable {
        package var level: LogLevel
        package var message: String
        package var fields: [(name: String, value: LogValue)]
    }

    package enum Outcome: Sendable {
        /// On stdout, exit 0.
        case print(String)
        /// On stderr, exit 2.
        case usageError(String)
        /// On stderr as it is, exit 1.
        case plainError(String)
        /// Logged, exit 1. The last notice says why.
        case refused([Notice])
        case start(ServerConfiguration, OptionValues, [Notice])
        /// `gateway` or `grpc-proxy`, with the words after it.
        case other(String, [String])
    }

    package static func read(
        _ words: [String], program: String, environment: EnvironmentVariables,
        file: (String) -> Result<[UInt8], FileUnreadable>
    ) -> Outcome {
        if let first = words.first, first == "gateway" || first == "grpc-proxy" {
            return .other(first, Array(words.dropFirst()))
        }
        var notices = [Notice(level: .info, message: "Running: ", fields: [("args", .texts([program] + words))])]
        var values = OptionValues(ServerOptions.all)
        let rest: [String]
        do throws(GoFlags.Failure) {
            rest = try GoFlags.parse(words, into: &values)
        } catch {
            if error == .help { return .print(help(program)) }
            return .usageError(error.description + "\n" + usage(program))
        }
        if let stray = rest.first { return refused("'\(stray)' is not a valid flag", &notices) }
        if values.bool("version") { return .print(versionText) }
        do throws(Stop) {
            let path = try configurationPath(values, environment)
            if path.isEmpty {
                values = try withEnvironment(values, environment, &notices)
            } else {
                values = try fromFile(path, file, &notices)
            }
            notices += remarks(values)
            let configuration: ServerConfiguration
            do throws(ConfigurationError) {
                configuration = try ServerConfiguration(values)
                try configuration.verify(values)
            } catch { throw .refused(error.description) }
            return .start(configuration, values, notices)
        } catch {
            switch error {
            case .refused(let reason): return refused(reason, &notices)
            case .plain(let text): return .plainError(text)
            case .fatal(let message, let variable):
                notices.append(
                    Notice(level: .fatal, message: message, fields: [("environment-variable", .text(variable))]))
                return .refused(notices)
            }
        }
    }

    /// Why a file could not be read, in the words of the system: `no such file or directory`.
    package struct FileUnreadable: Error, Sendable {
        package var reason: String
        package init(_ reason: String) { self.reason = reason }
    }

    private enum Stop: Error {
        case refused(String)
        case plain(String)
        case fatal(message: String, variable: String)
    }

    private static func refused(_ reason: String, _ notices: inout [Notice]) -> Outcome {
        notices.append(Notice(level: .warn, message: "failed to verify flags", fields: [("error", .text(reason))]))
        if reason == ConfigurationError.advertiseClientURLs.description {
            notices.append(
                Notice(level: .warn, message: "advertise client URLs are not set", fields: [("error", .text(reason))]))
        }
        return .refused(notices)
    }

    // MARK: Sources

    private static let prefixes = ["ETCD", "COVEY"]

    private static func configurationPath(
        _ values: OptionValues, _ environment: EnvironmentVariables
    ) throws(Stop) -> String {
        if !values.text("config-file").isEmpty { return values.text("config-file") }
        for prefix in prefixes {
            if let path = environment.value(prefix + "_CONFIG_FILE") { return path }
        }
        return ""
    }

    private static func withEnvironment(
        _ given: OptionValues, _ environment: EnvironmentVariables, _ notices: inout [Notice]
    ) throws(Stop) -> OptionValues {
        var values = given
        var environment = environment
        for name in ["ETCD_VERSION", "COVEY_VERSION"] {
            guard let value = environment.value(name) else { continue }
            notices.append(
                Notice(
                    level: .warn, message: "cannot set special environment variable",
                    fields: [("key", .text(name)), ("value", .text(value))]))
            environment.remove(name)
        }
        for name in ["ETCD_UNSUPPORTED_ARCH", "ETCD_VERIFY"] { environment.remove(name) }
        let applied: [EnvironmentVariables.Notice]
        do throws(EnvironmentVariables.Failure) {
            applied = try environment.apply(prefixes: prefixes, to: &values, longReasons: false)
        } catch {
            if case .shadowed(let variable) = error { throw .fatal(message: error.description, variable: variable) }
            throw .refused(error.description)
        }
        for notice in applied {
            switch notice {
            case .used(let name, let value):
                let isSecret = name.hasSuffix("_PASSWORD") || name.hasSuffix("_USER")
                notices.append(
                    Notice(
                        level: .info, message: "recognized and used environment variable",
                        fields: [
                            ("variable-name", .text(name)), ("variable-value", isSecret ? .redacted : .text(value)),
                        ]))
            case .unrecognized(let name, let value):
                notices.append(
                    Notice(
                        level: .warn, message: "unrecognized environment variable",
                        fields: [("environment-variable", .text("\(name)=\(value)"))]))
            }
        }
        return values
    }

    private static func fromFile(
        _ path: String, _ read: (String) -> Result<[UInt8], FileUnreadable>, _ notices: inout [Notice]
    ) throws(Stop) -> OptionValues {
        let bytes: [UInt8]
        switch read(path) {
        case .success(let found): bytes = found
        case .failure(let error): throw .refused("open \(path): \(error.reason)")
        }
        do throws(ConfigurationFile.Failure) {
            let (values, unknown) = try ConfigurationFile.load(bytes)
            notices.insert(
                Notice(
                    level: .info,
                    message:
                        "loaded server configuration, other configuration command line flags and environment variables "
                        + "will be ignored if provided", fields: [("path", .text(path))]), at: 0)
            if !unknown.isEmpty {
                notices.append(
                    Notice(
                        level: .warn, message: "configuration file has keys that no version knows; they are ignored",
                        fields: [("path", .text(path)), ("keys", .texts(unknown))]))
            }
            return values
        } catch {
            switch error {
            case .logged(let text): throw .refused(text)
            case .plain(let text): throw .plain(text)
            }
        }
    }

    /// What a person should know about the choices made, before anything runs.
    private static func remarks(_ values: OptionValues) -> [Notice] {
        var notices: [Notice] = []
        func warn(_ message: String, _ fields: [(name: String, value: LogValue)]) {
            notices.append(Notice(level: .warn, message: message, fields: fields))
        }
        if values.text("data-dir").isEmpty {
            warn("'data-dir' was empty; using default", [("data-dir", .text(values.text("name") + ".etcd"))])
        }
        for option in values.options where values.isSet(option.name) {
            if let new = ServerOptions.renamed.first(where: { $0.old == option.name })?.new {
                warn("flag has a newer spelling", [("flag", .text(option.name)), ("use", .text(new))])
            }
            if let gate = FeatureGates.known.first(where: { $0.flag == option.name }) {
                warn(
                    "flag is replaced by a feature gate",
                    [("flag", .text(option.name)), ("use", .text("--feature-gates=\(gate.name)=true"))])
            }
            let isChanged = values[option.name] != option.defaultValue
            if isChanged, let note = ServerOptions.notes[option.name] {
                warn("flag is accepted but has no effect", [("flag", .text(option.name)), ("reason", .text(note))])
            }
            if ServerOptions.ignored.contains(option.name) {
                warn(
                    "flag is accepted but has no effect",
                    [("flag", .text(option.name)), ("reason", "it belongs to releases before 3.4")])
            }
        }
        if values.integer("quota-backend-bytes") > 8 << 30 {
            warn(
                "quota exceeds the recommended maximum",
                [
                    ("quota-size-bytes", .integer(values.integer("quota-backend-bytes"))),
                    ("quota-maximum-size-bytes", .integer(8 << 30)),
                ])
        }
        if values.unsigned("max-request-bytes") > 10 << 20 {
            warn(
                "exceeded recommended request limit",
                [
                    ("max-request-bytes", .integer(values.unsigned("max-request-bytes"))),
                    ("recommended-request-bytes", .integer(10 << 20)),
                ])
        }
        for name in ["raft-read-timeout", "raft-write-timeout"] where values.duration(name) < 5 * GoDuration.second {
            notices.append(
                Notice(
                    level: .info, message: "\(name) raised to the smallest safe value",
                    fields: [("given", .duration(values.duration(name))), ("used", .duration(5 * GoDuration.second))]))
        }
        return notices
    }

    // MARK: Texts

    package static let versionText = """
        etcd Version: \(ProgramVersion.etcd)
        Git SHA: covey-\(ProgramVersion.covey)
        Go Version: none (Covey is written in Swift)
        Go OS/Arch: linux/\(ProgramVersion.architecture)

        """

    private static func usage(_ program: String) -> String {
        """
        Usage:

          \(program) [flags]
            Start a server.

          \(program) --version
            Show the version.

          \(program) -h | --help
            Show what every flag means.

          \(program) --config-file FILE
            Read the configuration from a file; other flags and environment variables are then ignored.

        """
    }

    package static func help(_ program: String) -> String {
        FlagGroupsUsage(heading: usage(program), options: ServerOptions.all).text
    }

    static func manual(_ program: String) -> String {
        ManPage(
            program: program, section: 8, summary: "serve etcd's API",
            description: "Starts a member of a cluster: a key-value store that etcd's clients and tools work with.",
            sections: [
                (
                    "EXIT STATUS",
                    "0 after help, version or a stop by itself; 1 when the configuration or the start fails; "
                        + "2 for a flag that cannot be read. A signal ends the process by that signal, after an orderly stop."
                )
            ], environmentPrefix: "ETCD"
        ).text(ServerOptions.all)
    }
}
