// Heads that were decoded lately. A client in a steady state sends the same header block with every call: while the table of
// the connection has not changed since, the same bytes mean the same fields, and neither decoding nor checking is needed.

import Foundations

struct HeadCache {
    private struct Entry {
        /// Of the table, when the block had been decoded, which did not change it.
        var generation: UInt64 = .max
        var block: [UInt8] = []
        var fields = FieldList()
        var places = RequestPlaces()

        func isFor(_ other: RawSpan) -> Bool { block.rawSpan.elementsEqual(other) }
    }

    /// As many kinds of calls as a connection is likely to mix.
    private static let entriesMax = 4
    private static let blockBytesMax = 512
    private static let fieldBytesMax = 2048

    private var entries: [Entry] = []
    private var oldest = 0

    /// Fills in the head that this block stands for. False when it is not known.
    @inline(__always)
    func find(_ block: RawSpan, _ generation: UInt64, _ fields: inout FieldList, _ places: inout RequestPlaces) -> Bool {
        for i in 0..<entries.count where entries[i].generation == generation && entries[i].isFor(block) {
            fields.assign(entries[i].fields)
            places = entries[i].places
            return true
        }
        return false
    }

    /// Keeps a head that is well formed and whose block left the table as it was.
    mutating func keep(_ block: RawSpan, _ generation: UInt64, _ fields: FieldList, _ places: RequestPlaces) {
        guard block.byteCount <= HeadCache.blockBytesMax, fields.bytes.count <= HeadCache.fieldBytesMax else { return }
        let at: Int
        if let useless = entries.firstIndex(where: { $0.generation != generation }) {
            at = useless
        } else if entries.count < HeadCache.entriesMax {
            at = entries.count
            entries.append(Entry())
        } else {
            at = oldest
            oldest = (oldest + 1) % HeadCache.entriesMax
        }
        entries[at].generation = generation
        entries[at].block.removeAll(keepingCapacity: true)
        entries[at].block.append(block)
        entries[at].fields.assign(fields)
        entries[at].places = places
    }
}
