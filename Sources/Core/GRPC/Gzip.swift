// Reads gzip (RFC 1952) around deflate (RFC 1951): a client may compress its messages with `grpc-encoding: gzip`. Only
// reading: an answer may always be uncompressed. The output is bounded, because a thousand bytes can stand for a million.

import Foundations

package enum Gzip {
    package enum Failure: Error, Equatable {
        case damaged(String)
        /// More than the given maximum would come out.
        case tooLarge
    }

    /// All members of the input, one after the other.
    package static func decompress(_ input: RawSpan, bytesMax: Int) throws(Failure) -> Bytes {
        var output: Bytes = []
        var position = 0
        repeat {
            position = try member(input, from: position, bytesMax, &output)
        } while position < input.byteCount
        return output
    }

    /// A message that came with the compressed flag and `grpc-encoding: gzip`, or the status to answer.
    package static func message(_ input: RawSpan, bytesMax: Int) throws(GRPCStatus) -> Bytes {
        do {
            return try decompress(input, bytesMax: bytesMax)
        } catch {
            switch error {
            case .damaged(let reason):
                throw GRPCStatus(.internal, "grpc: failed to decompress the received message: \(reason)")
            case .tooLarge:
                let text = "grpc: received message after decompression larger than max \(bytesMax)"
                throw GRPCStatus(.resourceExhausted, text)
            }
        }
    }

    /// One member: header, deflated data, checksum, length. Returns where it ends.
    private static func member(
        _ input: RawSpan, from start: Int, _ bytesMax: Int, _ output: inout Bytes
    ) throws(Failure) -> Int {
        let body = try header(input, start)
        let outputStart = output.count
        var inflater = Inflater(input, from: body, bytesMax: bytesMax)
        try inflater.run(into: &output)
        let trailer = inflater.bytePosition
        guard input.byteCount - trailer >= 8 else { throw .damaged("unexpected EOF") }
        guard little32(input, trailer) == CRC32.of(output[outputStart...]) else { throw .damaged("invalid checksum") }
        let size = UInt32(truncatingIfNeeded: output.count - outputStart)
        guard little32(input, trailer + 4) == size else { throw .damaged("invalid length") }
        return trailer + 8
    }

    private static func header(_ input: RawSpan, _ start: Int) throws(Failure) -> Int {
        guard input.byteCount - start >= 10 else { throw .damaged("unexpected EOF") }
        guard input[byte: start] == 0x1f, input[byte: start + 1] == 0x8b, input[byte: start + 2] == 8 else {
            throw .damaged("invalid header")
        }
        let flags = input[byte: start + 3]
        guard flags & 0xe0 == 0 else { throw .damaged("invalid header") }
        var position = start + 10
        if flags & 4 != 0 {  // extra field
            guard input.byteCount - position >= 2 else { throw .damaged("unexpected EOF") }
            position += 2 + Int(input[byte: position]) + Int(input[byte: position + 1]) << 8
        }
        for flag: UInt8 in [8, 16] where flags & flag != 0 {  // name, comment: up to a zero
            while position < input.byteCount, input[byte: position] != 0 { position += 1 }
            position += 1
        }
        if flags & 2 != 0 { position += 2 }  // checksum of the header
        guard position <= input.byteCount else { throw .damaged("unexpected EOF") }
        return position
    }

    private static func little32(_ input: RawSpan, _ at: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(input[byte: at + $1]) << UInt32(8 * $1) }
    }
}

/// The checksum of gzip (reflected polynomial EDB88320); the logs use another, see `CRC32C`.
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 != 0 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
    }

    static func of(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(~0) { crc, byte in table[Int((crc ^ UInt32(byte)) & 0xff)] ^ crc >> 8 }
    }
}
