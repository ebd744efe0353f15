// Tells a torn write from damage to what was already synced.
//
// Our own log opens every flush with a checksum record, and a flush is begun only when the one before is on the disk.
// So a checksum record behind a hole proves that the hole lies in synced data. The mark is believed when the record after
// it continues its checksum: bytes inside a client's value do not do that by accident.
//
// Logs of etcd have no such marks; there, at least a record whose stated length runs over good records is not a tear.

import Foundations

package enum WALTail {
    /// A well-formed record at `offset`, its checksum not yet compared with the chain.
    static func record(in bytes: Bytes, at offset: Int) -> WALRecord? {
        guard offset + WALFrame.wordBytes <= bytes.count else { return nil }
        let word = bytes.rawSpan.littleEndian64(at: offset)
        let (recordBytes, padding) = WALFrame.parse(word)
        let start = offset + WALFrame.wordBytes
        guard recordBytes >= 4, recordBytes + padding <= bytes.count - start else { return nil }
        guard WALFrame.lengthWord(recordBytes: recordBytes) == word else { return nil }
        var fields = ProtoFields(bytes.rawSpan.extracting(start..<(start + recordBytes)))
        var kind: WALRecordKind?
        var checksum: UInt32?
        var data = start..<start
        while let (field, value) = fields.next() {
            switch (field, value) {
            case (1, .number(let number)): kind = WALRecordKind(rawValue: number)
            case (2, .number(let number)): checksum = UInt32(exactly: number)
            case (3, .bytes(let range)): data = (start + range.lowerBound)..<(start + range.upperBound)
            default: return nil
            }
        }
        guard !fields.malformed, let kind, let checksum, kind != .crc || data.isEmpty else { return nil }
        return WALRecord(
            kind: kind, checksum: checksum, offset: offset, recordBytes: recordBytes, padding: padding, data: data)
    }

    /// Offset of a checksum record behind `offset` that opened a flush.
    static func syncedMark(in bytes: Bytes, after offset: Int) -> Int? {
        for position in candidates(in: bytes, from: offset + 8, to: bytes.count) {
            guard let record = record(in: bytes, at: position), record.kind == .crc,
                continues(record, in: bytes, at: record.end)
            else { continue }
            return position
        }
        return nil
    }

    /// True when two records in a row, the second continuing the first's checksum, begin in the range.
    static func holdsRecords(_ bytes: Bytes, in range: Range<Int>) -> Bool {
        for position in candidates(in: bytes, from: range.lowerBound, to: range.upperBound) {
            guard let record = record(in: bytes, at: position) else { continue }
            if continues(record, in: bytes, at: record.end) { return true }
        }
        return false
    }

    private static func continues(_ record: WALRecord, in bytes: Bytes, at offset: Int) -> Bool {
        guard let following = self.record(in: bytes, at: offset), following.kind != .crc else { return false }
        var chain = CRC32C(record.checksum)
        chain.update(bytes.rawSpan.extracting(following.data))
        return chain.value == following.checksum
    }

    /// Frames begin at multiples of eight with a length word that is not zero.
    private static func candidates(in bytes: Bytes, from start: Int, to end: Int) -> some Sequence<Int> {
        let first = (start + 7) / 8 * 8
        return stride(from: first, to: max(first, min(end, bytes.count - 7)), by: 8).lazy
            .filter { bytes.rawSpan.littleEndian64(at: $0) != 0 }
    }
}
