// An inventory after validation: every key of the schema is there, with its value and where that came from.

import Foundations

package enum Origin: Sendable, Equatable {
    case file(Place)
    case defaults
}

package struct Resolved: Sendable, Equatable {
    package indirect enum Content: Sendable, Equatable {
        case absent
        case text(String)
        case flag(Bool)
        case integer(Int64)
        case size(Int64)
        case duration(Int64)
        case fraction(Double)
        case list([Resolved])
        /// Sorted by key.
        case table([Member])
        /// In the order of the schema.
        case record([Member])
    }

    package struct Member: Sendable, Equatable {
        package var name: String
        package var value: Resolved
    }

    package var content: Content
    package var origin: Origin

    package init(_ content: Content, _ origin: Origin) {
        self.content = content
        self.origin = origin
    }

    package var isAbsent: Bool { content == .absent }

    package var place: Place? { if case .file(let place) = origin { place } else { nil } }

    /// By path: `spec.hosts.kv1.client`. Nil when there is no such key.
    package func find(_ path: String) -> Resolved? {
        var found = self
        for part in path.split(separator: ".") {
            guard let next = found.members.first(where: { $0.name == part }) else { return nil }
            found = next.value
        }
        return found
    }

    package var members: [Member] {
        switch content {
        case .record(let members), .table(let members): members
        default: []
        }
    }

    /// As a person would write it.
    package var shown: String {
        switch content {
        case .absent: "not set"
        case .text(let text): text
        case .flag(let value): value ? "true" : "false"
        case .integer(let value): String(value)
        case .size(let value): SizeText.format(value)
        case .duration(let value): DurationText.format(value)
        case .fraction(let value): String(value)
        case .list(let values): "[" + values.map(\.shown).joined(separator: ", ") + "]"
        case .table(let members), .record(let members):
            "{" + members.filter { !$0.value.isAbsent }.map { "\($0.name): \($0.value.shown)" }.joined(separator: ", ")
                + "}"
        }
    }

    // Reading what the schema guarantees. A mismatch is a mistake in the schema or here.

    func text(_ path: String) -> String {
        guard case .text(let value)? = find(path)?.content else { unreachable("\(path) is text") }
        return value
    }
    func choice<Word: RawRepresentable<String>>(_ path: String) -> Word {
        guard let word = Word(rawValue: text(path)) else { unreachable("\(path) is one of the words of the schema") }
        return word
    }
    func textIfAny(_ path: String) -> String? {
        if case .text(let value)? = find(path)?.content { value } else { nil }
    }
    /// Of a list; its own with an empty path.
    func texts(_ path: String) -> [String] {
        guard case .list(let values)? = find(path)?.content else { return [] }
        return values.map(\.shown)
    }
    func integer(_ path: String) -> Int64 {
        guard let value = integerIfAny(path) else { unreachable("\(path) is a number") }
        return value
    }
    func integerIfAny(_ path: String) -> Int64? {
        switch find(path)?.content {
        case .integer(let value), .size(let value), .duration(let value): value
        default: nil
        }
    }
    func flag(_ path: String) -> Bool {
        guard case .flag(let value)? = find(path)?.content else { unreachable("\(path) is true or false") }
        return value
    }
    func fraction(_ path: String) -> Double {
        guard case .fraction(let value)? = find(path)?.content else { unreachable("\(path) is a fraction") }
        return value
    }
}
