// The five ways a command can answer, and what the answer is made of besides the reply itself.

package enum OutputFormat: String, Sendable, CaseIterable {
    case simple, fields, json, protobuf, table
}

package struct OutputStyle: Sendable {
    package var format: OutputFormat
    /// Keys and values as \x66\x6f\x6f, some ids in hexadecimal.
    package var hex: Bool
    /// `get --print-value-only`.
    package var valueOnly = false

    package init(_ format: OutputFormat, hex: Bool = false, valueOnly: Bool = false) {
        self.format = format
        self.hex = hex
        self.valueOnly = valueOnly
    }
}
