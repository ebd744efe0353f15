// Which slot a stream is in, by its number: open addressing, one word a stream. Where a number lies depends on a secret of
// the process, so that a peer, which chooses the numbers, cannot make them all lie in one place.

import Foundations

struct StreamIndex {
    private static let secret = UInt64.random(in: .min ... .max) | 1

    /// Number in the upper half, slot in the lower; 0 is free, as no stream has the number 0.
    private var cells: [UInt64] = []
    private var mask = 0
    private var shift: UInt64 = 0
    private(set) var count = 0
    private let factor = StreamIndex.secret

    @inline(__always)
    private func home(_ streamID: UInt64) -> Int { Int(truncatingIfNeeded: (streamID &* factor) >> shift) }

    @inline(__always)
    subscript(_ streamID: Int32) -> Int? {
        guard count > 0 else { return nil }
        let wanted = UInt64(UInt32(bitPattern: streamID))
        var at = home(wanted)
        while cells[at] != 0 {
            if cells[at] >> 32 == wanted { return Int(truncatingIfNeeded: cells[at] & 0xffff_ffff) }
            at = (at + 1) & mask
        }
        return nil
    }

    /// A number that is not there yet.
    mutating func insert(_ streamID: Int32, _ slot: Int) {
        if 2 * (count + 1) > cells.count { grow() }
        put(UInt64(UInt32(bitPattern: streamID)) << 32 | UInt64(truncatingIfNeeded: slot))
        count += 1
    }

    private mutating func put(_ cell: UInt64) {
        var at = home(cell >> 32)
        while cells[at] != 0 { at = (at + 1) & mask }
        cells[at] = cell
    }

    private mutating func grow() {
        let old = cells
        cells = [UInt64](repeating: 0, count: max(16, 2 * old.count))
        mask = cells.count - 1
        shift = UInt64(64 - cells.count.trailingZeroBitCount)
        for cell in old where cell != 0 { put(cell) }
    }

    mutating func remove(_ streamID: Int32) {
        guard count > 0 else { return }
        let wanted = UInt64(UInt32(bitPattern: streamID))
        var hole = home(wanted)
        while cells[hole] >> 32 != wanted {
            if cells[hole] == 0 { return }
            hole = (hole + 1) & mask
        }
        // Those behind move up, so that nobody's way to its cell is interrupted.
        var at = hole
        while true {
            at = (at + 1) & mask
            let cell = cells[at]
            if cell == 0 { break }
            let distance = (at - home(cell >> 32)) & mask
            if distance >= (at - hole) & mask {
                cells[hole] = cell
                hole = at
            }
        }
        cells[hole] = 0
        count -= 1
    }
}
