// Trees of files: removing one of ours, copying a file so that it is on the disk.

import CLinux
import DiskLog
import Foundations
import Glibc
import Linux

enum FileTree {
    static func removeDirectory(_ path: String) throws(DiskError) {
        guard unsafe rmdir(path) == 0 || errno == ENOENT else { throw DiskError("rmdir", path, errno) }
    }

    /// Everything below and the folder itself. Links are removed, not followed.
    static func remove(_ path: String) throws(DiskError) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else { return try Disk.remove(path) }
        for name in try Disk.names(in: path) { try remove(path + "/" + name) }
        try removeDirectory(path)
    }

    /// The copy has its name only when it is whole and on the disk.
    static func copy(_ from: String, to: String) throws(CtlFailure) {
        do throws(SystemError) { try copyPieces(from, to) } catch { throw CtlFailure(.error, StoredFile.shown(error)) }
    }

    private static func copyPieces(_ from: String, _ to: String) throws(SystemError) {
        let source = try FileReader(from)
        var target = try NewFile(to, temporaryPath: to + ".tmp")
        while let piece = try source.next() { try target.append(piece) }
        try target.finish()
    }
}

/// A file read from front to back.
final class FileReader {
    private let descriptor: Int32
    private let path: String
    private let pieceBytes: Int

    init(_ path: String, pieceBytes: Int = 1 << 20) throws(SystemError) {
        self.path = path
        self.pieceBytes = pieceBytes
        descriptor = unsafe covey_open(path, O_RDONLY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw SystemError("open", path) }
    }

    deinit { close(descriptor) }

    /// Nil at the end.
    func next() throws(SystemError) -> Bytes? {
        var failure: Int32 = 0
        let piece = unsafe Bytes(unsafeUninitializedCapacity: pieceBytes) { buffer, filled in
            while true {
                let got = unsafe read(descriptor, buffer.baseAddress, buffer.count)
                if got >= 0 {
                    filled = got
                    return
                }
                if errno != EINTR {
                    failure = errno
                    return
                }
            }
        }
        if failure != 0 { throw SystemError("read", path, code: failure) }
        return piece.isEmpty ? nil : piece
    }
}
