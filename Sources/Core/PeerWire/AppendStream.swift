// The stream for appends ("msgappv2"). While a leader appends one entry after the other, what an append says besides its
// entries is known to both ends, and is not sent:
//
//     00                                             the link is alive
//     01  count  { size entry } ...  commit          goes on where the last append ended, in the same term
//     02  size  message                              anything else; both ends note where it ends
//
// Numbers are eight bytes, most significant first. Both ends keep (term, index), zero at first.

import Foundations
import Raft

/// Where the last append ended.
private struct AppendPosition {
    var term: Term = 0
    var index: LogIndex = 0

    mutating func note(_ message: Message) {
        term = message.term
        index = message.entries.last?.index ?? message.index
    }
}

package struct AppendStreamEncoder {
    private var position = AppendPosition()

    package init() {}

    package mutating func append(_ message: Message, to bytes: inout Bytes) {
        invariant(message.kind == .append, "an append stream carries appends, not \(message.kind)")
        let follows =
            position.index == message.index && position.term == message.logTerm && message.logTerm == message.term
        if follows {
            bytes.append(1)
            bytes.appendBigEndian64(UInt64(message.entries.count))
            for entry in message.entries {
                bytes.appendBigEndian64(UInt64(MessageCodec.size(entry)))
                MessageCodec.append(entry, to: &bytes)
            }
            bytes.appendBigEndian64(message.commit)
            position.index += LogIndex(message.entries.count)
        } else {
            bytes.append(2)
            bytes.appendBigEndian64(UInt64(MessageCodec.size(message)))
            MessageCodec.append(message, to: &bytes)
            position.note(message)
        }
    }

    package static func appendLinkHeartbeat(to bytes: inout Bytes) { bytes.append(0) }
}

package struct AppendStreamDecoder {
    /// A frame's entries together, or one message.
    package static let frameBytesMax = 512 << 20
    /// More than fit into the append of any version.
    package static let entriesMax = 1 << 20

    private enum State {
        case type
        case count
        case entrySize(rest: Int)
        case entry(rest: Int)
        case commit
        case messageSize
        case message
    }

    private let from: MemberID
    private let to: MemberID
    private let frameBytesMax: Int
    private var gatherer = FrameGatherer()
    private var need = 1
    private var state = State.type
    private var position = AppendPosition()
    private var entries: [Entry] = []
    private var frameBytes = 0

    /// `from` serves the stream, `to` reads it.
    package init(from: MemberID, to: MemberID, frameBytesMax: Int = frameBytesMax) {
        self.from = from
        self.to = to
        self.frameBytesMax = frameBytesMax
    }

    /// Hands over each whole append. After an error the stream is lost.
    package mutating func feed(_ bytes: RawSpan, _ deliver: (Message) -> Void) throws(PeerWireError) {
        if bytes.byteCount == 0 { return }
        // Taken out for the time of the call, so that a step may change the rest of self.
        var gatherer = FrameGatherer()
        swap(&gatherer, &self.gatherer)
        var need = self.need
        try gatherer.feed(bytes, need: &need) { piece throws(PeerWireError) in try step(piece, deliver) }
        self.need = need
        swap(&gatherer, &self.gatherer)
    }

    /// Takes one piece; how long the next one is.
    private mutating func step(_ piece: RawSpan, _ deliver: (Message) -> Void) throws(PeerWireError) -> Int {
        switch state {
        case .type: return try start(piece[byte: 0])
        case .count:
            let count = piece.bigEndian64
            guard count <= UInt64(AppendStreamDecoder.entriesMax) else {
                throw .tooLarge(count, limit: AppendStreamDecoder.entriesMax)
            }
            return expectEntry(rest: Int(count))
        case .entrySize(let rest):
            let size = try accept(piece.bigEndian64)
            state = .entry(rest: rest)
            return size
        case .entry(let rest):
            entries.append(try MessageCodec.decodeEntry(piece))
            return expectEntry(rest: rest - 1)
        case .commit:
            try finishFast(commit: piece.bigEndian64, deliver)
            state = .type
            return 1
        case .messageSize:
            let size = try accept(piece.bigEndian64)
            state = .message
            return size
        case .message:
            let message = try MessageCodec.decode(piece)
            guard message.kind == .append else { throw .notAnAppend }
            position.note(message)
            deliver(message)
            state = .type
            return 1
        }
    }

    private mutating func start(_ type: UInt8) throws(PeerWireError) -> Int {
        frameBytes = 0
        switch type {
        case 0: return 1
        case 1: state = .count
        case 2: state = .messageSize
        default: throw .frameType(type)
        }
        return 8
    }

    private mutating func expectEntry(rest: Int) -> Int {
        state = rest == 0 ? .commit : .entrySize(rest: rest)
        return 8
    }

    private mutating func accept(_ size: UInt64) throws(PeerWireError) -> Int {
        guard size <= UInt64(frameBytesMax - frameBytes) else { throw .tooLarge(size, limit: frameBytesMax) }
        frameBytes += Int(size)
        return Int(size)
    }

    private mutating func finishFast(commit: LogIndex, _ deliver: (Message) -> Void) throws(PeerWireError) {
        let message = Message(
            .append, to: to, from: from, term: position.term, logTerm: position.term, index: position.index,
            entries: entries, commit: commit)
        entries = []
        try MessageCodec.checkOrder(message)
        position.note(message)
        deliver(message)
    }
}
