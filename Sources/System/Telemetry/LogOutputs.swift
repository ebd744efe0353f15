// --log-outputs, --log-format and rotation as sinks. `default` and `stderr` are stderr, `stdout`, `systemd/journal`,
// anything else a file. Under systemd `default` goes straight to the journal, with fields, when stderr is connected to it.

import Foundations
import Glibc
import Linux

package struct LogSettings: Sendable, Equatable {
    package var level = LogLevel.info
    package var outputs = ["default"]
    package var format = LogFormat.json
    package var rotation: LogRotation?
    /// SYSLOG_IDENTIFIER, and who speaks in the journal.
    package var identifier = "covey"

    package init() {}

    /// The message is what etcd says.
    package struct Refused: Error, Equatable, Sendable, CustomStringConvertible { package var description: String }

    /// Rules among the outputs, without opening anything.
    package func verify() throws(Refused) {
        if outputs.count > 1 {
            if outputs.contains("default") {
                throw Refused(description: "multi logoutput for \"default\" is not supported yet")
            }
            if outputs.contains(LogSettings.journal) {
                throw Refused(
                    description: "running with systemd/journal but other '--log-outputs' values "
                        + "(\(GoList.quoted(outputs))) are configured with 'default'; override 'default' value with something else"
                )
            }
        }
        let files = outputs.filter { !LogSettings.special.contains($0) }
        if rotation != nil && (files.count != 1 || outputs.count != 1) {
            throw Refused(
                description: "--log-outputs requires a single file path when --log-rotate-config-json is defined")
        }
    }

    private static let journal = "systemd/journal"
    private static let special = ["default", "stderr", "stdout", journal]

    /// Opens what is named.
    package func open() throws(SystemError) -> Logger {
        var sinks: [any LogSink] = []
        for output in outputs {
            switch output {
            case "default": sinks.append(standardSink())
            case "stderr": sinks.append(DescriptorSink(STDERR_FILENO, format))
            case "stdout": sinks.append(DescriptorSink(STDOUT_FILENO, format))
            case LogSettings.journal: sinks.append(journalSink(.json) ?? DescriptorSink(STDERR_FILENO, format))
            case "/dev/null": continue
            default:
                if let rotation {
                    sinks.append(try RotatingFileSink(output, format, rotation))
                } else {
                    sinks.append(try FileSink(output, format))
                }
            }
        }
        return Logger(level: level, outputs: sinks)
    }

    private func standardSink() -> any LogSink {
        if JournalDetection.standardErrorIsJournal, let sink = journalSink(.plain) { return sink }
        return DescriptorSink(STDERR_FILENO, format)
    }

    /// Nil when there is no journal: lines then go to stderr, as etcd does.
    private func journalSink(_ message: JournalSink.Message) -> JournalSink? {
        do { return try JournalSink(identifier: identifier, message: message) } catch { return nil }
    }
}

enum GoList {
    static func quoted(_ items: [String]) -> String {
        "[" + items.map { "\"\($0)\"" }.joined(separator: " ") + "]"
    }
}

/// systemd names the device and inode of the stream it connected in JOURNAL_STREAM; a program that redirects its stderr
/// elsewhere finds another pair there.
package enum JournalDetection {
    package static var standardErrorIsJournal: Bool {
        guard let value = unsafe getenv("JOURNAL_STREAM") else { return false }
        var status = stat()
        guard unsafe fstat(STDERR_FILENO, &status) == 0 else { return false }
        return matches(unsafe String(cString: value), device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    static func matches(_ value: String, device: UInt64, inode: UInt64) -> Bool {
        let parts = value.split(separator: ":").compactMap { UInt64($0) }
        return parts == [device, inode]
    }
}
