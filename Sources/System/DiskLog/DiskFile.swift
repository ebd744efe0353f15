// The file calls of the log, each with its error and its failpoint.

import CLinux
import Foundations
import Glibc
import Linux

/// A system call on a file failed.
package struct DiskError: Error, Equatable, Sendable, CustomStringConvertible {
    package var call: String
    package var path: String
    package var errno: Int32

    package init(_ call: String, _ path: String, _ errno: Int32) {
        self.call = call
        self.path = path
        self.errno = errno
    }

    package var description: String { "\(call) \(path): \(text)" }

    private var text: String {
        guard let text = unsafe strerror(errno) else { return "error \(errno)" }
        return unsafe String(cString: text)
    }
}

/// What a failpoint leaves of a write: a part of it, and the error that then follows.
struct InjectedWrite {
    let range: Range<Int>
    let error: DiskError?

    init(_ failpoint: Failpoint?, _ range: Range<Int>, _ path: String) throws(DiskError) {
        switch failpoint?.hit() ?? .proceed {
        case .proceed:
            self.range = range
            error = nil
        case .fail(let errno): throw DiskError("write", path, errno)
        case .short(let count):
            self.range = range.lowerBound..<min(range.upperBound, range.lowerBound + count)
            error = DiskError("write", path, ENOSPC)
        }
    }
}

/// An open file; closed when it goes away.
struct DiskFile: ~Copyable {
    let descriptor: Int32
    /// What errors name.
    var path: String
    /// Writes go from the caller's memory to the disk, and must be whole blocks of `DiskBlocks`.
    private(set) var bypassesCache = false

    init(opening path: String, _ flags: Int32, mode: mode_t = 0o600) throws(DiskError) {
        self.path = path
        descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw DiskError("open", path, errno) }
    }

    deinit { Glibc.close(descriptor) }

    func size() throws(DiskError) -> Int {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw DiskError("stat", path, errno) }
        return Int(status.st_size)
    }

    /// Asks for writes past the page cache; a file system that cannot do that says so, and they go through it.
    mutating func bypassCache() { bypassesCache = covey_bypass_cache(descriptor, 1) == 0 }

    /// Writes all of the range; a disk that takes only a part of it is full, or failing.
    func write(
        _ bytes: [UInt8], _ range: Range<Int>, at offset: Int, _ failpoint: Failpoint? = nil
    ) throws(DiskError) {
        let injected = try InjectedWrite(failpoint, range, path)
        let error = unsafe bytes.withUnsafeBytes { buffer in
            unsafe write(UnsafeRawBufferPointer(rebasing: buffer[injected.range]), at: offset)
        }
        if error != 0 { throw DiskError("write", path, error) }
        if let error = injected.error { throw error }
    }

    /// Writes whole blocks to a block's place.
    mutating func write(_ blocks: borrowing DiskBlocks, _ range: Range<Int>, at offset: Int) throws(DiskError) {
        invariant(
            DiskBlocks.isBoundary(range.lowerBound) && DiskBlocks.isBoundary(range.upperBound) && DiskBlocks.isBoundary(offset),
            "whole blocks are written to where blocks begin")
        var error = unsafe blocks.withBytes(range) { unsafe write($0, at: offset) }
        if error == EINVAL, bypassesCache {
            // Some file systems say only now that they cannot.
            bypassesCache = covey_bypass_cache(descriptor, 0) != 0
            error = unsafe blocks.withBytes(range) { unsafe write($0, at: offset) }
        }
        if error != 0 { throw DiskError("write", path, error) }
    }

    /// 0, or errno.
    private func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int32 {
        var done = 0
        while done < bytes.count {
            let count = unsafe pwrite(
                descriptor, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done, offset + done)
            if count > 0 {
                done += count
            } else if count == 0 {
                return EIO
            } else if errno != EINTR {
                return errno
            }
        }
        return 0
    }

    /// Data, and as much metadata as reading it back needs, is on the disk when this returns.
    func syncData(_ failpoint: Failpoint? = nil) throws(DiskError) {
        if case .fail(let errno) = failpoint?.hit() ?? .proceed { throw DiskError("fdatasync", path, errno) }
        guard fdatasync(descriptor) == 0 else { throw DiskError("fdatasync", path, errno) }
    }

    func truncate(to size: Int) throws(DiskError) {
        guard ftruncate(descriptor, size) == 0 else { throw DiskError("truncate", path, errno) }
    }

    /// Takes the space now, so that a full disk shows here and not under a write. The new part reads as zeros.
    func allocate(_ size: Int) throws(DiskError) {
        while true {
            let status = posix_fallocate(descriptor, 0, size)
            if status == 0 { return }
            if status == EINTR { continue }
            guard status == EOPNOTSUPP || status == EINVAL else { throw DiskError("fallocate", path, status) }
            if try self.size() < size { try truncate(to: size) }
            return
        }
    }

    func readAll() throws(DiskError) -> [UInt8] { try read(0..<size()) }

    /// A part of the file. That it ends earlier than it did when it was opened is an error.
    func read(_ part: Range<Int>) throws(DiskError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: part.count) { buffer, count in
            while count < part.count {
                let got = unsafe pread(
                    descriptor, buffer.baseAddress.unsafelyUnwrapped + count, part.count - count, part.lowerBound + count)
                if got > 0 {
                    count += got
                } else if got == 0 {
                    failure = EIO
                    break
                } else if errno != EINTR {
                    failure = errno
                    break
                }
            }
        }
        if failure != 0 { throw DiskError("read", path, failure) }
        return bytes
    }
}

