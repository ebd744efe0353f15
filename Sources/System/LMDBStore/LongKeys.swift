// LMDB's keys have at most 511 bytes; names of users and roles may be longer. Keys of `prefixBytes` or more that share
// their first `prefixBytes` bytes live together under that prefix, as a sorted list:
//
//   list = { key bytes u32 LE, value bytes u32 LE, key, value }...
//
// A record with a key of exactly `prefixBytes` is always such a list, so the order of the table stays the order of keys.

import Foundations

enum LongKeys {
    static let prefixBytes = 500

    struct Pair {
        var key: Bytes
        var value: Bytes
    }

    static func decode(_ list: RawSpan) -> [Pair] {
        var pairs: [Pair] = []
        var offset = 0
        while offset < list.byteCount {
            let keyBytes = number(list, offset)
            let valueBytes = number(list, offset + 4)
            let keyEnd = offset + 8 + keyBytes
            pairs.append(
                Pair(
                    key: Bytes(list.extracting((offset + 8)..<keyEnd)),
                    value: Bytes(list.extracting(keyEnd..<(keyEnd + valueBytes)))))
            offset = keyEnd + valueBytes
        }
        return pairs
    }

    static func encode(_ pairs: [Pair]) -> Bytes {
        var list: Bytes = []
        for pair in pairs {
            for count in [pair.key.count, pair.value.count] {
                for shift in [0, 8, 16, 24] { list.append(UInt8(truncatingIfNeeded: count >> shift)) }
            }
            list += pair.key
            list += pair.value
        }
        return list
    }

    /// The list with the key set to the value, or without the key.
    static func changed(_ list: RawSpan, _ key: RawSpan, _ value: RawSpan?) -> Bytes {
        var pairs = decode(list)
        let key = Bytes(key)
        let position = pairs.firstIndex { !$0.key.lexicographicallyPrecedes(key) } ?? pairs.count
        if position < pairs.count, pairs[position].key == key { pairs.remove(at: position) }
        if let value { pairs.insert(Pair(key: key, value: Bytes(value)), at: position) }
        return encode(pairs)
    }

    private static func number(_ list: RawSpan, _ offset: Int) -> Int {
        var number = 0
        for i in 0..<4 { number |= Int(list[byte: offset + i]) << (8 * i) }
        return number
    }
}
