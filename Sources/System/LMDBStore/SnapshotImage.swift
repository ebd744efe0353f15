// The store as a snapshot file of etcd's kind, made while it is sent: a bbolt image and its SHA-256.
//
//   let image = try store.snapshot()               counts the pages: one pass over the store
//   while let piece = image.next(32 << 10) { ... } the second pass, in pieces
//
// Both passes read one transaction, so they see the same data whatever is committed meanwhile, and hold nothing up; only
// the file cannot reuse pages that were freed since. Memory: one page a tree level and the piece. Not for a network
// loop's thread: the store may have to be read from the disk. Use it from one thread, and let it go when done.

import FileFormats
import Foundations
import MVCC

package final class SnapshotImage {
    private let environment: Environment
    private let reader: Reader
    private var writer: BoltImageWriter
    private var hash = SHA256()
    private var table: StoreTable?
    private var walk: TableWalk?
    private var finished = false
    private var sent = 0
    /// Bytes of the writer's output that are handed out already.
    private var taken = 0

    package let imageBytes: Int
    package let trees: [BoltTree]
    /// With the digest.
    package var fileBytes: Int { imageBytes + (hashes ? SHA256.digestBytes : 0) }
    package var remainingBytes: Int { fileBytes - sent }

    private let hashes: Bool

    init(_ environment: Environment, hashes: Bool) throws(StoreError) {
        self.environment = environment
        self.hashes = hashes
        reader = try environment.acquireReader()
        var plan = BoltPlan()
        for table in StoreTable.allCases {
            plan.open(table.bucketName)
            let walk = TableWalk(reader, table, from: [])
            while walk.next({ key, value in
                plan.add(keyBytes: key.byteCount, valueBytes: value.byteCount)
                return true
            }) {}
            walk.finish()
        }
        let layout = plan.finish()
        imageBytes = layout.imageBytes
        trees = layout.trees
        writer = BoltImageWriter(layout)
        if hashes { hash.update(writer.output.rawSpan) }
        open(StoreTable.allCases.first)
    }

    deinit {
        walk?.finish()
        environment.release(reader)
    }

    /// The same transaction, to look things up. To be let go before the image is.
    package var view: any StoreView { LMDBView(environment, lent: reader) }

    /// At least one and at most `bytesMax` bytes; nil when the digest has been handed out.
    package func next(_ bytesMax: Int) -> Bytes? {
        invariant(bytesMax > 0, "a piece has room")
        if writer.output.count - taken < bytesMax, taken > 0 {
            writer.output.removeFirst(taken)
            taken = 0
        }
        while writer.output.count - taken < bytesMax, !finished { step(bytesMax) }
        guard writer.output.count > taken else { return nil }
        let piece = Bytes(writer.output[taken..<min(taken + bytesMax, writer.output.count)])
        taken += piece.count
        sent += piece.count
        return piece
    }

    /// What the image has so far is hashed as it is made; the digest follows the last page.
    private func step(_ bytesMax: Int) {
        let before = writer.output.count
        advance(bytesMax)
        if hashes { hash.update(writer.output.rawSpan.extracting(before..<writer.output.count)) }
        guard finished, hashes else { return }
        let digest = hash.finish()
        writer.output += digest
        invariant(sent + writer.output.count - taken == fileBytes, "the snapshot is as long as was counted")
    }

    /// Some pairs, or the end of a table.
    private func advance(_ bytesMax: Int) {
        guard let table else {
            writer.finish()
            finished = true
            return
        }
        let enough = writer.output.count + bytesMax
        while writer.output.count < enough {
            guard
                let more = walk?.next({ key, value in
                    writer.add(key, value)
                    return true
                }), more
            else { return open(table.next) }
        }
    }

    private func open(_ next: StoreTable?) {
        walk?.finish()
        walk = nil
        table = next
        guard let next else { return }
        writer.open(next.bucketName)
        walk = TableWalk(reader, next, from: [])
    }
}

extension StoreTable {
    fileprivate var next: StoreTable? { StoreTable(rawValue: rawValue + 1) }
}
