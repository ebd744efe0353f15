// One option of a program: what people type, what it holds, what it says about itself. Parsers, help, manual pages,
// completion and the environment all read the same definition.

package struct Option: Sendable {
    package enum Kind: Sendable {
        case bool, text
        case integer(bits: Int)
        case unsigned(bits: Int)
        case float
        case duration
        /// Comma separated, CSV quoting, repeated use appends (pflag's string slice).
        case list
    }

    package var name: String
    package var shorthand: Character?
    package var kind: Kind
    /// The default as written on a command line; empty means the zero value.
    package var defaultText: String
    package var summary: String
    /// How help shows the default when it is not `defaultText`, e.g. `${name}.etcd`.
    package var shownDefault: String?
    /// What help prints for the value's place in cobra's layout, e.g. "string".
    package var group: String
    /// Refuses a value early, with the reason that follows the flag's name in the message.
    package var check: (@Sendable (String) -> String?)?
    /// Words completion offers.
    package var choices: [String]
    /// Parsed but absent from help.
    package var hidden: Bool
    /// cobra's "required flag(s)".
    package var required: Bool

    package init(
        _ name: String, _ kind: Kind = .text, default defaultText: String = "", shorthand: Character? = nil,
        _ summary: String = "", shownDefault: String? = nil, group: String = "", choices: [String] = [],
        hidden: Bool = false, required: Bool = false, check: (@Sendable (String) -> String?)? = nil
    ) {
        self.name = name
        self.shorthand = shorthand
        self.kind = kind
        self.defaultText = defaultText
        self.summary = summary
        self.shownDefault = shownDefault
        self.group = group
        self.check = check
        self.choices = choices
        self.hidden = hidden
        self.required = required
    }

    /// Text without a default.
    package init(_ name: String, _ summary: String, shownDefault: String? = nil, group: String) {
        self.init(name, .text, summary, shownDefault: shownDefault, group: group)
    }

    package var isBool: Bool { if case .bool = kind { true } else { false } }

    /// The variable of this option: `PREFIX_NAME`, upper case, dashes as underscores.
    package func variable(prefix: String) -> String {
        prefix + "_" + String(name.map { $0 == "-" ? "_" : $0 }).uppercased()
    }
}

/// A parsed value.
package enum OptionValue: Equatable, Sendable {
    case bool(Bool)
    case text(String)
    case integer(Int64)
    case unsigned(UInt64)
    case float(Double)
    case duration(Int64)
    case list([String])
}

/// Why a text is no value of an option's kind: a reason in Go's words, in both wordings.
package struct ValueError: Error, Equatable, Sendable {
    /// As `flag` says it: `parse error`.
    package var short: String
    /// As pflag says it: `strconv.ParseInt: parsing "x": invalid syntax`.
    package var long: String
}

extension Option {
    package func parse(_ text: String) throws(ValueError) -> OptionValue {
        if let reason = check?(text) { throw ValueError(short: reason, long: reason) }
        switch kind {
        case .text: return .text(text)
        case .list: return .list(try CommaList.parse(text))
        case .bool:
            do { return .bool(try GoText.parseBool(text)) } catch { throw numberError("ParseBool", text, error) }
        case .integer(let bits):
            do {
                return .integer(try GoText.parseInt(text, base: 0, bits: bits))
            } catch { throw numberError("ParseInt", text, error) }
        case .unsigned(let bits):
            do {
                return .unsigned(try GoText.parseUInt(text, base: 0, bits: bits))
            } catch { throw numberError("ParseUint", text, error) }
        case .float:
            guard let value = Double(text) else { throw numberError("ParseFloat", text, .syntax) }
            return .float(value)
        case .duration:
            do {
                return .duration(try GoDuration.parse(text))
            } catch { throw ValueError(short: "parse error", long: error.description) }
        }
    }

    /// The value when nothing was given. A default that does not parse is our own mistake.
    package var defaultValue: OptionValue {
        if defaultText.isEmpty { return zeroValue }
        do { return try parse(defaultText) } catch { return zeroValue }
    }

    private var zeroValue: OptionValue {
        switch kind {
        case .bool: .bool(false)
        case .text: .text("")
        case .integer: .integer(0)
        case .unsigned: .unsigned(0)
        case .float: .float(0)
        case .duration: .duration(0)
        case .list: .list([])
        }
    }

    private func numberError(_ function: String, _ text: String, _ error: GoText.NumberError) -> ValueError {
        ValueError(short: error.short, long: "strconv.\(function): parsing \(GoText.quote(text)): \(error.long)")
    }
}

/// One record of comma separated values: fields may be quoted, a quote inside is doubled.
package enum CommaList {
    package static func parse(_ text: String) throws(ValueError) -> [String] {
        if text.isEmpty { return [] }
        var fields: [String] = []
        let bytes = Array(text.utf8)
        var i = 0
        while true {
            var field: [UInt8] = []
            if i < bytes.count && bytes[i] == UInt8(ascii: "\"") {
                i = try quoted(bytes, from: i + 1, into: &field)
            } else {
                while i < bytes.count && bytes[i] != UInt8(ascii: ",") {
                    if bytes[i] == UInt8(ascii: "\"") { throw bare(column: fields.isEmpty && i > 0 ? 1 : i + 1) }
                    field.append(bytes[i])
                    i += 1
                }
            }
            fields.append(String(decoding: field, as: UTF8.self))
            if i >= bytes.count { return fields }
            i += 1
        }
    }

    private static func quoted(_ bytes: [UInt8], from start: Int, into field: inout [UInt8]) throws(ValueError) -> Int {
        var i = start
        while i < bytes.count {
            if bytes[i] != UInt8(ascii: "\"") {
                field.append(bytes[i])
                i += 1
            } else if i + 1 < bytes.count && bytes[i + 1] == UInt8(ascii: "\"") {
                field.append(bytes[i])
                i += 2
            } else if i + 1 == bytes.count || bytes[i + 1] == UInt8(ascii: ",") {
                return i + 1
            } else {
                break
            }
        }
        let reason = "parse error on line 1, column \(i + 1): extraneous or missing \" in quoted-field"
        throw ValueError(short: reason, long: reason)
    }

    private static func bare(column: Int) -> ValueError {
        let reason = "parse error on line 1, column \(column): bare \" in non-quoted-field"
        return ValueError(short: reason, long: reason)
    }
}
