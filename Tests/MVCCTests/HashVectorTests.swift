// HashKV against the numbers of real servers, at every revision, before and after a compaction.

import Foundations
import Testing

@testable import MVCC

@Suite struct HashVectorTests {
    struct Expected {
        var stage: Int
        var revision: Int64
        var hash: UInt32?
        var error: KeyValueError?
        var compactRevision: Int64?
    }

    static let lines = RecordedFiles.fields("hashes.txt", separator: " ")

    static let expected: [Expected] = lines.filter { $0[0] == "hash" }.map {
        Expected(
            stage: Int($0[1])!, revision: Int64($0[2])!, hash: UInt32($0[3]),
            error: $0[3] == "compacted" ? .compacted : ($0[3] == "future" ? .future : nil),
            compactRevision: Int64($0[4]))
    }

    func check(_ store: KeyValueStore, stage: Int) throws {
        for wanted in HashVectorTests.expected where wanted.stage == stage {
            let name: Comment = "stage \(stage) revision \(wanted.revision)"
            // Newer servers answer at the compacted revision itself, which the recorded ones refused.
            if wanted.revision == store.compactedRevision && wanted.error == .compacted { continue }
            do throws(KeyValueError) {
                let hash = try store.hash(wanted.revision)
                #expect(hash.hash == wanted.hash, name)
                #expect(hash.compactRevision == wanted.compactRevision, name)
            } catch {
                #expect(error == wanted.error, name)
            }
        }
    }

    func write(_ store: KeyValueStore, _ puts: [(String, String, Int64)], delete: String? = nil) {
        store.beginWrite()
        for (key, value, lease) in puts { store.put(Array(key.utf8).rawSpan, Array(value.utf8).rawSpan, lease: lease) }
        if let delete { _ = store.deleteRange(Array(delete.utf8).rawSpan, [UInt8]().rawSpan) }
        store.endWrite()
    }

    @Test(arguments: [true, false])
    func `the hash is that of a recorded server at every revision`(isDurable: Bool) throws {
        let disk = InMemoryStore()
        disk.holdsCommits = !isDurable
        let store = try KeyValueStore(disk)
        func settle() {
            disk.submit(store.takeBatch())
            store.batchCommitted(disk.committedBatch)
        }
        write(store, [("a", "1", 0)])
        write(store, [("b", "2", 0)])
        write(store, [("c", "3", 0)])
        write(store, [("a", "1b", 0)])
        settle()
        write(store, [], delete: "b")
        write(store, [("l", "leased", 7587)])
        write(store, [("t1", "x", 0), ("t2", "y", 0)], delete: "c")
        write(store, [("empty", "", 0)])
        settle()
        try check(store, stage: 0)

        store.remembersCompactionHashes = true
        let before = try store.hash(6)
        try store.compact(6)
        try check(store, stage: 1)
        while !store.compactionStep(budget: 1) { try check(store, stage: 1) }
        try check(store, stage: 1)
        // The hash of the compaction is the one at its revision, counted from the compaction before.
        #expect(store.compactionHash(6) == StoreHash(hash: before.hash, compactRevision: -1, revision: 6))
        settle()

        write(store, [("a", "1c", 0)])
        write(store, [], delete: "t1")
        write(store, [("b", "again", 0)])
        try check(store, stage: 2)
        settle()
        try check(store, stage: 2)
        if isDurable { try checkRecords(disk) }
        #expect(try store.hash(-5).hash == 1_084_519_789)
        #expect(try KeyValueStore(InMemoryStore()).hash(0).hash == 1_084_519_789)
    }

    /// The records are those of the recorded database, but for the tombstone at the compacted revision, which newer servers
    /// and we keep.
    private func checkRecords(_ disk: InMemoryStore) throws {
        var found: [String] = []
        disk.view().scan(.key, from: [], to: nil) { key, value in
            found.append("\(Hexadecimal.encode([UInt8](key))) \(Hexadecimal.encode([UInt8](value)))")
            return true
        }
        let recorded = HashVectorTests.lines.filter { $0[0] == "key" }.map { "\($0[1]) \($0[2])" }
        #expect(found == (["00000000000000065f000000000000000074 0a0162"] + recorded).sorted())
    }

    @Test func `a recorded store is restored`() throws {
        let disk = InMemoryStore()
        var batch = StoreBatch(number: 1)
        for line in HashVectorTests.lines where line[0] == "key" {
            batch.put(.key, Hexadecimal.decode(line[1])!, Hexadecimal.decode(line[2])!)
        }
        for line in HashVectorTests.lines where line[0] == "meta" {
            batch.put(.meta, Array(line[1].utf8), Hexadecimal.decode(line[2])!)
        }
        disk.submit(batch)
        var leased: [[UInt8]: Int64] = [:]
        let store = try KeyValueStore(disk) { leased[$0] = $1 }
        #expect(store.currentRevision == 12 && store.compactedRevision == 6 && !store.isCompacting)
        #expect(leased == [Array("l".utf8): 7587])
        try check(store, stage: 2)
    }

    @Test func `a store that cannot be right is refused`() throws {
        func open(_ key: String, _ value: String, _ table: StoreTable = .key) throws(RestoreError) {
            let disk = InMemoryStore()
            var batch = StoreBatch(number: 1)
            batch.put(table, Hexadecimal.decode(key) ?? Array(key.utf8), Hexadecimal.decode(value)!)
            disk.submit(batch)
            _ = try KeyValueStore(disk)
        }
        let revision = "00000000000000045f0000000000000000"
        #expect(throws: RestoreError.badRevisionKey([1, 2])) { try open("0102", "0a0161") }
        #expect(throws: RestoreError.badRevisionKey(Hexadecimal.decode(revision + "75")!)) {
            try open(revision + "75", "0a0161")
        }
        #expect(throws: RestoreError.badKeyValue(Revision(main: 4))) { try open(revision, "0aff01") }
        #expect(throws: RestoreError.badKeyValue(Revision(main: 4))) { try open(revision, "0a0163100418052001") }
        #expect(throws: RestoreError.badCompactionRecord("scheduledCompactRev")) {
            try open("scheduledCompactRev", "01", .meta)
        }
        // The mark a restore with a raised revision leaves.
        try open("00000000000f00005f0000000000000000", "")
        try open(revision, "0a0163100418042001")
    }
}
