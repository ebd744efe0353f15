// Header compression, the sending half. Answers have few fields: those of every gRPC call are put into the peer's table once
// and cost a byte from then on; all others are literals that leave the table alone.

import Foundations

enum HeaderEncoder {
    /// A field without indexing, its name by number where the standard's table has it.
    static func append(_ name: String, _ value: String, to block: inout [UInt8]) {
        if let index = names[name] {
            appendNumber(index, bits: 4, kind: 0, to: &block)
        } else {
            block.append(0)
            appendString(name, to: &block)
        }
        appendString(value, to: &block)
    }

    private static func appendString(_ text: String, to block: inout [UInt8]) {
        appendNumber(text.utf8.count, bits: 7, kind: 0, to: &block)
        block.append(contentsOf: text.utf8)
    }

    private static func appendNumber(_ number: Int, bits: Int, kind: UInt8, to block: inout [UInt8]) {
        let mask = 1 << bits - 1
        guard number >= mask else { return block.append(kind | UInt8(number)) }
        block.append(kind | UInt8(mask))
        var rest = number - mask
        while rest >= 128 {
            block.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        block.append(UInt8(rest))
    }

    /// Of names that answers use, their numbers in the standard's table.
    private static let names = [
        ":status": 8, "allow": 22, "cache-control": 24, "content-length": 28, "content-type": 31, "date": 33, "location": 46,
        "server": 54, "vary": 59, "www-authenticate": 61,
    ]
}

/// The heads and trailers of gRPC answers, and what the peer's table knows of them.
struct AnswerHeaders {
    /// The most that any of the blocks here takes.
    static let bytesMax = 32

    /// The table has the size that both sides begin with. A peer that ever wants a smaller one gets none used.
    private var isIndexing = true
    /// To be said at the start of the next block.
    private(set) var clearsTable = false
    private var headIsKnown = false
    private var trailersAreKnown = false

    mutating func peerAllows(_ tableBytes: UInt32) {
        guard tableBytes < 4096, isIndexing else { return }
        self = AnswerHeaders()
        isIndexing = false
        clearsTable = true
    }

    /// Before a block of literals.
    mutating func begin(_ block: inout [UInt8]) {
        if clearsTable { block.insert(0x20, at: 0) }
        clearsTable = false
    }

    /// `:status: 200`, `content-type: application/grpc`.
    @inline(__always)
    var headBytes: Int { headIsKnown ? 2 : fullHead.count }

    @inline(__always)
    @_lifetime(output: copy output)
    mutating func appendHead(to output: inout OutputSpan<UInt8>) {
        if headIsKnown {
            output.append(0x88)
            output.append(trailersAreKnown ? 0xbf : 0xbe)
            return
        }
        for byte in fullHead { output.append(byte) }
        headIsKnown = isIndexing
        clearsTable = false
    }

    /// `grpc-status: 0`.
    @inline(__always)
    var trailerBytes: Int { trailersAreKnown ? 1 : fullTrailers.count }

    @inline(__always)
    @_lifetime(output: copy output)
    mutating func appendTrailers(to output: inout OutputSpan<UInt8>) {
        if trailersAreKnown { return output.append(0xbe) }
        for byte in fullTrailers { output.append(byte) }
        // Never before the head, so that it is clear which of the two is the newer one.
        trailersAreKnown = headIsKnown
        clearsTable = false
    }

    private var prefix: [UInt8] { clearsTable ? [0x20] : [] }

    private var fullHead: [UInt8] {
        // The type in the Huffman code.
        prefix + [0x88] + (isIndexing ? [0x5f] : [0x0f, 0x10])
            + [0x8b, 0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x4d, 0x65, 0x64]
    }

    private var fullTrailers: [UInt8] {
        prefix + [headIsKnown ? 0x40 : 0x00, 0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f, 0x01, 0x30]
    }
}
