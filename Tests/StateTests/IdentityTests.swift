import Foundations
import Testing

@testable import State

@Suite struct IdentityTests {
    @Test func `sha-1 of known texts`() {
        #expect(Hexadecimal.encode(SHA1.digest(Bytes("abc".utf8))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(Hexadecimal.encode(SHA1.digest([])) == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        let long = Bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)
        #expect(Hexadecimal.encode(SHA1.digest(long)) == "84983e441c3bd26ebaae4aa1f95129e5e54670f1")
    }
}
