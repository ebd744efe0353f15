// A snapshot file, or the database file of an etcd member, read where it lies: pages as they are asked for, so that its
// size does not matter.

import CLinux
import FileFormats
import Foundations
import Glibc
import Linux

final class ImageFile {
    enum Digest: Equatable {
        /// The length says there is none: a database file, or a snapshot that was cut off.
        case absent
        case good
        case bad(expected: Bytes, found: Bytes)
    }

    let path: String
    let fileBytes: Int
    private let descriptor: Int32

    /// `call`: the word before the path when there is no such file, as etcd's tools have it.
    init(_ path: String, call: String = "open") throws(CtlFailure) {
        self.path = path
        descriptor = unsafe covey_open(path, O_RDONLY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw CtlFailure(.error, StoredFile.shown(SystemError(call, path))) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let error = SystemError("stat", path)
            close(descriptor)
            throw CtlFailure(.error, StoredFile.shown(error))
        }
        fileBytes = Int(status.st_size)
        guard status.st_mode & S_IFMT != S_IFDIR else {
            close(descriptor)
            throw CtlFailure(.error, "open \(path): is a directory")
        }
        if fileBytes == 0 {
            close(descriptor)
            throw CtlFailure(.error, "\(path) is empty: it holds no snapshot", advice: "Use another copy or backup.")
        }
    }

    deinit { close(descriptor) }

    var layout: (imageBytes: Int, hasDigest: Bool) { SnapshotFile.layout(fileBytes: fileBytes) }

    /// Keeps etcd from opening the database as long as this object lives; false when one has it open already. bbolt locks
    /// its file the same way.
    func lock() -> Bool { flock(descriptor, LOCK_SH | LOCK_NB) == 0 }

    func image() throws(BoltDamage) -> BoltImage {
        let imageBytes = layout.imageBytes
        return try BoltImage(fileBytes: imageBytes) { [self] (offset: Int, count: Int) throws(BoltDamage) -> Bytes in
            try read(offset, max(0, min(count, imageBytes - offset)))
        }
    }

    /// Computed over the whole file, in pieces.
    func digest() throws(BoltDamage) -> Digest {
        let (imageBytes, hasDigest) = layout
        guard hasDigest else { return .absent }
        var hash = SHA256()
        var offset = 0
        while offset < imageBytes {
            let piece = try read(offset, min(1 << 20, imageBytes - offset))
            hash.update(piece.rawSpan)
            offset += piece.count
        }
        let expected = try read(imageBytes, SHA256.digestBytes)
        let found = hash.finish()
        return expected == found ? .good : .bad(expected: expected, found: found)
    }

    private func read(_ offset: Int, _ count: Int) throws(BoltDamage) -> Bytes {
        var failure: Int32 = 0
        let bytes = unsafe Bytes(unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = unsafe pread(
                    descriptor, buffer.baseAddress.unsafelyUnwrapped + filled, count - filled, off_t(offset + filled))
                if got > 0 {
                    filled += got
                } else if got == 0 {
                    break
                } else if errno != EINTR {
                    failure = errno
                    break
                }
            }
        }
        if failure != 0 {
            throw BoltDamage("it cannot be read at byte \(offset): \(SystemError("read", path, code: failure).reason)")
        }
        return bytes
    }
}
