import FileFormats
import Foundations
import Testing

@Suite struct WALTests {
    @Test(arguments: Recorded.versions) func `the recorded log reads to the recorded records`(version: String) throws {
        var reader = WALSegmentReader(try Recorded.file("\(version).wal"), file: "w", isLast: true, continuing: nil)
        for row in try Recorded.table("\(version).wal.records") {
            let record = try #require(try reader.next())
            #expect("\(record.offset)" == row[0])
            #expect("\(record.kind)" == row[1])
            #expect("\(record.recordBytes) \(record.padding)" == "\(row[2]) \(row[3])")
            #expect("\(record.checksum)" == row[4])
        }
        #expect(try reader.next() == nil)
        #expect(reader.end == .clean)
    }

    @Test(arguments: Recorded.versions) func `the recorded log is written again byte for byte`(version: String) throws {
        let recorded = try Recorded.file("\(version).wal")
        var reader = WALSegmentReader(recorded, file: "w", isLast: true, continuing: nil)
        var encoder = WALEncoder()
        var written: Bytes = []
        while let record = try reader.next() {
            switch record.kind {
            case .crc: WALEncoder.appendChecksum(encoder.checksum, to: &written)
            case .metadata: encoder.append(try reader.identity(record), to: &written)
            case .entry: encoder.append(try reader.entry(record), to: &written)
            case .state: encoder.append(try reader.state(record), to: &written)
            case .snapshot: encoder.append(try reader.snapshot(record), to: &written)
            }
        }
        #expect(written == Array(recorded[..<reader.validEnd]))
        #expect(recorded.rawSpan.byteCount - written.count < 8)
    }

    @Test(arguments: Recorded.versions) func `a replay finds identity, state and entries`(version: String) throws {
        let recorded = try Recorded.file("\(version).wal")
        var replay = WALReplay(from: LogSnapshot())
        try replay.read(recorded, file: "w", isLast: true)
        try replay.finish()
        #expect(replay.identity?.member.description == "b71f75320dc06a6c")
        #expect(replay.entries.map(\.index) == Array(1...replay.lastIndex))
        #expect(
            replay.snapshots.map(\.index)
                == [0, 11, 22].filter { $0 <= replay.lastIndex }.filter {
                    index in replay.snapshots.contains { $0.index == index }
                })
        let state = try #require(replay.state)
        #expect(state.commit <= replay.lastIndex && state.term == 2)

        var later = WALReplay(from: LogSnapshot(index: 11, term: 2))
        try later.read(recorded, file: "w", isLast: true)
        try later.finish()
        #expect(later.entries == Array(replay.entries.dropFirst(11)))
        #expect(later.state == replay.state)

