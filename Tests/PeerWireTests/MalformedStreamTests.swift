// What is no message is refused, and never more than refused.

import Foundations
import PeerWire
import Raft
import Testing

private let leader = MemberID(0xa1)
private let follower = MemberID(0xb2)

private func feedMessages(_ bytes: Bytes, frameBytesMax: Int = 1 << 20) -> (messages: [Message], error: PeerWireError?) {
    var decoder = MessageStreamDecoder(frameBytesMax: frameBytesMax)
    var found: [Message] = []
    do throws(PeerWireError) { try decoder.feed(bytes.rawSpan) { found.append($0) } } catch { return (found, error) }
    return (found, nil)
}

private func feedAppends(_ bytes: Bytes, frameBytesMax: Int = 1 << 20) -> (messages: [Message], error: PeerWireError?) {
    var decoder = AppendStreamDecoder(from: leader, to: follower, frameBytesMax: frameBytesMax)
    var found: [Message] = []
    do throws(PeerWireError) { try decoder.feed(bytes.rawSpan) { found.append($0) } } catch { return (found, error) }
    return (found, nil)
}

private func number(_ value: UInt64) -> Bytes { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) } }

private func framed(_ body: Bytes) -> Bytes { number(UInt64(body.count)) + body }

private func append(_ entries: [Entry], term: Term = 3, logTerm: Term = 3, index: LogIndex = 7) -> Message {
    Message(.append, to: follower, from: leader, term: term, logTerm: logTerm, index: index, entries: entries, commit: 7)
}

@Suite struct MalformedStreamTests {
    @Test func `every kind of message comes back as it went`() throws {
        let conf = ConfState(
            voters: [leader, follower], learners: [MemberID(3)], votersOutgoing: [MemberID(4)], learnersNext: [MemberID(5)],
            autoLeave: true)
        for kind in Message.Kind.allCases {
            var message = Message(
                kind, to: follower, from: leader, term: .max, logTerm: 3, index: 7, commit: 300, reject: true,
                rejectHint: 1 << 40, context: [1, 2, 3])
            message.entries = [
                Entry(term: 3, index: 8, kind: .normal, data: nil), Entry(term: 4, index: 9, kind: .confChange, data: []),
                Entry(term: 5, index: 10, kind: .confChangeV2, data: Bytes(repeating: 7, count: 300)),
            ]
            if kind == .snapshot {
                message.snapshot = Snapshot(metadata: SnapshotMetadata(index: 9, term: 2, confState: conf), data: [9, 9])
            }
            var bytes: Bytes = []
            MessageStreamEncoder.append(message, to: &bytes)
            #expect(feedMessages(bytes).messages == [message])
            #expect(MessageCodec.size(message) == bytes.count - 8)
        }
    }

    @Test func `zeros may be missing, unknown fields are skipped`() throws {
        // As 3.7 writes: only what is set; then vote (13), responses (14) and a field of the future.
        let bytes: Bytes = [0x08, 0x08, 0x10, 0x05, 0x18, 0x06, 0x68, 0x00, 0x72, 0x02, 0x08, 0x13, 0xfa, 0x01, 0x01, 0x00]
        let message = try MessageCodec.decode(bytes.rawSpan)
        #expect(message == Message(.heartbeat, to: MemberID(5), from: MemberID(6)))
        #expect(feedMessages(framed([0x08, 0x08])).messages == [])
        #expect(feedMessages(framed([0x08, 0x08])).error == nil)
    }

    @Test func `kinds that never travel are passed over, what follows is read`() {
        var bytes = framed([]) + framed([0x08, 0x0a]) + framed([0x08, 0x13, 0x10, 0x01]) + framed([0x08, 0x63])
        MessageStreamEncoder.append(Message(.timeoutNow, to: follower, from: leader, term: 2), to: &bytes)
        var decoder = MessageStreamDecoder()
        var foreign: [PeerWireError] = []
        var found: [Message] = []
        #expect(throws: Never.self) { try decoder.feed(bytes.rawSpan, foreign: { foreign.append($0) }) { found.append($0) } }
        #expect(foreign == [0, 10, 19, 99].map { .foreignKind($0) })
        #expect(found.map(\.kind) == [.timeoutNow])
    }

