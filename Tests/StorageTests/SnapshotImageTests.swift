// Snapshots streamed from the store, held against our own reader and against real tools: etcdutl checks and restores
// them, a real server serves them with the same HashKV. COVEY_LARGE=1 makes the store large (200,000 keys).

import FileFormats
import Foundations
import Glibc
import LMDBStore
import MVCC
import TestSupport
import Testing

@Suite struct SnapshotImageTests {
    let place = Workplace()

    static func revisionKey(_ main: Int64) -> Bytes {
        (0..<8).map { UInt8(truncatingIfNeeded: main >> (56 - 8 * $0)) } + [0x5f] + Bytes(repeating: 0, count: 8)
    }

    /// The encoded KeyValue of a put at a revision.
    static func keyValue(_ key: String, _ main: Int64, _ value: Bytes) -> Bytes {
        func varint(_ number: Int) -> Bytes {
            var bytes: Bytes = []
            var rest = number
            while rest >= 128 {
                bytes.append(UInt8(rest & 127 | 128))
                rest >>= 7
            }
            return bytes + [UInt8(rest)]
        }
        var bytes: Bytes = [0x0a] + varint(key.utf8.count) + Bytes(key.utf8)
        bytes += [0x10] + varint(Int(main)) + [0x18] + varint(Int(main)) + [0x20, 1]
        if !value.isEmpty { bytes += [0x2a] + varint(value.count) + value }
        return bytes
    }

    /// A store as a member would have it after putting `count` keys, and its HashKV.
    func store(count: Int, large: Int) throws -> (LMDBStore, hash: UInt32) {
        var random = SeededRandom(seed: 9)
        var hash = CRC32C()
        hash.update(Bytes("key".utf8))
        let load = try BulkLoad(place("store"))
        try load.put(.cluster, bytes("clusterVersion"), bytes("3.5.0"))
        try load.put(.meta, bytes("consistent_index"), [0, 0, 0, 0, 0, 0, 0, 9])
        try load.put(.meta, bytes("term"), [0, 0, 0, 0, 0, 0, 0, 2])
        for i in 0..<count {
            let main = Int64(i + 2)
            let size =
                i % max(1, count / max(1, large)) == 7 ? (1 << 20) - i % 5000 : Int.random(in: 0...300, using: &random)
            let key = SnapshotImageTests.revisionKey(main)
            let value = SnapshotImageTests.keyValue(
                "/registry/key\(i)", main, Bytes(repeating: UInt8(i & 255), count: size))
            hash.update(key)
            hash.update(value)
            try load.put(.key, key, value, append: true)
        }
        try load.finish()
        return (try LMDBStore.open(place("store")), hash.value)
    }

    /// Streams the snapshot into a file, in pieces as they go over the wire.
    func save(_ store: LMDBStore, _ name: String) throws {
        let image = try store.snapshot()
        let file = try #require(fopen(place(name), "w"))
        defer { fclose(file) }
        var total = 0
        while let piece = image.next(32 << 10) {
            #expect(piece.count <= 32 << 10)
            total += piece.count
            #expect(fwrite(piece, 1, piece.count, file) == piece.count)
            #expect(image.remainingBytes == image.fileBytes - total)
        }
        #expect(total == image.fileBytes)
    }

    @Test func `a snapshot holds what was committed when it began`() throws {
        let (store, _) = try store(count: 1000, large: 3)
        let image = try store.snapshot()
        var batch = StoreBatch(number: 1)
        batch.clear(.key)
        batch.put(.lease, bytes("x"), bytes("y"))
        store.submit(batch)
        store.waitUntilCommitted()
        var file: Bytes = []
        while let piece = image.next(1000) { file += piece }
        let body = Array(file[..<image.imageBytes])
        #expect(SHA256.of(body) == Array(file[image.imageBytes...]))
        let read = try BoltImage(body)
        let status = try SnapshotStatus(read)
        #expect(status.revision == 1001 && status.totalKeys == 1003 && status.totalBytes == image.imageBytes)
        #expect(
            try read.buckets().map { String(decoding: $0.name, as: UTF8.self) } == StoreTable.allCases.map(\.bucketName)
        )
        #expect(store.view().count(.key) == 0)
    }

    @Test func `an empty store is a snapshot too`() throws {
        try LMDBStore.create(place("store"))
        let store = try LMDBStore.open(place("store"))
        try save(store, "file")
        let file = try read(place("file"))
        let status = try SnapshotStatus(try BoltImage(Array(file.dropLast(32))))
        #expect(status.totalKeys == 0 && status.revision == 0)
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35), "needs etcd 3.5.1"))
    func `real tools check and restore it, a real server serves it`() throws {
        let large = RealTools.environment("COVEY_LARGE") != nil
        let tools = try #require(RealTools.etcd35)
        let (store, hash) = try store(count: large ? 200_000 : 4000, large: large ? 150 : 5)
        try save(store, "file")

        let status = Child.run(tools + "/etcdutl", ["snapshot", "status", place("file"), "-w", "json"])
        #expect(status.status == 0, "\(status.errors)")
        let image = try store.snapshot()
        #expect(status.output.contains("\"totalSize\":\(image.imageBytes)"), "\(status.output)")
        let body = try read(place("file")).dropLast(32)
        let ours = try SnapshotStatus(try BoltImage(Array(body)))
        #expect(
            status.output.contains("\"hash\":\(ours.hash),\"revision\":\(ours.revision),\"totalKey\":\(ours.totalKeys)")
        )

        let ports = freePorts(2)
        let peer = "http://127.0.0.1:\(ports[0])"
        let client = "http://127.0.0.1:\(ports[1])"
        let restore = Child.run(
            tools + "/etcdutl",
            [
                "snapshot", "restore", place("file"), "--data-dir", place("data"), "--name", "m",
                "--initial-cluster", "m=\(peer)", "--initial-advertise-peer-urls", peer,
            ])
        #expect(restore.status == 0, "\(restore.errors)")
        let script = """
            \(tools)/etcd --name m --data-dir \(place("data")) --listen-peer-urls \(peer) \
            --initial-advertise-peer-urls \(peer) --initial-cluster m=\(peer) --listen-client-urls \(client) \
            --advertise-client-urls \(client) --log-level error >/dev/null 2>&1 &
            server=$!
            trap "kill -9 $server" EXIT
            for i in $(seq 200); do
                \(tools)/etcdctl --endpoints \(client) endpoint hashkv -w json 2>/dev/null && break
                sleep 0.1
            done
            \(tools)/etcdctl --endpoints \(client) get /registry/key10 -w json
            \(tools)/etcdctl --endpoints \(client) put new value
            \(tools)/etcdctl --endpoints \(client) del --prefix /registry/key
            """
        let served = Child.run("/bin/bash", ["-c", script])
        #expect(served.output.contains("\"hash\":\(hash)"), "\(served.output.prefix(500)) \(served.errors.prefix(500))")
        #expect(served.output.contains("\"create_revision\":12"))
        #expect(served.output.hasSuffix("OK\n\(large ? 200_000 : 4000)\n"), "\(served.output.suffix(100))")
    }

}
