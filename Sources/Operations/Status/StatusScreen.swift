// Where reports go: once, again and again over the same place of a terminal, or a line per change where nobody looks at a
// screen.

import Glibc
import Inventory
import JSON
import Linux

// Used on the loop's thread only.
final class StatusScreen: @unchecked Sendable {
    private let loop: EventLoop
    private let asJSON: Bool
    private let isWatching: Bool
    private let isTerminal: Bool
    private var last: ClusterReport?
    private var lastFailure = ""
    private(set) var code: Int32 = 1

    init(_ loop: EventLoop, asJSON: Bool, isWatching: Bool) {
        self.loop = loop
        self.asJSON = asJSON
        self.isWatching = isWatching
        isTerminal = StandardStreams.isTerminal(STDOUT_FILENO)
    }

    /// To be stopped by a signal is how watching ends.
    func end() {
        code = 0
        loop.stop()
    }

    func show(_ result: Result<ClusterReport, UpCommand.Refused>) {
        switch result {
        case .failure(let refused):
            code = refused.code
            if refused.text != lastFailure { Output.error("covey status: \(refused.text)\n") }
            lastFailure = refused.text
            last = nil
        case .success(let report):
            code = report.exitCode
            lastFailure = ""
            if !write(report) { loop.stop() }
            last = report
        }
        if !isWatching { loop.stop() }
    }

    /// False when nobody reads any more.
    private func write(_ report: ClusterReport) -> Bool {
        guard isWatching else { return put(asJSON ? PrettyJSON.text(report.json) : report.text) }
        if isTerminal && !asJSON { return put("\u{1b}[H\u{1b}[2J" + report.text) }
        let lines = report.changes(since: last)
        if lines.isEmpty { return true }
        if asJSON { return put(report.json.text() + "\n") }
        let time = EventLines.time(report.observed ?? Clock.wall())
        return put(lines.map { "\(time)  \($0)\n" }.joined())
    }

    private func put(_ text: String) -> Bool { StandardStreams.write(STDOUT_FILENO, Array(text.utf8)) }
}
