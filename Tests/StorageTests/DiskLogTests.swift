import DiskLog
import FileFormats
import Foundations
import Glibc
import Linux
import Testing

@Suite struct DiskLogTests {
    let place = Workplace()
    let identity = LogIdentity(member: MemberID(0xabc), cluster: ClusterID(0xdef))

    static var small: LogOptions {
        var options = LogOptions()
        options.segmentBytes = 16 << 10
        return options
    }

    func made(_ options: LogOptions = small) throws -> DiskLog {
        try DiskLog.create(place("wal"), identity: identity, options)
        return try DiskLog.open(place("wal"), from: LogSnapshot(), options).log
    }

    static func data(_ index: LogIndex, _ count: Int = 100) -> Bytes {
        Bytes("entry \(index) ".utf8) + Bytes(repeating: UInt8(truncatingIfNeeded: index) | 1, count: count)
    }

    @Test func `a new log holds its identity and nothing else`() throws {
        try DiskLog.create(place("wal"), identity: identity, DiskLogTests.small)
        #expect(DiskLog.exists(place("wal")))
        let recovered = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small).recovered
        #expect(recovered.identity == identity)
        #expect(recovered.entries.isEmpty && recovered.state == nil && recovered.repair == nil)
        #expect(recovered.snapshots == [LogSnapshot()])
        #expect(throws: LogError.exists(place("wal"))) {
            try DiskLog.create(place("wal"), identity: identity, DiskLogTests.small)
        }
        #expect(throws: LogError.self) { try DiskLog.open(place("none"), from: LogSnapshot()) }
    }

    @Test func `entries, states and marks come back, over many segments, inline and in the background`() throws {
        var random = SeededRandom(seed: 3)
        try DiskLog.create(place("wal"), identity: identity, DiskLogTests.small)
        var expected: [LogEntry] = []
        var state = LogState(term: 1, vote: MemberID(1), commit: 0)
        for round in 0..<12 {
            let done = Mutex<[UInt64]>([])
            do {
                let (log, recovered) = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small) {
                    ticket, error in
                    #expect(error == nil)
                    done.withLock { $0.append(ticket) }
                }
                #expect(recovered.entries == expected)
                #expect(recovered.repair == nil)
                if round > 0 { #expect(recovered.state == state) }
                var tickets: [UInt64] = []
                for flush in 0..<20 {
                    for _ in 0..<Int.random(in: 0...5, using: &random) {
                        let index = LogIndex(expected.count + 1)
                        let entry = LogEntry(
                            term: state.term, index: index,
                            data: random.chance(1, in: 8)
                                ? nil : DiskLogTests.data(index, Int.random(in: 0...900, using: &random)))
                        log.append(entry)
                        expected.append(entry)
                    }
                    state.commit = LogIndex(expected.count)
                    log.set(state)
                    if random.chance(1, in: 2) {
                        let ticket = UInt64(round * 100 + flush)
                        log.syncInBackground(ticket: ticket)
                        tickets.append(ticket)
                    } else {
                        try log.sync()
                    }
                }
                try log.sync()
                #expect(log.bufferedBytes == 0)
                while done.withLock({ $0.last }) != tickets.last { sched_yield() }
                let told = done.withLock { $0 }
                #expect(told == told.sorted() && Set(told).count == told.count && told.allSatisfy(tickets.contains))
            }
            state.term += 1
            let (log, _) = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small)
            log.set(state)
            #expect(log.needsSync)
            try log.sync()
        }
        let log = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small).log
        #expect(log.segmentCount > 5)
    }

    /// Blocks of the disk are not what records are made of: small ones share them, large ones take more than the log's buffer. Each
    /// round goes on, past the page cache or through it, where the round before stopped.
    @Test func `entries of every size come back, past the page cache and through it`() throws {
        let seed = UInt64.random(in: 0...UInt64(UInt32.max))
        var random = SeededRandom(seed: seed)
        var options = LogOptions()
        options.segmentBytes = 1_000_000
        try DiskLog.create(place("wal"), identity: identity, options)
        var expected: [LogEntry] = []
        for round in 0..<5 {
            options.bypassesCache = round % 3 != 2
            let (log, recovered) = try DiskLog.open(place("wal"), from: LogSnapshot(), options)
            #expect(recovered.entries == expected && recovered.repair == nil, "seed \(seed), round \(round)")
            if !options.bypassesCache { #expect(!log.bypassesCache) }
            for flush in 0..<8 {
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let count = [1, 300, 4096, 8192, 40_000, 500_000][Int.random(in: 0..<6, using: &random)]
                    let index = LogIndex(expected.count + 1)
                    let entry = LogEntry(
                        term: 1, index: index, data: DiskLogTests.data(index, Int.random(in: 0...count, using: &random)))
                    log.append(entry)
                    expected.append(entry)
                }
                if flush % 3 == 1 { log.syncInBackground(ticket: UInt64(flush)) } else { try log.sync() }
            }
            try log.sync()
            #expect(log.failure == nil)
        }
        let end = try DiskLog.open(place("wal"), from: LogSnapshot(), options)
        #expect(end.recovered.entries == expected, "seed \(seed)")
        #expect(end.log.segmentCount > 3)
    }

    @Test(arguments: [true, false])
    func `behind the end of the log there is nothing, in segments made ahead and on the spot`(bypassesCache: Bool) throws {
        var options = DiskLogTests.small
        options.bypassesCache = bypassesCache
        let log = try made(options)
        for index in 1...LogIndex(200) {
            log.append(term: 1, index: index, kind: 0, data: DiskLogTests.data(index, Int(index) * 7 % 900))
            try log.sync()
        }
        let names = try Disk.names(in: place("wal")).filter { $0.hasSuffix(".wal") }
        let last = try Disk.read(place("wal") + "/" + names[names.count - 1])
        #expect(last.count % 4096 == 0 && last.count >= options.segmentBytes)
        let ended = try #require(last.lastIndex { $0 != 0 })
        let written = DiskLogTests.data(200, 200 * 7 % 900)
        #expect(Array(last[...ended].suffix(written.count)) == written)
    }

    @Test func `what waited for one sync is told once`() throws {
        try DiskLog.create(place("wal"), identity: identity, DiskLogTests.small)
        let told = Mutex<[UInt64]>([])
        let goOn = Mutex(false)
        let log = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small) { ticket, _ in
            told.withLock { $0.append(ticket) }
            while !goOn.withLock({ $0 }) { sched_yield() }
        }.log
        func write(_ index: LogIndex) {
            log.append(term: 1, index: index, kind: 0, data: [])
            log.syncInBackground(ticket: index)
        }
        write(1)
        while told.withLock({ $0.isEmpty }) { sched_yield() }
        for index in 2...30 { write(LogIndex(index)) }
        goOn.withLock { $0 = true }
        while told.withLock({ $0.last }) != 30 { sched_yield() }
        #expect(told.withLock { $0 } == [1, 30])
    }

    @Test func `released segments go, and the log opens from the mark`() throws {
        let log = try made()
        for index in 1...300 {
            log.append(term: 1, index: LogIndex(index), kind: 0, data: DiskLogTests.data(LogIndex(index), 200))
            log.set(LogState(term: 1, vote: MemberID(1), commit: LogIndex(index)))
            if index == 250 { log.append(LogSnapshot(index: 240, term: 1, confState: [8, 1])) }
            try log.sync()
        }
        #expect(log.release(upTo: 240, keeping: 100).isEmpty)
        let before = log.segmentCount
        let released = log.release(upTo: 240)
        #expect(!released.isEmpty && log.segmentCount == before - released.count)
        log.syncInBackground(ticket: 1)
        try log.sync()
        let mark = LogSnapshot(index: 240, term: 1)
        let recovered = try DiskLog.read(place("wal"), from: mark)
        #expect(recovered.entries.map(\.index) == Array(241...300))
        #expect(recovered.snapshots.last == LogSnapshot(index: 240, term: 1, confState: [8, 1]))
    }

    @Test func `a commit index alone needs no sync, a vote does`() throws {
        let log = try made()
        log.set(LogState(term: 1, vote: MemberID(1), commit: 0))
        #expect(log.needsSync)
        try log.sync()
        log.set(LogState(term: 1, vote: MemberID(1), commit: 0))
        #expect(log.bufferedBytes == 0)
    }

    @Test func `a torn tail is cut, kept as a copy, and the log goes on`() throws {
        do {
            let log = try made()
            for index in 1...5 {
                log.append(term: 1, index: LogIndex(index), kind: 0, data: DiskLogTests.data(LogIndex(index), 1500))
                try log.sync()
            }
        }
        let path = place("wal/0000000000000000-0000000000000000.wal")
        var bytes = try read(path)
        let used = bytes.lastIndex { $0 != 0 }!
        for i in (used / 512 * 512)...used { bytes[i] = 0 }
        for i in (used / 512 * 512 - 1024)..<(used / 512 * 512 - 512) { bytes[i] = 0 }
        try write(bytes, path)
        do {
            let (log, recovered) = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small)
            #expect(recovered.entries.map(\.index) == [1, 2, 3, 4])
            #expect(recovered.repair?.copy == path + ".broken")
            #expect(try read(path + ".broken") == bytes)
            log.append(term: 2, index: 5, kind: 0, data: bytes.prefix(10) + [])
            try log.sync()
        }
        let recovered = try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small).recovered
        #expect(recovered.entries.map(\.index) == [1, 2, 3, 4, 5] && recovered.entries[4].term == 2)
        #expect(recovered.repair == nil)
    }

    /// Blocks that hold synced records are written again with what follows them, and a disk that loses power may have put any of
    /// a write's sectors down: what was synced before is there all the same, and the log goes on.
    @Test func `whatever part of the last write reached the disk, what was synced before it comes back`() throws {
        let seed = UInt64.random(in: 0...UInt64(UInt32.max))
        var random = SeededRandom(seed: seed)
        var options = LogOptions()
        options.segmentBytes = 64 << 10
        let log = try made(options)
        let path = place("wal/0000000000000000-0000000000000000.wal")
        var synced: LogIndex = 0
        var last: LogIndex = 0
        func append(_ count: Int, _ size: Int) {
            for _ in 0..<count {
                last += 1
                log.append(term: 1, index: last, kind: 0, data: DiskLogTests.data(last, Int.random(in: 0...size, using: &random)))
            }
        }
        for round in 0..<12 {
            append(Int.random(in: 1...3, using: &random), 300)
            try log.sync()
            synced = last
            let before = try read(path)
            append(Int.random(in: 1...4, using: &random), 400)
            try log.sync()
            let after = try read(path)
            let sectors = stride(from: 0, to: after.count, by: 512).filter { before[$0..<($0 + 512)] != after[$0..<($0 + 512)] }
            for attempt in 0..<20 {
                let image = Workplace()
                mkdir(image("wal"), 0o700)
                var bytes = before
                for sector in sectors where random.chance(1, in: 2) {
                    bytes.replaceSubrange(sector..<(sector + 512), with: after[sector..<(sector + 512)])
                }
                try write(bytes, image("wal/0000000000000000-0000000000000000.wal"))
                let what = "seed \(seed), round \(round), attempt \(attempt)"
                do {
                    let (again, recovered) = try DiskLog.open(image("wal"), from: LogSnapshot(), options)
                    let found = LogIndex(recovered.entries.count)
                    #expect(found >= synced && found <= last, "\(what): \(found) of \(synced) to \(last)")
                    again.append(term: 2, index: found + 1, kind: 0, data: DiskLogTests.data(0))
                    try again.sync()
                }
                let terms = try DiskLog.open(image("wal"), from: LogSnapshot(), options).recovered.entries.map(\.term)
                #expect(terms.last == 2 && terms.count > synced, "\(what)")
            }
        }
    }

    @Test func `a hole in synced data and a missing segment are refused, and nothing is changed`() throws {
        do {
            let log = try made()
            for index in 1...100 {
                log.append(term: 1, index: LogIndex(index), kind: 0, data: DiskLogTests.data(LogIndex(index), 700))
                try log.sync()
            }
        }
        let names = try Disk.names(in: place("wal")).filter { $0.hasSuffix(".wal") }
        let last = place("wal/" + names.last!)
        let good = try read(last)
        var bad = good
        for i in 1024..<1536 { bad[i] = 0 }
        try write(bad, last)
        #expect(throws: LogError.self) { try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small) }
        #expect(try read(last) == bad)
        try write(good, last)
        #expect(try DiskLog.read(place("wal"), from: LogSnapshot()).entries.count == 100)
        unlink(place("wal/" + names[1]))
        #expect { try DiskLog.open(place("wal"), from: LogSnapshot(), DiskLogTests.small) } throws: {
            guard case .damage(let damage) = $0 as? LogError else { return false }
            return damage.kind == .missingSegment(sequence: 1)
        }
    }

    @Test(arguments: Recorded.versions) func `a log of a real server is opened and continued`(version: String) throws {
        mkdir(place("wal"), 0o700)
        try write(try Recorded.file("\(version).wal"), place("wal/0000000000000000-0000000000000000.wal"))
        let count: Int
        do {
            let (log, recovered) = try DiskLog.open(place("wal"), from: LogSnapshot())
            count = recovered.entries.count
            log.append(term: 3, index: LogIndex(count + 1), kind: 0, data: [1, 2, 3])
            try log.sync()
        }
        let recovered = try DiskLog.read(place("wal"), from: LogSnapshot(index: 11, term: 2))
        #expect(recovered.entries.count == count + 1 - 11)
        #expect(recovered.entries.last?.data == [1, 2, 3])
    }

    @Test func `snapshots are saved, found newest first, set aside when broken, purged`() throws {
        mkdir(place("snap"), 0o700)
        let snap = SnapDirectory(place("snap"))
        #expect(try snap.newest().snapshot == nil)
        for index in 1...9 {
            try snap.save(
                SnapFile(data: Bytes("members".utf8), index: LogIndex(index * 10), term: 2, confState: [8, 1]))
            try write([1], snap.imagePath(LogIndex(index * 10)))
        }
        #expect(try snap.newest().snapshot?.index == 90)
        #expect(try snap.newest { $0.index < 50 }.snapshot?.index == 40)
        let newest = place("snap/\(SnapName(term: 2, index: 90))")
        try write(Array(try read(newest).dropLast()), newest)
        let found = try snap.newest()
        #expect(found.snapshot?.index == 80 && found.broken.count == 1)
        #expect(Disk.exists(newest + ".broken"))
        let removed = try snap.purge()
        #expect(removed.count == 3 + 3)
        #expect(try snap.names().map(\.index) == [80, 70, 60, 50, 40])
        #expect(Disk.exists(snap.imagePath(40)) && !Disk.exists(snap.imagePath(30)))
    }

    @Test func `a data directory is made for this user, locked, and etcd's is refused`() throws {
        let directory = DataDirectory(place("a/b/data"))
        do {
            let lock = try directory.prepare()
            #expect(throws: DataDirectoryError.inUse(directory.lockFile)) { try directory.prepare() }
            var status = stat()
            #expect(stat(directory.root, &status) == 0 && status.st_mode & 0o777 == 0o700)
            #expect(directory.permissionWarning == nil)
            withExtendedLifetime(lock) {}
        }
        _ = try directory.prepare()
        chmod(directory.root, 0o755)
        #expect(directory.permissionWarning != nil)
        try write(bytes("{\"format\":2}"), directory.formatFile)
        #expect(throws: DataDirectoryError.newerFormat(directory.formatFile, found: 2)) { try directory.prepare() }

        mkdir(place("etcd"), 0o700)
        mkdir(place("etcd/member"), 0o700)
        mkdir(place("etcd/member/snap"), 0o700)
        try write([1], place("etcd/member/snap/db"))
        #expect(throws: DataDirectoryError.writtenByEtcd(place("etcd"))) { try DataDirectory(place("etcd")).prepare() }
    }
}
