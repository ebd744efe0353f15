// The server's dialect: Go's `flag` package. One or two dashes are the same; a boolean never takes the next word; the
// first word that is no flag ends the flags.
//
//     -name a --data-dir=/d --pre-vote=false -- rest

package enum GoFlags {
    package enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
        /// -h, --help.
        case help
        case badSyntax(String)
        case unknown(String)
        case missingValue(String)
        case badBoolean(name: String, value: String, reason: String)
        case badValue(name: String, value: String, reason: String)

        package var description: String {
            switch self {
            case .help: "flag: help requested"
            case .badSyntax(let word): "bad flag syntax: \(word)"
            case .unknown(let name): "flag provided but not defined: -\(name)"
            case .missingValue(let name): "flag needs an argument: -\(name)"
            case .badBoolean(let name, let value, let reason):
                "invalid boolean value \(GoText.quote(value)) for -\(name): \(reason)"
            case .badValue(let name, let value, let reason):
                "invalid value \(GoText.quote(value)) for flag -\(name): \(reason)"
            }
        }
    }

    /// Reads `words` into values; returns the words after the flags.
    package static func parse(_ words: [String], into values: inout OptionValues) throws(Failure) -> [String] {
        var byName: [String: Option] = [:]
        for option in values.options { byName[option.name] = option }
        var i = 0
        while i < words.count {
            let word = words[i]
            guard word.utf8.count >= 2, word.first == "-" else { break }
            if word == "--" { return Array(words[(i + 1)...]) }
            let body = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
            guard let first = body.first, first != "-", first != "=" else { throw .badSyntax(word) }
            i += 1
            let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0])
            guard let option = byName[name] else {
                if name == "help" || name == "h" { throw .help }
                throw .unknown(name)
            }
            if parts.count == 2 {
                try store(option, String(parts[1]), into: &values)
            } else if option.isBool {
                try store(option, "true", into: &values)
            } else {
                guard i < words.count else { throw .missingValue(name) }
                try store(option, words[i], into: &values)
                i += 1
            }
        }
        return Array(words[i...])
    }

    private static func store(_ option: Option, _ text: String, into values: inout OptionValues) throws(Failure) {
        do {
            try values.set(option, text, from: .flag)
        } catch {
            if option.isBool { throw .badBoolean(name: option.name, value: text, reason: error.short) }
            throw .badValue(name: option.name, value: text, reason: error.short)
        }
    }
}
