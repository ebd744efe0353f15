// Go's rules for reading a document into a struct, which decide what members understand: names fit in any case, unknown
// ones are passed over, null changes nothing, the last of several wins. And its way to write one, byte for byte.

import Foundations
import JSON

enum GoJSON {
    static let depthMax = 64

    static func parse(_ text: Bytes) -> JSONValue? {
        // Why a text is no JSON is of no use here: what it should have said is missing either way.
        try? JSONValue(parsing: text.rawSpan, depthMax: depthMax)
    }

    /// Writes one object as Go does: HTML's special characters escaped.
    static func object(_ body: (inout JSONWriter) -> Void) -> Bytes {
        var writer = JSONWriter(escapesHTML: true)
        writer.beginObject()
        body(&writer)
        writer.endObject()
        return writer.bytes
    }
}

extension JSONWriter {
    /// An array of strings; an empty one is null, as Go writes a slice that was never made.
    mutating func strings(_ name: String, _ strings: [String]) {
        self.name(name)
        guard !strings.isEmpty else { return null() }
        beginArray()
        for string in strings { self.string(string) }
        endArray()
    }

    mutating func string(_ name: String, _ string: String) {
        self.name(name)
        self.string(string)
    }
}

extension JSONValue {
    /// The last member whose name fits, in any case; null counts as absent.
    private func field(_ name: String) -> JSONValue? {
        let wanted = name.lowercased()
        let found = members?.last { $0.name.lowercased() == wanted }?.value
        return found == .null ? nil : found
    }

    // In each: the zero value when absent; nil when it is something else than asked for, or this is no object.

    func number(_ name: String) -> UInt64? {
        guard let value = field(name) else { return members == nil ? nil : 0 }
        return value.uint64
    }

    func string(_ name: String) -> String? {
        guard let value = field(name) else { return members == nil ? nil : "" }
        return value.string
    }

    func flag(_ name: String) -> Bool? {
        guard let value = field(name) else { return members == nil ? nil : false }
        return value.bool
    }

    func strings(_ name: String) -> [String]? {
        guard let value = field(name) else { return members == nil ? nil : [] }
        guard let values = value.array else { return nil }
        let strings = values.compactMap(\.string)
        return strings.count == values.count ? strings : nil
    }
}
