import Foundations
import Glibc
import LMDBStore
import Linux
import MVCC
import Testing

@Suite struct LMDBStoreTests {
    let place = Workplace()

    func made(_ options: StoreOptions = StoreOptions()) throws -> LMDBStore {
        try LMDBStore.create(place("store"))
        return try LMDBStore.open(place("store"), options)
    }

    @Test func `what is committed is read, after a restart too`() throws {
        do {
            let store = try made()
            var batch = StoreBatch(number: 7)
            batch.put(.key, bytes("a"), bytes("1"))
            batch.put(.key, bytes("b"), bytes("2"))
            batch.put(.meta, bytes("consistent_index"), bytes("9"))
            batch.put(.lease, bytes("x"), [])
            #expect(store.committedBatch == 0)
            store.submit(batch)
            store.waitUntilCommitted()
            #expect(store.committedBatch == 7)
            let view = store.view()
            #expect(text(view.value(.key, bytes("a"))) == "1")
            #expect(view.value(.lease, bytes("x")) == [])
            #expect(view.value(.key, bytes("c")) == nil)
            #expect(view.value(.alarm, bytes("a")) == nil)
            #expect(view.count(.key) == 2)
            #expect(store.usedBytes > 0 && store.usedBytes <= store.allocatedBytes)
        }
        let store = try LMDBStore.open(place("store"))
        #expect(text(store.view().value(.meta, bytes("consistent_index"))) == "9")
        #expect(store.committedBatch == 0)
    }

    @Test func `a view sees what was committed when it was taken`() throws {
        let store = try made()
        var batch = StoreBatch(number: 1)
        batch.put(.key, bytes("a"), bytes("old"))
        store.submit(batch)
        store.waitUntilCommitted()
        let before = store.view()
        batch = StoreBatch(number: 2)
        batch.put(.key, bytes("a"), bytes("new"))
        batch.delete(.key, bytes("none"))
        store.submit(batch)
        store.waitUntilCommitted()
        #expect(text(before.value(.key, bytes("a"))) == "old")
        #expect(text(store.view().value(.key, bytes("a"))) == "new")
    }

    @Test func `scans are ordered, bounded, and may be nested`() throws {
        let store = try made()
        var batch = StoreBatch(number: 1)
        for i in (0..<300).reversed() { batch.put(.key, [UInt8(i / 256), UInt8(i % 256)], [UInt8(i % 251)]) }
        store.submit(batch)
        batch = StoreBatch(number: 2)
        batch.clear(.key)
        for i in 0..<200 { batch.put(.key, [UInt8(i)], [UInt8(i)], append: true) }
        batch.delete(.key, [5])
        store.submit(batch)
        store.waitUntilCommitted()
        let view = store.view()
        #expect(view.keys(.key, from: [3], to: [8]) == [[3], [4], [6], [7]])
        #expect(view.keys(.key, from: [198]) == [[198], [199]])
        #expect(view.keys(.key, from: [250]) == [])
        #expect(view.pairs(.key, limit: 3).count == 3)
        var inner: [Int] = []
        view.scan(.key, from: [], to: [3]) { _, _ in
            inner.append(view.keys(.key, from: [100], to: [110]).count)
            return true
        }
        #expect(inner == [10, 10, 10])
    }

    @Test func `keys longer than LMDB takes keep their order`() throws {
        let store = try made()
        var random = SeededRandom(seed: 42)
        var model: [[UInt8]: [UInt8]] = [:]
        for round in 1...40 {
            var batch = StoreBatch(number: UInt64(round))
            for _ in 0..<20 {
                // Few distinct prefixes, lengths around the limit, so that lists have several members.
                let length = [1, 2, 499, 500, 501, 511, 512, 800].randomElement(using: &random)!
                var key = [UInt8](repeating: UInt8.random(in: 97...98, using: &random), count: length)
                key[length - 1] = UInt8.random(in: 97...99, using: &random)
                if random.chance(1, in: 3) {
                    batch.delete(.authUsers, key)
                    model[key] = nil
                } else {
                    let value = [UInt8](repeating: UInt8(round), count: Int.random(in: 0...9, using: &random))
                    batch.put(.authUsers, key, value)
                    model[key] = value
                }
            }
            store.submit(batch)
            store.waitUntilCommitted()
            let view = store.view()
            let sorted = model.keys.sorted { $0.lexicographicallyPrecedes($1) }
            #expect(view.keys(.authUsers) == sorted)
            #expect(view.pairs(.authUsers) == model)
            #expect(view.count(.authUsers) == model.count)
            if let middle = sorted.randomElement(using: &random) {
                #expect(view.keys(.authUsers, from: middle) == sorted.filter { !$0.lexicographicallyPrecedes(middle) })
                #expect(view.keys(.authUsers, to: middle) == sorted.filter { $0.lexicographicallyPrecedes(middle) })
                #expect(view.value(.authUsers, middle) == model[middle])
            }
        }
    }

