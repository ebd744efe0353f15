// What a command line, the environment and a file left behind: a value per option, and where it came from.

import Foundations

package struct OptionValues: Sendable {
    package enum Source: Sendable, Equatable { case defaults, environment, flag, file }

    package private(set) var options: [Option]
    private var values: [String: OptionValue] = [:]
    private var sources: [String: Source] = [:]

    package init(_ options: [Option]) { self.options = options }

    package func option(_ name: String) -> Option? { options.first { $0.name == name } }

    /// Parses and stores. A list grows when the same source speaks twice.
    package mutating func set(_ option: Option, _ text: String, from source: Source) throws(ValueError) {
        let value = try option.parse(text)
        if case .list(let more) = value, case .list(let earlier)? = values[option.name], sources[option.name] == source {
            values[option.name] = .list(earlier + more)
        } else {
            values[option.name] = value
        }
        sources[option.name] = source
    }

    package mutating func set(_ name: String, _ value: OptionValue, from source: Source) {
        values[name] = value
        sources[name] = source
    }

    package func source(_ name: String) -> Source { sources[name] ?? .defaults }
    package func isSet(_ name: String) -> Bool { sources[name] != nil }

    package subscript(_ name: String) -> OptionValue {
        if let value = values[name] { return value }
        guard let option = option(name) else { unreachable("no option is called \(name)") }
        return option.defaultValue
    }

    package func bool(_ name: String) -> Bool {
        if case .bool(let value) = self[name] { value } else { unreachable("\(name) is no boolean") }
    }
    package func text(_ name: String) -> String {
        if case .text(let value) = self[name] { value } else { unreachable("\(name) is no text") }
    }
    package func list(_ name: String) -> [String] {
        if case .list(let value) = self[name] { value } else { unreachable("\(name) is no list") }
    }
    /// Nanoseconds.
    package func duration(_ name: String) -> Int64 {
        if case .duration(let value) = self[name] { value } else { unreachable("\(name) is no duration") }
    }
    package func float(_ name: String) -> Double {
        if case .float(let value) = self[name] { value } else { unreachable("\(name) is no number") }
    }
    package func integer(_ name: String) -> Int64 {
        switch self[name] {
        case .integer(let value): value
        case .unsigned(let value): Int64(clamping: value)
        default: unreachable("\(name) is no integer")
        }
    }
    package func unsigned(_ name: String) -> UInt64 {
        if case .unsigned(let value) = self[name] { value } else { unreachable("\(name) is no unsigned integer") }
    }

    /// The value as text, the way Go prints it.
    package func shown(_ name: String) -> String {
        switch self[name] {
        case .bool(let value): value ? "true" : "false"
        case .text(let value): value
        case .integer(let value): String(value)
        case .unsigned(let value): String(value)
        case .float(let value): value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
        case .duration(let value): GoDuration.format(value)
        case .list(let value): "[" + value.joined(separator: ",") + "]"
        }
    }
}
