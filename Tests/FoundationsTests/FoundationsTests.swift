import Testing

@testable import Foundations

@Suite struct FoundationsTests {
    @Test func `crc32c of the check string`() {
        #expect(CRC32C.of(Array("123456789".utf8)) == 0xE306_9283)
    }

    @Test func `crc32c continues over any cut`() {
        let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let whole = CRC32C.of(bytes)
        for cut in 0...bytes.count {
            var crc = CRC32C()
            crc.update(Array(bytes[..<cut]))
            var rest = CRC32C(crc.value)
            rest.update(Array(bytes[cut...]))
            #expect(rest.value == whole)
        }
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ]) func base64(plain: String, text: String) {
        #expect(Base64.encode(Array(plain.utf8)) == text)
        #expect(Base64.decode(text.utf8) == Array(plain.utf8))
        let bare = text.utf8.filter { $0 != 0x3d }
        #expect(Base64.decode(bare, lenient: true) == Array(plain.utf8))
    }

    @Test(arguments: ["Zg", "Zg=", "Z", "Zg==Zg==", "Z!==", "Zm9v="]) func `strict base64 refuses`(text: String) {
        #expect(Base64.decode(text.utf8) == nil)
    }

    @Test func hexadecimal() {
        #expect(Hexadecimal.encode([0, 0xab, 0xff]) == "00abff")
        #expect(Hexadecimal.decode("00ABff") == [0, 0xab, 0xff])
        #expect(Hexadecimal.decode("abc") == nil)
        #expect(Hexadecimal.decode("zz") == nil)
    }

    @Test func `a seed replays`() {
        var a = SeededRandom(seed: 7)
        var b = SeededRandom(seed: 7)
        #expect((0..<10).map { _ in a.next() } == (0..<10).map { _ in b.next() })
    }
}
