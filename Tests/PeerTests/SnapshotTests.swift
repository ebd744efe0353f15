// Snapshots with their databases, from member to member.

import FileFormats
import Foundations
import Glibc
import LMDBStore
import Linux
import MVCC
import PeerWire
import Raft
import Server
import Testing

/// A database of noise.
private final class Noise: DatabaseSource, @unchecked Sendable {
    // One thread of the transport's reads it.
    let byteCount: Int
    private let delivers: Int
    private let failsAt: Int?
    private var at = 0
    private var random = SeededRandom(seed: 5)
    /// What was sent, as runs of one byte.
    private(set) var runs: [(byte: UInt8, count: Int)] = []

    init(_ byteCount: Int, delivers: Int? = nil, failsAt: Int? = nil) {
        self.byteCount = byteCount
        self.delivers = delivers ?? byteCount
        self.failsAt = failsAt
    }

    func next(_ bytesMax: Int) throws -> Bytes? {
        if let failsAt, at >= failsAt { throw SystemError("read", "noise", code: EIO) }
        let count = min(bytesMax, delivers - at)
        guard count > 0 else { return nil }
        at += count
        let byte = UInt8.random(in: 0...255, using: &random)
        runs.append((byte, count))
        return Bytes(repeating: byte, count: count)
    }

    /// Compared by the C library: byte by byte in a debug build, 200 MiB take most of a minute.
    func isContent(of path: String) throws -> Bool {
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        for (byte, count) in runs {
            let expected = Bytes(repeating: byte, count: count)
            var found = Bytes(repeating: ~byte, count: count)
            guard fread(&found, 1, count, file) == count, memcmp(found, expected, count) == 0 else { return false }
        }
        return fgetc(file) == EOF
    }
}

/// The image of a small store, with where its buckets are.
private final class Image: DatabaseSource, @unchecked Sendable {
    // Changed before it is sent; then one thread of the transport's reads it.
    var bytes: Bytes
    let trees: [BoltTree]?
    private var at = 0
    var byteCount: Int { bytes.count }

    init(records: Int, valueBytes: Int) {
        let keys = (0..<records).map { i in Bytes([UInt8(i >> 8), UInt8(i & 255)]) + Bytes("-rev".utf8) }
        let meta = (Bytes("consistent_index".utf8), Bytes([1, 2]))
        var plan = BoltPlan()
        plan.open("key")
        for key in keys { plan.add(keyBytes: key.count, valueBytes: valueBytes) }
        plan.open("meta")
        plan.add(keyBytes: meta.0.count, valueBytes: meta.1.count)
        let layout = plan.finish()
        var writer = BoltImageWriter(layout)
        writer.open("key")
        for (i, key) in keys.enumerated() {
            writer.add(key.rawSpan, Bytes(repeating: UInt8(i & 255), count: valueBytes).rawSpan)
        }
        writer.open("meta")
        writer.add(meta.0.rawSpan, meta.1.rawSpan)
        writer.finish()
        bytes = writer.output
        trees = layout.trees
    }

    func next(_ bytesMax: Int) -> Bytes? {
        let end = min(bytes.count, at + bytesMax)
        defer { at = end }
        return at < end ? Bytes(bytes[at..<end]) : nil
    }
}

private func snapshot(_ from: TestMember, _ to: TestMember, data: Int = 9000) -> Message {
    var message = Message(.snapshot, to: to.id, from: from.id, term: 3)
    message.snapshot = Snapshot(
        metadata: SnapshotMetadata(index: 51, term: 2, confState: ConfState(voters: [from.id, to.id])),
        data: Bytes(repeating: 0x20, count: data))
    return message
}

private func size(of path: String) throws -> Int {
    var status = stat()
    try #require(stat(path, &status) == 0, "\(path): errno \(errno)")
    return Int(status.st_size)
}

/// Kilobytes of anonymous memory of this process.
private func memory() -> Int {
    guard let file = fopen("/proc/self/status", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, 256, file) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if text.hasPrefix("RssAnon:") { return text.split(separator: " ").compactMap { Int($0) }.first ?? 0 }
    }
    return 0
}

