// Files that hold keys and certificates: read whole with their mode, written so that a crash leaves the old or the new one.

import CLinux
import Glibc
import Linux

package enum KeyFile {
    package struct Contents {
        package var bytes: [UInt8]
        package var mode: UInt32
    }

    /// Larger files are no certificates.
    private static let bytesMax = 16 << 20

    package static func read(_ path: String) throws(PKIError) -> Contents {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { throw .file(SystemError("open", path)) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw .file(SystemError("stat", path)) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw .file(SystemError("read", path))
            }
            if count == 0 { return Contents(bytes: bytes, mode: status.st_mode) }
            bytes += buffer[..<count]
            guard bytes.count <= bytesMax else { throw .file(SystemError("read", path, code: EFBIG)) }
        }
    }

    /// Writes a temporary file beside `path`, syncs it, and renames it over `path`.
    package static func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(PKIError) {
        let temporary = "\(path).\(Hex.random(4)).tmp"
        let descriptor = unsafe covey_open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode)
        guard descriptor >= 0 else { throw .file(SystemError("create", temporary)) }
        do throws(SystemError) {
            defer { close(descriptor) }
            // The mode given to open passes through the umask.
            guard fchmod(descriptor, mode) == 0 else { throw SystemError("chmod", temporary) }
            try writeAll(descriptor, bytes, temporary)
            guard fsync(descriptor) == 0 else { throw SystemError("fsync", temporary) }
            guard unsafe rename(temporary, path) == 0 else { throw SystemError("rename", path) }
        } catch {
            unsafe unlink(temporary)
            throw .file(error)
        }
    }

    private static func writeAll(_ descriptor: Int32, _ bytes: [UInt8], _ path: String) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done) }
            if count < 0 {
                if errno == EINTR { continue }
                throw SystemError("write", path)
            }
            done += count
        }
    }

    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Makes a folder and those above it.
    package static func makeFolder(_ path: String, mode: UInt32 = 0o700) throws(PKIError) {
        if exists(path) { return }
        if let slash = path.lastIndex(of: "/"), slash > path.startIndex { try makeFolder(String(path[..<slash]), mode: mode) }
        guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else { throw .file(SystemError("mkdir", path)) }
    }
}
