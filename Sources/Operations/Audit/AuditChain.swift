// Checks an audit log: a line a record, each beginning with the SHA-256 of the rest, and holding the hash of the one before.
// What was changed, taken out of the middle or put in between shows, and the first record that does not hold is named. That
// the end was cut off, or everything written anew, shows to those who remember a hash they have seen: the anchor.
//
//     5f0c...e1 {"n":12,"time":1760000000,...,"previous":"91ab...07"}

import Foundations
import JSON
import PKI

struct AuditChain: Sendable {
    struct Broken: Error, Equatable, Sendable, CustomStringConvertible {
        var record: UInt64
        var place: String
        var what: String

        var description: String { "record \(record) (\(place)): \(what)" }
    }

    static let start = String(repeating: "0", count: 64)

    /// A record somebody has seen before.
    struct Anchor: Sendable, Equatable {
        var record: UInt64
        var hash: String
    }

    /// Number of the record to come.
    private(set) var count: UInt64 = 0
    /// Hash of the last one; nil before the first of a log that does not begin at its beginning.
    private(set) var head: String? = AuditChain.start
    /// Number of the first one that is there.
    private(set) var first: UInt64?
    private(set) var broken: Broken?
    /// Bytes after the last whole record: what a crash leaves.
    private(set) var torn = 0
    /// Bytes of the whole records of the last file.
    private(set) var whole = 0
    /// What records say about the log itself.
    private(set) var remarks: [String] = []
    /// The last record of the journal that was copied; -1 before the first.
    private(set) var journal: Int64 = -1
    private var anchor: Anchor?
    private var pruned: UInt64?

    init(anchor: Anchor? = nil) { self.anchor = anchor }

    static func name(_ segment: UInt64) -> String {
        let digits = String(segment)
        return "audit-\(String(repeating: "0", count: max(0, 16 - digits.count)))\(digits).log"
    }

    static func segment(_ name: String) -> UInt64? {
        guard name.hasPrefix("audit-"), name.hasSuffix(".log"), name.utf8.count == 26 else { return nil }
        return UInt64(name.dropFirst(6).dropLast(4))
    }

    /// Hash and content of a line; nil when they do not fit.
    static func read(_ line: some Collection<UInt8>) -> (hash: String, json: JSONValue)? {
        guard line.count > 65 else { return nil }
        let hash = String(decoding: line.prefix(64), as: UTF8.self)
        let rest = Array(line.dropFirst(65))
        guard hash == Hexadecimal.encode(SHA256Digest.hash(rest)), let json = try? JSONValue(parsing: rest) else { return nil }
        return (hash, json)
    }

    /// A file at a time, in their order. After the first broken record nothing more is looked at.
    mutating func take(segment: UInt64, _ bytes: [UInt8], isLast: Bool) {
        guard broken == nil else { return }
        if first == nil {
            first = segment
            count = segment
            if segment > 0 { head = nil }
        }
        guard segment == count else {
            return fail(Self.name(segment), "\(count) should come next: a file is missing, or one too many is there")
        }
        whole = 0
        for (number, line) in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            if whole + line.count >= bytes.count { break }
            guard take(line, "\(Self.name(segment)) line \(number + 1)") else { return }
            whole += line.count + 1
        }
        torn = bytes.count - whole
        if torn > 0 && !isLast { fail(Self.name(segment), "the file ends within it") }
    }

    private mutating func take(_ line: ArraySlice<UInt8>, _ place: String) -> Bool {
        guard let (hash, json) = Self.read(line) else {
            fail(place, "it does not fit its hash")
            return false
        }
        guard json["n"]?.uint64 == count else {
            fail(place, "it says that it is record \(json["n"]?.uint64.map { String($0) } ?? "without a number")")
            return false
        }
        guard let previous = json["previous"]?.string, head == nil || previous == head else {
            fail(place, "it does not follow the record before it")
            return false
        }
        if let anchor, anchor.record == count, anchor.hash != hash {
            fail(place, "it is not what it was when it was last looked at (\(anchor.hash.prefix(12)) then)")
            return false
        }
        if json["phase"]?.string == "log" { remarks.append("record \(count): \(json["result"]?.string ?? "")") }
        if let until = json["until"]?.uint64 { pruned = max(pruned ?? 0, until) }
        journal = json["journal"]?.int64 ?? journal
        head = hash
        count += 1
        return true
    }

    /// After the last file.
    mutating func end() {
        guard broken == nil else { return }
        if let first, first > 0, pruned != first {
            broken = Broken(
                record: 0, place: "before \(Self.name(first))", what: "older records are gone, and none says that they were removed")
        }
        if let anchor, anchor.record >= count {
            broken = Broken(
                record: count, place: "the end", what: "record \(anchor.record) was there when it was last looked at, and is gone")
        }
    }

    private mutating func fail(_ place: String, _ what: String) { broken = Broken(record: count, place: place, what: what) }
}
