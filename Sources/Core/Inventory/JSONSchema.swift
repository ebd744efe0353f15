// The schema for editors and other tools, from the same definition that validates.

import JSON

package enum JSONSchema {
    package static let text: String = PrettyJSON.text(document)

    package static let document: JSONValue = {
        var members: [JSONValue.Member] = [
            .init("$schema", .string("https://json-schema.org/draft/2020-12/schema")),
            .init("title", .string("Covey cluster inventory (\(Schema.version))")),
        ]
        members += record(Schema.root)
        return .object(members)
    }()

    private static func record(_ settings: [Setting]) -> [JSONValue.Member] {
        var members: [JSONValue.Member] = [
            .init("type", .string("object")),
            .init("additionalProperties", .bool(false)),
            .init("properties", .object(settings.map { .init($0.name, property($0)) })),
        ]
        let required = settings.filter(\.isRequired).map { JSONValue.string($0.name) }
        if !required.isEmpty { members.append(.init("required", .array(required))) }
        return members
    }

    private static func property(_ setting: Setting) -> JSONValue {
        var summary = setting.summary
        if setting.isPending { summary += " (Not acted on in this version.)" }
        if let follows = setting.follows { summary += " Default: \(follows)." }
        var members: [JSONValue.Member] = [.init("description", .string(summary))]
        members += shape(setting.shape)
        if let text = setting.defaultText { members.append(.init("default", defaultValue(text, setting.shape))) }
        return .object(members)
    }

    private static func defaultValue(_ text: String, _ shape: Shape) -> JSONValue {
        switch shape {
        case .integer, .fraction: .number(text)
        case .flag: .bool(text == "true")
        default: .string(text)
        }
    }

    private static func shape(_ shape: Shape) -> [JSONValue.Member] {
        switch shape {
        case .text(let rule):
            [.init("type", .string("string"))] + (rule.pattern.map { [.init("pattern", .string($0))] } ?? [])
        case .choice(let words): [.init("enum", .array(words.map { .string($0) }))]
        case .flag: [.init("type", .string("boolean"))]
        case .integer(let range):
            [
                .init("type", .string("integer")), .init("minimum", .number(range.lowerBound)),
                .init("maximum", .number(range.upperBound)),
            ]
        case .fraction(let range):
            [
                .init("type", .string("number")), .init("minimum", .number(String(range.lowerBound))),
                .init("maximum", .number(String(range.upperBound))),
            ]
        case .size:
            [
                .init("type", .array([.string("string"), .string("integer")])),
                .init("pattern", .string(SizeText.pattern)),
                .init("$comment", .string(shape.allowed)),
            ]
        case .duration:
            [
                .init("type", .string("string")), .init("pattern", .string(DurationText.pattern)),
                .init("$comment", .string(shape.allowed)),
            ]
        case .list(let element, let countMax):
            [
                .init("type", .string("array")), .init("maxItems", .number(countMax)),
                .init("items", .object(self.shape(element))),
            ]
        case .table(let key, let value, let count):
            [
                .init("type", .string("object")), .init("minProperties", .number(count.lowerBound)),
                .init("maxProperties", .number(count.upperBound)),
                .init("propertyNames", .object(key.pattern.map { [.init("pattern", .string($0))] } ?? [])),
                .init("additionalProperties", .object(self.shape(value))),
            ]
        case .record(let settings): record(settings)
        case .short(let key, let settings):
            [
                .init(
                    "oneOf",
                    .array([
                        .object(settings.first { $0.name == key }.map { self.shape($0.shape) } ?? []),
                        .object(record(settings)),
                    ]))
            ]
        }
    }
}

/// JSON for people: two blanks an indent, a member a line.
package enum PrettyJSON {
    package static func text(_ value: JSONValue) -> String {
        var out = ""
        write(value, 0, &out)
        return out + "\n"
    }

    private static func write(_ value: JSONValue, _ depth: Int, _ out: inout String) {
        let indent = String(repeating: "  ", count: depth + 1)
        let end = String(repeating: "  ", count: depth)
        switch value {
        case .object(let members) where !members.isEmpty:
            out += "{\n"
            for (i, member) in members.enumerated() {
                out += indent + JSONValue.string(member.name).text() + ": "
                write(member.value, depth + 1, &out)
                out += i < members.count - 1 ? ",\n" : "\n"
            }
            out += end + "}"
        case .array(let values) where values.contains { if case .object = $0 { true } else { false } }:
            out += "[\n"
            for (i, element) in values.enumerated() {
                out += indent
                write(element, depth + 1, &out)
                out += i < values.count - 1 ? ",\n" : "\n"
            }
            out += end + "]"
        default: out += value.text()
        }
    }
}
