// Messages of consensus as members exchange them: protobuf in the form of etcd 3.5 (every number written, zero or not; an
// empty snapshot where there is none), which all versions read. Reading takes the forms of all versions: fields may be
// missing, the empty snapshot too.
//
//     var bytes: Bytes = []
//     MessageCodec.append(message, to: &bytes)        // exactly MessageCodec.size(message) bytes
//     let message = try MessageCodec.decode(bytes.rawSpan)
//
// Cost: the payload of an entry is copied once each way, into the output and out of the input.

import Foundations
import Raft
import Wire

package enum MessageCodec {
    // MARK: Writing

    package static func size(_ message: Message) -> Int {
        var size = 11 + Varint.size(message.to.rawValue) + Varint.size(message.from.rawValue)
        size += Varint.size(message.term) + Varint.size(message.logTerm) + Varint.size(message.index)
        size += Varint.size(message.commit) + Varint.size(message.rejectHint)
        for entry in message.entries { size += Varint.payloadFieldSize(7, self.size(entry)) }
        size += message.snapshot.map { Varint.payloadFieldSize(9, wire($0).encodedSize) } ?? emptySnapshot.count
        if !message.context.isEmpty { size += Varint.payloadFieldSize(12, message.context.count) }
        return size
    }

    package static func append(_ message: Message, to bytes: inout Bytes) {
        bytes.append(0x08)
        bytes.append(message.kind.rawValue)
        bytes.appendNumber(0x10, message.to.rawValue)
        bytes.appendNumber(0x18, message.from.rawValue)
        bytes.appendNumber(0x20, message.term)
        bytes.appendNumber(0x28, message.logTerm)
        bytes.appendNumber(0x30, message.index)
        for entry in message.entries {
            bytes.appendWireHeader(7, length: size(entry))
            append(entry, to: &bytes)
        }
        bytes.appendNumber(0x40, message.commit)
        if let snapshot = message.snapshot {
            let snapshot = wire(snapshot)
            let size = snapshot.encodedSize
            bytes.appendWireHeader(9, length: size)
            snapshot.append(to: &bytes, size: size)
        } else {
            bytes.append(contentsOf: emptySnapshot)
        }
        bytes.append(0x50)
        bytes.append(message.reject ? 1 : 0)
        bytes.appendNumber(0x58, message.rejectHint)
        if !message.context.isEmpty {
            bytes.appendWireHeader(12, length: message.context.count)
            bytes.append(contentsOf: message.context)
        }
    }

    static func size(_ entry: Entry) -> Int {
        4 + Varint.size(entry.term) + Varint.size(entry.index)
            + (entry.data.map { Varint.payloadFieldSize(4, $0.count) } ?? 0)
    }

    static func append(_ entry: Entry, to bytes: inout Bytes) {
        bytes.append(0x08)
        bytes.append(entry.kind.rawValue)
        bytes.appendNumber(0x10, entry.term)
        bytes.appendNumber(0x18, entry.index)
        if let data = entry.data {
            bytes.appendWireHeader(4, length: data.count)
            bytes.append(contentsOf: data)
        }
    }

    /// snapshot { metadata { conf_state { auto_leave: false } index: 0 term: 0 } }
    static let emptySnapshot: Bytes = [0x4a, 0x0a, 0x12, 0x08, 0x0a, 0x02, 0x28, 0x00, 0x10, 0x00, 0x18, 0x00]

    private static func wire(_ snapshot: Snapshot) -> RaftPB.Snapshot {
        let conf = snapshot.metadata.confState
        return RaftPB.Snapshot(
            data: snapshot.data.isEmpty ? nil : snapshot.data,
            metadata: RaftPB.SnapshotMetadata(
                confState: RaftPB.ConfState(
                    voters: conf.voters.map(\.rawValue), learners: conf.learners.map(\.rawValue),
                    votersOutgoing: conf.votersOutgoing.map(\.rawValue),
                    learnersNext: conf.learnersNext.map(\.rawValue), autoLeave: conf.autoLeave),
                index: snapshot.metadata.index, term: snapshot.metadata.term))
    }

    // MARK: Reading

    package static func decode(_ bytes: RawSpan) throws(PeerWireError) -> Message {
        var kind: UInt64 = 0
        var strangeEntry: UInt64?
        var message = Message(.heartbeat, to: .none, from: .none)
        do throws(WireError) {
            var reader = WireReader(bytes)
            while let field = try reader.nextField() {
                switch field {
                case 1: try reader.read(&kind)
                case 2: try reader.read(&message.to.rawValue)
                case 3: try reader.read(&message.from.rawValue)
                case 4: try reader.read(&message.term)
                case 5: try reader.read(&message.logTerm)
                case 6: try reader.read(&message.index)
                case 7: message.entries.append(try entry(reader.borrow(), &strangeEntry))
                case 8: try reader.read(&message.commit)
                case 9: message.snapshot = try snapshot(reader.borrow())
                case 10: try reader.read(&message.reject)
                case 11: try reader.read(&message.rejectHint)
                case 12: try reader.read(&message.context)
                default: try reader.skip()
                }
            }
        } catch { throw .malformed(error) }
        guard let known = UInt8(exactly: kind).flatMap({ Message.Kind(rawValue: $0) }) else { throw .foreignKind(kind) }
        message.kind = known
        if let strangeEntry { throw .entryKind(strangeEntry) }
        if known == .append { try checkOrder(message) }
        if known == .snapshot && message.snapshot == nil { throw .snapshotMissing }
        return message
    }

    static func decodeEntry(_ bytes: RawSpan) throws(PeerWireError) -> Entry {
        var strange: UInt64?
        let entry: Entry
        do throws(WireError) { entry = try self.entry(bytes, &strange) } catch { throw .malformed(error) }
        if let strange { throw .entryKind(strange) }
        return entry
    }

    private static func entry(_ bytes: RawSpan, _ strange: inout UInt64?) throws(WireError) -> Entry {
        var entry = Entry()
        var kind: UInt64 = 0
        var reader = WireReader(bytes)
        while let field = try reader.nextField() {
            switch field {
            case 1: try reader.read(&kind)
            case 2: try reader.read(&entry.term)
            case 3: try reader.read(&entry.index)
            case 4: try reader.read(&entry.data)
            default: try reader.skip()
            }
        }
        if let known = UInt8(exactly: kind).flatMap({ Entry.Kind(rawValue: $0) }) {
            entry.kind = known
        } else {
            strange = kind
        }
        return entry
    }

    /// Nil for the empty one.
    private static func snapshot(_ bytes: RawSpan) throws(WireError) -> Snapshot? {
        let snapshot = try RaftPB.Snapshot(decoding: bytes)
        let metadata = snapshot.metadata
        guard metadata.index > 0 else { return nil }
        func ids(_ list: [UInt64]) -> [MemberID] { list.map { MemberID($0) } }
        let conf = ConfState(
            voters: ids(metadata.confState.voters), learners: ids(metadata.confState.learners),
            votersOutgoing: ids(metadata.confState.votersOutgoing), learnersNext: ids(metadata.confState.learnersNext),
            autoLeave: metadata.confState.autoLeave)
        return Snapshot(
            metadata: SnapshotMetadata(index: metadata.index, term: metadata.term, confState: conf),
            data: snapshot.data ?? [])
    }

    /// What consensus takes for granted about the entries of an append.
    static func checkOrder(_ message: Message) throws(PeerWireError) {
        var index = message.index
        var term: Term = 0
        for entry in message.entries {
            guard index < LogIndex.max - 1, entry.index == index + 1, entry.term >= term, entry.term <= message.term else {
                throw .entryOrder
            }
            index = entry.index
            term = entry.term
        }
    }

    /// Says nothing but that the link is alive; not for consensus.
    package static func isLinkHeartbeat(_ message: Message) -> Bool {
        message.kind == .heartbeat && message.to == .none && message.from == .none
    }
}

extension Array where Element == UInt8 {
    /// A number field with its tag, written even when it is zero.
    fileprivate mutating func appendNumber(_ tag: UInt8, _ value: UInt64) {
        append(tag)
        appendVarint(value)
    }
}
