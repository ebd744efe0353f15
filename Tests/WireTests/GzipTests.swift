import Foundations
import Testing

@testable import GRPC

@Suite struct GzipTests {
    private static let recorded: [(size: Int, checksum: UInt32, bytes: Bytes)] = Recordings.lines("gzip.txt").map {
        (Int($0[0])!, UInt32($0[1])!, Hexadecimal.decode($0[2])!)
    }

    @Test func `zlib's output reads back`() throws {
        #expect(Self.recorded.count > 20)
        for (size, checksum, bytes) in Self.recorded {
            let plain = try Gzip.decompress(bytes.rawSpan, bytesMax: size)
            #expect(plain.count == size)
            #expect(CRC32.of(plain) == checksum)
        }
    }

    @Test func `the output is bounded`() {
        for (size, _, bytes) in Self.recorded where size > 0 {
            #expect(throws: Gzip.Failure.tooLarge) { try Gzip.decompress(bytes.rawSpan, bytesMax: size - 1) }
        }
    }

    @Test func `every cut and every flipped bit is noticed`() throws {
        for (size, checksum, bytes) in Self.recorded where bytes.count < 300 {
            for cut in 0..<bytes.count {
                let part = Bytes(bytes[..<cut])
                // The second of two members may be missing as a whole.
                guard let plain = try? Gzip.decompress(part.rawSpan, bytesMax: size) else { continue }
                #expect(plain.count < size && cut > 18, "cut at \(cut)")
            }
            for i in 10 * 8..<bytes.count * 8 {
                var damaged = bytes
                damaged[i / 8] ^= 1 << UInt8(i % 8)
                guard let plain = try? Gzip.decompress(damaged.rawSpan, bytesMax: size) else { continue }
                // What the checksum does not cover: padding bits, a name.
                #expect(CRC32.of(plain) == checksum && plain.count == size, "bit \(i)")
            }
        }
    }

    @Test(arguments: [
        "", "1f8b", "1f8b0800000000000003", "1f8b07000000000000030300 0000000000000000", "1f8b08e0000000000003",
    ])
    func `no gzip`(hex: String) throws {
        let bytes = try #require(Hexadecimal.decode(hex.filter { $0 != " " }))
        #expect(throws: Gzip.Failure.self) { try Gzip.decompress(bytes.rawSpan, bytesMax: 100) }
    }

    @Test func `statuses of bad messages`() throws {
        let bytes = try #require(Self.recorded.first { $0.size > 100 }).bytes
        #expect(throws: GRPCStatus(.resourceExhausted, "grpc: received message after decompression larger than max 10")) {
            try Gzip.message(bytes.rawSpan, bytesMax: 10)
        }
        let error = #expect(throws: GRPCStatus.self) { try Gzip.message([1].rawSpan, bytesMax: 10) }
        #expect(error == GRPCStatus(.internal, "grpc: failed to decompress the received message: unexpected EOF"))
    }
}
