// The header of one member's answers: cluster and member id never change, so they are encoded once, and an answer costs a
// copy and two short numbers. Every answer's field 1 is this header.

import Foundations

package struct ResponseHeaderTemplate: Sendable {
    /// Fields 1 and 2 of the header.
    private let ids: Bytes

    package init(clusterId: UInt64, memberId: UInt64) {
        ids = ResponseHeader(clusterId: clusterId, memberId: memberId).encoded()
    }

    /// Bytes that `append` adds.
    package func size(revision: Int64, raftTerm: UInt64) -> Int {
        Varint.payloadFieldSize(1, length(revision: revision, raftTerm: raftTerm))
    }

    /// Appends the header as field 1 of an answer.
    package func append(to answer: inout Bytes, revision: Int64, raftTerm: UInt64) {
        let revision = UInt64(bitPattern: revision)
        let length = length(revision: Int64(bitPattern: revision), raftTerm: raftTerm)
        // Two ids of at most 11 bytes, two numbers likewise: the length is one byte.
        invariant(length < 0x80, "a header of \(length) bytes")
        answer.append(addingCapacity: length + 2) { output in
            output.append(0x0a)
            output.append(UInt8(truncatingIfNeeded: length))
            for i in ids.indices { output.append(ids[i]) }
            if revision != 0 {
                output.append(0x18)
                ResponseHeaderTemplate.append(revision, to: &output)
            }
            if raftTerm != 0 {
                output.append(0x20)
                ResponseHeaderTemplate.append(raftTerm, to: &output)
            }
        }
    }

    private func length(revision: Int64, raftTerm: UInt64) -> Int {
        ids.count + Varint.fieldSize(3, UInt64(bitPattern: revision)) + Varint.fieldSize(4, raftTerm)
    }

    @inline(__always)
    private static func append(_ value: UInt64, to output: inout OutputSpan<UInt8>) {
        var rest = value
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest &>>= 7
        }
        output.append(UInt8(truncatingIfNeeded: rest))
    }
}