    @Test func `batches complete in order, each once`() throws {
        try LMDBStore.create(place("store"))
        let seen = Mutex<[UInt64]>([])
        let store = try LMDBStore.open(place("store")) { number, error in
            #expect(error == nil)
            seen.withLock { $0.append(number) }
        }
        for number in 1...500 {
            var batch = StoreBatch(number: UInt64(number))
            batch.put(.key, bytes("k\(number)"), [UInt8](repeating: 1, count: 100))
            store.submit(batch)
        }
        store.waitUntilCommitted()
        #expect(seen.withLock { $0 } == Array(1...500).map(UInt64.init))
        #expect(store.view().count(.key) == 500)
        #expect(!store.isBacklogged)
    }

    @Test func `the map grows, under a reader that comes and goes`() throws {
        var options = StoreOptions()
        options.mapBytes = 1 << 20
        let store = try made(options)
        let value = [UInt8](repeating: 7, count: 10_000)
        for number in 1...60 {
            var batch = StoreBatch(number: UInt64(number))
            for i in 0..<20 { batch.put(.key, bytes("\(number)/\(i)"), value) }
            let view = store.view()
            store.submit(batch)
            #expect(view.count(.key) <= (number - 1) * 20)
        }
        store.waitUntilCommitted()
        #expect(store.failure == nil)
        #expect(store.view().count(.key) == 1200)
        #expect(store.allocatedBytes > 12_000_000)
    }

    @Test func `files that are no store of ours are refused and left alone`() throws {
        mkdir(place("store"), 0o700)
        let file = place("store/data.mdb")
        #expect(throws: StoreError.missing(path: file)) { try LMDBStore.open(place("store")) }
        try write([], file)
        #expect(throws: StoreError.damaged(path: file, what: "it is empty")) { try LMDBStore.open(place("store")) }
        let garbage = [UInt8](repeating: 0x5a, count: 20_000)
        try write(garbage, file)
        #expect(throws: StoreError.foreign(path: file)) { try LMDBStore.open(place("store")) }
        #expect(try read(file) == garbage)
    }

    @Test func `a store cut short is refused`() throws {
        do {
            let store = try made()
            var batch = StoreBatch(number: 1)
            for i in 0..<1000 { batch.put(.key, bytes("key\(i)"), [UInt8](repeating: 1, count: 100)) }
            store.submit(batch)
        }
        let file = place("store/data.mdb")
        let whole = try read(file)
        try write(Array(whole.prefix(whole.count / 2)), file)
        #expect { try LMDBStore.open(place("store")) } throws: { error in
            guard case .damaged(file, _) = error as? StoreError else { return false }
            return true
        }
    }

    @Test func `a bulk load appears whole or not at all`() throws {
        do {
            let load = try BulkLoad(place("store"), mapBytes: 1 << 20)
            try load.put(.key, bytes("a"), bytes("1"))
        }
        #expect(!LMDBStore.exists(place("store")))
        #expect(!LMDBStore.exists(place("store.tmp")))
        do {
            let load = try BulkLoad(place("store"), mapBytes: 1 << 20)
            for i in 0..<50_000 {
                let key = bytes(String(1_000_000 + i))
                try load.put(.key, key, [UInt8](repeating: 1, count: 50), append: true)
            }
            try load.finish()
        }
        #expect(try LMDBStore.open(place("store")).view().count(.key) == 50_000)
        #expect(throws: StoreError.exists(path: place("store"))) { try BulkLoad(place("store")) }
    }
}

func write(_ bytes: [UInt8], _ path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
        let count = bytes[done...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress!, $0.count) }
        try #require(count > 0)
        done += count
    }
}

func read(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let count = piece.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress!, $0.count) }
        try #require(count >= 0)
        if count == 0 { return all }
        all += piece[..<count]
    }
}
