// Space of free pages goes back to the file system, and nothing that anybody can still read goes with it.

import Foundations
import Glibc
import LMDBStore
import Linux
import MVCC
import TestSupport
import Testing

@Suite struct FreePagesTests {
    let place = Workplace()

    private func blocks() -> Int {
        var status = stat()
        return stat(place("store") + "/data.mdb", &status) == 0 ? Int(status.st_blocks) * 512 : 0
    }

    private func giveBack(_ store: LMDBStore) throws -> Int {
        let answer = Mutex<Result<Int, StoreError>?>(nil)
        store.giveBackSpace { result in answer.withLock { $0 = result } }
        // Slices queue up one behind the other.
        while answer.withLock({ $0 == nil }) { store.waitUntilCommitted() }
        return try answer.withLock { $0 }?.get() ?? 0
    }

    @Test func `what was deleted leaves the file`() throws {
        try LMDBStore.create(place("store"))
        let store = try LMDBStore.open(place("store"))
        let value = [UInt8](repeating: 9, count: 5000)
        var batch = StoreBatch(number: 1)
        for i in 0..<4000 { batch.put(.key, bytes("k\(10_000 + i)"), value, append: true) }
        store.submit(batch)
        store.waitUntilCommitted()
        let full = blocks()
        #expect(full > 4000 * 5000)
        batch = StoreBatch(number: 2)
        for i in 0..<3990 { batch.delete(.key, bytes("k\(10_000 + i)")) }
        store.submit(batch)
        store.waitUntilCommitted()
        #expect(blocks() >= full)
        let freed = try giveBack(store)
        #expect(freed > full * 9 / 10)
        #expect(blocks() <= full / 10)
        #expect(store.allocatedBytes <= full / 10)
        #expect(store.usedBytes <= store.allocatedBytes)
        #expect(store.view().count(.key) == 10)
        #expect(store.view().value(.key, bytes("k13995")) == value)
        // There is nothing to give back twice.
        #expect(try giveBack(store) < 100_000)
    }

    @Test func `readers keep what they see, and so does the next start`() throws {
        let seed = UInt64(RealTools.seed) ?? 1
        var random = SeededRandom(seed: seed)
        try LMDBStore.create(place("store"))
        var store: LMDBStore? = try LMDBStore.open(place("store"))
        var model: [[UInt8]: [UInt8]] = [:]
        var held: [(view: any StoreView, model: [[UInt8]: [UInt8]])] = []
        for round in 1...150 {
            var batch = StoreBatch(number: UInt64(round))
            for _ in 0..<(random.chance(1, in: 4) ? 200 : 20) {
                let key = bytes("k\(Int.random(in: 0..<300, using: &random))")
                if random.chance(1, in: 2) {
                    batch.delete(.key, key)
                    model[key] = nil
                } else {
                    let length = random.chance(1, in: 5) ? 20_000 : 300
                    let value = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: Int.random(in: 0...length, using: &random))
                    batch.put(.key, key, value)
                    model[key] = value
                }
            }
            guard let open = store else { return }
            open.submit(batch)
            if random.chance(1, in: 3) { open.giveBackSpace { result in #expect(throws: Never.self) { try result.get() } } }
            open.waitUntilCommitted()
            if random.chance(1, in: 3) { held.append((open.view(), model)) }
            if random.chance(1, in: 3), !held.isEmpty {
                let index = Int.random(in: 0..<held.count, using: &random)
                #expect(held[index].view.pairs(.key) == held[index].model, "seed \(seed), round \(round)")
                held.remove(at: index)
            }
            #expect(open.view().pairs(.key) == model, "seed \(seed), round \(round)")
            if round % 40 == 0 {
                held = []
                store = nil
                store = try LMDBStore.open(place("store"))
            }
        }
    }
}
