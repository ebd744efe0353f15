// What util commands say beside their answers: steps on standard error, in the layout of etcdutl's log, so that scripts
// that look for "restored snapshot" find it.
//
//     2026-11-21T02:35:01Z<tab>info<tab>restored snapshot<tab>{"path": "s.db", "data-dir": "d"}

import Foundations
import JSON
import Linux
import Telemetry

struct UtilConsole: Sendable {
    let console: Console

    /// Called by etcdutl's name: texts are compared by scripts.
    var isEtcdutl: Bool { console.isEtcdctl }

    func out(_ text: String) { console.out(text) }
    func line(_ text: String) { console.line(text) }
    func errorLine(_ text: String) { console.errorLine(text) }

    /// `json`: fields whose values are JSON already, numbers and lists.
    func info(_ message: String, _ fields: [(String, String)] = [], json: [(String, String)] = []) {
        log("info", message, fields, json)
    }

    func warn(_ message: String, _ fields: [(String, String)] = [], json: [(String, String)] = []) {
        log("warn", message, fields, json)
    }

    private func log(_ level: String, _ message: String, _ fields: [(String, String)], _ json: [(String, String)]) {
        let time = LogTime.text(Clock.wall())
        let shown = time.prefix(19) + time.dropFirst(23)
        let texts = fields.map { "\(UtilConsole.quoted($0.0)): \(UtilConsole.quoted($0.1))" }
        let all = texts + json.map { "\(UtilConsole.quoted($0.0)): \($0.1)" }
        console.errorLine(
            "\(shown)\t\(level)\t\(message)" + (all.isEmpty ? "" : "\t{\(all.joined(separator: ", "))}"))
    }

    static func list(_ texts: [String]) -> String { "[" + texts.map(quoted).joined(separator: ", ") + "]" }

    private static func quoted(_ text: String) -> String {
        var json = JSONWriter()
        json.string(text)
        return String(decoding: json.bytes, as: UTF8.self)
    }
}
