// A tree as written against the schema: values are read, defaults filled in, and everything that is wrong is collected.

import Flags

struct Resolver {
    private(set) var problems: [Problem] = []

    mutating func resolve(_ node: SourceNode?, _ shape: Shape, at path: String, place: Place) -> Resolved {
        switch shape {
        case .record(let settings): record(node, settings, shape, path, place)
        case .short(let key, let settings): short(node, key, settings, shape, path, place)
        case .table(let rule, let value, let count): table(node, rule, value, count, shape, path, place)
        case .list(let element, let countMax): list(node, element, countMax, path, place)
        default: scalar(node, shape, path, place)
        }
    }

    // MARK: Groups

    private mutating func record(
        _ node: SourceNode?, _ settings: [Setting], _ shape: Shape, _ path: String, _ place: Place
    ) -> Resolved {
        var entries: [SourceNode.Entry] = []
        if let node, !node.isNull {
            guard case .mapping(let written) = node.content else {
                complain(node.place, path, "\(node.kind) is not \(shape.allowed)")
                return Resolved(.absent, .file(node.place))
            }
            entries = unique(written, path)
        }
        for entry in entries {
            guard let name = keyText(entry.key), settings.contains(where: { $0.name == name }) else {
                unknown(entry.key, settings.map(\.name), path)
                continue
            }
        }
        let members = settings.map { setting in
            let entry = entries.first { keyText($0.key) == setting.name }
            let value = member(
                entry?.value, setting, join(path, setting.name), entry?.key.place ?? node?.place ?? place)
            return Resolved.Member(name: setting.name, value: value)
        }
        return Resolved(.record(members), node.map { .file($0.place) } ?? .defaults)
    }

    private mutating func member(_ node: SourceNode?, _ setting: Setting, _ path: String, _ place: Place) -> Resolved {
        let isGiven = node.map { !$0.isNull } ?? false
        if setting.isRequired && !isGiven {
            complain(place, path, "is missing", "it must be \(setting.shape.allowed)")
            return Resolved(.absent, .defaults)
        }
        if isGiven && setting.isPending && setting.shape.settings == nil {
            problems.append(
                Problem(.warning, at: node?.place ?? place, path, "is kept, but nothing in this version acts on it"))
        }
        if isGiven || setting.shape.settings != nil { return resolve(node, setting.shape, at: path, place: place) }
        if case .table = setting.shape { return Resolved(.table([]), .defaults) }
        if case .list = setting.shape { return Resolved(.list([]), .defaults) }
        guard let text = setting.defaultText else { return Resolved(.absent, .defaults) }
        var value = scalar(SourceNode(.scalar(text, plain: true), at: place), setting.shape, path, place)
        value.origin = .defaults
        return value
    }

    private mutating func short(
        _ node: SourceNode?, _ key: String, _ settings: [Setting], _ shape: Shape, _ path: String, _ place: Place
    ) -> Resolved {
        guard let node, case .scalar = node.content, !node.isNull else {
            return record(node, settings, shape, path, place)
        }
        let name = SourceNode(.scalar(key, plain: true), at: node.place)
        let group = SourceNode(.mapping([SourceNode.Entry(name, node)]), at: node.place)
        return record(group, settings, shape, path, place)
    }

    private mutating func table(
        _ node: SourceNode?, _ rule: TextRule, _ value: Shape, _ count: ClosedRange<Int>, _ shape: Shape,
        _ path: String,
        _ place: Place
    ) -> Resolved {
        guard let node, !node.isNull else { return Resolved(.table([]), .defaults) }
        guard case .mapping(let written) = node.content else {
            complain(node.place, path, "\(node.kind) is not a group of keys", "keys: \(rule.allowed)")
            return Resolved(.table([]), .file(node.place))
        }
        var members: [Resolved.Member] = []
        for entry in unique(written, path) {
            guard let name = keyText(entry.key), rule.accepts(name) else {
                complain(entry.key.place, path, "\(entry.key.kind) is not a \(rule.name)", "allowed: \(rule.allowed)")
                continue
            }
            let resolved = resolve(entry.value, value, at: join(path, name), place: entry.key.place)
            members.append(Resolved.Member(name: name, value: resolved))
        }
        if !count.contains(written.count) {
            complain(
                node.place, path, "has \(written.count) keys", "allowed: \(count.lowerBound) to \(count.upperBound)")
        }
        return Resolved(.table(members.sorted { $0.name < $1.name }), .file(node.place))
    }

    private mutating func list(
        _ node: SourceNode?, _ element: Shape, _ countMax: Int, _ path: String, _ place: Place
    ) -> Resolved {
        guard let node, !node.isNull else { return Resolved(.list([]), .defaults) }
        guard case .sequence(let items) = node.content else {
            complain(node.place, path, "\(node.kind) is not a list", "write [a, b] or one value a line after a dash")
            return Resolved(.list([]), .file(node.place))
        }
        if items.count > countMax {
            complain(node.place, path, "has \(items.count) values", "allowed: at most \(countMax)")
        }
        let values = items.enumerated().map { resolve($1, element, at: "\(path)[\($0)]", place: $1.place) }
        return Resolved(.list(values), .file(node.place))
    }

