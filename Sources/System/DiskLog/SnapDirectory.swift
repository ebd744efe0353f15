// The `.snap` files of a member: written so that a name always means a whole file, the newest few kept.

import FileFormats
import Foundations
import Linux

package struct SnapDirectory: Sendable {
    package let path: String

    /// How many `.snap` files stay after a purge, as in etcd.
    package static let keptFiles = 5

    package init(_ path: String) { self.path = path }

    /// The file is on the disk when this returns; only then may the log refer to it. How long it took, in nanoseconds.
    @discardableResult
    package func save(_ snapshot: SnapFile) throws(LogError) -> (encoding: UInt64, writing: UInt64) {
        let began = Clock.monotonic()
        let bytes = snapshot.encoded()
        let encoded = Clock.monotonic()
        try disk { () throws(DiskError) in
            try Disk.replace(path + "/\(snapshot.name)", with: bytes, .snapSave, .snapRename)
        }
        return (encoded - began, Clock.monotonic() - encoded)
    }

    /// Names, newest first.
    package func names() throws(LogError) -> [SnapName] {
        let names = try disk { () throws(DiskError) in try Disk.names(in: path) }
        return names.compactMap { SnapName($0) }.sorted(by: >)
    }

    package func read(_ name: SnapName) throws(LogError) -> SnapFile {
        let file = path + "/\(name)"
        let bytes = try disk { () throws(DiskError) in try Disk.read(file) }
        return try reading { () throws(LogDamage) in try SnapFile(decoding: bytes, file: file) }
    }

    /// The newest readable file for which `accepts` says yes. Unreadable ones are renamed to `.broken` and named in
    /// `broken`.
    package func newest(
        where accepts: (SnapFile) throws(LogError) -> Bool = { _ in true }
    ) throws(LogError) -> (snapshot: SnapFile?, broken: [LogDamage]) {
        var broken: [LogDamage] = []
        for name in try names() {
            var snapshot: SnapFile?
            do throws(LogError) { snapshot = try read(name) } catch {
                guard case .damage(let damage) = error else { throw error }
                broken.append(damage)
                let file = path + "/\(name)"
                try disk { () throws(DiskError) in try Disk.rename(file, to: file + ".broken") }
            }
            if let snapshot, try accepts(snapshot) { return (snapshot, broken) }
        }
        return (nil, broken)
    }

    /// Removes all but the newest files, and received database images older than those. Returns what was removed.
    @discardableResult
    package func purge(keeping count: Int = SnapDirectory.keptFiles) throws(LogError) -> [String] {
        let all = try names()
        var removed = all.dropFirst(max(1, count)).map { "\($0)" }
        if let oldest = all.prefix(max(1, count)).map(\.index).min() {
            let names = try disk { () throws(DiskError) in try Disk.names(in: path) }
            removed += names.filter { SnapDirectory.imageIndex($0).map { $0 < oldest } ?? false }
        }
        for name in removed { try disk { () throws(DiskError) in try Disk.remove(path + "/" + name) } }
        return removed
    }

    /// Where a received database image for this index waits to be applied.
    package func imagePath(_ index: LogIndex) -> String { path + "/" + hex16(index) + ".snap.db" }

    private static func imageIndex(_ name: String) -> LogIndex? {
        guard name.hasSuffix(".snap.db"), name.utf8.count == 24 else { return nil }
        return LogIndex(name.prefix(16), radix: 16)
    }
}
