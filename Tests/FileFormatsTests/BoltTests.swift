import FileFormats
import Foundations
import Testing

@Suite struct BoltTests {
    typealias Pairs = [(key: Bytes, value: Bytes)]

    static func contents(_ image: BoltImage) throws -> [(name: String, pairs: Pairs)] {
        var all: [(String, Pairs)] = []
        for (name, bucket) in try image.buckets() {
            var pairs: Pairs = []
            try image.forEach(bucket) { key, value in pairs.append((Bytes(key), Bytes(value))) }
            all.append((String(decoding: name, as: UTF8.self), pairs))
        }
        return all
    }

    static func written(_ contents: [(name: String, pairs: Pairs)]) -> Bytes {
        var plan = BoltPlan()
        for (name, pairs) in contents {
            plan.open(name)
            for (key, value) in pairs { plan.add(keyBytes: key.count, valueBytes: value.count) }
        }
        let layout = plan.finish()
        var writer = BoltImageWriter(layout)
        for (name, pairs) in contents {
            writer.open(name)
            for (key, value) in pairs { writer.add(key.rawSpan, value.rawSpan) }
        }
        writer.finish()
        #expect(writer.output.count == layout.imageBytes)
        return writer.output
    }

    static func same(_ a: [(name: String, pairs: Pairs)], _ b: [(name: String, pairs: Pairs)]) -> Bool {
        a.map(\.name) == b.map(\.name)
            && zip(a, b).allSatisfy {
                $0.pairs.count == $1.pairs.count && zip($0.pairs, $1.pairs).allSatisfy { $0 == $1 }
            }
    }

    static func image(_ file: String) throws -> Bytes {
        let bytes = try Recorded.file(file)
        let layout = SnapshotFile.layout(fileBytes: bytes.count)
        #expect(layout.hasDigest)
        #expect(SHA256.of(Array(bytes[..<layout.imageBytes])) == Array(bytes[layout.imageBytes...]))
        return Array(bytes[..<layout.imageBytes])
    }

    @Test(arguments: Recorded.versions) func `recorded snapshots hold the recorded buckets`(version: String) throws {
        let image = try BoltImage(try BoltTests.image("store-\(version).snapshot"))
        var expected: [(name: String, pairs: Pairs)] = []
        var status: [String] = []
        for row in try Recorded.table("\(version).buckets") {
            switch row[0] {
            case "status": status = Array(row.dropFirst())
            case "bucket": expected.append((row[1], []))
            default: expected[expected.count - 1].pairs.append((hex(row[0]), hex(row[1])))
            }
        }
        #expect(BoltTests.same(try BoltTests.contents(image), expected))
        let found = try SnapshotStatus(image)
        #expect(status == ["\(found.hash)", "\(found.revision)", "\(found.totalKeys)", "\(found.totalBytes)"])
    }

    @Test func `a file written by hand and a live database file read as well`() throws {
        let status = try SnapshotStatus(try BoltImage(try BoltTests.image("handwritten-minimal.snapshot")))
        #expect(status.hash == 2_764_567_274)
        for version in Recorded.versions {
            let live = try BoltImage(try Recorded.file("\(version).db"))
            #expect(try SnapshotStatus(live).revision == 12)
            #expect(try live.bucket("key") != nil)
            #expect(try live.bucket("none") == nil)
        }
    }

    @Test(arguments: Recorded.versions) func `what was read is written with the same status`(version: String) throws {
        let original = try BoltImage(try BoltTests.image("store-\(version).snapshot"))
        let contents = try BoltTests.contents(original)
        let copy = try BoltImage(BoltTests.written(contents))
        #expect(BoltTests.same(try BoltTests.contents(copy), contents))
        #expect(try SnapshotStatus(copy).hash == SnapshotStatus(original).hash)
    }

    @Test(arguments: [0, 1, 2, 40, 120, 121, 122, 240, 241, 3000, 20_000]) func `trees of every shape`(count: Int)
        throws
    {
        var random = SeededRandom(seed: UInt64(count))
        for sizes in [1...1, 0...300, 4000...4100, 0...12_000] where count * sizes.upperBound < 40_000_000 {
            let pairs: Pairs = (0..<count).map { i in
                let key = (0..<8).map { UInt8(truncatingIfNeeded: i >> (8 * (7 - $0))) } + Bytes("_rev".utf8)
                return (key, Bytes(repeating: UInt8(i & 255), count: Int.random(in: sizes, using: &random)))
            }
            let contents = [("alarm", []), ("key", pairs), ("meta", Array(pairs.prefix(3)))]
            let image = try BoltImage(BoltTests.written(contents))
            try image.check()
            #expect(BoltTests.same(try BoltTests.contents(image), contents), "\(count) pairs of \(sizes) bytes")
        }
    }

