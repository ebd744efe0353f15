// Which keys a command means: one, [key, end), a prefix, or everything from a key on.

import Foundations

package struct KeyRange: Equatable, Sendable {
    package var key: Bytes
    /// Empty: the key alone. A single zero byte: everything from the key on.
    package var end: Bytes

    package init(key: Bytes, end: Bytes) {
        self.key = key
        self.end = end
    }

    package static let openEnd: Bytes = [0]

    package static func one(_ key: Bytes) -> KeyRange { KeyRange(key: key, end: []) }

    /// An empty prefix is every key.
    package static func prefix(_ prefix: Bytes) -> KeyRange {
        prefix.isEmpty ? KeyRange(key: [0], end: openEnd) : KeyRange(key: prefix, end: prefixEnd(of: prefix))
    }

    package static func from(_ key: Bytes) -> KeyRange { KeyRange(key: key.isEmpty ? [0] : key, end: openEnd) }

    /// The first key behind all that start with `prefix`; open when there is none.
    package static func prefixEnd(of prefix: Bytes) -> Bytes {
        var end = prefix
        while let last = end.last {
            if last < 0xff {
                end[end.count - 1] = last + 1
                return end
            }
            end.removeLast()
        }
        return openEnd
    }
}
