// The layout of a member's data directory, and its lock.
//
//   DATA/member/wal/*.wal      the log            DATA/member/store/       the store (LMDB)
//   DATA/member/snap/*.snap    raft snapshots     DATA/member/covey.json   the format
//
// One process uses a directory at a time: it holds a lock on DATA/member/lock. A directory written by etcd (it has
// snap/db and no covey.json) is refused; `covey util import` makes one of ours from it.

import Foundations
import Glibc
import Linux

package enum DataDirectoryError: Error, Equatable, Sendable, CustomStringConvertible {
    case disk(DiskError)
    case inUse(String)
    case writtenByEtcd(String)
    case newerFormat(String, found: Int)
    case unreadableFormat(String)

    package var description: String {
        switch self {
        case .disk(let error): "\(error)"
        case .inUse(let path):
            "another etcd process is using \"\(path)\" and holds the file lock. Stop it, or choose another data directory."
        case .writtenByEtcd(let path):
            "\(path) was written by etcd. Stop that member and run: covey util import \(path) --data-dir NEW"
        case .newerFormat(let path, let found):
            "\(path) has format \(found); this program knows formats up to \(DataDirectory.format). Use a newer covey."
        case .unreadableFormat(let path):
            "\(path) does not say the format of the directory. Restore it from a backup, or replace the member."
        }
    }
}

package struct DataDirectory: Sendable {
    package static let format = 1

    package let root: String
    /// The log's folder, which may be on a disk of its own.
    package let wal: String

    package init(_ root: String, wal: String? = nil) {
        let root = root.count > 1 && root.hasSuffix("/") ? String(root.dropLast()) : root
        self.root = root
        self.wal = wal ?? root + "/member/wal"
    }

    package var member: String { root + "/member" }
    package var snap: SnapDirectory { SnapDirectory(member + "/snap") }
    package var store: String { member + "/store" }
    /// A whole store that came with a snapshot, until it takes the store's place.
    package var receivedStore: String { store + ".received" }
    package var formatFile: String { member + "/covey.json" }
    package var lockFile: String { member + "/lock" }

    /// True when a member has lived here.
    package var isUsed: Bool { Disk.exists(wal) || Disk.exists(store) || Disk.exists(snap.path + "/db") }

    /// Makes what is missing, with access for this user only, takes the lock, and checks the format. Keep the lock.
    package func prepare() throws(DataDirectoryError) -> DirectoryLock {
        try onDisk { () throws(DiskError) in
            try makeParents(of: root)
            try Disk.makeDirectory(root)
            try Disk.makeDirectory(member)
        }
        let lock = try DirectoryLock(lockFile)
        try checkFormat()
        try onDisk { () throws(DiskError) in
            try Disk.makeDirectory(snap.path)
            try Disk.syncDirectory(member)
            try Disk.syncDirectory(root)
        }
        return lock
    }

    /// What came of snapshots before a crash. Only when the store has all that the log refers to.
    package func removeLeftovers() throws(DiskError) {
        for name in try Disk.names(in: snap.path) where name.hasPrefix("tmp") || name.hasSuffix(".snap.db") {
            try Disk.remove(snap.path + "/" + name)
        }
        for name in try Disk.names(in: member) where name.hasPrefix("store.incoming-") || name == "store.received" {
            try Disk.removeFolder(member + "/" + name)
        }
    }

    /// What to say when others may read the directory; nil when all is well.
    package var permissionWarning: String? {
        var status = stat()
        guard unsafe stat(root, &status) == 0, status.st_mode & 0o077 != 0 else { return nil }
        let mode = String(status.st_mode & 0o777, radix: 8)
        return "directory \"\(root)\" exists, but its permission is \(mode). The recommended permission is 700 "
            + "to prevent possible unprivileged access to the data"
    }

    private func checkFormat() throws(DataDirectoryError) {
        guard Disk.exists(formatFile) else {
            if Disk.exists(snap.path + "/db") { throw .writtenByEtcd(root) }
            return try onDisk { () throws(DiskError) in
                try Disk.replace(formatFile, with: Array("{\"format\":\(DataDirectory.format)}\n".utf8))
            }
        }
        let bytes = try onDisk { () throws(DiskError) in try Disk.read(formatFile) }
        let digits = bytes.filter { (0x30...0x39).contains($0) }
        guard let found = Int(String(decoding: digits, as: UTF8.self)) else { throw .unreadableFormat(formatFile) }
        guard found <= DataDirectory.format else { throw .newerFormat(formatFile, found: found) }
    }

    private func onDisk<Result>(_ body: () throws(DiskError) -> Result) throws(DataDirectoryError) -> Result {
        do { return try body() } catch { throw .disk(error) }
    }

    private func makeParents(of path: String) throws(DiskError) {
        let parent = Disk.parent(of: path)
        guard parent != path, parent != ".", !Disk.exists(parent) else { return }
        try makeParents(of: parent)
        try Disk.makeDirectory(parent)
    }
}

/// Held for the life of the process; the kernel lets it go when the process ends, however it ends.
package final class DirectoryLock: Sendable {
    private let descriptor: Int32

    package init(_ path: String) throws(DataDirectoryError) {
        descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .disk(DiskError("open", path, errno)) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK { throw .inUse(path) }
            throw .disk(DiskError("flock", path, code))
        }
    }

    deinit { close(descriptor) }
}
