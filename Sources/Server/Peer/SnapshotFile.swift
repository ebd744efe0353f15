// A database that arrives, on its way to the disk. Used by one thread, the one that may wait for the disk.

import Foundations
import Glibc
import Linux

// Sent to the writing thread and used only there, one call after the other.
final class SnapshotFile: @unchecked Sendable {
    let path: String
    private var descriptor: Int32 = -1

    init(_ path: String) { self.path = path }

    deinit { if descriptor >= 0 { close(descriptor) } }

    func write(_ bytes: Bytes) throws(SystemError) {
        if descriptor < 0 { try create() }
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, bytes.count - done)
            }
            if count > 0 {
                done += count
            } else if errno != EINTR {
                throw SystemError("write", path)
            }
        }
    }

    func finish() throws(SystemError) {
        if descriptor < 0 { try create() }
        guard fsync(descriptor) == 0 else { throw SystemError("fsync", path) }
        guard close(descriptor) == 0 else { throw SystemError("close", path) }
        descriptor = -1
    }

    func remove() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        unsafe unlink(path)
    }

    private func create() throws(SystemError) {
        descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("create", path) }
    }
}
