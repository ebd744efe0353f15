// The stream for everything but appends and snapshots: messages, each behind its length.
//
//     00 00 00 00 00 00 00 38  <56 bytes>      a heartbeat from nobody to nobody keeps the link alive

import Foundations
import Raft

package enum MessageStreamEncoder {
    package static func append(_ message: Message, to bytes: inout Bytes) {
        bytes.appendBigEndian64(UInt64(MessageCodec.size(message)))
        MessageCodec.append(message, to: &bytes)
    }

    package static func appendLinkHeartbeat(to bytes: inout Bytes) {
        append(Message(.heartbeat, to: .none, from: .none), to: &bytes)
    }
}

package struct MessageStreamDecoder {
    package static let frameBytesMax = 512 << 20

    private var gatherer = FrameGatherer()
    private var need = 8
    private var inBody = false
    private let frameBytesMax: Int

    package init(frameBytesMax: Int = frameBytesMax) { self.frameBytesMax = frameBytesMax }

    /// Hands over each whole message, link heartbeats left out; `foreign` hears of kinds we do not know. After an error the
    /// stream is lost.
    package mutating func feed(
        _ bytes: RawSpan, foreign: (PeerWireError) -> Void = { _ in }, _ deliver: (Message) -> Void
    ) throws(PeerWireError) {
        if bytes.byteCount == 0 { return }
        try gatherer.feed(bytes, need: &need) { piece throws(PeerWireError) in
            if !inBody {
                let length = piece.bigEndian64
                guard length <= UInt64(frameBytesMax) else { throw .tooLarge(length, limit: frameBytesMax) }
                inBody = true
                return Int(length)
            }
            inBody = false
            do throws(PeerWireError) {
                let message = try MessageCodec.decode(piece)
                if !MessageCodec.isLinkHeartbeat(message) { deliver(message) }
            } catch {
                guard case .foreignKind = error else { throw error }
                foreign(error)
            }
            return 8
        }
    }
}
