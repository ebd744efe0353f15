// Cuts a stream of bytes into pieces of known length. Pieces that arrive whole are handed over where they lie; only one
// that is cut by the transport is gathered.

import Foundations

struct FrameGatherer {
    /// What is announced and has not come is not allocated ahead: a length is only a claim.
    private static let reserveMax = 1 << 20

    private var gathered: Bytes = []

    /// Hands each piece to `take`, which says how long the next one is. All of `bytes` is used.
    mutating func feed<Failure: Error>(
        _ bytes: RawSpan, need: inout Int, _ take: (RawSpan) throws(Failure) -> Int
    ) throws(Failure) {
        var at = 0
        while true {
            let left = bytes.byteCount - at
            if gathered.isEmpty && left >= need {
                let end = at + need
                need = try take(bytes.extracting(at..<end))
                at = end
            } else {
                let count = min(need - gathered.count, left)
                if gathered.isEmpty { gathered.reserveCapacity(min(need, FrameGatherer.reserveMax)) }
                gathered.append(bytes.extracting(at..<at + count))
                at += count
                guard gathered.count == need else { return }
                let whole = gathered
                gathered = []
                need = try take(whole.rawSpan)
            }
            if at == bytes.byteCount && need > 0 { return }
        }
    }
}

extension RawSpan {
    /// The eight bytes, most significant first.
    var bigEndian64: UInt64 {
        invariant(byteCount == 8, "\(byteCount) bytes are no length")
        return unsafe unsafeLoadUnaligned(as: UInt64.self).bigEndian
    }
}

extension Array where Element == UInt8 {
    mutating func appendBigEndian64(_ value: UInt64) {
        append(addingCapacity: 8) { output in
            for shift in stride(from: 56 as UInt64, through: 0, by: -8) {
                output.append(UInt8(truncatingIfNeeded: value &>> shift))
            }
        }
    }
}
