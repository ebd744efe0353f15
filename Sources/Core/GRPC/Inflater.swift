// Deflate's other half: stored, fixed and dynamic blocks. Huffman codes are decoded canonically, a bit at a time by the
// count of codes of each length: small, and fast enough for messages of a few megabytes at most.

import Foundations

struct Inflater: ~Escapable {
    private let input: RawSpan
    private var position: Int
    private let bytesMax: Int
    /// Bits taken from the input and not used yet, the next one lowest.
    private var bits: UInt32 = 0
    private var bitCount = 0

    @_lifetime(copy input)
    init(_ input: RawSpan, from position: Int, bytesMax: Int) {
        self.input = input
        self.position = position
        self.bytesMax = bytesMax
    }

    /// The first whole byte behind what was used.
    var bytePosition: Int { position - bitCount / 8 }

    mutating func run(into output: inout Bytes) throws(Gzip.Failure) {
        // Distances reach back into this member only.
        let start = output.count
        var isLast = false
        while !isLast {
            isLast = try take(1) == 1
            switch try take(2) {
            case 0: try stored(&output)
            case 1: try compressed(HuffmanCodes.fixedLiterals, HuffmanCodes.fixedDistances, start, &output)
            case 2:
                let (literals, distances) = try dynamicCodes()
                try compressed(literals, distances, start, &output)
            default: throw .damaged("invalid block type")
            }
        }
    }

    private mutating func stored(_ output: inout Bytes) throws(Gzip.Failure) {
        position = bytePosition
        bits = 0
        bitCount = 0
        let length = Int(try take(16))
        let complement = Int(try take(16))
        guard length ^ complement == 0xffff else { throw .damaged("invalid stored block") }
        guard input.byteCount - position >= length else { throw .damaged("unexpected EOF") }
        guard output.count + length <= bytesMax else { throw .tooLarge }
        output.append(input.extracting(position..<position + length))
        position += length
    }

    private mutating func compressed(
        _ literals: HuffmanCodes, _ distances: HuffmanCodes, _ start: Int, _ output: inout Bytes
    ) throws(Gzip.Failure) {
        while true {
            let symbol = try decode(literals)
            if symbol < 256 {
                guard output.count < bytesMax else { throw .tooLarge }
                output.append(UInt8(symbol))
                continue
            }
            if symbol == 256 { return }
            guard symbol - 257 < Inflater.lengths.count else { throw .damaged("invalid length code") }
            let (base, extra) = Inflater.lengths[symbol - 257]
            let length = base + Int(try take(extra))
            let code = try decode(distances)
            guard code < Inflater.distances.count else { throw .damaged("invalid distance code") }
            let (distanceBase, distanceExtra) = Inflater.distances[code]
            let distance = distanceBase + Int(try take(distanceExtra))
            guard distance <= output.count - start else { throw .damaged("distance reaches before the beginning") }
            guard output.count + length <= bytesMax else { throw .tooLarge }
            // Byte by byte: the source may overlap what is being written.
            for _ in 0..<length { output.append(output[output.count - distance]) }
        }
    }

    private mutating func dynamicCodes() throws(Gzip.Failure) -> (literals: HuffmanCodes, distances: HuffmanCodes) {
        let literalCount = Int(try take(5)) + 257
        let distanceCount = Int(try take(5)) + 1
        let metaCount = Int(try take(4)) + 4
        guard literalCount <= 286, distanceCount <= 30 else { throw .damaged("too many codes") }
        var metaLengths = [UInt8](repeating: 0, count: 19)
        for i in 0..<metaCount { metaLengths[Inflater.metaOrder[i]] = UInt8(try take(3)) }
        let meta = try HuffmanCodes(metaLengths)
        var lengths: [UInt8] = []
        while lengths.count < literalCount + distanceCount {
            let symbol = try decode(meta)
            switch symbol {
            case 16:
                guard let last = lengths.last else { throw .damaged("a repeat of nothing") }
                lengths += Array(repeating: last, count: 3 + Int(try take(2)))
            case 17: lengths += Array(repeating: 0, count: 3 + Int(try take(3)))
            case 18: lengths += Array(repeating: 0, count: 11 + Int(try take(7)))
            default: lengths.append(UInt8(symbol))
            }
        }
        guard lengths.count == literalCount + distanceCount else { throw .damaged("too many code lengths") }
        guard lengths[256] != 0 else { throw .damaged("no end of block") }
        return (try HuffmanCodes(Array(lengths[..<literalCount])), try HuffmanCodes(Array(lengths[literalCount...])))
    }

    private mutating func decode(_ codes: HuffmanCodes) throws(Gzip.Failure) -> Int {
        // Codes of one length are consecutive numbers: `first` is the first of this length, `index` where its symbols start.
        var code = 0
        var first = 0
        var index = 0
        for length in 1...HuffmanCodes.lengthMax {
            code |= Int(try take(1))
            let count = codes.counts[length]
            if code - first < count { return codes.symbols[index + code - first] }
            index += count
            first = (first + count) << 1
            code <<= 1
        }
        throw .damaged("invalid code")
    }

    private mutating func take(_ count: Int) throws(Gzip.Failure) -> UInt32 {
        while bitCount < count {
            guard position < input.byteCount else { throw .damaged("unexpected EOF") }
            bits |= UInt32(input[byte: position]) << UInt32(bitCount)
            position += 1
            bitCount += 8
        }
        let value = bits & (1 << UInt32(count) - 1)
        bits >>= UInt32(count)
        bitCount -= count
        return value
    }

    private static let metaOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

    /// Base and extra bits by symbol - 257: four symbols for each number of extra bits, 258 by itself.
    private static let lengths: [(base: Int, extra: Int)] = {
        var table: [(base: Int, extra: Int)] = []
        var base = 3
        for symbol in 0..<28 {
            let extra = symbol < 8 ? 0 : symbol / 4 - 1
            table.append((base, extra))
            base += 1 << extra
        }
        return table + [(258, 0)]
    }()

    private static let distances: [(base: Int, extra: Int)] = {
        var table: [(base: Int, extra: Int)] = []
        var base = 1
        for code in 0..<30 {
            let extra = code < 4 ? 0 : code / 2 - 1
            table.append((base, extra))
            base += 1 << extra
        }
        return table
    }()
}

/// A canonical Huffman code: how many codes there are of each length, and the symbols in order of their codes.
struct HuffmanCodes {
    static let lengthMax = 15

    private(set) var counts = [Int](repeating: 0, count: HuffmanCodes.lengthMax + 1)
    private(set) var symbols: [Int] = []

    /// Refuses lengths that promise more codes than there are. Fewer are allowed: one distance may stand alone.
    init(_ lengths: [UInt8]) throws(Gzip.Failure) {
        for length in lengths where length > 0 { counts[Int(length)] += 1 }
        var free = 1
        for length in 1...HuffmanCodes.lengthMax {
            free = free << 1 - counts[length]
            guard free >= 0 else { throw .damaged("too many codes of one length") }
        }
        for length in 1...HuffmanCodes.lengthMax {
            for symbol in lengths.indices where lengths[symbol] == length { symbols.append(symbol) }
        }
    }

    private init(fixed lengths: [UInt8]) {
        do { try self.init(lengths) } catch { unreachable("the fixed codes are complete: \(error)") }
    }

    static let fixedLiterals = HuffmanCodes(fixed: (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })
    static let fixedDistances = HuffmanCodes(fixed: Array(repeating: 5, count: 30))
}
