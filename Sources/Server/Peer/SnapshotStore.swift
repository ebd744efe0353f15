// A database that arrives and becomes a store while it does: each pair is read from its page and put, so a gibibyte is
// written once, where a file would be written, synced, read, and written again. Only for images that say where their
// buckets are (`BoltTree`), as ours do.

import DiskLog
import FileFormats
import Foundations
import LMDBStore
import MVCC

// Sent to the writing thread and used only there, one call after the other.
final class SnapshotStore: SnapshotSink, @unchecked Sendable {
    private let folder: String
    private var stream: BoltStream
    private var load: BulkLoad?

    init(_ folder: String, _ trees: [BoltTree]) {
        self.folder = folder
        stream = BoltStream(trees)
    }

    var result: ReceivedDatabase { .store(folder: folder) }

    func write(_ bytes: Bytes) throws(PeerFailure) {
        try told { () throws in
            let load = try self.load ?? BulkLoad(folder)
            self.load = load
            var failure: StoreError?
            try stream.feed(bytes.rawSpan) { bucket, key, value throws(BoltDamage) in
                // What newer members may keep beside is nothing to us, as in any image.
                guard failure == nil, let table = SnapshotStore.tables[bucket] else { return }
                do throws(StoreError) { try load.put(table, key, value, append: table == .key) } catch { failure = error }
            }
            if let failure { throw failure }
        }
    }

    func finish() throws(PeerFailure) {
        try told { () throws in
            try stream.finish()
            for table in [StoreTable.key, .meta] where !stream.buckets.contains(table.bucketName) {
                throw BoltDamage("it has no bucket \(table.bucketName)")
            }
            try load?.finish()
        }
    }

    /// A load that is let go removes what it has built so far; a finished one has left it to us.
    func remove() {
        load = nil
        try? Disk.removeFolder(folder)
    }

    private func told(_ body: () throws -> Void) throws(PeerFailure) {
        do { try body() } catch { throw PeerFailure(description: "\(error)") }
    }

    private static let tables: [String: StoreTable] = [String: StoreTable](
        uniqueKeysWithValues: StoreTable.allCases.map { ($0.bucketName, $0) })
}
