// One event for the log: a level, a message and named values. Values are typed so that machines get numbers and lists.

import Foundations
import JSON

package enum LogValue: Sendable, Equatable {
    case text(String)
    case integer(Int64)
    case unsigned(UInt64)
    case number(Double)
    case bool(Bool)
    case texts([String])
    /// Nanoseconds; written as "900ms".
    case duration(Int64)
    case json(JSONValue)
    case null

    /// What stands in the place of something that must not be shown.
    package static let redacted = LogValue.text("***")

    package static func id(_ id: MemberID) -> LogValue { .text(id.description) }
    package static func id(_ id: ClusterID) -> LogValue { .text(id.description) }
    package static func error(_ error: any Error) -> LogValue { .text("\(error)") }
    package static func integer(_ value: some FixedWidthInteger) -> LogValue {
        Int64(exactly: value).map { .integer($0) } ?? .unsigned(UInt64(truncatingIfNeeded: value))
    }

    /// The value as people read it, without quotes.
    package var plain: String {
        switch self {
        case .text(let value): value
        case .integer(let value): String(value)
        case .unsigned(let value): String(value)
        case .number(let value): "\(value)"
        case .bool(let value): value ? "true" : "false"
        case .texts(let values): values.joined(separator: ",")
        case .duration(let value): DurationText.format(value)
        case .json(let value): value.text()
        case .null: "null"
        }
    }

    func write(to writer: inout JSONWriter) {
        switch self {
        case .text(let value): writer.string(value)
        case .integer(let value): writer.number(value)
        case .unsigned(let value): writer.number(value)
        case .number(let value): writer.literal(MetricNumber.text(value))
        case .bool(let value): writer.bool(value)
        case .duration(let value): writer.string(DurationText.format(value))
        case .json(let value): writer.value(value)
        case .null: writer.null()
        case .texts(let values):
            writer.beginArray()
            for value in values { writer.string(value) }
            writer.endArray()
        }
    }
}

extension LogValue: ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    package init(stringLiteral value: String) { self = .text(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
}

package struct LogRecord: Sendable {
    package var level: LogLevel
    /// Nanoseconds since 1970.
    package var time: UInt64
    /// Which part speaks, e.g. "raft"; empty for the program itself.
    package var logger: String
    /// `Module/File.swift`
    package var file: String
    package var line: UInt
    package var message: String
    package var fields: [(name: String, value: LogValue)]

    package init(
        level: LogLevel, time: UInt64, logger: String = "", file: String, line: UInt, message: String,
        fields: [(name: String, value: LogValue)] = []
    ) {
        self.level = level
        self.time = time
        self.logger = logger
        self.file = file
        self.line = line
        self.message = message
        self.fields = fields
    }
}
