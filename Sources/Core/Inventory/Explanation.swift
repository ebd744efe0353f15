// `covey plan --explain KEY`: what a setting does, what it may be, and where its value came from.

import Flags

package struct Explanation: Sendable, Equatable {
    package var path: String
    package var value: String
    package var lines: [(label: String, text: String)]

    package static func == (a: Explanation, b: Explanation) -> Bool { a.text == b.text }

    package var text: String {
        let width = lines.map(\.label.count).max() ?? 0
        return "\(path) = \(value)\n"
            + lines.map { "  \($0.label)\(String(repeating: " ", count: width - $0.label.count + 2))\($0.text)\n" }
            .joined()
    }

    package enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        case unknown(key: String, near: [String])
        case ambiguous(key: String, paths: [String])

        package var description: String {
            switch self {
            case .unknown(let key, let near):
                "there is no setting \(key)"
                    + (near.isEmpty ? "; see: covey schema" : "; did you mean " + near.joined(separator: ", ") + "?")
            case .ambiguous(let key, let paths):
                "\(key) could be " + paths.joined(separator: ", ") + "; give more of the path"
            }
        }
    }

    /// `key`: a full path, or its end: `spec.network.client`, `network.client`, `quota`.
    package static func of(_ key: String, in inventory: Inventory, file: String) throws(Failure) -> Explanation {
        let all = everySetting(inventory.resolved)
        let exact = all.filter { $0.path == key }
        let found = exact.isEmpty ? all.filter { $0.path.hasSuffix("." + key) } : exact
        guard let one = found.first else {
            let last = key.split(separator: ".").last.map(String.init) ?? key
            let near = all.filter { Suggestion.isNear(last, to: $0.path) }.map(\.path)
            throw .unknown(key: key, near: Array(near.prefix(3)))
        }
        if found.count > 1 { throw .ambiguous(key: key, paths: found.map(\.path)) }
        return explain(one.path, one.setting, one.value, inventory, file)
    }

    private static func explain(
        _ path: String, _ setting: Setting, _ value: Resolved, _ inventory: Inventory, _ file: String
    ) -> Explanation {
        var lines: [(label: String, text: String)] = [("does", setting.summary), ("allowed", setting.shape.allowed)]
        if let text = setting.defaultText { lines.append(("default", text)) }
        if let follows = setting.follows { lines.append(("default", "follows \(follows)")) }
        var shown = value.shown
        switch value.origin {
        case .file(let place): lines.append(("set by", "\(file):\(place.line):\(place.column)"))
        case .defaults:
            if let follows = setting.follows, let followed = inventory.resolved.find(follows) {
                shown = followed.shown
                let place = followed.place.map { "\(file):\($0.line):\($0.column)" } ?? "its default"
                lines.append(("set by", "\(follows), which is set by \(place)"))
            } else {
                lines.append(("set by", setting.isRequired ? "nobody" : "default"))
            }
        }
        if !setting.becomes.isEmpty { lines.append(("becomes", setting.becomes)) }
        if setting.isPending { lines.append(("note", "checked and kept, but nothing in this version acts on it")) }
        return Explanation(path: path, value: shown, lines: lines)
    }

    private static func everySetting(_ root: Resolved) -> [(path: String, setting: Setting, value: Resolved)] {
        var found: [(path: String, setting: Setting, value: Resolved)] = []
        func visit(_ settings: [Setting], _ resolved: Resolved, _ prefix: String) {
            for setting in settings {
                guard let value = resolved.members.first(where: { $0.name == setting.name })?.value else { continue }
                let path = prefix + setting.name
                found.append((path, setting, value))
                if let inner = setting.shape.settings { visit(inner, value, path + ".") }
                guard case .table(_, let element, _) = setting.shape, let inner = element.settings else { continue }
                for member in value.members { visit(inner, member.value, "\(path).\(member.name).") }
            }
        }
        visit(Schema.root, root, "")
        return found
    }
}

private enum Suggestion {
    static func isNear(_ word: String, to path: String) -> Bool {
        let last = path.split(separator: ".").last.map(String.init) ?? path
        return last.lowercased().contains(word.lowercased())
            || Suggestions.distance(word.lowercased(), last.lowercased()) <= 2
    }
}