    /// Keeps the first of equal keys and says so of the others.
    private mutating func unique(_ entries: [SourceNode.Entry], _ path: String) -> [SourceNode.Entry] {
        var first: [String: Place] = [:]
        return entries.filter { entry in
            guard let name = keyText(entry.key) else { return true }
            if let earlier = first[name] {
                complain(entry.key.place, join(path, name), "is given twice", "the first is in line \(earlier.line)")
                return false
            }
            first[name] = entry.key.place
            return true
        }
    }

    private mutating func unknown(_ key: SourceNode, _ names: [String], _ path: String) {
        guard let name = keyText(key) else {
            complain(key.place, path, "\(key.kind) cannot be a key")
            return
        }
        let secret = ["password", "secret", "token", "privateKey", "key"].contains {
            name.lowercased().hasSuffix($0.lowercased())
        }
        if secret {
            complain(
                key.place, join(path, name), "there is no such key, and an inventory holds no secrets",
                allowedKeys(names))
        } else if let near = nearest(name, names) {
            complain(key.place, join(path, name), "there is no such key", "did you mean \(near)?")
        } else {
            complain(key.place, join(path, name), "there is no such key", allowedKeys(names))
        }
    }

    private func allowedKeys(_ names: [String]) -> String { "allowed: " + names.sorted().joined(separator: ", ") }

    /// The key that was probably meant.
    private func nearest(_ name: String, _ names: [String]) -> String? {
        let typed = name.lowercased()
        let ranked = names.map { candidate in (candidate, Suggestions.distance(typed, candidate.lowercased())) }
            .sorted { ($0.1, $0.0) < ($1.1, $1.0) }
        guard let best = ranked.first else { return nil }
        if best.1 <= max(2, name.count / 3) { return best.0 }
        return names.first { $0.lowercased().hasPrefix(typed) || typed.hasPrefix($0.lowercased()) }
    }

    // MARK: Values

    private mutating func scalar(_ node: SourceNode?, _ shape: Shape, _ path: String, _ place: Place) -> Resolved {
        guard let node, !node.isNull, case .scalar(let text, let plain) = node.content else {
            complain(
                node?.place ?? place, path, "\(node?.kind ?? "nothing") is not a value", "allowed: \(shape.allowed)")
            return Resolved(.absent, .file(node?.place ?? place))
        }
        if looksSecret(text) {
            complain(
                node.place, path, "holds what looks like a secret",
                "an inventory holds no secrets, it is meant to be shared")
            return Resolved(.absent, .file(node.place))
        }
        guard let content = read(text, plain, shape) else {
            complain(node.place, path, "\(node.kind) is not \(article(shape))", "allowed: \(shape.allowed)")
            return Resolved(.absent, .file(node.place))
        }
        return Resolved(content, .file(node.place))
    }

    private func read(_ text: String, _ plain: Bool, _ shape: Shape) -> Resolved.Content? {
        switch shape {
        case .text(let rule): rule.accepts(text) ? .text(text) : nil
        case .choice(let words): words.contains(text) ? .text(text) : nil
        case .flag:
            if !plain {
                nil
            } else if ["true", "yes", "on"].contains(text) {
                .flag(true)
            } else if ["false", "no", "off"].contains(text) {
                .flag(false)
            } else {
                nil
            }
        case .integer(let range): Int64(text).flatMap { plain && range.contains($0) ? .integer($0) : nil }
        case .size(let range): SizeText.parse(text).flatMap { range.contains($0) ? .size($0) : nil }
        case .duration(let range): DurationText.parse(text).flatMap { range.contains($0) ? .duration($0) : nil }
        case .fraction(let range): Double(text).flatMap { plain && range.contains($0) ? .fraction($0) : nil }
        case .list, .table, .record, .short: nil
        }
    }

    private func article(_ shape: Shape) -> String {
        switch shape {
        case .text(let rule): (rule.name == "address" ? "an " : rule.name == "text" ? "" : "a ") + rule.name
        case .choice: "one of the words"
        case .flag: "true or false"
        case .integer: "a number in range"
        case .size: "a size in range, such as 8GiB"
        case .duration: "a duration in range, such as 100ms, 1h or 30d"
        case .fraction: "a fraction in range"
        case .list, .table, .record, .short: "a value"
        }
    }

    private func looksSecret(_ text: String) -> Bool {
        let upper = text.uppercased()
        return upper.contains("PRIVATE KEY-----") || upper.hasPrefix("AGE-SECRET-KEY-")
    }

    private func keyText(_ node: SourceNode) -> String? {
        if case .scalar(let text, _) = node.content { text } else { nil }
    }

    private func join(_ path: String, _ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

    private mutating func complain(_ place: Place, _ path: String, _ what: String, _ remedy: String = "") {
        problems.append(Problem(at: place, path, what, remedy: remedy))
    }
}