@Suite(.serialized) struct SnapshotTests {
    @Test func `a database of 200 MiB arrives in bounded memory`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        let before = memory()
        var most = 0
        let noise = Noise(200 << 20)
        a.transport.sendSnapshot(snapshot(a, b), database: noise)
        // Other messages pass meanwhile: the loop is not held up, nor the streams.
        var beats = 0
        #expect(
            test.run(seconds: 600) {
                most = max(most, memory())
                if beats < 1000 {
                    beats += 1
                    a.transport.send([Message(.heartbeat, to: b.id, from: a.id, term: 3)])
                }
                return b.snapshots.count == 1 && a.snapshotResults.count == 1
            })
        #expect(a.snapshotResults == [true])
        #expect(test.run { b.messages.count == beats })
        let received = try #require(b.snapshots.first)
        #expect(received.message == snapshot(a, b))
        #expect(noise.runs.reduce(0) { $0 + $1.count } == 200 << 20)
        #expect(try noise.isContent(of: received.database.path))
        print("\((most - before) >> 10) MiB more memory, at most \(b.transport.largestSnapshotAhead >> 10) KiB ahead of the disk")
        #expect(b.transport.largestSnapshotAhead < SnapshotBounds.ahead)
        #expect(most - before < 100 << 10)
        #expect(a.unreachables.isEmpty && b.unreachables.isEmpty)
    }

    @Test func `an empty database is one`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        a.transport.sendSnapshot(snapshot(a, b), database: Noise(0))
        #expect(test.run { a.snapshotResults == [true] && b.snapshots.count == 1 })
        #expect(try size(of: b.snapshots[0].database.path) == 0)
    }

    @Test(arguments: ["short", "long", "broken"]) func `a database that is not what it said never counts as whole`(
        _ fault: String
    ) throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        let noise =
            switch fault {
            case "short": Noise(8 << 20, delivers: 7 << 20)
            case "long": Noise(8 << 20, delivers: 9 << 20)
            default: Noise(8 << 20, failsAt: 4 << 20)
            }
        a.transport.sendSnapshot(snapshot(a, b), database: noise)
        #expect(test.run { a.snapshotResults == [false] && a.unreachables == [b.id] })
        #expect(test.run { test.files().isEmpty })
        #expect(b.snapshots.isEmpty)
    }

    @Test func `a snapshot that is cut off leaves nothing behind, and the next one works`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        let relay = try Relay(test.loop, to: b.port)
        defer { relay.stop() }
        a.transport.setPeer(b.id, urls: [relay.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        a.transport.sendSnapshot(snapshot(a, b), database: Noise(64 << 20))
        // A second one to the same member has to wait for the next round of consensus.
        a.transport.sendSnapshot(snapshot(a, b), database: Noise(1))
        #expect(test.run { relay.bytes > 16 << 20 })
        #expect(a.snapshotResults == [false])
        relay.cut()
        #expect(test.run { a.snapshotResults == [false, false] && test.files().isEmpty })
        #expect(b.snapshots.isEmpty)
        a.transport.sendSnapshot(snapshot(a, b), database: Noise(1 << 20))
        #expect(test.run { a.snapshotResults.last == true && b.snapshots.count == 1 })
    }

    @Test func `an image in order becomes a store while it comes; a damaged one becomes nothing`() throws {
        for damaged in [false, true] {
            let test = try TestLoop()
            let (a, b) = try test.pair()
            let image = Image(records: 3000, valueBytes: 5000)
            // A pair takes two pages, the first is page 2: the kind of one of them.
            if damaged { image.bytes[102 * 4096 + 9] = 0x77 }
            a.transport.sendSnapshot(snapshot(a, b), database: image)
            #expect(test.run { !a.snapshotResults.isEmpty })
            #expect(a.snapshotResults == [!damaged])
            if damaged {
                #expect(test.run { test.files().isEmpty })
                #expect(b.snapshots.isEmpty)
                #expect(b.reports.contains { $0.contains("failed to save KV snapshot (the database file is damaged: page") })
                continue
            }
            guard case .store(let folder) = try #require(b.snapshots.first).database else {
                Issue.record("\(b.snapshots)")
                continue
            }
            let view = try LMDBStore.open(folder).view()
            var (count, last): (Int, Bytes) = (0, [])
            view.scan(.key, from: [], to: nil) { key, value in
                count += 1
                last = Bytes(value)
                return true
            }
            #expect(count == 3000 && last == Bytes(repeating: UInt8(2999 & 255), count: 5000))
            view.scan(.meta, from: [], to: nil) { key, value in
                #expect(Bytes(key) == Bytes("consistent_index".utf8) && Bytes(value) == [1, 2])
                return true
            }
            #expect(view.count(.meta) == 1)
        }
    }

    @Test func `a disk that cannot take it is said to the sender`() throws {
        let test = try TestLoop()
        let a = try test.member(0xa1)
        let b = try TestMember(test.loop, 0xb2, folder: test.folder + "/missing")
        test.members.append(b)
        a.transport.setPeer(b.id, urls: [b.url])
        b.transport.setPeer(a.id, urls: [a.url])
        a.transport.sendSnapshot(snapshot(a, b), database: Noise(32 << 20))
        #expect(test.run { a.snapshotResults == [false] })
        #expect(test.run { b.reports.contains { $0.contains("failed to save KV snapshot") } })
        #expect(b.snapshots.isEmpty)
    }

    @Test func `a removed member's snapshot, or one for another, is refused`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        var other = snapshot(a, b)
        other.from = MemberID(0x99)
        b.removed = [other.from]
        a.transport.sendSnapshot(other, database: Noise(1 << 20))
        #expect(test.run { a.snapshotResults == [false] && a.removal != nil })
        #expect(b.snapshots.isEmpty)
    }

    @Test func `the snapshot a real member sent is taken`() throws {
        let test = try TestLoop()
        let body = recordedSnapshot()
        let b = try TestMember(test.loop, 0x15c4_fead_c954_6243, cluster: 0xd3f9_8db2_f19b_056d, folder: test.folder)
        test.members.append(b)
        var result: PeerResult?
        let raw = RawPost(test.loop, port: b.port, path: "/raft/snapshot", cluster: "d3f98db2f19b056d", body: body)
        raw.start { result = $0 }
        #expect(test.run { result != nil })
        guard case .success(let response) = result else {
            Issue.record("\(String(describing: result))")
            return
        }
        #expect(response.status == 204)
        let received = try #require(b.snapshots.first)
        #expect(received.message.snapshot?.metadata.index == 51)
        #expect(received.message.from == MemberID(0xbce8_4919_c1ea_ae14))
        #expect(try size(of: received.database.path) == 36864)
    }
}

enum SnapshotBounds {
    /// What may be ahead of the disk, and what was read before the pause took effect.
    static let ahead = (8 << 20) + (1 << 20)
}

private func recordedSnapshot() -> Bytes {
    let tests = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
    guard let file = fopen("/\(tests)/PeerWireTests/Data/snapshot-post-3.5.1.bin", "r") else { fatalError("no recording") }
    defer { fclose(file) }
    var bytes = Bytes(repeating: 0, count: 1 << 20)
    return Array(bytes[..<fread(&bytes, 1, bytes.count, file)])
}
