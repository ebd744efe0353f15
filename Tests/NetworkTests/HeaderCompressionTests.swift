// Header compression against the examples of RFC 7541, against nghttp2's own, and against what must not be accepted.

import CNghttp2
import Foundations
import HTTP2Engine
import Testing

private typealias Fields = [[String]]

private func hex(_ text: String) -> [UInt8] {
    var digits = text.filter { $0.isHexDigit }[...]
    var bytes: [UInt8] = []
    while !digits.isEmpty {
        bytes.append(UInt8(digits.prefix(2), radix: 16)!)
        digits = digits.dropFirst(2)
    }
    return bytes
}

extension HeaderDecoder {
    fileprivate mutating func fields(_ block: [UInt8], bytesMax: Int = 1 << 20) throws -> Fields? {
        var list = FieldList()
        guard try decode(block.rawSpan, into: &list, bytesMax: bytesMax) else { return nil }
        var fields: Fields = []
        list.forEach { fields.append([String(decoding: $0, as: UTF8.self), String(decoding: $1, as: UTF8.self)]) }
        return fields
    }

    /// What is wrong with a block.
    fileprivate mutating func damage(_ block: [UInt8]) -> HeaderDamage? {
        do {
            _ = try fields(block)
            return nil
        } catch {
            return error as? HeaderDamage
        }
    }
}

@Suite struct HeaderCompressionTests {
    // MARK: RFC 7541, appendix C

    private static let get = [[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "www.example.com"]]
    private static let custom = [
        [":method", "GET"], [":scheme", "https"], [":path", "/index.html"], [":authority", "www.example.com"],
        ["custom-key", "custom-value"],
    ]

