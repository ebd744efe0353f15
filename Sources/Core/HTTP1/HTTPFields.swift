// Header fields in the order in which they came; names compare without regard to case. Also the grammar of names and
// values, used on both ways: what we would not accept we do not write.

package struct HTTPFields: Equatable, Sendable, Sequence, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral {
    package struct Field: Equatable, Sendable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package private(set) var all: [Field] = []

    package init() {}
    package init(arrayLiteral elements: Field...) { all = elements }
    package init(dictionaryLiteral elements: (String, String)...) { all = elements.map { Field($0.0, $0.1) } }

    package var isEmpty: Bool { all.isEmpty }
    package var count: Int { all.count }
    package func makeIterator() -> IndexingIterator<[Field]> { all.makeIterator() }

    /// Setting replaces every field of that name; nil removes them. Getting answers the first.
    package subscript(_ name: String) -> String? {
        get { all.first { HTTPGrammar.sameName($0.name, name) }?.value }
        set {
            all.removeAll { HTTPGrammar.sameName($0.name, name) }
            if let newValue { all.append(Field(name, newValue)) }
        }
    }

    package mutating func append(_ name: String, _ value: String) { all.append(Field(name, value)) }

    package func values(_ name: String) -> [String] {
        all.lazy.filter { HTTPGrammar.sameName($0.name, name) }.map(\.value)
    }

    /// The elements of a comma list that may be spread over several fields, trimmed, empty ones dropped.
    package func list(_ name: String) -> [String] {
        values(name).flatMap { HTTPGrammar.commaList($0) }
    }

    /// A comma list has this element, compared without regard to case.
    package func list(_ name: String, contains element: String) -> Bool {
        list(name).contains { HTTPGrammar.sameName($0, element) }
    }
}

package enum HTTPGrammar {
    /// ASCII without case; other bytes must be equal.
    package static func sameName(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && zip(a.utf8, b.utf8).allSatisfy { lower($0) == lower($1) }
    }

    package static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }

    /// A character of a method or a field name (RFC 9110, 5.6.2).
    package static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        case 0x21, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2a, 0x2b, 0x2d, 0x2e, 0x5e, 0x5f, 0x60, 0x7c, 0x7e: true
        default: false
        }
    }

    package static func isToken(_ text: some Collection<UInt8>) -> Bool { !text.isEmpty && text.allSatisfy(isToken) }

    /// A byte of a field value: visible, blank, tab, or beyond ASCII.
    package static func isFieldContent(_ byte: UInt8) -> Bool { byte == 0x09 || (byte >= 0x20 && byte != 0x7f) }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var rest = bytes.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return rest
    }

    static func commaList(_ value: String) -> [String] {
        Array(value.utf8).split(separator: 0x2c).map { trimmed($0) }.filter { !$0.isEmpty }
            .map { String(decoding: $0, as: UTF8.self) }
    }
}
