// A bbolt image, as etcd's snapshots and database files are, made into a store. Bounded memory: pages are read as they are
// walked, pairs go straight into the bulk load.

import FileFormats
import Foundations
import Glibc
import MVCC

package enum ImageLoadError: Error, CustomStringConvertible, Sendable {
    case damage(path: String, BoltDamage)
    case store(StoreError)
    case file(call: String, path: String, code: Int32)
    case missing(path: String, bucket: String)

    package var description: String {
        switch self {
        case .damage(let path, let damage): "\(path): \(damage)"
        case .store(let error): "\(error)"
        case .file(let call, let path, let code): "\(call) \(path): \(unsafe String(cString: strerror(code)))"
        case .missing(let path, let bucket): "\(path) has no bucket \"\(bucket)\": it is no database of etcd"
        }
    }
}

package enum ImageLoad {
    /// Builds the store `folder` from the image at `path`. What a broken-off load left at `folder` is removed first.
    /// `check` sees each record and may say what is wrong with it; `adding` writes what the image lacks, or replaces.
    package static func load(
        _ path: String, into folder: String, leavingOut tables: Set<StoreTable> = [],
        check: (StoreTable, _ key: RawSpan, _ value: RawSpan) -> String? = { _, _, _ in nil },
        adding: (BulkLoad) throws(StoreError) -> Void = { _ in }
    ) throws(ImageLoadError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .file(call: "open", path: path, code: errno) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw .file(call: "stat", path: path, code: errno) }
        do {
            let image = try BoltImage(fileBytes: Int(status.st_size)) { offset, count throws(BoltDamage) in
                try read(descriptor, offset, count)
            }
            discard(folder)
            let load = try BulkLoad(folder)
            for table in StoreTable.allCases where !tables.contains(table) {
                guard let bucket = try image.bucket(table.bucketName) else {
                    if table == .key || table == .meta { throw ImageLoadError.missing(path: path, bucket: table.bucketName) }
                    continue
                }
                var failure: StoreError?
                try image.forEach(bucket) { key, value throws(BoltDamage) in
                    guard failure == nil else { return }
                    if let wrong = check(table, key, value) { throw BoltDamage(wrong) }
                    do throws(StoreError) { try load.put(table, key, value, append: table == .key) } catch { failure = error }
                }
                if let failure { throw failure }
            }
            try adding(load)
            try load.finish()
        } catch let error as BoltDamage {
            throw .damage(path: path, error)
        } catch let error as StoreError {
            throw .store(error)
        } catch let error as ImageLoadError {
            throw error
        } catch {
            unreachable("\(error)")
        }
    }

    private static func read(_ descriptor: Int32, _ offset: Int, _ count: Int) throws(BoltDamage) -> Bytes {
        var bytes = Bytes(repeating: 0, count: count)
        var done = 0
        while done < count {
            let got = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe pread(descriptor, buffer.baseAddress! + done, count - done, off_t(offset + done))
            }
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else { throw BoltDamage("the file ends, or cannot be read, at byte \(offset + done)") }
            done += got
        }
        return bytes
    }

    private static func discard(_ folder: String) {
        for name in ["data.mdb", "lock.mdb"] { _ = unsafe unlink(folder + "/" + name) }
        _ = unsafe rmdir(folder)
    }
}
