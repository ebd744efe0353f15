// Puts the records of a log together: whose it is, the last hard state, the entries behind a snapshot. Fed one segment
// after the other, oldest first, and each piece by piece, so that only the entries stay in memory.

import Foundations

package struct WALReplay: Sendable {
    /// Entries up to here are in a snapshot and are skipped.
    package let start: LogSnapshot
    package private(set) var identity: LogIdentity?
    package private(set) var state: LogState?
    package private(set) var entries: [LogEntry] = []
    /// Of the entry at the snapshot's place, while it is part of the log.
    private var termAtStart: Term?
    /// Every snapshot record met, in order.
    package private(set) var snapshots: [LogSnapshot] = []
    /// Index of the last entry met, also when it is not behind the snapshot.
    package private(set) var lastIndex: LogIndex = 0
    package private(set) var checksum: UInt32?
    /// How the last segment ended, and where.
    package private(set) var end = WALSegmentReader.End.clean
    package private(set) var validEnd = 0
    package private(set) var lastFile = ""
    private var startFound = false
    private var reader: WALSegmentReader?

    package init(from start: LogSnapshot) { self.start = start }

    /// Begins with a segment of so many bytes. Then: `while let wanted = try advance() { supply(those bytes) }`.
    package mutating func begin(_ file: String, count: Int, isLast: Bool, windowBytes: Int = WALSegmentReader.windowBytes) {
        reader = WALSegmentReader(file, count: count, isLast: isLast, continuing: checksum, windowBytes: windowBytes)
    }

    /// Reads a segment that is in memory; seen through windows of `windowBytes` it says the same.
    package mutating func read(
        _ bytes: Bytes, file: String, isLast: Bool, windowBytes: Int = WALSegmentReader.windowBytes
    ) throws(LogDamage) {
        begin(file, count: bytes.count, isLast: isLast, windowBytes: windowBytes)
        while let wanted = try advance() { supply(Bytes(bytes[wanted])) }
    }

    package mutating func supply(_ bytes: Bytes) { reader?.supply(bytes) }

    /// Reads as far as it can see. What it wants to see next; nil when the segment has been read.
    package mutating func advance() throws(LogDamage) -> Range<Int>? {
        guard var reader else { unreachable("no segment was begun") }
        // The reader's window has one owner, so that it is not copied.
        self.reader = nil
        while let record = try reader.next() { try take(record, reader) }
        if let wanted = reader.wanted {
            self.reader = reader
            return wanted
        }
        checksum = reader.checksum
        end = reader.end ?? .clean
        validEnd = reader.validEnd
        lastFile = reader.file
        return nil
    }

    private mutating func take(_ record: WALRecord, _ reader: WALSegmentReader) throws(LogDamage) {
        switch record.kind {
        case .crc: break
        case .metadata: try note(reader.identity(record), reader.file, record.offset)
        case .entry: try note(reader.entry(record), reader.file, record.offset)
        case .state: state = try reader.state(record)
        case .snapshot:
            let snapshot = try reader.snapshot(record)
            snapshots.append(snapshot)
            guard snapshot.index == start.index else { return }
            guard snapshot.term == start.term else { throw notFound(reader.file, record.offset) }
            // One that came from another member voids what does not lead up to it; one of our own follows its entry.
            if start.index > 0, termAtStart != start.term { entries.removeAll() }
            startFound = true
        }
    }

    /// To be called after the last segment.
    package func finish() throws(LogDamage) {
        guard identity != nil else { throw LogDamage(.noIdentity, file: lastFile, offset: 0) }
        guard startFound else { throw notFound(lastFile, validEnd) }
        let last = max(start.index, entries.last?.index ?? 0)
        if let state, state.commit > last {
            throw LogDamage(.commitBeyondEnd(commit: state.commit, last: last), file: lastFile, offset: validEnd)
        }
    }

    private mutating func note(_ found: LogIdentity, _ file: String, _ offset: Int) throws(LogDamage) {
        if let identity, identity != found {
            throw LogDamage(.identity(expected: identity, found: found), file: file, offset: offset)
        }
        identity = found
    }

    /// A later entry with the same index replaces the earlier one and all behind it, as raft wrote them.
    private mutating func note(_ entry: LogEntry, _ file: String, _ offset: Int) throws(LogDamage) {
        lastIndex = entry.index
        guard entry.index > start.index else {
            termAtStart = entry.index == start.index ? entry.term : nil
            entries.removeAll()
            return
        }
        let position = entry.index - start.index - 1
        guard position <= UInt64(entries.count) else {
            throw LogDamage(
                .gap(after: start.index + UInt64(entries.count), found: entry.index), file: file, offset: offset)
        }
        if position < UInt64(entries.count) {
            // What is committed stays, and one leader writes an index once.
            let old = entries[Int(position)]
            let settled = entry.index <= state?.commit ?? 0 || entry.term == old.term
            guard !settled || entry == old else {
                throw LogDamage(.rewritten(index: entry.index), file: file, offset: offset)
            }
            entries.removeSubrange(Int(position)...)
        }
        entries.append(entry)
    }

    private func notFound(_ file: String, _ offset: Int) -> LogDamage {
        LogDamage(.snapshotNotFound(index: start.index, term: start.term), file: file, offset: offset)
    }
}
