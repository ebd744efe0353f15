// Severities, by the names the wire of log lines and `--log-level` use.

package enum LogLevel: Int8, Comparable, Sendable, CaseIterable {
    case debug = -1
    case info, warn, error, dpanic, panic, fatal

    package init?(_ name: String) {
        guard let level = LogLevel.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    package var name: String {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .warn: "warn"
        case .error: "error"
        case .dpanic: "dpanic"
        case .panic: "panic"
        case .fatal: "fatal"
        }
    }

    /// syslog's number.
    package var priority: Int {
        switch self {
        case .debug: 7
        case .info: 6
        case .warn: 4
        case .error: 3
        case .dpanic, .panic, .fatal: 2
        }
    }

    package static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}
