// A file that appears under its name only when it is complete: written beside it, made durable, renamed.

import CLinux
import Glibc

package struct NewFile: ~Copyable {
    package let path: String
    package let temporaryPath: String
    private let descriptor: Int32
    private var isDone = false

    /// `temporaryPath` must be in the same folder; what is there is overwritten.
    package init(_ path: String, temporaryPath: String, mode: UInt32 = 0o600) throws(SystemError) {
        self.path = path
        self.temporaryPath = temporaryPath
        descriptor = unsafe covey_open(temporaryPath, O_WRONLY | O_CREAT | O_TRUNC, mode)
        guard descriptor >= 0 else { throw SystemError("open", temporaryPath) }
    }

    deinit {
        close(descriptor)
        if !isDone { unsafe unlink(temporaryPath) }
    }

    package func append(_ bytes: [UInt8]) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done)
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw SystemError("write", temporaryPath)
            }
            done += count
        }
    }

    /// On the disk, and under its name.
    package mutating func finish() throws(SystemError) {
        guard fsync(descriptor) == 0 else { throw SystemError("fsync", temporaryPath) }
        guard unsafe rename(temporaryPath, path) == 0 else { throw SystemError("rename", path) }
        isDone = true
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let directory = unsafe covey_open(folder, O_RDONLY | O_DIRECTORY, 0)
        guard directory >= 0 else { throw SystemError("open", folder) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw SystemError("fsync", folder) }
    }
}
