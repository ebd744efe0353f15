// defrag: a store or database is written anew without its free pages, and takes the old one's place in one rename.

import CLinux
import DiskLog
import FileFormats
import Flags
import Foundations
import Glibc
import LMDBStore
import Linux
import MVCC

enum DefragCommand {
    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let directory = invocation.values.text("data-dir")
        if CoveyDirectory.isOne(directory) {
            let source = try CoveyDirectory(directory)
            let file = source.data.store + "/data.mdb"
            try report(file, invocation.console) { () throws(CtlFailure) in try rewriteStore(source) }
        } else {
            let file = EtcdDirectory.databasePath(directory)
            guard StoredFile.exists(file) else {
                throw CtlFailure(
                    .error, "\(directory) is no data directory: there is no \(file)",
                    advice: "Name the folder given to the server as --data-dir.")
            }
            try report(file, invocation.console) { () throws(CtlFailure) in try rewriteDatabase(file) }
        }
    }

    private static func report(
        _ file: String, _ console: UtilConsole, _ body: () throws(CtlFailure) -> Void
    ) throws(CtlFailure) {
        let start = Clock.wall()
        let before = try size(file)
        console.info("defragmenting", [("path", file), ("current-db-size", shown(before))], json: [("current-db-size-bytes", "\(before)")])
        try body()
        let after = try size(file)
        let microseconds = (Clock.wall() - start) / 1000
        console.info(
            "finished defragmenting directory", [("path", file), ("current-db-size", shown(after))],
            json: [
                ("current-db-size-bytes-diff", "\(after - before)"), ("current-db-size-bytes", "\(after)"),
                ("took", "\(Double(microseconds) / 1e6)"),
            ])
    }

    private static func size(_ path: String) throws(CtlFailure) -> Int {
        do throws(SystemError) { return try StoredFile.size(path) } catch { throw CtlFailure(.error, StoredFile.shown(error)) }
    }

    private static func shown(_ bytes: Int) -> String { ByteSize.format(UInt64(bytes)) }

    // MARK: ours

    private static func rewriteStore(_ source: CoveyDirectory) throws(CtlFailure) {
        let new = source.data.store + ".defrag"
        try BuildSite.onDisk { () throws(DiskError) in try FileTree.remove(new) }
        do throws(StoreError) { try copy(source.data.store, to: new) } catch { throw CtlFailure(.error, "\(error)") }
        try BuildSite.onDisk { () throws(DiskError) in
            try Disk.rename(new + "/data.mdb", to: source.data.store + "/data.mdb")
            try Disk.remove(source.data.store + "/lock.mdb")
            try Disk.syncDirectory(source.data.store)
            try FileTree.remove(new)
        }
    }

    private static func copy(_ path: String, to new: String) throws(StoreError) {
        let store = try LMDBStore.open(path)
        let view = store.view()
        let load = try BulkLoad(new)
        for table in StoreTable.allCases {
            // Long names share records there, which are changed, not appended to.
            let appends = table != .authUsers && table != .authRoles
            var failure: StoreError?
            view.scan(table, from: [], to: nil) { key, value in
                do throws(StoreError) { try load.put(table, key, value, append: appends) } catch { failure = error }
                return failure == nil
            }
            if let failure { throw failure }
        }
        try load.finish()
    }

    // MARK: etcd's

    private static func rewriteDatabase(_ path: String) throws(CtlFailure) {
        let file = try ImageFile(path)
        guard file.lock() else {
            throw CtlFailure(.error, "a running etcd is using \(path)", advice: "Stop that member, or use `etcdctl defrag`.")
        }
        do {
            let image = try file.image()
            try image.check()
            let buckets = try image.buckets().map { (String(decoding: $0.name, as: UTF8.self), $0.bucket) }
            var plan = BoltPlan(pageBytes: image.meta.pageBytes)
            for (name, bucket) in buckets {
                plan.open(name)
                try image.forEach(bucket) { plan.add(keyBytes: $0.byteCount, valueBytes: $1.byteCount) }
            }
            var writer = BoltImageWriter(plan.finish(), transaction: image.meta.transaction + 1)
            var target = try NewFile(path, temporaryPath: path + ".defrag")
            for (name, bucket) in buckets {
                writer.open(name)
                var failure: SystemError?
                try image.forEach(bucket) { key, value in
                    guard failure == nil else { return }
                    writer.add(key, value)
                    guard writer.output.count >= 1 << 20 else { return }
                    do throws(SystemError) { try target.append(writer.output) } catch { failure = error }
                    writer.output.removeAll(keepingCapacity: true)
                }
                if let failure { throw failure }
            }
            writer.finish()
            try target.append(writer.output)
            try target.finish()
        } catch let error as SystemError {
            throw CtlFailure(.error, StoredFile.shown(error))
        } catch { throw CtlFailure(.error, "\(path): \(error)") }
    }
}