/// Calls on paths.
package enum Disk {
    /// Makes the names in a folder durable: needed after creating, renaming or removing one.
    package static func syncDirectory(_ path: String) throws(DiskError) {
        let folder = try DiskFile(opening: path, O_RDONLY | O_DIRECTORY)
        guard fsync(folder.descriptor) == 0 else { throw DiskError("fsync", path, errno) }
    }

    package static func rename(_ from: String, to: String, _ failpoint: Failpoint? = nil) throws(DiskError) {
        if case .fail(let errno) = failpoint?.hit() ?? .proceed { throw DiskError("rename", from, errno) }
        guard unsafe Glibc.rename(from, to) == 0 else { throw DiskError("rename", from, errno) }
    }

    /// Already gone is fine.
    package static func remove(_ path: String) throws(DiskError) {
        guard unsafe unlink(path) == 0 || errno == ENOENT else { throw DiskError("remove", path, errno) }
    }

    /// With the files in it. Already gone is fine.
    package static func removeFolder(_ path: String) throws(DiskError) {
        guard exists(path) else { return }
        for name in try names(in: path) { try remove(path + "/" + name) }
        guard unsafe rmdir(path) == 0 else { throw DiskError("rmdir", path, errno) }
    }

    /// Makes one folder for this user alone; an existing one is fine. True when it was made.
    @discardableResult
    package static func makeDirectory(_ path: String) throws(DiskError) -> Bool {
        if unsafe mkdir(path, 0o700) == 0 { return true }
        guard errno == EEXIST, isDirectory(path) else { throw DiskError("mkdir", path, errno) }
        return false
    }

    package static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    package static func exists(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0
    }

    /// Names in a folder, sorted, without `.` and `..`.
    package static func names(in path: String) throws(DiskError) -> [String] {
        guard let folder = unsafe opendir(path) else { throw DiskError("open", path, errno) }
        defer { unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    package static func read(_ path: String) throws(DiskError) -> [UInt8] {
        try DiskFile(opening: path, O_RDONLY).readAll()
    }

    package static func read(_ path: String, _ part: Range<Int>) throws(DiskError) -> [UInt8] {
        try DiskFile(opening: path, O_RDONLY).read(part)
    }

    package static func size(_ path: String) throws(DiskError) -> Int { try DiskFile(opening: path, O_RDONLY).size() }

    /// Writes a file so that after a crash there is the old one or the new one, never a part.
    package static func replace(
        _ path: String, with bytes: [UInt8], _ saving: Failpoint? = nil, _ renaming: Failpoint? = nil
    ) throws(DiskError) {
        let temporary = path + ".tmp"
        do {
            let file = try DiskFile(opening: temporary, O_WRONLY | O_CREAT | O_TRUNC)
            try file.write(bytes, bytes.indices, at: 0, saving)
            try file.syncData()
            try rename(temporary, to: path, renaming)
        } catch {
            // The half-written file may not go away on a failing disk; the error that matters is the first.
            _ = unsafe unlink(temporary)
            throw error
        }
        try syncDirectory(parent(of: path))
    }

    package static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