        var wrong = WALReplay(from: LogSnapshot(index: 11, term: 1))
        #expect(throws: LogDamage.self) { try wrong.read(recorded, file: "w", isLast: true) }
        var unknown = WALReplay(from: LogSnapshot(index: 5, term: 2))
        try unknown.read(recorded, file: "w", isLast: true)
        #expect(throws: LogDamage.self) { try unknown.finish() }
    }

    @Test(arguments: Recorded.versions) func `snap files read and are written again byte for byte`(version: String)
        throws
    {
        let names = version == "3.5.1" ? ["000000000000000b", "0000000000000016"] : ["000000000000000b"]
        for index in names {
            let bytes = try Recorded.file("\(version).0000000000000002-\(index).snap")
            let snapshot = try SnapFile(decoding: bytes, file: "s")
            #expect(snapshot.name.description == "0000000000000002-\(index).snap")
            #expect(String(decoding: try #require(snapshot.data), as: UTF8.self).contains("peerURLs"))
            #expect(snapshot.encoded() == bytes)
        }
    }

    @Test func `a snap file with any byte changed or cut is refused`() throws {
        let bytes = try Recorded.file("3.5.1.0000000000000002-000000000000000b.snap")
        let good = try SnapFile(decoding: bytes, file: "s")
        for i in bytes.indices {
            var bad = bytes
            bad[i] ^= 1 << UInt8(i % 8)
            // A changed byte in an unknown position may leave the content as it was, never change it.
            if let read = try? SnapFile(decoding: bad, file: "s") { #expect(read == good) }
        }
        for length in stride(from: 0, to: bytes.count, by: 13) {
            #expect(throws: LogDamage.self) { try SnapFile(decoding: Array(bytes[..<length]), file: "s") }
        }
    }

    @Test(arguments: [
        ("0000000000000001-00000000000000ff.wal", 1, 255), ("ffffffffffffffff-0000000000000000.wal", UInt64.max, 0),
    ]) func `segment names`(text: String, sequence: UInt64, index: UInt64) {
        #expect(SegmentName(text) == SegmentName(sequence: sequence, firstIndex: index))
        #expect(SegmentName(sequence: sequence, firstIndex: index).description == text)
    }

    @Test(arguments: [
        "0.tmp", "0000000000000001-00000000000000ff.wal.broken", "1-2.wal", "x.snap",
        "+000000000000001-00000000000000ff.wal",
    ])
    func `names of other files are no segments`(text: String) { #expect(SegmentName(text) == nil) }

    // MARK: Tears and damage

    /// Three flushes as our log writes them: each opens with a checksum record.
    struct Sample {
        var bytes: Bytes = []
        /// Start of each record, and of the end.
        var starts: [Int] = []
        var flushes: [Int] = []
        var entryBytes = 0

        init(entryBytes: Int = 700, zeroTail: Int = 4096) {
            var encoder = WALEncoder()
            func note(_ sample: inout Sample) { sample.starts.append(sample.bytes.count) }
            note(&self)
            WALEncoder.appendChecksum(0, to: &bytes)
            note(&self)
            encoder.append(LogIdentity(member: MemberID(1), cluster: ClusterID(2)), to: &bytes)
            note(&self)
            encoder.append(LogSnapshot(), to: &bytes)
            var index: LogIndex = 0
            for flush in 0..<3 {
                flushes.append(bytes.count)
                note(&self)
                WALEncoder.appendChecksum(encoder.checksum, to: &bytes)
                for _ in 0..<3 {
                    index += 1
                    note(&self)
                    let data = Bytes((0..<entryBytes).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1 | 1) })
                    encoder.append(LogEntry(term: 1, index: index, data: data), to: &bytes)
                }
                note(&self)
                encoder.append(LogState(term: 1, vote: MemberID(1), commit: LogIndex(flush * 3)), to: &bytes)
            }
            note(&self)
            bytes += Bytes(repeating: 0, count: zeroTail)
        }

        var end: Int { starts[starts.count - 1] }
    }

    /// Seen whole, and through windows smaller than a record and than a sector: what comes of it must be the same.
    static func replay(_ bytes: Bytes, isLast: Bool = true) throws -> WALReplay {
        func read(_ windowBytes: Int) -> Result<WALReplay, any Error> {
            Result {
                var replay = WALReplay(from: LogSnapshot())
                try replay.read(bytes, file: "w", isLast: isLast, windowBytes: windowBytes)
                return replay
            }
        }
        let whole = read(bytes.count)
        for windowBytes in [1, 100, 1000] {
            switch (whole, read(windowBytes)) {
            case (.success(let whole), .success(let pieces)):
                #expect(pieces.entries == whole.entries && pieces.state == whole.state, "window of \(windowBytes)")
                #expect(pieces.snapshots == whole.snapshots && pieces.identity == whole.identity, "window of \(windowBytes)")
                #expect((pieces.validEnd, pieces.end) == (whole.validEnd, whole.end), "window of \(windowBytes)")
                #expect((pieces.checksum, pieces.lastIndex) == (whole.checksum, whole.lastIndex), "window of \(windowBytes)")
            case (.failure(let whole), .failure(let pieces)): #expect("\(pieces)" == "\(whole)", "window of \(windowBytes)")
            case (let whole, let pieces): Issue.record("window of \(windowBytes): \(pieces), not \(whole)")
            }
        }
        return try whole.get()
    }

    /// What is left behind a snapshot, of a log with these entries (index, term) and then the snapshot's mark.
    private func entries(_ written: [(LogIndex, Term)], behind snapshot: LogSnapshot) throws -> [LogIndex] {
        var encoder = WALEncoder()
        var bytes: Bytes = []
        WALEncoder.appendChecksum(0, to: &bytes)
        encoder.append(LogIdentity(member: MemberID(1), cluster: ClusterID(2)), to: &bytes)
        encoder.append(LogSnapshot(), to: &bytes)
        for (index, term) in written { encoder.append(LogEntry(term: term, index: index, kind: 0, data: [1]), to: &bytes) }
        encoder.append(snapshot, to: &bytes)
        var replay = WALReplay(from: snapshot)
        try replay.read(bytes, file: "w", isLast: true)
        try replay.finish()
        return replay.entries.map(\.index)
    }

    @Test func `a snapshot of our own keeps what follows it; one from elsewhere voids what does not lead to it`() throws {
        let own: [(LogIndex, Term)] = [(1, 1), (2, 1), (3, 1), (4, 1)]
        #expect(try entries(own, behind: LogSnapshot(index: 3, term: 1)) == [4])
        #expect(try entries(own, behind: LogSnapshot(index: 3, term: 2)) == [])
        #expect(try entries([], behind: LogSnapshot(index: 9, term: 2)) == [])
    }

    @Test func `entries written again void all behind them, before the snapshot too`() throws {
        let written: [(LogIndex, Term)] = [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (3, 2)]
        #expect(try entries(written, behind: LogSnapshot(index: 3, term: 2)) == [])
        #expect(try entries(written + [(4, 2)], behind: LogSnapshot(index: 3, term: 2)) == [4])
        #expect(try entries(written, behind: LogSnapshot(index: 2, term: 2)) == [3])
    }

    @Test func `a file cut at any byte keeps every whole record and nothing else`() throws {
        let sample = Sample()
        for length in (sample.starts[1] + 1)...sample.end {
            let replay = try WALTests.replay(Array(sample.bytes[..<length]))
            let whole = sample.starts.last { $0 <= length }!
            #expect(replay.validEnd == whole, "cut at \(length)")
            // Fewer than eight zero bytes left of a length word look like the end; that is as good.
            if length != whole { #expect(replay.end == .torn || sample.bytes[whole..<length].allSatisfy { $0 == 0 }) }
        }
    }

    @Test func `a last flush of which only some sectors arrived is cut where the first is missing`() throws {
        let sample = Sample()
        let start = sample.flushes[2]
        let sectors = Array((start + 511) / 512 * 512 / 512..<(sample.end + 511) / 512)
        for lost in 1..<(1 << sectors.count) {
            var bytes = sample.bytes
            for (bit, sector) in sectors.enumerated() where lost & (1 << bit) != 0 {
                for i in (sector * 512)..<((sector + 1) * 512) { bytes[i] = 0 }
            }
            let replay = try WALTests.replay(bytes)
            let firstLost = sectors[lost.trailingZeroBitCount] * 512
            #expect(
                replay.validEnd <= max(firstLost, start) && replay.validEnd >= start, "lost \(String(lost, radix: 2))")
            #expect(sample.starts.contains(replay.validEnd))
        }
    }

    @Test func `a hole in what was synced before a later flush is damage, not a tear`() throws {
        let sample = Sample()
        for flush in 0..<2 {
            let first = (sample.flushes[flush] + 511) / 512
            let last = sample.flushes[flush + 1] / 512
            for sector in first..<last {
                var bytes = sample.bytes
                for i in (sector * 512)..<((sector + 1) * 512) { bytes[i] = 0 }
                #expect("sector \(sector)") { try WALTests.replay(bytes) } throws: { error in
                    guard let damage = error as? LogDamage else { return false }
                    if case .syncedDataAfter = damage.kind { return true }
                    return false
                }
            }
        }
    }

    @Test func `a flipped bit is never read as data and never cuts what was synced`() throws {
        let sample = Sample(entryBytes: 90)
        let whole = try WALTests.replay(sample.bytes)
        for i in 0..<sample.end {
            for bit in 0..<8 {
                var bytes = sample.bytes
                bytes[i] ^= 1 << UInt8(bit)
                guard let replay = try? WALTests.replay(bytes), (try? replay.finish()) != nil else { continue }
                // Padding is not covered by the checksum, and field numbers of the record head may become unknown ones;
                // then nothing is lost. A changed length in the very last flush may look like a tear.
                let complete = replay.entries == whole.entries
                #expect(complete || replay.validEnd >= sample.flushes[2], "byte \(i) bit \(bit)")
                #expect(zip(replay.entries, whole.entries).allSatisfy { $0 == $1 }, "byte \(i) bit \(bit)")
            }
        }
    }

    @Test func `a torn record in a segment that is not the last is damage`() throws {
        let sample = Sample(zeroTail: 0)
        #expect(throws: LogDamage.self) {
            try WALTests.replay(Array(sample.bytes[..<(sample.end - 20)]), isLast: false)
        }
        #expect(throws: Never.self) { try WALTests.replay(sample.bytes, isLast: false) }
    }

    @Test func `segments chain by their checksum`() throws {
        let first = Sample(zeroTail: 0)
        let before = try WALTests.replay(first.bytes)
        var second: Bytes = []
        var encoder = WALEncoder(continuing: try #require(before.checksum))
        WALEncoder.appendChecksum(encoder.checksum, to: &second)
        encoder.append(LogIdentity(member: MemberID(1), cluster: ClusterID(2)), to: &second)
        encoder.append(LogEntry(term: 2, index: 8, data: [1]), to: &second)
        var replay = before
        try replay.read(second, file: "w2", isLast: true)
        try replay.finish()
        #expect(replay.entries.map(\.index) == Array(1...8))
        #expect(replay.entries[7].term == 2)

        var stranger = Bytes()
        var other = WALEncoder(continuing: 99)
        WALEncoder.appendChecksum(99, to: &stranger)
        other.append(LogIdentity(member: MemberID(1), cluster: ClusterID(2)), to: &stranger)
        #expect(throws: LogDamage(.chain(expected: before.checksum!, found: 99), file: "w2", offset: 0)) {
            var replay = before
            try replay.read(stranger, file: "w2", isLast: true)
        }
    }

    @Test func `a gap between entries and another's identity are damage`() throws {
        var bytes: Bytes = []
        var encoder = WALEncoder()
        WALEncoder.appendChecksum(0, to: &bytes)
        encoder.append(LogIdentity(member: MemberID(1), cluster: ClusterID(2)), to: &bytes)
        encoder.append(LogSnapshot(), to: &bytes)
        encoder.append(LogEntry(term: 1, index: 1, data: nil), to: &bytes)
        var gap = bytes
        var gapEncoder = encoder
        gapEncoder.append(LogEntry(term: 1, index: 3, data: nil), to: &gap)
        #expect { try WALTests.replay(gap) } throws: { ($0 as? LogDamage)?.kind == .gap(after: 1, found: 3) }
        let other = LogIdentity(member: MemberID(9), cluster: ClusterID(2))
        encoder.append(other, to: &bytes)
        #expect { try WALTests.replay(bytes) } throws: {
            ($0 as? LogDamage)?.kind
                == .identity(expected: LogIdentity(member: MemberID(1), cluster: ClusterID(2)), found: other)
        }
    }

    @Test func `random bytes are refused and never read outside`() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<3000 {
            var bytes = Bytes(
                (0..<Int.random(in: 0...600, using: &random)).map { _ in
                    random.chance(1, in: 2) ? 0 : UInt8.random(in: 0...255, using: &random)
                })
            if random.chance(1, in: 2) {
                var head: Bytes = []
                WALEncoder.appendChecksum(0, to: &head)
                bytes = head + bytes
            }
            _ = try? WALTests.replay(bytes)
            _ = try? SnapFile(decoding: bytes, file: "s")
        }
    }
}
