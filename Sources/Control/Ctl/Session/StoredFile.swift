// Files of this machine that commands read.

import CLinux
import Foundations
import Glibc
import Linux

enum StoredFile {
    /// Why a file cannot be read, in the words of Go's `open`; nil when it can.
    static func refusal(toRead path: String) -> String? {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { return "open \(path): \(lowercased(SystemError("open", path).reason))" }
        close(descriptor)
        return nil
    }

    static func size(_ path: String) throws(SystemError) -> Int {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { throw SystemError("stat", path) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw SystemError("stat", path) }
        return Int(status.st_size)
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    static func read(_ path: String) throws(SystemError) -> Bytes {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { throw SystemError("open", path) }
        defer { close(descriptor) }
        var bytes: Bytes = []
        bytes.reserveCapacity(try size(path) + 1)
        var piece = Bytes(repeating: 0, count: 1 << 20)
        while true {
            let count = unsafe piece.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count == 0 { return bytes }
            if count < 0 {
                if errno == EINTR { continue }
                throw SystemError("read", path)
            }
            bytes += piece[..<count]
        }
    }

    /// What somebody may do about a file that could not be written.
    static func advice(_ error: SystemError) -> String {
        switch error.code {
        case ENOSPC, EDQUOT, EFBIG: "there is no room for the file: make some or name a path elsewhere; nothing half written was left"
        case EACCES, EPERM, EROFS: "name a path that this user may write to"
        case ENOENT: "make the folder first"
        default: ""
        }
    }

    /// `open x: no such file or directory`.
    static func shown(_ error: SystemError) -> String {
        "\(error.call) \(error.subject): \(lowercased(error.reason))"
    }

    private static func lowercased(_ reason: String) -> String { reason.prefix(1).lowercased() + reason.dropFirst() }
}
