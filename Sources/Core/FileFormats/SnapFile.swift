// `.snap` files: the raft snapshot of a member with the membership JSON in it, in a checksummed envelope.
//
//   file     = {1 crc (always written), 2 data}      crc = CRC-32C of data
//   data     = raft Snapshot {1 data (if any), 2 metadata}
//   metadata = {1 conf_state, 2 index, 3 term}       all always written

import Foundations

package struct SnapFile: Equatable, Sendable {
    /// For etcd: the membership as JSON.
    package var data: Bytes?
    package var index: LogIndex
    package var term: Term
    /// Encoded raftpb.ConfState.
    package var confState: Bytes

    package init(data: Bytes?, index: LogIndex, term: Term, confState: Bytes) {
        self.data = data
        self.index = index
        self.term = term
        self.confState = confState
    }

    package var name: SnapName { SnapName(term: term, index: index) }

    package func encoded() -> Bytes {
        var metadata: Bytes = []
        metadata.appendField(1, bytes: confState)
        metadata.appendField(2, number: index)
        metadata.appendField(3, number: term)
        var snapshot: Bytes = []
        if let data { snapshot.appendField(1, bytes: data) }
        snapshot.appendField(2, bytes: metadata)
        var file: Bytes = []
        file.appendField(1, number: UInt64(CRC32C.of(snapshot)))
        file.appendField(2, bytes: snapshot)
        return file
    }

    package init(decoding bytes: Bytes, file name: String) throws(LogDamage) {
        func damaged(_ what: String) -> LogDamage { LogDamage(.malformed(what), file: name, offset: 0) }
        if bytes.isEmpty { throw damaged("the snapshot file is empty") }
        var expected: UInt64 = 0
        var body: Range<Int>?
        var fields = ProtoFields(bytes.rawSpan)
        while let (field, value) = fields.next() {
            switch (field, value) {
            case (1, .number(let number)): expected = number
            case (2, .bytes(let range)): body = range
            default: break
            }
        }
        guard !fields.malformed, let body, !body.isEmpty, expected != 0 else {
            throw damaged("not a snapshot envelope")
        }
        let found = CRC32C.of(Array(bytes[body]))
        guard UInt64(found) == expected else {
            throw LogDamage(
                .checksum(expected: UInt32(truncatingIfNeeded: expected), found: found), file: name,
                offset: body.lowerBound)
        }
        self.init(data: nil, index: 0, term: 0, confState: [])
        guard parse(Array(bytes[body])) else { throw damaged("not a raft snapshot") }
    }

    private mutating func parse(_ snapshot: Bytes) -> Bool {
        var fields = ProtoFields(snapshot.rawSpan)
        var metadata: Bytes = []
        while let (field, value) = fields.next() {
            switch (field, value) {
            case (1, .bytes(let range)): data = Array(snapshot[range])
            case (2, .bytes(let range)): metadata = Array(snapshot[range])
            default: break
            }
        }
        var inner = ProtoFields(metadata.rawSpan)
        while let (field, value) = inner.next() {
            switch (field, value) {
            case (1, .bytes(let range)): confState = Array(metadata[range])
            case (2, .number(let number)): index = number
            case (3, .number(let number)): term = number
            default: break
            }
        }
        return !fields.malformed && !inner.malformed
    }
}