    @Test func `branches have at least two children, with long keys too`() throws {
        for count in 1...60 {
            for keyBytes in [20, 700, 1300, 5000] {
                let pairs: Pairs = (0..<count).map { i in
                    (Bytes(repeating: 0x61, count: keyBytes) + [UInt8(i)], Bytes(repeating: 1, count: 2000))
                }
                let contents = [("authUsers", pairs), ("key", pairs)]
                let bytes = BoltTests.written(contents)
                let image = try BoltImage(bytes)
                try image.check()
                #expect(BoltTests.same(try BoltTests.contents(image), contents))
                var page = 2
                while page * 4096 < bytes.count {
                    let header = bytes[(page * 4096)..<(page * 4096 + 16)].map(Int.init)
                    let children = header[10] | header[11] << 8
                    if header[8] == 1 { #expect(children >= 2, "\(count) keys of \(keyBytes): page \(page)") }
                    page += 1 + header[12] | header[13] << 8
                }
            }
        }
    }

    @Test func `damage anywhere is found or does not matter`() throws {
        let pairs: Pairs = (0..<400).map { i in
            ([UInt8(i >> 8), UInt8(i & 255)] + Bytes("key".utf8), Bytes(repeating: UInt8(i & 255), count: 60))
        }
        let contents = [("key", pairs), ("meta", Array(pairs.prefix(2)))]
        let good = BoltTests.written(contents)
        var random = SeededRandom(seed: 11)
        var found = 0
        for _ in 0..<4000 {
            var bytes = good
            let i = Int.random(in: bytes.indices, using: &random)
            bytes[i] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            do {
                let image = try BoltImage(bytes)
                try image.check()
                _ = try BoltTests.contents(image)
            } catch is BoltDamage { found += 1 }
        }
        #expect(found > 200)
        for length in [0, 100, 4096, 8192, 10_000, good.count - 1] {
            #expect(throws: BoltDamage.self) { try BoltImage(Array(good[..<length])).check() }
        }
    }

    @Test func `a tree that leads back to itself ends`() throws {
        let pairs: Pairs = (0..<3000).map { i in ([UInt8(i >> 8), UInt8(i & 255)], Bytes(repeating: 1, count: 60)) }
        var bytes = BoltTests.written([("key", pairs)])
        var branches = 0
        for page in 2..<bytes.count / 4096 where bytes[page * 4096 + 8] == 1 {
            branches += 1
            for i in 0..<Int(bytes[page * 4096 + 10]) {
                let child = page * 4096 + 16 + i * 16 + 8
                for digit in 0..<8 { bytes[child + digit] = UInt8(truncatingIfNeeded: page >> (8 * digit)) }
            }
        }
        #expect(branches > 0)
        #expect(throws: BoltDamage.self) { try BoltTests.contents(BoltImage(bytes)) }
        #expect(throws: BoltDamage.self) { try BoltImage(bytes).check() }
        #expect(throws: BoltDamage.self) { try SnapshotStatus(BoltImage(bytes)) }
    }

    @Test func `one valid meta is enough`() throws {
        let good = BoltTests.written([("key", [([1, 2], [3])])])
        for page in 0...1 {
            var bytes = good
            bytes[page * 4096 + 20] ^= 0xff
            #expect(try BoltTests.contents(BoltImage(bytes)).count == 1)
        }
        var bytes = good
        bytes[20] ^= 1
        bytes[4096 + 20] ^= 1
        #expect(throws: BoltDamage.self) { try BoltImage(bytes) }
    }

    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ]) func `SHA-256 of the standard's examples`(text: String, digest: String) {
        #expect(Hexadecimal.encode(SHA256.of(Bytes(text.utf8))) == digest)
        var hash = SHA256()
        for byte in text.utf8 { hash.update([byte].rawSpan) }
        #expect(Hexadecimal.encode(hash.finish()) == digest)
    }
}
