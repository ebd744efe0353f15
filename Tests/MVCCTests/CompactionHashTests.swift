// The hashes that a store remembers of its compactions, for members that compare them.

import Foundations
import Testing

@testable import MVCC

@Suite struct CompactionHashTests {
    private func made() throws -> KeyValueStore {
        let store = try KeyValueStore(InMemoryStore())
        store.remembersCompactionHashes = true
        return store
    }

    private func put(_ store: KeyValueStore, _ key: String, _ value: String) {
        store.beginWrite()
        store.put(Array(key.utf8).rawSpan, Array(value.utf8).rawSpan, lease: 0)
        store.endWrite()
    }

    private func delete(_ store: KeyValueStore, _ key: String) {
        store.beginWrite()
        _ = store.deleteRange(Array(key.utf8).rawSpan, [UInt8]().rawSpan)
        store.endWrite()
    }

    private func compact(_ store: KeyValueStore, _ revision: Int64) throws {
        try store.compact(revision)
        while !store.compactionStep(budget: 1) {}
    }

    @Test func `a member that has not compacted yet answers what the others remember`() throws {
        let (first, late) = (try made(), try made())
        for store in [first, late] {
            for i in 0..<20 { put(store, "k\(i % 7)", "value \(i)") }
            try compact(store, 9)
            delete(store, "k3")
            put(store, "k3", "again")
        }
        try compact(first, 19)
        put(first, "after", "1")
        let remembered = try #require(first.compactionHash(19))
        #expect(remembered.compactRevision == 9)
        #expect(try late.hash(19) == remembered)
        try compact(first, 24)
        #expect(first.compactionHash(19) == remembered, "after later compactions too")
    }

    @Test func `the last ten are remembered`() throws {
        let store = try made()
        for i in 0..<30 { put(store, "k", "\(i)") }
        for revision in Int64(5)...17 { try compact(store, revision) }
        #expect(store.rememberedHashes.map(\.revision) == Array(8...17))
        #expect(store.rememberedHashes.map(\.compactRevision) == Array(7...16))
        #expect(store.compactionHash(7) == nil)
        #expect(store.compactionHash(18) == nil)
    }

    @Test func `a compaction on top of an unfinished one leaves no hash`() throws {
        let store = try made()
        for i in 0..<30 { put(store, "k\(i % 3)", "\(i)") }
        try store.compact(10)
        #expect(!store.compactionStep(budget: 1))
        try store.compact(20)
        while !store.compactionStep(budget: 1) {}
        #expect(store.rememberedHashes == [])
        try compact(store, 25)
        #expect(store.rememberedHashes.map(\.revision) == [25])
    }

    @Test func `a store that was opened again remembers nothing and takes hashes again`() throws {
        let disk = InMemoryStore()
        var store = try KeyValueStore(disk)
        store.remembersCompactionHashes = true
        for i in 0..<10 { put(store, "k\(i % 3)", "\(i)") }
        try compact(store, 5)
        #expect(store.compactionHash(5) != nil)
        disk.submit(store.takeBatch())
        store.batchCommitted(disk.committedBatch)
        store = try KeyValueStore(disk)
        store.remembersCompactionHashes = true
        #expect(store.compactionHash(5) == nil)
        try compact(store, 8)
        #expect(store.compactionHash(8)?.compactRevision == 5)
    }

    @Test func `where nothing is alive no hash is taken`() throws {
        let store = try made()
        put(store, "a", "1")
        delete(store, "a")
        put(store, "b", "2")
        try compact(store, 3)
        #expect(store.compactionHash(3) == nil)
        try compact(store, 4)
        #expect(store.compactionHash(4) != nil)
    }

    @Test func `it is not taken unless asked for`() throws {
        let store = try KeyValueStore(InMemoryStore())
        put(store, "a", "1")
        try compact(store, 2)
        #expect(store.rememberedHashes == [])
    }
}
