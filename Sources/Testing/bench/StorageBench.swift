// What the log and the store cost beside the bare calls they are made of: `covey-bench storage [FOLDER]`.
// Rows are interleaved in rounds, because a shared disk drifts; the best of the rounds is shown with its spread.

import DiskLog
import FileFormats
import Foundations
import Glibc
import LMDBStore
import MVCC

enum StorageBench {
    private static let entryBytes = 300
    private static let rounds = 3

    static func run(folder: String) {
        var template = Array((folder + "/covey-bench-XXXXXX").utf8CString)
        guard unsafe mkdtemp(&template) != nil else { fatalError("mkdtemp in \(folder): error \(errno)") }
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        defer { remove(path) }
        do { try measure(path) } catch { print("storage bench: \(error)") }
    }

    private static func measure(_ path: String) throws {
        print(
            "log, entries of \(entryBytes) bytes, one write and one fdatasync a group; us a group, best of \(rounds) (worst)"
        )
        print(row("group", ["bare", "log inline", "log thread", "ratio inline"]))
        for group in [1, 16, 256] {
            var bare: [Double] = []
            var inline: [Double] = []
            var thread: [Double] = []
            let syncs = group == 256 ? 500 : 2000
            for round in 0..<rounds {
                bare.append(try bareWrites("\(path)/bare", group, syncs))
                inline.append(try log("\(path)/wal-\(group)-\(round)-i", group, syncs, background: false))
                thread.append(try log("\(path)/wal-\(group)-\(round)-t", group, syncs, background: true))
            }
            let ratio = (inline.min() ?? 0) / (bare.min() ?? 1)
            print(row("\(group)", [shown(bare), shown(inline), shown(thread), decimal(ratio, 2)]))
        }
        print(
            "\nstore, 17-byte keys, \(entryBytes)-byte values, each batch synced; thousand puts a second, best (worst)")
        print(row("batch", ["puts/s"]))
        for batch in [100, 1000, 10_000] {
            var rates: [Double] = []
            for round in 0..<rounds { rates.append(try commits("\(path)/store-\(batch)-\(round)", batch)) }
            print(row("\(batch)", ["\(decimal(rates.max() ?? 0, 0)) (\(decimal(rates.min() ?? 0, 0)))"]))
        }
        let (view, get, image) = try reads("\(path)/store-1000-0")
        print(
            "\nview taken and let go \(decimal(view, 0)) ns, random get \(decimal(get, 0)) ns, snapshot \(decimal(image, 0)) MB/s"
        )
    }

    private static func bareWrites(_ path: String, _ group: Int, _ syncs: Int) throws -> Double {
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        defer { close(descriptor) }
        let zeros = Bytes(repeating: 0, count: 1 << 20)
        for i in 0..<64 {
            _ = unsafe zeros.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, i << 20) }
        }
        fsync(descriptor)
        let data = Bytes(repeating: 0x61, count: group * (entryBytes + 40))
        var position = 0
        return time(syncs) {
            if position + data.count > 64 << 20 { position = 0 }
            _ = unsafe data.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, position) }
            fdatasync(descriptor)
            position += data.count
        }
    }

    private static func log(_ path: String, _ group: Int, _ syncs: Int, background: Bool) throws -> Double {
        try DiskLog.create(path, identity: LogIdentity(member: MemberID(1), cluster: ClusterID(1)))
        let (log, _) = try DiskLog.open(path, from: LogSnapshot())
        let data = Bytes(repeating: 0x61, count: entryBytes)
        var index: LogIndex = 0
        return time(syncs) {
            for _ in 0..<group {
                index += 1
                log.append(term: 1, index: index, kind: 0, data: data)
            }
            if background { log.syncInBackground(ticket: index) }
            // Waits for what is under way.
            do { try log.sync() } catch { fatalError("\(error)") }
        }
    }

    private static func commits(_ path: String, _ size: Int) throws -> Double {
        try LMDBStore.create(path)
        let store = try LMDBStore.open(path)
        let value = Bytes(repeating: 0x61, count: entryBytes)
        var revision: UInt64 = 0
        let total = size == 100 ? 50_000 : 200_000
        let start = now()
        for number in 1...(total / size) {
            var batch = StoreBatch(number: UInt64(number))
            for _ in 0..<size {
                revision += 1
                batch.put(.key, key(revision), value, append: true)
            }
            store.submit(batch)
            store.waitUntilCommitted()
        }
        return Double(total) / (now() - start) / 1000
    }

    private static func reads(_ path: String) throws -> (view: Double, get: Double, image: Double) {
        let store = try LMDBStore.open(path)
        let view = time(200_000) { _ = store.view() } * 1000
        let one = store.view()
        var random = SeededRandom(seed: 1)
        var found = 0
        let get = time(500_000) {
            one.get(.key, key(UInt64.random(in: 1...200_000, using: &random)).rawSpan) { found += $0?.byteCount ?? 0 }
        }
        let start = now()
        let image = try store.snapshot()
        var total = 0
        while let piece = image.next(32 << 10) { total += piece.count }
        return (view, get * 1000, Double(total) / 1e6 / (now() - start))
    }

    private static func key(_ revision: UInt64) -> Bytes {
        var key = Bytes(repeating: 0, count: 17)
        for i in 0..<8 { key[i] = UInt8(truncatingIfNeeded: revision >> UInt64(56 - 8 * i)) }
        key[8] = 0x5f
        return key
    }

    /// Microseconds a time.
    private static func time(_ times: Int, _ body: () -> Void) -> Double {
        let start = now()
        for _ in 0..<times { body() }
        return (now() - start) * 1e6 / Double(times)
    }

    private static func now() -> Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func shown(_ times: [Double]) -> String {
        "\(decimal(times.min() ?? 0, 1)) (\(decimal(times.max() ?? 0, 0)))"
    }

    private static func decimal(_ number: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let rounded = (number * scale).rounded() / scale
        return digits == 0 ? "\(Int(rounded))" : "\(rounded)"
    }

    private static func row(_ first: String, _ cells: [String]) -> String {
        ([first] + cells).map { $0 + String(repeating: " ", count: max(1, 18 - $0.count)) }.joined()
    }

    private static func remove(_ path: String) {
        if let folder = unsafe opendir(path) {
            while let entry = unsafe readdir(folder) {
                let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                    unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                }
                if name != ".", name != ".." { remove(path + "/" + name) }
            }
            unsafe closedir(folder)
            unsafe rmdir(path)
        } else {
            unsafe unlink(path)
        }
    }
}
