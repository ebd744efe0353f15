// Reads one segment record by record and decides what its end means.
//
//   length word 0, zeros behind      the end
//   the file ends inside a record,
//   or the record is bad and one of
//   its sectors is all zeros         in the last segment: a write that a crash tore (end, to be cut); elsewhere damage
//   anything else                    damage
//
// A tear can only be at the end of what was synced, so what looks like one but has synced data behind it is damage too:
// cutting there would drop what was acknowledged. `WALTail` looks for that.

import Foundations

package struct WALRecord: Equatable, Sendable {
    package var kind: WALRecordKind
    package var checksum: UInt32
    /// Where the frame starts in the segment.
    package var offset: Int
    package var recordBytes: Int
    package var padding: Int
    /// Offsets of the data in the segment; empty for a checksum record.
    package var data: Range<Int>

    package var end: Int { offset + WALFrame.wordBytes + recordBytes + padding }
}

package struct WALSegmentReader: Sendable {
    package enum End: Equatable, Sendable {
        /// Only zeros follow, or nothing.
        case clean
        /// A write was torn at `validEnd`; nothing behind it was ever synced.
        case torn
    }

    package let bytes: Bytes
    package let file: String
    package let isLast: Bool
    /// Running checksum; nil until the first record of the first segment sets it.
    package private(set) var checksum: UInt32?
    /// End of the last good record.
    package private(set) var validEnd = 0
    /// Set when `next` has returned nil.
    package private(set) var end: End?

    /// Smallest piece a disk writes as a whole.
    static let sectorBytes = 512

    package init(_ bytes: Bytes, file: String, isLast: Bool, continuing checksum: UInt32?) {
        self.bytes = bytes
        self.file = file
        self.isLast = isLast
        self.checksum = checksum
    }

    package mutating func next() throws(LogDamage) -> WALRecord? {
        if end != nil { return nil }
        let left = bytes.count - validEnd
        if left == 0 { return try finish() }
        guard left >= WALFrame.wordBytes else {
            if bytes.rawSpan.isZero(validEnd..<bytes.count) { return try finish() }
            return try torn(.truncated(needed: WALFrame.wordBytes, have: left), claimedEnd: bytes.count)
        }
        let word = bytes.rawSpan.littleEndian64(at: validEnd)
        if word == 0 { return try finish() }
        let (recordBytes, padding) = WALFrame.parse(word)
        let needed = WALFrame.wordBytes + recordBytes + padding
        if needed > left { return try torn(.truncated(needed: needed, have: left), claimedEnd: bytes.count) }

        guard let record = WALTail.record(in: bytes, at: validEnd) else {
            return try tornIfUnwritten(.malformed("not a log record"), recordBytes, needed)
        }
        if record.kind == .crc {
            guard checksum == nil || checksum == 0 || checksum == record.checksum else {
                throw damage(.chain(expected: checksum ?? 0, found: record.checksum))
            }
            checksum = record.checksum
        } else {
            guard let running = checksum else {
                throw damage(.malformed("the segment does not begin with a checksum record"))
            }
            var chain = CRC32C(running)
            chain.update(bytes.rawSpan.extracting(record.data))
            guard chain.value == record.checksum else {
                return try tornIfUnwritten(
                    .checksum(expected: chain.value, found: record.checksum), recordBytes, needed)
            }
            checksum = chain.value
        }
        validEnd = record.end
        return record
    }

    private mutating func finish() throws(LogDamage) -> WALRecord? {
        if validEnd == 0 { throw damage(.malformed("the segment is empty")) }
        if bytes.rawSpan.isZero(validEnd..<bytes.count) {
            end = .clean
            return nil
        }
        return try torn(.malformed("data behind the end of the log"), claimedEnd: validEnd)
    }

    /// A bad record counts as torn when a sector of it was never written.
    private mutating func tornIfUnwritten(
        _ kind: LogDamage.Kind, _ recordBytes: Int, _ frameBytes: Int
    ) throws(LogDamage) -> WALRecord? {
        var start = validEnd + WALFrame.wordBytes
        let stop = start + recordBytes
        while start < stop {
            let pieceEnd = min(stop, (start / WALSegmentReader.sectorBytes + 1) * WALSegmentReader.sectorBytes)
            if bytes.rawSpan.isZero(start..<pieceEnd) { return try torn(kind, claimedEnd: validEnd + frameBytes) }
            start = pieceEnd
        }
        throw damage(kind)
    }

    private mutating func torn(_ kind: LogDamage.Kind, claimedEnd: Int) throws(LogDamage) -> WALRecord? {
        guard isLast, validEnd > 0 else { throw damage(kind) }
        if let synced = WALTail.syncedMark(in: bytes, after: validEnd) {
            throw damage(.syncedDataAfter(offset: synced))
        }
        if WALTail.holdsRecords(bytes, in: (validEnd + 8)..<max(claimedEnd, validEnd + 8)) { throw damage(kind) }
        end = .torn
        return nil
    }

    private func damage(_ kind: LogDamage.Kind) -> LogDamage { LogDamage(kind, file: file, offset: validEnd) }
}

extension WALSegmentReader {
    // The kind of a record is outside its checksum, so the data must have exactly the fields of its kind.

    /// The values inside a record's data.
    package func identity(_ record: WALRecord) throws(LogDamage) -> LogIdentity {
        let fields = try fields(record, required: 2)
        return LogIdentity(member: MemberID(fields.numbers.0), cluster: ClusterID(fields.numbers.1))
    }

    package func entry(_ record: WALRecord) throws(LogDamage) -> LogEntry {
        let fields = try fields(record, required: 3, bytesField: 4)
        guard fields.numbers.0 <= 2 else { throw undecodable(record) }
        return LogEntry(
            term: fields.numbers.1, index: fields.numbers.2, kind: fields.numbers.0, data: fields.bytes)
    }

    package func state(_ record: WALRecord) throws(LogDamage) -> LogState {
        let fields = try fields(record, required: 3)
        return LogState(term: fields.numbers.0, vote: MemberID(fields.numbers.1), commit: fields.numbers.2)
    }

    package func snapshot(_ record: WALRecord) throws(LogDamage) -> LogSnapshot {
        let fields = try fields(record, required: 2, bytesField: 3)
        return LogSnapshot(index: fields.numbers.0, term: fields.numbers.1, confState: fields.bytes)
    }

    private struct Fields {
        var numbers: (UInt64, UInt64, UInt64) = (0, 0, 0)
        var bytes: Bytes?
    }

    /// Number fields 1 to `required`, all there, and perhaps one of bytes.
    private func fields(_ record: WALRecord, required: Int, bytesField: Int = 0) throws(LogDamage) -> Fields {
        var found = Fields()
        var seen = 0
        var walk = ProtoFields(bytes.rawSpan.extracting(record.data))
        while let (field, value) = walk.next() {
            switch (field, value) {
            case (1, .number(let number)): found.numbers.0 = number
            case (2, .number(let number)): found.numbers.1 = number
            case (3, .number(let number)) where required == 3: found.numbers.2 = number
            case (bytesField, .bytes(let range)):
                let start = record.data.lowerBound
                found.bytes = Bytes(
                    bytes.rawSpan.extracting((start + range.lowerBound)..<(start + range.upperBound)))
                continue
            default: throw undecodable(record)
            }
            seen |= 1 << field
        }
        guard !walk.malformed, seen == (2 << required) - 2 else { throw undecodable(record) }
        return found
    }

    private func undecodable(_ record: WALRecord) -> LogDamage {
        LogDamage(.malformed("\(record.kind) record does not decode"), file: file, offset: record.offset)
    }
}
