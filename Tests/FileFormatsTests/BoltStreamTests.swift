// Images that are read while they come.

import FileFormats
import Foundations
import Testing

@Suite struct BoltStreamTests {
    typealias Contents = [(name: String, pairs: BoltTests.Pairs)]

    private static func written(_ contents: Contents) -> (image: Bytes, trees: [BoltTree]) {
        var plan = BoltPlan()
        for (name, pairs) in contents {
            plan.open(name)
            for (key, value) in pairs { plan.add(keyBytes: key.count, valueBytes: value.count) }
        }
        return (BoltTests.written(contents), plan.finish().trees)
    }

    /// What a reader finds when the bytes come in pieces of random sizes; buckets without pairs are not seen.
    private static func read(
        _ image: Bytes, _ trees: [BoltTree], pieces: ClosedRange<Int>, _ random: inout SeededRandom
    ) throws -> (found: [String: BoltTests.Pairs], buckets: [String]) {
        var stream = BoltStream(trees)
        var found: [String: BoltTests.Pairs] = [:]
        var at = 0
        while at < image.count {
            let end = min(image.count, at + Int.random(in: pieces, using: &random))
            try stream.feed(Bytes(image[at..<end]).rawSpan) { bucket, key, value in
                found[bucket, default: []].append((Bytes(key), Bytes(value)))
            }
            at = end
        }
        try stream.finish()
        return (found, stream.buckets)
    }

    private static func contents(_ count: Int, _ sizes: ClosedRange<Int>, _ random: inout SeededRandom) -> Contents {
        let pairs: BoltTests.Pairs = (0..<count).map { i in
            let key = (0..<8).map { UInt8(truncatingIfNeeded: i >> (8 * (7 - $0))) } + Bytes("_rev".utf8)
            return (key, Bytes(repeating: UInt8(i & 255), count: Int.random(in: sizes, using: &random)))
        }
        return [
            ("alarm", []), ("auth", Array(pairs.prefix(1))), ("key", pairs), ("lease", Array(pairs.suffix(90))),
            ("meta", Array(pairs.prefix(2))),
        ]
    }

    @Test(arguments: [0, 1, 2, 40, 121, 240, 3000, 20_000]) func `images of every shape, in pieces of any size`(count: Int) throws {
        var random = SeededRandom(seed: UInt64(count))
        for sizes in [1...1, 0...300, 4000...4100, 0...12_000, 60_000...70_000] where count * sizes.upperBound < 40_000_000 {
            let contents = BoltStreamTests.contents(count, sizes, &random)
            let (image, trees) = BoltStreamTests.written(contents)
            #expect(BoltTree.parse(BoltTree.text(trees)) == trees)
            for pieces in [1...70_000, 262_144...262_144] {
                let (found, buckets) = try BoltStreamTests.read(image, trees, pieces: pieces, &random)
                #expect(buckets == contents.map(\.name))
                let same = contents.map { (name: $0.name, pairs: found[$0.name] ?? []) }
                #expect(BoltTests.same(same, contents), "\(count) pairs of \(sizes) bytes")
            }
        }
    }

    @Test func `what is missing, double or in the wrong place is found`() throws {
        var random = SeededRandom(seed: 3)
        let (image, trees) = BoltStreamTests.written(BoltStreamTests.contents(400, 100...6000, &random))
        func refused(_ image: Bytes, _ trees: [BoltTree], _ what: String) {
            #expect(throws: BoltDamage.self, "\(what)") { _ = try BoltStreamTests.read(image, trees, pieces: 1...9000, &random) }
        }
        for cut in [0, 1, 79, 4096, image.count / 2, image.count - 4096, image.count - 1] {
            refused(Bytes(image.prefix(cut)), trees, "cut at \(cut)")
        }
        refused(image + Bytes(repeating: 0, count: 4096), trees, "a page too many")
        refused(image, [], "nothing announced")
        refused(image, Array(trees.dropFirst()), "a bucket not announced")
        for i in trees.indices {
            for change in 0..<4 {
                var wrong = trees
                switch change {
                case 0: wrong[i].pairs += 1
                case 1: wrong[i].pages = wrong[i].pages.lowerBound..<(wrong[i].pages.upperBound - 1)
                case 2: wrong[i].pages = (wrong[i].pages.lowerBound + 1)..<wrong[i].pages.upperBound
                default: wrong[i].bucket = "other"
                }
                refused(image, wrong, "tree \(i), change \(change)")
            }
        }
        // Two pages of one bucket in the wrong order are found by their numbers.
        let first = Int(trees[0].pages.lowerBound) * 4096
        refused(Bytes(image[..<first]) + Bytes(image[(first + 4096)...]), trees, "a page left out")
    }

    @Test func `damage anywhere is found or does not matter, and never ends the process`() throws {
        var random = SeededRandom(seed: 17)
        let (image, trees) = BoltStreamTests.written(BoltStreamTests.contents(300, 0...900, &random))
        var found = 0
        for _ in 0..<3000 {
            var bytes = image
            // Heads of pages and elements more often than values.
            let page = Int.random(in: 0..<(bytes.count / 4096), using: &random) * 4096
            let at = page + Int.random(in: 0..<(Bool.random(using: &random) ? 48 : 4096), using: &random)
            bytes[at] = UInt8.random(in: 0...255, using: &random)
            do { _ = try BoltStreamTests.read(bytes, trees, pieces: 4096...50_000, &random) } catch is BoltDamage { found += 1 }
        }
        #expect(found > 300)
    }

    @Test func `what says where buckets are is read strictly`() {
        let trees = [BoltTree(bucket: "key", pages: 2..<900, pairs: 87_381), BoltTree(bucket: "meta", pages: 900..<901, pairs: 3)]
        #expect(BoltTree.text(trees) == "key=2-900:87381,meta=900-901:3")
        #expect(BoltTree.parse("key=2-900:87381,meta=900-901:3") == trees)
        for wrong in [
            ",", "key", "key=", "key=2-3", "key=2-2:0", "key=3-2:1", "key=1-3:1", "=2-3:1", "key=2-3:1,", "a=2-5:1,b=4-6:1", "key=2-3:-1",
            "key=2-99999999999999999999:1", "key=2-3:1:1",
        ] {
            #expect(BoltTree.parse(wrong) == nil, "\(wrong)")
        }
    }
}
