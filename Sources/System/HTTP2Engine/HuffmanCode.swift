// The code of RFC 7541's appendix B, decoding only: what we send is short and stays as it is.
//
// The code is canonical: its words are handed out by length, then by symbol. So the lengths say everything, and the tables
// are made from them. Words of up to eight bits, which is all of ASCII that is common in fields, take one look-up a symbol.

import Foundations

package struct HuffmanCode: Sendable {
    package static let standard = HuffmanCode()

    /// By the next eight bits: symbol in the high byte, length in the low one; 0 for the start of a longer word.
    private let short: [UInt16]
    /// Words of the length `i` lie below this, in the top of 32 bits.
    private let ends: [UInt64]
    /// What to add to a word of the length `i` for its place in `symbols`.
    private let offsets: [Int]
    /// By length, then by number. 256 ends a string and must not be there.
    private let symbols: [UInt16]

    private static let shortBits = 8
    private static let longest = 30

    private init() {
        let lengths = HuffmanCode.lengths + [HuffmanCode.lengthOfEnd]
        var short = [UInt16](repeating: 0, count: 1 << HuffmanCode.shortBits)
        var ends = [UInt64](repeating: 0, count: HuffmanCode.longest + 1)
        var offsets = [Int](repeating: 0, count: HuffmanCode.longest + 1)
        var symbols: [UInt16] = []
        var word = 0
        for length in 1...HuffmanCode.longest {
            word <<= 1
            offsets[length] = symbols.count - word
            for symbol in lengths.indices where Int(lengths[symbol]) == length {
                symbols.append(UInt16(symbol))
                if length <= HuffmanCode.shortBits {
                    let free = HuffmanCode.shortBits - length
                    for rest in 0..<1 << free { short[word << free | rest] = UInt16(symbol) << 8 | UInt16(length) }
                }
                word += 1
            }
            ends[length] = UInt64(word) << UInt64(32 - length)
        }
        invariant(ends[HuffmanCode.longest] == 1 << 32, "the code is complete")
        (self.short, self.ends, self.offsets, self.symbols) = (short, ends, offsets, symbols)
    }

    /// Appends what the bytes mean. False when they are no such string; what was appended until then is there.
    package func decode(_ bytes: RawSpan, into output: inout [UInt8]) -> Bool {
        var isGood = true
        // No word is shorter than five bits.
        output.append(addingCapacity: bytes.byteCount * 8 / 5 + 1) { room in isGood = decode(bytes, into: &room) }
        return isGood
    }

    private func decode(_ bytes: RawSpan, into output: inout OutputSpan<UInt8>) -> Bool {
        // The next `count` bits, at the top; zeros behind them.
        var bits: UInt64 = 0
        var count = 0
        var at = 0
        while true {
            while count <= 56 && at < bytes.byteCount {
                bits |= UInt64(bytes[byte: at]) << UInt64(56 - count)
                count += 8
                at += 1
            }
            let entry = short[Int(bits >> 56)]
            var length = Int(entry & 0xff)
            var symbol = entry >> 8
            if length == 0 { (symbol, length) = long(bits >> 32) }
            guard length <= count else { return HuffmanCode.isPadding(bits, count) }
            if symbol == 256 { return false }
            output.append(UInt8(truncatingIfNeeded: symbol))
            bits <<= UInt64(length)
            count -= length
        }
    }

    private func long(_ bits: UInt64) -> (symbol: UInt16, length: Int) {
        var length = HuffmanCode.shortBits + 1
        while bits >= ends[length] { length += 1 }
        return (symbols[Int(bits >> UInt64(32 - length)) + offsets[length]], length)
    }

    /// A string ends with fewer than eight ones.
    private static func isPadding(_ bits: UInt64, _ count: Int) -> Bool {
        count == 0 || count < 8 && bits >> UInt64(64 - count) == 1 << UInt64(count) - 1
    }

    /// Bits of each byte's word.
    private static let lengths: [UInt8] = [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
        28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
        5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
        13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
        6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
        24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
        21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
        19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    ]
    private static let lengthOfEnd: UInt8 = 30
}
