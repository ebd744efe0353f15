// What the write-ahead log holds, as values, and how each becomes bytes. The format is etcd's, so that one codec serves
// our log, import and export:
//
//   frame  = length word (8 bytes LE) | record | zeros to a multiple of 8
//   length = record bytes in the low 56 bits; with p > 0 bytes of padding the top byte is 0x80 | p
//   record = protobuf {1 type, 2 crc, 3 data}
//
// The checksum is one chain over the data of all records of all segments, so a record cannot be lost, swapped or taken
// from another log unnoticed.

import Foundations

package enum WALRecordKind: UInt64, Sendable {
    case metadata = 1
    case entry = 2
    case state = 3
    case crc = 4
    case snapshot = 5
}

/// Whose log it is; repeated at the head of each segment.
package struct LogIdentity: Equatable, Sendable, CustomStringConvertible {
    package var member: MemberID
    package var cluster: ClusterID

    package init(member: MemberID, cluster: ClusterID) {
        self.member = member
        self.cluster = cluster
    }

    package var description: String { "member \(member) of cluster \(cluster)" }
}

/// One raft entry. `kind` is raftpb's EntryType: 0 normal, 1 conf change, 2 conf change v2.
package struct LogEntry: Equatable, Sendable {
    package var term: Term
    package var index: LogIndex
    package var kind: UInt64
    package var data: Bytes?

    package init(term: Term, index: LogIndex, kind: UInt64 = 0, data: Bytes?) {
        self.term = term
        self.index = index
        self.kind = kind
        self.data = data
    }
}

/// What raft must not forget: term, vote, commit.
package struct LogState: Equatable, Sendable {
    package var term: Term
    package var vote: MemberID
    package var commit: LogIndex

    package init(term: Term = 0, vote: MemberID = .none, commit: LogIndex = 0) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

/// A mark in the log: up to here everything is in a snapshot. `confState` is an encoded raftpb.ConfState, nil in logs of
/// etcd 3.4 and in the first record.
package struct LogSnapshot: Equatable, Sendable {
    package var index: LogIndex
    package var term: Term
    package var confState: Bytes?

    package init(index: LogIndex = 0, term: Term = 0, confState: Bytes? = nil) {
        self.index = index
        self.term = term
        self.confState = confState
    }
}

/// Appends framed records to a buffer and carries the checksum chain.
package struct WALEncoder: Sendable {
    private var crc: CRC32C
    private var head: Bytes = []

    /// Running checksum of everything encoded so far.
    package var checksum: UInt32 { crc.value }

    /// A new log starts with 0; a log that was read goes on with the reader's running value.
    package init(continuing checksum: UInt32 = 0) { crc = CRC32C(checksum) }

    /// A checksum record: opens each segment, and each flush of our own log (see `WALTail`).
    package static func appendChecksum(_ checksum: UInt32, to buffer: inout Bytes) {
        appendFrame(kind: .crc, checksum: checksum, head: [], payload: nil, hasData: false, to: &buffer)
    }

    package mutating func append(_ identity: LogIdentity, to buffer: inout Bytes) {
        head.removeAll(keepingCapacity: true)
        head.appendField(1, number: identity.member.rawValue)
        head.appendField(2, number: identity.cluster.rawValue)
        append(.metadata, payload: nil, to: &buffer)
    }

    package mutating func append(_ entry: LogEntry, to buffer: inout Bytes) {
        appendEntry(term: entry.term, index: entry.index, kind: entry.kind, data: entry.data, to: &buffer)
    }

    package mutating func appendEntry(
        term: Term, index: LogIndex, kind: UInt64, data: Bytes?, to buffer: inout Bytes
    ) {
        head.removeAll(keepingCapacity: true)
        head.appendField(1, number: kind)
        head.appendField(2, number: term)
        head.appendField(3, number: index)
        if let data {
            head.append(4 << 3 | 2)
            head.appendVarint(UInt64(data.count))
        }
        append(.entry, payload: data, to: &buffer)
    }

    package mutating func append(_ state: LogState, to buffer: inout Bytes) {
        head.removeAll(keepingCapacity: true)
        head.appendField(1, number: state.term)
        head.appendField(2, number: state.vote.rawValue)
        head.appendField(3, number: state.commit)
        append(.state, payload: nil, to: &buffer)
    }

    package mutating func append(_ snapshot: LogSnapshot, to buffer: inout Bytes) {
        head.removeAll(keepingCapacity: true)
        head.appendField(1, number: snapshot.index)
        head.appendField(2, number: snapshot.term)
        if let confState = snapshot.confState { head.appendField(3, bytes: confState) }
        append(.snapshot, payload: nil, to: &buffer)
    }

    /// The data of the record is `head` and then `payload`.
    private mutating func append(_ kind: WALRecordKind, payload: Bytes?, to buffer: inout Bytes) {
        crc.update(head)
        if let payload { crc.update(payload) }
        WALEncoder.appendFrame(
            kind: kind, checksum: crc.value, head: head, payload: payload, hasData: true, to: &buffer)
    }

    private static func appendFrame(
        kind: WALRecordKind, checksum: UInt32, head: Bytes, payload: Bytes?, hasData: Bool, to buffer: inout Bytes
    ) {
        let dataBytes = head.count + (payload?.count ?? 0)
        var recordBytes = 3 + varintBytes(UInt64(checksum))
        if hasData { recordBytes += 1 + varintBytes(UInt64(dataBytes)) + dataBytes }
        let padding = (8 - recordBytes % 8) % 8
        buffer.appendLittleEndian(WALFrame.lengthWord(recordBytes: recordBytes))
        buffer.appendField(1, number: kind.rawValue)
        buffer.appendField(2, number: UInt64(checksum))
        if hasData {
            buffer.append(3 << 3 | 2)
            buffer.appendVarint(UInt64(dataBytes))
            buffer.append(contentsOf: head)
            if let payload { buffer.append(contentsOf: payload) }
        }
        for _ in 0..<padding { buffer.append(0) }
    }

    private static func varintBytes(_ number: UInt64) -> Int {
        number == 0 ? 1 : (70 - number.leadingZeroBitCount) / 7
    }
}

/// The length word in front of a record.
package enum WALFrame {
    package static let wordBytes = 8

    package static func lengthWord(recordBytes: Int) -> UInt64 {
        let padding = UInt64((8 - recordBytes % 8) % 8)
        let word = UInt64(recordBytes)
        return padding == 0 ? word : word | (0x80 | padding) << 56
    }

    /// Record bytes and padding as the word states them; nil when they do not fit into an Int.
    package static func parse(_ word: UInt64) -> (recordBytes: Int, padding: Int) {
        let padding = word >> 63 == 0 ? 0 : Int((word >> 56) & 7)
        return (Int(word & 0x00ff_ffff_ffff_ffff), padding)
    }
}
