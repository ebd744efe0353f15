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
//
// The reader sees the segment through a window that its owner fills, so that a segment of any size takes little memory:
//
//   next -> a record                                          decode it before the next call
//   next -> nil, `wanted` a range                             supply those bytes, go on
//   next -> nil, `end` set                                    the segment was read
//
// Only a segment that looks torn is wanted whole from there on, and a record that is longer than the window.

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

    /// The same record where the bytes it was found in begin at `start`.
    func moved(by start: Int) -> WALRecord {
        var moved = self
        moved.offset += start
        moved.data = data.lowerBound + start..<data.upperBound + start
        return moved
    }
}

package struct WALSegmentReader: Sendable {
    package enum End: Equatable, Sendable {
        /// Only zeros follow, or nothing.
        case clean
        /// A write was torn at `validEnd`; nothing behind it was ever synced.
        case torn
    }

    package let file: String
    /// Bytes of the segment.
    package let count: Int
    package let isLast: Bool
    /// Running checksum; nil until the first record of the first segment sets it.
    package private(set) var checksum: UInt32?
    /// End of the last good record.
    package private(set) var validEnd = 0
    /// Set when `next` has returned nil and there is nothing more to read.
    package private(set) var end: End?
    /// What `supply` is to be given before `next` is called again.
    package private(set) var wanted: Range<Int>?

    /// How much is wanted at once, when a record is not longer.
    package static let windowBytes = 1 << 20

    private var window: Bytes = []
    private var windowStart = 0
    private let windowBytes: Int
    /// Up to here what is behind the last record is known to be zeros.
    private var zeroEnd = 0

    /// Smallest piece a disk writes as a whole.
    static let sectorBytes = 512

    package init(_ file: String, count: Int, isLast: Bool, continuing checksum: UInt32?, windowBytes: Int = WALSegmentReader.windowBytes) {
        self.file = file
        self.count = count
        self.isLast = isLast
        self.checksum = checksum
        self.windowBytes = windowBytes
    }

    /// Sees all of the segment.
    package init(_ bytes: Bytes, file: String, isLast: Bool, continuing checksum: UInt32?) {
        self.init(file, count: bytes.count, isLast: isLast, continuing: checksum)
        window = bytes
    }

    /// Takes the bytes that were wanted in place of those before.
    package mutating func supply(_ bytes: Bytes) {
        guard let wanted, bytes.count == wanted.count else { unreachable("\(bytes.count) bytes for a window of \(wanted as Any)") }
        window = bytes
        windowStart = wanted.lowerBound
        self.wanted = nil
    }

    /// Whether the window shows a part of the segment; if not, it is wanted.
    private mutating func shows(_ part: Range<Int>) -> Bool {
        if part.lowerBound >= windowStart && part.upperBound <= windowStart + window.count { return true }
        let start = part.lowerBound
        wanted = start..<max(part.upperBound, min(count, start + windowBytes))
        return false
    }

    package mutating func next() throws(LogDamage) -> WALRecord? {
        if end != nil || wanted != nil { return nil }
        let left = count - validEnd
        if left == 0 || zeroEnd > validEnd { return try finish() }
        guard shows(validEnd..<validEnd + min(left, WALFrame.wordBytes)) else { return nil }
        guard left >= WALFrame.wordBytes else {
            if isZero(validEnd..<count) { return try finish() }
            return try torn(.truncated(needed: WALFrame.wordBytes, have: left), claimedEnd: count)
        }
        let word = window.rawSpan.littleEndian64(at: validEnd - windowStart)
        if word == 0 { return try finish() }
        let (recordBytes, padding) = WALFrame.parse(word)
        let needed = WALFrame.wordBytes + recordBytes + padding
        if needed > left { return try torn(.truncated(needed: needed, have: left), claimedEnd: count) }

        guard shows(validEnd..<validEnd + needed) else { return nil }
        guard let record = WALTail.record(in: window, at: validEnd - windowStart)?.moved(by: windowStart) else {
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
            chain.update(window.rawSpan.extracting(place(record.data)))
            guard chain.value == record.checksum else {
                return try tornIfUnwritten(
                    .checksum(expected: chain.value, found: record.checksum), recordBytes, needed)
            }
            checksum = chain.value
        }
        validEnd = record.end
        return record
    }

    /// Where in the window a part of the segment is.
    private func place(_ part: Range<Int>) -> Range<Int> { part.lowerBound - windowStart..<part.upperBound - windowStart }

    private func isZero(_ part: Range<Int>) -> Bool { window.rawSpan.isZero(place(part)) }

    /// The end, if all that follows is zeros.
    private mutating func finish() throws(LogDamage) -> WALRecord? {
        if validEnd == 0 { throw damage(.malformed("the segment is empty")) }
        zeroEnd = max(zeroEnd, validEnd)
        while zeroEnd < count {
            guard shows(zeroEnd..<zeroEnd + 1) else { return nil }
            let seen = windowStart + window.count
            guard isZero(zeroEnd..<seen) else {
                return try torn(.malformed("data behind the end of the log"), claimedEnd: validEnd)
            }
            zeroEnd = seen
        }
        end = .clean
        return nil
    }

    /// A bad record counts as torn when a sector of it was never written.
    private mutating func tornIfUnwritten(
        _ kind: LogDamage.Kind, _ recordBytes: Int, _ frameBytes: Int
    ) throws(LogDamage) -> WALRecord? {
        var start = validEnd + WALFrame.wordBytes
        let stop = start + recordBytes
        while start < stop {
            let pieceEnd = min(stop, (start / WALSegmentReader.sectorBytes + 1) * WALSegmentReader.sectorBytes)
            if isZero(start..<pieceEnd) { return try torn(kind, claimedEnd: validEnd + frameBytes) }
            start = pieceEnd
        }
        throw damage(kind)
    }

    private mutating func torn(_ kind: LogDamage.Kind, claimedEnd: Int) throws(LogDamage) -> WALRecord? {
        guard isLast, validEnd > 0 else { throw damage(kind) }
        // Everything behind the tear counts; the next call comes here again.
        guard shows(validEnd..<count) else { return nil }
        let start = validEnd - windowStart
        if let synced = WALTail.syncedMark(in: window, after: start) {
            throw damage(.syncedDataAfter(offset: windowStart + synced))
        }
        if WALTail.holdsRecords(window, in: (start + 8)..<max(claimedEnd - windowStart, start + 8)) { throw damage(kind) }
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
        let start = place(record.data).lowerBound
        var walk = ProtoFields(window.rawSpan.extracting(place(record.data)))
        while let (field, value) = walk.next() {
            switch (field, value) {
            case (1, .number(let number)): found.numbers.0 = number
            case (2, .number(let number)): found.numbers.1 = number
            case (3, .number(let number)) where required == 3: found.numbers.2 = number
            case (bytesField, .bytes(let range)):
                found.bytes = Bytes(window.rawSpan.extracting((start + range.lowerBound)..<(start + range.upperBound)))
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
