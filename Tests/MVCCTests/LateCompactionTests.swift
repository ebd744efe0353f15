// Compactions that delete late, after keys were written again.

import Foundations
import Testing

@testable import MVCC

@Suite struct LateCompactionTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func write(_ kv: KeyValueStore, _ body: (KeyValueStore) -> Void) {
        kv.beginWrite()
        body(kv)
        kv.endWrite()
    }

    private func put(_ kv: KeyValueStore, _ key: String) {
        let (key, value) = (bytes(key), bytes("v"))
        write(kv) { $0.put(key.rawSpan, value.rawSpan, lease: 0) }
    }

    private func delete(_ kv: KeyValueStore, _ key: String) {
        let (key, none) = (bytes(key), bytes(""))
        write(kv) { _ = $0.deleteRange(key.rawSpan, none.rawSpan) }
    }

    private func stored(_ kv: KeyValueStore, _ store: InMemoryStore) -> [String] {
        store.submit(kv.takeBatch())
        kv.batchCommitted(store.committedBatch)
        var found: [String] = []
        store.view().scan(.key, from: [], to: nil) { key, value in
            let revision = RevisionKey.decode(key)
            found.append("\(revision!.revision.main)\(revision!.isTombstone ? "t" : "")")
            return true
        }
        return found
    }

    /// With no key alive, HashKV counts every record that is there: a tombstone left behind would make members differ.
    @Test func `a tombstone goes although its key was written again`() throws {
        for isLate in [false, true] {
            let store = InMemoryStore()
            let kv = try KeyValueStore(store)
            put(kv, "a")  // 2
            delete(kv, "a")  // 3
            put(kv, "b")  // 4
            delete(kv, "b")  // 5, the compacted revision: stays
            try kv.compact(5)
            if !isLate { while !kv.compactionStep(budget: 1) {} }
            put(kv, "a")  // 6
            put(kv, "b")  // 7
            delete(kv, "a")  // 8
            delete(kv, "b")  // 9
            while !kv.compactionStep(budget: 1) {}
            #expect(stored(kv, store) == ["5t", "6", "7", "8t", "9t"], "late: \(isLate)")
            try kv.compact(9)
            while !kv.compactionStep(budget: 1) {}
            #expect(stored(kv, store) == ["9t"], "late: \(isLate)")
        }
    }

    @Test func `a tombstone that was found at a restart goes too`() throws {
        let store = InMemoryStore()
        let first = try KeyValueStore(store)
        put(first, "a")  // 2
        delete(first, "a")  // 3
        try first.compact(3)
        while !first.compactionStep(budget: 1) {}
        #expect(stored(first, store) == ["3t"])
        let kv = try KeyValueStore(store)
        put(kv, "a")  // 4
        put(kv, "a")  // 5
        try kv.compact(4)
        while !kv.compactionStep(budget: 1) {}
        #expect(stored(kv, store) == ["4", "5"])
        try kv.compact(5)
        while !kv.compactionStep(budget: 1) {}
        #expect(stored(kv, store) == ["5"])
    }
}
