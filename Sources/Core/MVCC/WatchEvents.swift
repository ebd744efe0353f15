// What watchers get. The events of a message are encoded once, as they stand in a WatchResponse (field 11), and the same
// block goes to every watcher that wants the same events.

import Foundations

/// Encoded events; never changes once made, so other threads may keep it.
package final class WatchEventBlock: Sendable {
    /// `events` fields of a WatchResponse, one after the other.
    package let bytes: [UInt8]
    /// Where each event ends in `bytes`.
    package let ends: [Int]

    package init(bytes: [UInt8], ends: [Int]) {
        self.bytes = bytes
        self.ends = ends
    }

    package var count: Int { ends.count }
}

package struct WatchDelivery: Sendable {
    package enum Content: Sendable {
        /// Events in revision order. `cuts` says where the message is split: each part is one message, all but the last
        /// marked as fragments; empty: one message.
        case events(WatchEventBlock, cuts: [Int])
        /// Everything up to the revision has been delivered.
        case progress
        /// The history the watcher needs is gone; it has ended.
        case compacted(Int64)
    }

    /// The stream, as its owner named it.
    package var stream: UInt64
    /// -1: for the whole stream.
    package var watchID: Int64
    /// For the header; 0 in a cancel for compaction.
    package var revision: Int64
    package var content: Content
}

/// Where deliveries go. Must not call back into the hub.
package protocol WatchSink: AnyObject {
    /// Takes a delivery as a whole, or returns false because the stream has no room: then nothing was taken, and the hub
    /// delivers nothing more to the stream until `WatchHub.resume`.
    func deliver(_ delivery: WatchDelivery) -> Bool
}

/// Collects encoded events.
struct WatchEventEncoder {
    private(set) var bytes: [UInt8] = []
    private(set) var ends: [Int] = []

    /// An event about `key`; `stored` is what the store keeps of the change, `previous` the pair before it.
    mutating func append(isDelete: Bool, main: Int64, stored: RawSpan, previous: [UInt8]?) {
        // A tombstone is stored as its key; the event adds the revision.
        let kvCount = stored.byteCount + (isDelete ? FieldWriter.numberCount(main) : 0)
        let count =
            (isDelete ? 2 : 0) + FieldWriter.bytesCount(kvCount)
            + (previous.map { FieldWriter.bytesCount($0.count) } ?? 0)
        bytes.append(0x5a)
        FieldWriter.varint(UInt64(count), &bytes)
        if isDelete { FieldWriter.number(0x08, 1, &bytes) }
        bytes.append(0x12)
        FieldWriter.varint(UInt64(kvCount), &bytes)
        bytes.append(stored)
        if isDelete { FieldWriter.number(0x18, main, &bytes) }
        if let previous { FieldWriter.bytes(0x1a, previous.rawSpan, &bytes) }
        ends.append(bytes.count)
    }

    consuming func block() -> WatchEventBlock { WatchEventBlock(bytes: bytes, ends: ends) }
}

extension WatchEventBlock {
    /// Where to split so that each message stays below `messageMax` with `envelope` bytes around the events; a single
    /// larger event is sent alone. Empty when it fits.
    func cuts(messageMax: Int, envelope: Int) -> [Int] {
        if count < 2 || bytes.count + envelope < messageMax { return [] }
        var cuts: [Int] = []
        var start = 0
        var previous = 0
        for end in ends {
            if previous > start && end - start + envelope >= messageMax {
                cuts.append(previous)
                start = previous
            }
            previous = end
        }
        return cuts
    }
}
