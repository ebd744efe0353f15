// The header of answers: who answered, at which revision and term. Written as bytes, because every answer has one: the
// part that never changes is encoded once.

import Foundations

package struct AnswerHeader: Sendable {
    /// Fields 1 and 2: cluster and member.
    private let identity: Bytes

    package init(cluster: ClusterID, member: MemberID) {
        var bytes: Bytes = []
        FieldBytes.number(0x08, cluster.rawValue, &bytes)
        FieldBytes.number(0x10, member.rawValue, &bytes)
        identity = bytes
    }

    /// Appends the header as field 1 of a response. Revision 0 is left out.
    package func append(revision: Int64, term: Term, to bytes: inout Bytes) {
        let count =
            identity.count + FieldBytes.numberCount(UInt64(bitPattern: revision)) + FieldBytes.numberCount(term)
        // Two ids and two numbers of at most 11 bytes each: the length is one byte.
        invariant(count < 0x80, "a header of \(count) bytes")
        bytes.append(addingCapacity: 2 + count) { output in
            output.append(0x0a)
            output.append(UInt8(truncatingIfNeeded: count))
            output.append(identity.rawSpan)
            AnswerHeader.number(0x18, UInt64(bitPattern: revision), &output)
            AnswerHeader.number(0x20, term, &output)
        }
    }

    @inline(__always)
    private static func number(_ tag: UInt8, _ value: UInt64, _ output: inout OutputSpan<UInt8>) {
        if value == 0 { return }
        output.append(tag)
        var rest = value
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        output.append(UInt8(truncatingIfNeeded: rest))
    }
}

/// Protobuf fields with one-byte tags, appended front to back: for answers that are put together from stored bytes.
enum FieldBytes {
    @inline(__always)
    static func varint(_ value: UInt64, _ bytes: inout Bytes) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Zero is left out.
    @inline(__always)
    static func number(_ tag: UInt8, _ value: UInt64, _ bytes: inout Bytes) {
        if value == 0 { return }
        bytes.append(tag)
        varint(value, &bytes)
    }

    @inline(__always)
    static func numberCount(_ value: UInt64) -> Int { value == 0 ? 0 : 1 + max(1, (70 - value.leadingZeroBitCount) / 7) }
}
