// pflag's rules for the words of one command: flags and plain words in any order.

struct FlagReader {
    struct Failure: Error { var message: String }

    private(set) var values: OptionValues
    private(set) var words: [String] = []
    private(set) var wordsBeforeDashes: Int?

    init(options: [Option]) { values = OptionValues(options) }

    mutating func read(_ all: [String]) throws(Failure) {
        var i = 0
        while i < all.count {
            let word = all[i]
            i += 1
            if word == "--" {
                wordsBeforeDashes = words.count
                words += all[i...]
                return
            }
            if word.hasPrefix("--") {
                try readLong(word, all, &i)
            } else if word.hasPrefix("-") && word.count > 1 {
                try readShort(word, all, &i)
            } else {
                words.append(word)
            }
        }
    }

    private mutating func readLong(_ word: String, _ all: [String], _ i: inout Int) throws(Failure) {
        let body = word.dropFirst(2)
        guard let first = body.first, first != "-", first != "=" else {
            throw Failure(message: "bad flag syntax: \(word)")
        }
        let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let option = values.option(String(parts[0])) else {
            throw Failure(message: "unknown flag: --\(parts[0])")
        }
        if parts.count == 2 {
            try store(option, String(parts[1]))
        } else if option.isBool {
            try store(option, "true")
        } else if i < all.count {
            i += 1
            try store(option, all[i - 1])
        } else {
            throw Failure(message: "flag needs an argument: \(word)")
        }
    }

    private mutating func readShort(_ word: String, _ all: [String], _ i: inout Int) throws(Failure) {
        var letters = word.dropFirst()
        while let letter = letters.first {
            guard let option = values.options.first(where: { $0.shorthand == letter }) else {
                throw Failure(message: "unknown shorthand flag: '\(letter)' in -\(letters)")
            }
            let rest = letters.dropFirst()
            if rest.count > 1 && rest.first == "=" { return try store(option, String(rest.dropFirst())) }
            if option.isBool {
                try store(option, "true")
                letters = rest
            } else if !rest.isEmpty {
                return try store(option, String(rest))
            } else if i < all.count {
                i += 1
                return try store(option, all[i - 1])
            } else {
                throw Failure(message: "flag needs an argument: '\(letter)' in -\(letters)")
            }
        }
    }

    private mutating func store(_ option: Option, _ text: String) throws(Failure) {
        do {
            try values.set(option, text, from: .flag)
        } catch {
            let shown = option.shorthand.map { "-\($0), --\(option.name)" } ?? "--\(option.name)"
            throw Failure(
                message: "invalid argument \(GoText.quote(text)) for \(GoText.quote(shown)) flag: \(error.long)")
        }
    }
}
