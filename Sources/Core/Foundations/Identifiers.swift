// Numbers that mean different things get different types, so that the compiler keeps them apart.

/// Owned bytes: a key, a value, an encoded message.
package typealias Bytes = [UInt8]

/// A raft term.
package typealias Term = UInt64

/// A position in the replicated log; the first entry is 1.
package typealias LogIndex = UInt64

/// One member of a cluster. Zero is nobody. Shown as lower-case hexadecimal without leading zeros.
package struct MemberID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    package static let none = MemberID(0)

    @inlinable package static func < (a: MemberID, b: MemberID) -> Bool { a.rawValue < b.rawValue }
    package var description: String { String(rawValue, radix: 16) }
}

/// One cluster; fixed at bootstrap.
package struct ClusterID: Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    package var description: String { String(rawValue, radix: 16) }
}

/// A lease as clients name it. Negative ids are legal; zero is "no lease".
package struct LeaseID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: Int64

    @inlinable package init(_ rawValue: Int64) { self.rawValue = rawValue }

    package static let none = LeaseID(0)

    @inlinable package static func < (a: LeaseID, b: LeaseID) -> Bool { a.rawValue < b.rawValue }
    package var description: String { String(rawValue, radix: 16) }
}
