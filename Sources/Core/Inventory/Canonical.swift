// The one spelling of an inventory: JSON with every default written out, hosts by name, sizes in bytes, durations in
// nanoseconds. Two files that mean the same have the same digest. The generation is not part of it: it counts digests.

import FileFormats
import Foundations
import JSON

package enum Canonical {
    package static func json(_ resolved: Resolved, withGeneration: Bool = true) -> JSONValue {
        var value = node(resolved)
        if !withGeneration, case .object(var members) = value,
            let index = members.firstIndex(where: { $0.name == "metadata" }),
            let metadata = members[index].value.members
        {
            members[index].value = .object(metadata.filter { $0.name != "generation" })
            value = .object(members)
        }
        return value
    }

    package static func digest(_ resolved: Resolved) -> InventoryDigest {
        let text = json(resolved, withGeneration: false).text()
        return InventoryDigest(hex: Hexadecimal.encode(SHA256.of(Array(text.utf8))))
    }

    private static func node(_ resolved: Resolved) -> JSONValue {
        switch resolved.content {
        case .absent: .null
        case .text(let text): .string(text)
        case .flag(let value): .bool(value)
        case .integer(let value), .size(let value), .duration(let value): .number(value)
        case .fraction(let value): .number(String(value))
        case .list(let values): .array(values.map(node))
        case .table(let members), .record(let members):
            .object(members.filter { !$0.value.isAbsent }.map { JSONValue.Member($0.name, node($0.value)) })
        }
    }
}
