// Where a command's words go. Answers go to standard output and nothing else does; everything said about them goes to
// standard error. Called as etcdctl all texts are etcdctl's; under our own name people get colours, advice and progress.

import Foundations
import JSON
import Linux
import Telemetry

struct Console: Sendable {
    /// Called by etcdctl's name: texts are compared by scripts.
    let isEtcdctl: Bool
    private let colours: Bool

    init(isEtcdctl: Bool, environment: [String: String]) {
        self.isEtcdctl = isEtcdctl
        let refused = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
        colours = !isEtcdctl && !refused && environment["TERM"] != "dumb" && StandardStreams.isTerminal(2)
    }

    func out(_ bytes: Bytes) { StandardStreams.write(1, bytes) }
    func out(_ text: String) { out(Bytes(text.utf8)) }
    func line(_ text: String) { out(text + "\n") }

    func errorLine(_ text: String) { StandardStreams.write(2, Bytes((text + "\n").utf8)) }

    func show(_ failure: CtlFailure) {
        guard !failure.message.isEmpty else { return }
        errorLine(colours ? "\u{1b}[31mError:\u{1b}[0m \(failure.message)" : "Error: \(failure.message)")
        guard !failure.advice.isEmpty else { return }
        if isEtcdctl {
            logLine("warn", failure.message, [("error", failure.advice)])
        } else {
            errorLine("  " + failure.advice)
        }
    }

    /// Something a person should know although the command goes on.
    func warn(_ message: String, _ fields: [(String, String)] = []) {
        if isEtcdctl { return logLine("warn", message, fields) }
        let details = fields.map { " \($0.0)=\($0.1)" }.joined()
        errorLine(colours ? "\u{1b}[33mWarning:\u{1b}[0m \(message)\(details)" : "Warning: \(message)\(details)")
    }

    /// A line of JSON as etcd's client library writes them among the tool's own words.
    func logLine(_ level: String, _ message: String, _ fields: [(String, String)] = []) {
        var json = JSONWriter()
        json.beginObject()
        for (name, value) in [("level", level), ("ts", LogTime.text(Clock.wall())), ("msg", message)] + fields {
            json.name(name)
            json.string(value)
        }
        json.endObject()
        StandardStreams.write(2, json.bytes + [0x0a])
    }

    // MARK: Progress

    /// One line that is written over and over, on a terminal and under our own name only.
    func progress(_ text: String) {
        guard showsProgress else { return }
        let width = StandardStreams.columns(2)
        StandardStreams.write(2, Bytes("\r\u{1b}[K\(text.prefix(max(1, width - 1)))".utf8))
    }

    func endProgress() {
        if showsProgress { StandardStreams.write(2, Bytes("\r\u{1b}[K".utf8)) }
    }

    var showsProgress: Bool { !isEtcdctl && StandardStreams.isTerminal(2) }
}
