// A data directory under construction. It is built beside its place and gets its name when everything in it is on the
// disk, so that no half directory can ever be started.
//
//     DIR does not exist        built in DIR.part, renamed to DIR
//     DIR is there and empty    (a mount point, perhaps) built in DIR/.part/member, renamed to DIR/member
//
// The log's folder, when it is elsewhere, is built in WAL.part and renamed first: a crash between the two leaves a log
// without a directory, which nothing starts from. What a broken-off attempt left is removed by the next.

import DiskLog
import Foundations
import Glibc
import Linux

final class BuildSite {
    /// Where to build; `data.wal` too.
    let data: DataDirectory
    /// As it will be called.
    let directory: String
    let walDirectory: String
    private let part: String
    private let isInside: Bool
    private let walPart: String?
    /// Held until the process ends or the site is given up, so that two builders do not meet.
    private var lock: DirectoryLock?
    /// What is at `part` is ours to remove: not before it was looked at, not after it has its name. (A class that throws
    /// from its initialiser is still deinitialised.)
    private var removesPart = false

    private static let partName = ".part"
    private static let ownNames: Set<String> = ["member"]
    private static let ownMemberNames: Set<String> = [
        "wal", "wal.tmp", "snap", "store", "store.tmp", "covey.json", "covey.json.tmp", "lock",
    ]

    /// `isOurs`: the directory is to be one of ours, not etcd's.
    init(_ directory: String, wal: String?, isOurs: Bool = true) throws(CtlFailure) {
        let directory = BuildSite.trimmed(directory)
        self.directory = directory
        walDirectory = wal.map(BuildSite.trimmed) ?? directory + "/member/wal"
        isInside = Disk.exists(directory)
        guard !isInside || BuildSite.isEmpty(directory) else {
            throw CtlFailure(.error, "data-dir \(quoted(directory)) not empty or could not be read")
        }
        let isWalInside = walDirectory.hasPrefix(directory + "/")
        guard isWalInside || !Disk.exists(walDirectory) else { throw CtlFailure(.error, "wal-dir \(quoted(walDirectory)) exists") }
        part = isInside ? directory + "/" + BuildSite.partName : directory + ".part"
        let isDefault = walDirectory == directory + "/member/wal"
        if isInside && isWalInside && !isDefault {
            // Only `member` is renamed then.
            walPart = walDirectory + ".part"
            data = DataDirectory(part, wal: walPart)
        } else if isWalInside {
            walPart = nil
            data = DataDirectory(part, wal: part + walDirectory.dropFirst(directory.count))
        } else {
            walPart = walDirectory + ".part"
            data = DataDirectory(part, wal: walPart)
        }
        try removeLeftovers()
        removesPart = true
        lock = try BuildSite.onDirectory { () throws(DataDirectoryError) in try data.prepare() }
        try BuildSite.onDisk { () throws(DiskError) in
            if !isOurs {
                // The descriptor goes on holding the lock.
                try Disk.remove(data.formatFile)
                try Disk.remove(data.lockFile)
            }
            try BuildSite.makeParents(of: data.wal)
        }
    }

    /// Not finished: nothing is left behind.
    deinit {
        guard removesPart else { return }
        // The reason to give up has been told; what cannot be removed now the next attempt removes.
        try? FileTree.remove(part)
        if let walPart { try? FileTree.remove(walPart) }
    }

    /// Everything in it is synced by those who wrote it.
    func finish() throws(CtlFailure) {
        try BuildSite.onDisk { () throws(DiskError) in
            try Disk.syncDirectory(data.member)
            try Disk.syncDirectory(part)
            if let walPart {
                try Disk.rename(walPart, to: walDirectory)
                try Disk.syncDirectory(Disk.parent(of: walDirectory))
            }
            if isInside {
                try Disk.rename(data.member, to: directory + "/member")
                removesPart = false
                try FileTree.remove(part)
                try Disk.syncDirectory(directory)
            } else {
                try Disk.rename(part, to: directory)
                removesPart = false
                try Disk.syncDirectory(Disk.parent(of: directory))
            }
        }
    }

    // MARK: What was there before

    /// Of a broken-off attempt, and only when it looks like one and nobody is at it.
    private func removeLeftovers() throws(CtlFailure) {
        guard Disk.exists(part) else { return }
        let names = BuildSite.names(part) ?? ["?"]
        let memberNames = names.contains("member") ? BuildSite.names(part + "/member") ?? ["?"] : []
        guard BuildSite.ownNames.isSuperset(of: names), BuildSite.ownMemberNames.isSuperset(of: memberNames) else {
            throw CtlFailure(
                .error, "\(quoted(part)) exists and was not left by a broken-off restore",
                advice: "Move it away, or choose another data directory.")
        }
        if memberNames.contains("lock") {
            lock = try BuildSite.onDirectory { () throws(DataDirectoryError) in try DirectoryLock(part + "/member/lock") }
        }
        try BuildSite.onDisk { () throws(DiskError) in
            try FileTree.remove(part)
            if let walPart { try FileTree.remove(walPart) }
        }
        lock = nil
    }

    private static func isEmpty(_ directory: String) -> Bool {
        guard let names = names(directory) else { return false }
        return names.allSatisfy { $0 == partName }
    }

    /// Nil when it cannot be read.
    private static func names(_ directory: String) -> [String]? {
        // Which of its reasons it was makes no difference to those who ask.
        try? Disk.names(in: directory)
    }

    private static func makeParents(of path: String) throws(DiskError) {
        let parent = Disk.parent(of: path)
        guard parent != path, parent != ".", !Disk.exists(parent) else { return }
        try makeParents(of: parent)
        try Disk.makeDirectory(parent)
    }

    private static func trimmed(_ path: String) -> String {
        var path = path
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        return path
    }

    static func onDisk<Result>(_ body: () throws(DiskError) -> Result) throws(CtlFailure) -> Result {
        do { return try body() } catch { throw CtlFailure(.error, "\(error)") }
    }

    static func onDirectory<Result>(_ body: () throws(DataDirectoryError) -> Result) throws(CtlFailure) -> Result {
        do { return try body() } catch { throw CtlFailure(.error, "\(error)") }
    }
}

func quoted(_ text: String) -> String { "\"\(text)\"" }