    @Test func `single fields of the standard's appendix`() throws {
        var decoder = HeaderDecoder()
        #expect(
            try decoder.fields(hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572")) == [
                ["custom-key", "custom-header"]
            ])
        #expect(decoder.table.size == 55)
        decoder = HeaderDecoder()
        #expect(try decoder.fields(hex("040c 2f73 616d 706c 652f 7061 7468")) == [[":path", "/sample/path"]])
        #expect(try decoder.fields(hex("1008 7061 7373 776f 7264 0673 6563 7265 74")) == [["password", "secret"]])
        #expect(decoder.table.count == 0)
        #expect(try decoder.fields(hex("82")) == [[":method", "GET"]])
    }

    @Test(arguments: [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ]) func `requests of the standard's appendix`(_ blocks: [String]) throws {
        var decoder = HeaderDecoder()
        #expect(try decoder.fields(hex(blocks[0])) == Self.get)
        #expect(decoder.table.size == 57)
        #expect(try decoder.fields(hex(blocks[1])) == Self.get + [["cache-control", "no-cache"]])
        #expect(decoder.table.size == 110)
        #expect(try decoder.fields(hex(blocks[2])) == Self.custom)
        #expect(decoder.table.size == 164)
        #expect(decoder.table.count == 3)
    }

    @Test(arguments: [
        [
            """
            4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
            546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d
            """, "4803 3330 37c1 c0bf",
            """
            88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
            6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
            2076 6572 7369 6f6e 3d31
            """,
        ],
        [
            """
            4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
            8f0b 97c8 e9ae 82ae 43d3
            """, "4883 640e ffc1 c0bf",
            """
            88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
            dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07
            """,
        ],
    ]) func `answers of the standard's appendix push out what does not fit`(_ blocks: [String]) throws {
        var decoder = HeaderDecoder(tableBytesMax: 256)
        let date = "Mon, 21 Oct 2013 20:13:2"
        let rest = [["cache-control", "private"], ["date", date + "1 GMT"], ["location", "https://www.example.com"]]
        #expect(try decoder.fields(hex(blocks[0])) == [[":status", "302"]] + rest)
        #expect(decoder.table.size == 222)
        #expect(try decoder.fields(hex(blocks[1])) == [[":status", "307"]] + rest)
        #expect(decoder.table.size == 222)
        #expect(
            try decoder.fields(hex(blocks[2])) == [
                [":status", "200"], ["cache-control", "private"], ["date", date + "2 GMT"], ["location", "https://www.example.com"],
                ["content-encoding", "gzip"], ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
            ])
        #expect(decoder.table.size == 215)
    }

    // MARK: What another implementation makes

    @Test(arguments: 0..<12) func `what nghttp2 encodes is what is decoded`(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var deflater: OpaquePointer?
        // Less than our table, as much, or more (which it may not use before it is told).
        nghttp2_hd_deflate_new(&deflater, [0, 64, 700, 4096, 4096][Int.random(in: 0..<5, using: &random)])
        defer { nghttp2_hd_deflate_del(deflater) }
        var decoder = HeaderDecoder()
        let names = [":path", ":method", "content-type", "grpc-timeout", "x-a", "x-binary-bin", "cookie", "user-agent"]
        var known: [String: [UInt8]] = [:]
        for _ in 0..<40 {
            if Int.random(in: 0..<8, using: &random) == 0 {
                nghttp2_hd_deflate_change_table_size(deflater, [0, 33, 200, 1000, 4096][Int.random(in: 0..<5, using: &random)])
            }
            var sent: [(name: [UInt8], value: [UInt8])] = []
            for _ in 0..<Int.random(in: 0..<12, using: &random) {
                let rare = "x-\(Int.random(in: 0..<300, using: &random))"
                let name = Int.random(in: 0..<4, using: &random) == 0 ? rare : names.randomElement(using: &random)!
                let all = Bool.random(using: &random)
                let fresh = (0..<Int.random(in: 0...(all ? 40 : 300), using: &random)).map { _ in
                    all ? UInt8.random(in: 0...255, using: &random) : UInt8.random(in: 0x61...0x7a, using: &random)
                }
                var value = fresh
                if Bool.random(using: &random), let old = known[name] { value = old }
                known[name] = value
                sent.append((Array(name.utf8), value))
            }
            let block = deflate(deflater, sent)
            var list = FieldList()
            let fits = try decoder.decode(block.rawSpan, into: &list, bytesMax: 1 << 20)
            var got: [(name: [UInt8], value: [UInt8])] = []
            list.forEach { got.append((Array($0), Array($1))) }
            let isSame = fits && got.map(\.name) == sent.map(\.name) && got.map(\.value) == sent.map(\.value)
            #expect(isSame, "seed \(seed)")
            #expect(decoder.table.size <= decoder.table.bytesMax)
        }
    }

    private func deflate(_ deflater: OpaquePointer?, _ fields: [(name: [UInt8], value: [UInt8])]) -> [UInt8] {
        var memory: [UInt8] = [0]
        for (name, value) in fields { memory += name + value }
        var block = [UInt8](repeating: 0, count: 65536)
        let count = memory.withUnsafeMutableBufferPointer { buffer in
            var at = buffer.baseAddress! + 1
            var values: [nghttp2_nv] = []
            for (name, value) in fields {
                values.append(nghttp2_nv(name: at, value: at + name.count, namelen: name.count, valuelen: value.count, flags: 0))
                at += name.count + value.count
            }
            return nghttp2_hd_deflate_hd(deflater, &block, block.count, &values, values.count)
        }
        return Array(block[..<max(0, Int(count))])
    }

    @Test func `every byte has its word in the code`() throws {
        var decoder = HeaderDecoder()
        var deflater: OpaquePointer?
        nghttp2_hd_deflate_new(&deflater, 0)
        defer { nghttp2_hd_deflate_del(deflater) }
        for byte in UInt8.min...UInt8.max {
            // So many short words that the whole is shorter in the code.
            let value = [UInt8](repeating: 0x30, count: 40) + [byte, byte, 0x30, byte]
            let block = deflate(deflater, [(Array("x".utf8), value)])
            #expect(block.count < value.count)
            var list = FieldList()
            _ = try decoder.decode(block.rawSpan, into: &list, bytesMax: 1000)
            #expect(list["x"] == value, "\(byte)")
        }
    }

    // MARK: What must not be

    @Test(arguments: [
        ("80", HeaderDamage.index(0)), ("be", .index(62)), ("ff 00", .index(127)), ("7f 00 01 61", .index(63)),
        ("40", .truncated), ("40 01", .truncated), ("40 01 61", .truncated), ("40 01 61 02 62", .truncated), ("00 81", .truncated),
        ("ff", .truncated), ("ff ff", .truncated), ("ff ff ff ff ff 00", .numberTooLarge), ("3f ff ff ff ff 0f", .numberTooLarge),
        ("00 7f ff ff ff ff ff 7f", .numberTooLarge), ("00 01 61 7f 80 80 80 80 00", .numberTooLarge),
        ("3f e2 1f", .tableSize(4097)), ("82 20", .misplacedTableSize), ("20 82 3f e1 1f", .misplacedTableSize),
        // Padding: eight ones, a zero in it, the end of a string spelt out.
        ("00 01 61 82 1f ff", .huffman), ("00 01 61 81 18", .huffman), ("00 01 61 84 ff ff ff ff", .huffman),
        ("00 01 61 81 ff", .huffman), ("00 81 ff 01 61", .huffman),
    ]) func `a broken block is refused`(_ block: String, _ damage: HeaderDamage) {
        var decoder = HeaderDecoder()
        let found = decoder.damage(hex(block))
        #expect(found == damage)
    }

    @Test func `sizes may change at the start, to nothing and back`() throws {
        var decoder = HeaderDecoder()
        #expect(try decoder.fields(hex("40 01 61 01 62")) == [["a", "b"]])
        let before = decoder.table.generation
        #expect(try decoder.fields(hex("20 3f e1 1f 82")) == [[":method", "GET"]])
        #expect(decoder.table.count == 0 && decoder.table.bytesMax == 4096 && decoder.table.generation != before)
        let found = decoder.damage(hex("be"))
        #expect(found == .index(62))
    }

    @Test func `a field larger than the table empties it`() throws {
        var decoder = HeaderDecoder(tableBytesMax: 100)
        _ = try decoder.fields(hex("40 01 61 01 62"))
        #expect(decoder.table.count == 1)
        let large = [UInt8](repeating: 0x63, count: 90)
        #expect(try decoder.fields([0x40, 1, 0x61, 90] + large)?.count == 1)
        #expect(decoder.table.count == 0 && decoder.table.size == 0)
    }

    @Test func `the name of a new field may come from the one it pushes out`() throws {
        var decoder = HeaderDecoder(tableBytesMax: 60)
        _ = try decoder.fields([0x40, 4] + Array("name".utf8) + [1, 0x62])
        #expect(try decoder.fields([0x7e, 20] + [UInt8](repeating: 0x63, count: 20)) == [["name", String(repeating: "c", count: 20)]])
        #expect(try decoder.fields([0xbe]) == [["name", String(repeating: "c", count: 20)]])
    }

    @Test func `a list that is too long is cut and the table goes on`() throws {
        var decoder = HeaderDecoder()
        let value = [UInt8](repeating: 0x76, count: 100)
        #expect(try decoder.fields([0x40, 1, 0x61, 100] + value + [0x40, 1, 0x62, 1, 0x63], bytesMax: 120) == nil)
        #expect(try decoder.fields([0xbe]) == [["b", "c"]])
        // One byte each for a field of kilobytes: refused at the limit, whatever follows.
        var list = FieldList()
        _ = try decoder.fields([0x40, 1, 0x61, 0x7f, 0x81, 0x17] + [UInt8](repeating: 0x76, count: 3072))
        let bomb = [UInt8](repeating: 0xbe, count: 100_000)
        let fits = try decoder.decode(bomb.rawSpan, into: &list, bytesMax: 65536)
        #expect(!fits)
        var count = 0
        list.forEach { _, value in count += value.count }
        #expect(count <= 65536)
    }

    @Test(arguments: 0..<4) func `random blocks never do harm`(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var decoder = HeaderDecoder()
        for _ in 0..<1000 {
            var block = (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Often the beginning of something good.
            if Bool.random(using: &random) { block = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff 4001") + block }
            var list = FieldList()
            guard (try? decoder.decode(block.rawSpan, into: &list, bytesMax: 4000)) != nil else { continue }
            list.forEach { _, _ in }
            #expect(decoder.table.size <= decoder.table.bytesMax)
        }
    }
}
