// What was read from a file, before anyone knows what it means: a plain tree in which every value knows its place. The
// reader of YAML (or JSON) makes it; this module only looks.

package struct SourceNode: Sendable, Equatable {
    package indirect enum Content: Sendable, Equatable {
        /// `plain`: written without quotes, so that it may mean a number, a boolean or nothing.
        case scalar(String, plain: Bool)
        case sequence([SourceNode])
        case mapping([Entry])
    }

    package struct Entry: Sendable, Equatable {
        package var key: SourceNode
        package var value: SourceNode

        package init(_ key: SourceNode, _ value: SourceNode) {
            self.key = key
            self.value = value
        }
    }

    package var content: Content
    package var place: Place

    package init(_ content: Content, at place: Place) {
        self.content = content
        self.place = place
    }

    /// Written as nothing: an empty value, `~` or `null`.
    var isNull: Bool {
        guard case .scalar(let text, plain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// For messages.
    var kind: String {
        switch content {
        case .scalar(let text, _): "\"\(text)\""
        case .sequence: "a list"
        case .mapping: "a group of keys"
        }
    }
}

/// Line and column in a file, from 1.
package struct Place: Sendable, Equatable, Comparable {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (a: Place, b: Place) -> Bool { (a.line, a.column) < (b.line, b.column) }
}
