// The layout of the server's help: flags in named groups, `  --name 'default'` and the text below.

package struct FlagGroupsUsage: Sendable {
    package var heading: String
    package var options: [Option]

    package init(heading: String, options: [Option]) {
        self.heading = heading
        self.options = options
    }

    package var text: String {
        var groups: [String] = []
        for option in options where !option.hidden && !groups.contains(option.group) { groups.append(option.group) }
        return heading + "\n"
            + groups.map { group in
                "\n\(group):\n" + options.filter { $0.group == group && !$0.hidden }.map(entry).joined()
            }.joined()
    }

    private func entry(_ option: Option) -> String {
        let shown = option.shownDefault ?? (option.defaultText.isEmpty ? zero(option) : option.defaultText)
        let summary = option.summary.split(separator: "\n").map { "    \($0)\n" }.joined()
        return "  --\(option.name) '\(shown)'\n\(summary)"
    }

    private func zero(_ option: Option) -> String {
        switch option.kind {
        case .bool: "false"
        case .integer, .unsigned, .float: "0"
        case .duration: "0s"
        case .text, .list: ""
        }
    }
}
