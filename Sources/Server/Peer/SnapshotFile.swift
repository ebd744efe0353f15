// A database that arrives, on its way to the disk. Used by one thread, the one that may wait for the disk.

import Foundations
import Glibc
import Linux

protocol SnapshotSink: AnyObject, Sendable {
    func write(_ bytes: Bytes) throws(PeerFailure)
    /// Everything has come: makes it durable.
    func finish() throws(PeerFailure)
    func remove()
    /// What there is after `finish`.
    var result: ReceivedDatabase { get }
}

/// The image as it comes, in a file: what real members send lies in no order.
// Sent to the writing thread and used only there, one call after the other.
final class SnapshotFile: SnapshotSink, @unchecked Sendable {
    private let path: String
    private var descriptor: Int32 = -1

    init(_ path: String) { self.path = path }

    deinit { if descriptor >= 0 { close(descriptor) } }

    func write(_ bytes: Bytes) throws(PeerFailure) {
        if descriptor < 0 { try create() }
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, bytes.count - done)
            }
            if count > 0 {
                done += count
            } else if errno != EINTR {
                throw failed("write")
            }
        }
    }

    func finish() throws(PeerFailure) {
        if descriptor < 0 { try create() }
        guard fsync(descriptor) == 0 else { throw failed("fsync") }
        guard close(descriptor) == 0 else { throw failed("close") }
        descriptor = -1
    }

    func remove() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        unsafe unlink(path)
    }

    var result: ReceivedDatabase { .image(path: path) }

    private func failed(_ call: String) -> PeerFailure { PeerFailure(description: "\(SystemError(call, path))") }

    private func create() throws(PeerFailure) {
        descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failed("create") }
    }
}