    @Test(arguments: [
        ("a length above the limit", number(1 << 20 + 1)), ("a length of 2^64-1", number(.max)),
        ("a cut field", framed([0x08])), ("a field number of zero", framed([0x00, 0x00])),
        ("a snapshot without snapshot", framed([0x08, 0x07])),
        ("an entry of type 9", framed([0x08, 0x02, 0x3a, 0x02, 0x08, 0x09])),
        ("an entry that is cut", framed([0x08, 0x02, 0x3a, 0x02, 0x22, 0x09])),
        ("an append with a gap", framed([0x08, 0x03, 0x20, 0x01, 0x3a, 0x04, 0x10, 0x01, 0x18, 0x02])),
        ("an append from the future", framed([0x08, 0x03, 0x20, 0x01, 0x3a, 0x04, 0x10, 0x02, 0x18, 0x01])),
    ]) func `message streams refuse`(_ name: String, _ bytes: Bytes) {
        let result = feedMessages(bytes)
        #expect(result.messages == [])
        #expect(result.error != nil, "\(name)")
    }

    @Test func `append streams refuse`() {
        #expect(feedAppends([3]).error == .frameType(3))
        #expect(feedAppends([1] + number(.max)).error == .tooLarge(.max, limit: AppendStreamDecoder.entriesMax))
        #expect(feedAppends([2] + number(1 << 21)).error == .tooLarge(1 << 21, limit: 1 << 20))
        #expect(feedAppends([2] + framed([0x08, 0x08])).error == .notAnAppend)
        #expect(feedAppends([2] + framed([0x08, 0x63])).error == .foreignKind(0x63))
        // The bound is on the frame, not on each entry.
        let half = Bytes(repeating: 0, count: 600 << 10)
        let entry: Bytes = [0x18, 0x01, 0x22, 0x80, 0xc0, 0x25] + half
        let two = [1] + number(2) + framed(entry) + number(UInt64(entry.count))
        guard case .tooLarge? = feedAppends(two).error else {
            Issue.record("two large entries were taken")
            return
        }
        // The first frame of a stream cannot go on anywhere: index 0, term 0 does not hold entries of term 1.
        #expect(feedAppends([1] + number(1) + framed([0x10, 0x01, 0x18, 0x01]) + number(0)).error == .entryOrder)
    }

    @Test func `an append goes on from the last one, else it is sent in full`() {
        var encoder = AppendStreamEncoder()
        func type(_ message: Message) -> UInt8 {
            var bytes: Bytes = []
            encoder.append(message, to: &bytes)
            return bytes[0]
        }
        let entry = Entry(term: 3, index: 8, data: [1])
        #expect(type(append([entry])) == 2)
        #expect(type(append([], index: 8)) == 1)
        #expect(type(append([Entry(term: 3, index: 9)], index: 8)) == 1)
        #expect(type(append([], index: 8)) == 2, "the leader went back")
        #expect(type(append([], index: 8)) == 1)
        #expect(type(append([], term: 4, logTerm: 3, index: 8)) == 2, "a new term")
        #expect(type(append([], term: 4, logTerm: 3, index: 8)) == 2, "the entry before is of the old term")
        #expect(type(append([Entry(term: 4, index: 9)], term: 4, logTerm: 3, index: 8)) == 2)
        #expect(type(append([], term: 4, logTerm: 4, index: 9)) == 1)
    }

    @Test func `random bytes never do harm`() {
        let seed = UInt64.random(in: 0...(.max))
        print("random bytes: seed \(seed)")
        var random = SeededRandom(seed: seed)
        let good = RecordedStream.appends[1].bytes
        for _ in 0..<2000 {
            var bytes = Bytes(good.prefix(Int.random(in: 1..<3000, using: &random)))
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            _ = feedAppends(bytes)
            _ = feedMessages(bytes)
            _ = feedMessages(Bytes(bytes.dropFirst()))
        }
    }
}
