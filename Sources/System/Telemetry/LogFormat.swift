// How a record becomes a line. JSON has the names and the order of etcd's zap lines, because tools match them:
//
//     {"level":"info","ts":"2026-11-21T02:33:20.778Z","logger":"raft","caller":"Server/Boot.swift:12","msg":"...","k":1}
//
// The console form is the same facts separated by tabs, with the fields as one JSON object at the end.

import Foundations
import Glibc
import JSON

package enum LogFormat: String, Sendable {
    case json, console

    /// With the newline.
    package func line(_ record: LogRecord) -> Bytes {
        switch self {
        case .json: LogFormat.jsonLine(record)
        case .console: LogFormat.consoleLine(record)
        }
    }

    private static func jsonLine(_ record: LogRecord) -> Bytes {
        var writer = JSONWriter()
        writer.beginObject()
        writer.name("level")
        writer.string(record.level.name)
        writer.name("ts")
        writer.string(LogTime.text(record.time))
        if !record.logger.isEmpty {
            writer.name("logger")
            writer.string(record.logger)
        }
        writer.name("caller")
        writer.string("\(record.file):\(record.line)")
        writer.name("msg")
        writer.string(record.message)
        for field in record.fields {
            writer.name(field.name)
            field.value.write(to: &writer)
        }
        writer.endObject()
        return writer.bytes + [0x0a]
    }

    private static func consoleLine(_ record: LogRecord) -> Bytes {
        var parts = [LogTime.text(record.time), record.level.name]
        if !record.logger.isEmpty { parts.append(record.logger) }
        parts += ["\(record.file):\(record.line)", record.message]
        if !record.fields.isEmpty {
            var writer = JSONWriter()
            writer.beginObject()
            for field in record.fields {
                writer.name(field.name)
                field.value.write(to: &writer)
            }
            writer.endObject()
            parts.append(String(decoding: writer.bytes, as: UTF8.self))
        }
        return Array(parts.joined(separator: "\t").utf8) + [0x0a]
    }

    /// For a person in a terminal or a journal: the message, then `name=value`.
    package static func plain(_ record: LogRecord) -> String {
        var text = record.logger.isEmpty ? "" : record.logger + ": "
        text += record.message
        for field in record.fields {
            let value = field.value.plain
            text += " \(field.name)=" + (value.contains(" ") || value.isEmpty ? "\"\(value)\"" : value)
        }
        return text
    }
}

package enum LogTime {
    /// Local time with milliseconds; the zone is `Z` or `+0800`.
    package static func text(_ nanoseconds: UInt64) -> String {
        let time = CivilTime(nanoseconds, local: true)
        return "\(time.date)T\(time.clock(":")).\(pad(Int(nanoseconds / 1_000_000 % 1000), 3))\(time.zone)"
    }

    /// For names of rotated files: no colon, no zone.
    package static func fileName(_ nanoseconds: UInt64, local: Bool) -> String {
        let time = CivilTime(nanoseconds, local: local)
        return "\(time.date)T\(time.clock("-")).\(pad(Int(nanoseconds / 1_000_000 % 1000), 3))"
    }

    fileprivate static func pad(_ value: Int, _ digits: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}

/// A moment in the calendar, of this machine's zone or of UTC.
private struct CivilTime {
    var year, month, day, hour, minute, second, offset: Int

    init(_ nanoseconds: UInt64, local: Bool) {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = unsafe tm()
        if local { unsafe localtime_r(&seconds, &parts) } else { unsafe gmtime_r(&seconds, &parts) }
        unsafe (year, month, day) = (Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday))
        unsafe (hour, minute, second) = (Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec))
        unsafe offset = parts.tm_gmtoff
    }

    var date: String { "\(LogTime.pad(year, 4))-\(LogTime.pad(month, 2))-\(LogTime.pad(day, 2))" }

    func clock(_ separator: String) -> String {
        [hour, minute, second].map { LogTime.pad($0, 2) }.joined(separator: separator)
    }

    var zone: String {
        if offset == 0 { return "Z" }
        let minutes = abs(offset) / 60
        return (offset < 0 ? "-" : "+") + LogTime.pad(minutes / 60, 2) + LogTime.pad(minutes % 60, 2)
    }
}

/// Nanoseconds as "1.5s"; the same text as Flags makes, without depending on it.
enum DurationText {
    static func format(_ nanoseconds: Int64) -> String {
        let magnitude = nanoseconds.magnitude
        let sign = nanoseconds < 0 ? "-" : ""
        switch magnitude {
        case 0: return "0s"
        case ..<1_000: return "\(sign)\(magnitude)ns"
        case ..<1_000_000: return sign + decimal(magnitude, 1_000) + "\u{b5}s"
        case ..<1_000_000_000: return sign + decimal(magnitude, 1_000_000) + "ms"
        default:
            let minutes = magnitude / 60_000_000_000
            let seconds = decimal(magnitude % 60_000_000_000, 1_000_000_000) + "s"
            if minutes == 0 { return sign + seconds }
            if minutes < 60 { return "\(sign)\(minutes)m\(seconds)" }
            return "\(sign)\(minutes / 60)h\(minutes % 60)m\(seconds)"
        }
    }

    private static func decimal(_ value: UInt64, _ unit: UInt64) -> String {
        var fraction = String(unit + value % unit).dropFirst()
        while fraction.last == "0" { fraction = fraction.dropLast() }
        return fraction.isEmpty ? "\(value / unit)" : "\(value / unit).\(fraction)"
    }
}
