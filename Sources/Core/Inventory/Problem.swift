// What is wrong with an inventory: where, at which key, what, and what would be right. All problems of a file are told at
// once, in the order of its lines.

package struct Problem: Error, Sendable, Equatable {
    package enum Severity: Sendable, Equatable { case error, warning }

    package var severity: Severity
    package var place: Place
    /// `spec.network.client`; empty for the file as a whole.
    package var path: String
    package var what: String
    /// What is allowed, or what to do. May be empty.
    package var remedy: String

    package init(_ severity: Severity = .error, at place: Place, _ path: String, _ what: String, remedy: String = "") {
        self.severity = severity
        self.place = place
        self.path = path
        self.what = what
        self.remedy = remedy
    }

    /// `cluster.yaml:7:14: error: spec.network.client: 70000 is not a port; allowed: 1 to 65535`
    package func line(file: String) -> String {
        let subject = path.isEmpty ? "" : path + ": "
        let kind = severity == .error ? "error" : "warning"
        return "\(file):\(place.line):\(place.column): \(kind): \(subject)\(what)"
            + (remedy.isEmpty ? "" : "; \(remedy)")
    }
}
