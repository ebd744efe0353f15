// Options from the environment: every option has a variable `PREFIX_NAME`. A variable that repeats a flag of the command
// line is refused even when both agree: nobody can tell which of the two a person believes in.

package struct EnvironmentVariables: Sendable {
    /// What happened, for the log or for stderr; texts are etcd's.
    package enum Notice: Equatable, Sendable {
        case used(name: String, value: String)
        case unrecognized(name: String, value: String)
    }

    package enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
        case shadowed(variable: String)
        case badValue(variable: String, value: String, reason: String)

        package var description: String {
            switch self {
            case .shadowed:
                // The second closing bracket is in the text that people's tools match.
                "conflicting environment variable is shadowed by corresponding command-line flag "
                    + "(either unset environment variable or disable flag))"
            case .badValue(let variable, let value, let reason):
                "invalid value \(GoText.quote(value)) for \(variable): \(reason)"
            }
        }
    }

    /// `NAME=value` in the order of the process's environment.
    package var entries: [(name: String, value: String)]

    package init(_ entries: [(name: String, value: String)]) { self.entries = entries }

    package init(lines: [String]) {
        entries = lines.compactMap { line in
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
        }
    }

    /// An empty value counts as unset.
    package func value(_ name: String) -> String? {
        entries.last { $0.name == name && !$0.value.isEmpty }?.value
    }

    package mutating func remove(_ name: String) { entries.removeAll { $0.name == name } }

    /// Fills the options that the command line left open. Several prefixes: the first one that is set wins, and setting two
    /// is a conflict as with a flag.
    package func apply(
        prefixes: [String], to values: inout OptionValues, longReasons: Bool
    ) throws(Failure) -> [Notice] {
        var notices: [Notice] = []
        var known: Set<String> = []
        for option in values.options {
            var taken = values.source(option.name) == .flag
            for prefix in prefixes {
                let variable = option.variable(prefix: prefix)
                known.insert(variable)
                guard let value = value(variable) else { continue }
                if taken { throw .shadowed(variable: variable) }
                do {
                    try values.set(option, value, from: .environment)
                } catch {
                    throw .badValue(variable: variable, value: value, reason: longReasons ? error.long : error.short)
                }
                taken = true
                notices.append(.used(name: variable, value: value))
            }
        }
        for entry in entries where prefixes.contains(where: { entry.name.hasPrefix($0 + "_") }) {
            if !known.contains(entry.name) { notices.append(.unrecognized(name: entry.name, value: entry.value)) }
        }
        return notices
    }
}
