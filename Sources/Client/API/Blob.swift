// Bytes with the manners of a string: what keys and values are.

import Foundations

/// A key or a value: any bytes, usually text.
///
///     let a: Blob = "app/config"
///     let b = Blob([0, 1, 255])
///     print(a.text, b.bytes.count)
public struct Blob: Hashable, Sendable {
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8] = []) { self.bytes = bytes }
    public init(_ text: some StringProtocol) { bytes = Array(text.utf8) }

    /// As UTF-8; what is not becomes U+FFFD.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    public var isEmpty: Bool { bytes.isEmpty }

    public func hasPrefix(_ prefix: Blob) -> Bool { bytes.starts(with: prefix.bytes) }

    public static func + (a: Blob, b: Blob) -> Blob { Blob(a.bytes + b.bytes) }
}

extension Blob: Comparable {
    /// As the cluster orders keys: byte by byte.
    public static func < (a: Blob, b: Blob) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}

extension Blob: ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
    public init(stringLiteral text: String) { self.init(text) }
}

extension Blob: CustomStringConvertible {
    public var description: String { text }
}

/// Which keys a request is about.
public struct KeyRange: Hashable, Sendable {
    /// The first key.
    public let start: Blob
    /// The first key behind the range; nil for the one key alone, a zero byte for no end.
    let end: Blob?

    private init(_ start: Blob, _ end: Blob?) {
        self.start = start
        self.end = end
    }

    /// One key.
    public static func key(_ key: Blob) -> KeyRange { KeyRange(key, nil) }

    /// All keys that begin with these bytes; an empty prefix is all keys.
    public static func prefix(_ prefix: Blob) -> KeyRange {
        if prefix.isEmpty { return all }
        var end = prefix.bytes
        while let last = end.popLast() {
            if last < 0xff {
                end.append(last + 1)
                return KeyRange(prefix, Blob(end))
            }
        }
        return KeyRange(prefix, Blob([0]))
    }

    /// From `start` up to and without `end`.
    public static func from(_ start: Blob, upTo end: Blob) -> KeyRange { KeyRange(start, end) }

    /// `start` and all keys behind it.
    public static func from(_ start: Blob) -> KeyRange { KeyRange(start, Blob([0])) }

    public static let all = KeyRange(Blob([0]), Blob([0]))

    var endBytes: [UInt8] { end?.bytes ?? [] }

    /// The part that begins right behind `key`.
    func after(_ key: Blob) -> KeyRange { KeyRange(Blob(key.bytes + [0]), end) }
}
