// The codecs against recordings of real members: what they sent is understood whatever pieces it arrives in, and what we
// would have sent in their place is the same to the byte.

import Foundations
import PeerWire
import Raft
import Testing

struct RecordedStream: CustomTestStringConvertible, Sendable {
    struct Frame: Sendable {
        var bytes: Bytes
        var content: String
    }

    var name: String
    var server = MemberID.none
    var reader = MemberID.none
    var frames: [Frame] = []
    var testDescription: String { name }

    init(_ name: String) {
        self.name = name
        for line in RecordedFile.text(name + ".txt").split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1)
            if line.hasPrefix("# server ") {
                let words = line.split(separator: " ")
                server = MemberID(UInt64(words[2], radix: 16)!)
                reader = MemberID(UInt64(words[4], radix: 16)!)
            } else if !line.hasPrefix("#") {
                frames.append(Frame(bytes: Hexadecimal.decode(String(words[0]))!, content: String(words[1])))
            }
        }
    }

    static let messages = [
        "message-stream-3.5.1-follower-to-leader", "message-stream-3.5.1-leader-to-follower",
        "message-stream-mixed-3.4.23-leader-to-3.5.1-follower", "message-stream-mixed-3.5.1-follower-to-3.4.23-leader",
    ].map { RecordedStream($0) }

    static let appends = [
        "append-stream-3.5.1-idle-then-leader", "append-stream-3.5.1-leader-to-follower",
        "append-stream-mixed-3.4.23-leader-to-3.5.1-follower",
    ].map { RecordedStream($0) }

    var bytes: Bytes { frames.flatMap(\.bytes) }
}

func describe(_ entries: [Entry]) -> String {
    if entries.isEmpty { return "-" }
    return entries.map { entry in
        "\(entry.kind.rawValue)/\(entry.term)/\(entry.index)/\(entry.data.map { Hexadecimal.encode($0) } ?? "-")"
    }.joined(separator: ",")
}

func describe(_ message: Message) -> String {
    let context = message.context.isEmpty ? "-" : Hexadecimal.encode(message.context)
    return "\(message.kind) \(message.to) \(message.from) \(message.term) \(message.logTerm) \(message.index) "
        + "\(message.commit) \(message.reject ? 1 : 0) \(message.rejectHint) \(context) \(describe(message.entries))"
}

/// Cuts bytes into pieces of random length.
func pieces(_ bytes: Bytes, seed: UInt64, max: Int) -> [Bytes] {
    var random = SeededRandom(seed: seed)
    var all: [Bytes] = []
    var at = 0
    while at < bytes.count {
        let count = min(Int.random(in: 1...max, using: &random), bytes.count - at)
        all.append(Array(bytes[at..<at + count]))
        at += count
    }
    return all
}

@Suite struct RecordedStreamTests {
    @Test(arguments: RecordedStream.messages) func `message streams are understood and written to the byte`(
        _ stream: RecordedStream
    ) throws {
        for (seed, max) in [(1, 1), (2, 7), (3, 300), (4, 100_000)] {
            var decoder = MessageStreamDecoder()
            var found: [String] = []
            for piece in pieces(stream.bytes, seed: UInt64(seed), max: max) {
                try decoder.feed(piece.rawSpan) { found.append(describe($0)) }
            }
            #expect(found == stream.frames.map(\.content).filter { $0 != "link" }, "pieces of up to \(max)")
        }
        for frame in stream.frames {
            var ours: Bytes = []
            if frame.content == "link" {
                MessageStreamEncoder.appendLinkHeartbeat(to: &ours)
            } else {
                MessageStreamEncoder.append(try MessageCodec.decode(Array(frame.bytes[8...]).rawSpan), to: &ours)
            }
            #expect(ours == frame.bytes)
        }
    }

    @Test(arguments: RecordedStream.appends) func `append streams are understood and written to the byte`(
        _ stream: RecordedStream
    ) throws {
        for (seed, max) in [(1, 1), (2, 7), (3, 300), (4, 100_000)] {
            var decoder = AppendStreamDecoder(from: stream.server, to: stream.reader)
            var found: [Message] = []
            for piece in pieces(stream.bytes, seed: UInt64(seed), max: max) {
                try decoder.feed(piece.rawSpan) { found.append($0) }
            }
            let frames = stream.frames.filter { $0.content != "link" }
            #expect(found.count == frames.count)
            var encoder = AppendStreamEncoder()
            for (message, frame) in zip(found, frames) {
                let content =
                    frame.content.hasPrefix("fast") ? "fast \(message.commit) \(describe(message.entries))" : describe(message)
                #expect(content == frame.content)
                #expect(message.from == stream.server && message.to == stream.reader)
                var ours: Bytes = []
                encoder.append(message, to: &ours)
                #expect(ours == frame.bytes)
            }
        }
    }

    @Test(arguments: ["3.4.23", "3.5.1"]) func `the message before a snapshot's database`(_ version: String) throws {
        let body = RecordedFile.bytes("snapshot-post-\(version).bin")
        let length = body.prefix(8).reduce(0) { $0 << 8 | Int($1) }
        let bytes = Array(body[8..<8 + length])
        let message = try MessageCodec.decode(bytes.rawSpan)
        #expect(message.kind == .snapshot)
        let snapshot = try #require(message.snapshot)
        #expect(snapshot.metadata.index > 0 && snapshot.metadata.confState.voters.count >= 1)
        #expect(snapshot.data.first == 0x7b)
        #expect(MessageCodec.size(message) == bytes.count)
        var ours: Bytes = []
        MessageCodec.append(message, to: &ours)
        #expect(ours == bytes)
    }
}
