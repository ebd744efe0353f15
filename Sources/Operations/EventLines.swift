// What people see while something goes on: a line an event, on standard error, with the time in UTC.

import Glibc
import Inventory
import Linux
import Telemetry

struct EventLines: Sendable {
    /// Width of the column of names.
    var nameWidth = 0

    init(nameWidth: Int = 0) { self.nameWidth = nameWidth }

    init(_ inventory: Inventory) { nameWidth = inventory.hosts.map(\.name.count).max() ?? 0 }

    func tell(_ name: String, _ text: String) {
        let blank = String(repeating: " ", count: max(0, nameWidth - name.count))
        Output.error("\(Self.time(Clock.wall()))  \(name)\(blank)  \(text)\n")
    }

    func tell(_ text: String) { Output.error("\(Self.time(Clock.wall()))  \(text)\n") }

    /// `1.3 s`
    static func seconds(_ nanoseconds: UInt64) -> String {
        let tenths = (nanoseconds + 50_000_000) / 100_000_000
        return tenths % 10 == 0 ? "\(tenths / 10) s" : "\(tenths / 10).\(tenths % 10) s"
    }

    /// `09:41:02.113`
    static func time(_ nanoseconds: UInt64) -> String {
        let milliseconds = nanoseconds / 1_000_000
        func padded(_ number: UInt64, _ width: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: width - text.count) + text
        }
        let seconds = milliseconds / 1000
        return
            "\(padded(seconds / 3600 % 24, 2)):\(padded(seconds / 60 % 60, 2)):\(padded(seconds % 60, 2)).\(padded(milliseconds % 1000, 3))"
    }
}

/// Text to the two streams, whole, unbuffered.
enum Output {
    static func data(_ text: String) { write(text, to: STDOUT_FILENO) }
    static func error(_ text: String) { write(text, to: STDERR_FILENO) }
    /// What a record in the journal says as well: where standard error goes there, too, it would stand there twice.
    static func withoutJournal(_ text: String) { if !JournalDetection.standardErrorIsJournal { error(text) } }

    private static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            // Nobody listens any more; that is no reason to stop what is being done.
            if count <= 0 { return }
            rest = rest.dropFirst(count)
        }
    }
}
