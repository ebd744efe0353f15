// The store as anyone would write it who does not care for speed: all changes ever made, in a list. What the real store
// answers must be what this answers.

import Foundations
import Glibc
import MVCC

struct Pair: Equatable, CustomStringConvertible {
    var key: [UInt8]
    var value: [UInt8] = []
    var create: Int64 = 0
    var mod: Int64 = 0
    var version: Int64 = 0
    var lease: Int64 = 0

    var description: String {
        "\(String(decoding: key, as: UTF8.self))=\(String(decoding: value, as: UTF8.self))@\(create)/\(mod)/\(version)/\(lease)"
    }

    init(key: [UInt8]) { self.key = key }

    init(encoded bytes: [UInt8]) {
        guard let parts = StoredKeyValue(bytes.rawSpan) else { fatalError("not a KeyValue: \(bytes)") }
        key = Array(bytes[parts.key])
        value = Array(bytes[parts.value])
        create = parts.createRevision
        mod = parts.modRevision
        version = parts.version
        lease = parts.lease
    }

    /// The pairs of a message: fields with tag 0x12 only.
    static func list(_ bytes: [UInt8]) -> [Pair] {
        var pairs: [Pair] = []
        var i = 0
        while i < bytes.count {
            precondition(bytes[i] == 0x12)
            i += 1
            var count = 0
            var shift = 0
            while true {
                let byte = bytes[i]
                i += 1
                count |= Int(byte & 0x7f) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            pairs.append(Pair(encoded: Array(bytes[i..<i + count])))
            i += count
        }
        return pairs
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        func varint(_ value: UInt64) {
            var rest = value
            while rest >= 0x80 {
                bytes.append(UInt8(rest & 0x7f) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        bytes.append(0x0a)
        varint(UInt64(key.count))
        bytes += key
        for (tag, number) in [(UInt8(0x10), create), (0x18, mod), (0x20, version)] where number != 0 {
            bytes.append(tag)
            varint(UInt64(bitPattern: number))
        }
        if !value.isEmpty {
            bytes.append(0x2a)
            varint(UInt64(value.count))
            bytes += value
        }
        if lease != 0 {
            bytes.append(0x30)
            varint(UInt64(bitPattern: lease))
        }
        return bytes
    }
}

struct StoreModel {
    struct Change {
        var main: Int64
        var sub: Int64
        var isDelete: Bool
        /// Only the key of a delete.
        var pair: Pair
    }

    var changes: [Change] = []
    var current: Int64 = 1
    var compacted: Int64 = -1

    static func less(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        let order = memcmp(a, b, min(a.count, b.count))
        return order != 0 ? order < 0 : a.count < b.count
    }

    static func contains(_ key: [UInt8], _ start: [UInt8], _ end: [UInt8]) -> Bool {
        if end.isEmpty { return key == start }
        if less(key, start) { return false }
        return end == [0] || less(key, end)
    }

    /// The newest change of a key with main <= R (also uncommitted ones when R is nil).
    func newest(_ key: [UInt8], _ revision: Int64?) -> Change? {
        changes.last { $0.pair.key == key && (revision == nil || $0.main <= revision!) }
    }

    func get(_ key: [UInt8], _ revision: Int64?) -> Pair? {
        guard let change = newest(key, revision), !change.isDelete else { return nil }
        return change.pair
    }

    func pairs(_ start: [UInt8], _ end: [UInt8], _ revision: Int64?) -> [Pair] {
        let keys = Set(changes.map(\.pair.key)).filter { StoreModel.contains($0, start, end) }
        return keys.sorted(by: StoreModel.less).compactMap { get($0, revision) }
    }

    mutating func put(_ key: [UInt8], _ value: [UInt8], _ lease: Int64, sub: Int64) {
        var pair = Pair(key: key)
        let before = get(key, nil)
        pair.value = value
        pair.lease = lease
        pair.mod = current + 1
        pair.create = before?.create ?? current + 1
        pair.version = (before?.version ?? 0) + 1
        changes.append(Change(main: current + 1, sub: sub, isDelete: false, pair: pair))
    }

    mutating func delete(_ start: [UInt8], _ end: [UInt8], sub: Int64) -> [Pair] {
        let doomed = pairs(start, end, nil)
        for (i, pair) in doomed.enumerated() {
            changes.append(
                Change(main: current + 1, sub: sub + Int64(i), isDelete: true, pair: Pair(key: pair.key)))
        }
        return doomed
    }

    /// HashKV from its definition.
    func hash(_ revision: Int64) -> UInt32 {
        var crc = CRC32C()
        crc.update(Array("key".utf8))
        let keys = Set(changes.map(\.pair.key))
        func keep(_ at: Int64) -> [[UInt8]: Change] {
            var kept: [[UInt8]: Change] = [:]
            for key in keys {
                if let change = newest(key, at), !change.isDelete { kept[key] = change }
            }
            return kept
        }
        var kept = keep(revision)
        if kept.isEmpty { kept = keep(compacted) }
        for change in changes where change.main <= revision {
            if change.main <= compacted {
                guard let k = kept[change.pair.key], k.main == change.main, k.sub == change.sub else { continue }
            }
            var record: [UInt8] = []
            for number in [change.main, change.sub] {
                for shift in stride(from: 56, through: 0, by: -8) {
                    record.append(UInt8(truncatingIfNeeded: number >> Int64(shift)))
                }
                if record.count == 8 { record.append(0x5f) }
            }
            if change.isDelete { record.append(0x74) }
            crc.update(record)
            crc.update(change.pair.encoded)
        }
        return crc.value
    }
}
