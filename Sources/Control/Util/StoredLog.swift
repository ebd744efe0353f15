// The log of a member and the snapshot it goes on from, of etcd or of ours (the files are the same), read without
// changing anything: what a start would repair or rename stays as it is.

import DiskLog
import FileFormats
import Foundations
import State

struct StoredLog {
    let wal: String
    let snap: SnapDirectory
    /// The newest snapshot file that can be read and that the log knows.
    let snapshot: SnapFile?
    let recovered: RecoveredLog
    /// Snapshot files that are newer and damaged.
    let broken: [LogDamage]

    init(wal: String, snap: SnapDirectory) throws(CtlFailure) {
        self.wal = wal
        self.snap = snap
        var broken: [LogDamage] = []
        var found: (SnapFile, RecoveredLog)?
        do throws(LogError) {
            for name in try snap.names() where found == nil {
                guard let file = try StoredLog.read(name, in: snap, &broken) else { continue }
                do throws(LogError) {
                    found = (file, try DiskLog.read(wal, from: LogSnapshot(index: file.index, term: file.term)))
                } catch {
                    // Saved, and then the crash came before the log was told.
                    guard case .damage(let damage) = error, case .snapshotNotFound = damage.kind else { throw error }
                }
            }
            if let found { recovered = found.1 } else { recovered = try DiskLog.read(wal, from: LogSnapshot()) }
        } catch { throw CtlFailure(.error, "\(error)") }
        snapshot = found?.0
        self.broken = broken
    }

    private static func read(
        _ name: SnapName, in snap: SnapDirectory, _ broken: inout [LogDamage]
    ) throws(LogError) -> SnapFile? {
        do throws(LogError) { return try snap.read(name) } catch {
            guard case .damage(let damage) = error else { throw error }
            broken.append(damage)
            return nil
        }
    }

    var identity: LogIdentity { recovered.identity }
    var snapshotIndex: LogIndex { snapshot?.index ?? 0 }
    var lastIndex: LogIndex { recovered.entries.last?.index ?? snapshotIndex }
    var state: LogState { recovered.state ?? LogState(term: snapshot?.term ?? 0, commit: snapshotIndex) }

    /// How far entries are known to be committed. A member that is alone has committed all it wrote; the last of it may not
    /// be written down as such.
    func commitIndex(voters: [MemberID]) -> LogIndex {
        let written = max(state.commit, snapshotIndex)
        guard voters == [identity.member] else { return written }
        let joins = recovered.entries.first { $0.index > written && $0.kind != 0 }
        return joins.map { $0.index - 1 } ?? lastIndex
    }

    /// The term of an entry in the log, or of the snapshot's.
    func term(of index: LogIndex) -> Term? {
        if let snapshot, snapshot.index == index { return snapshot.term }
        return recovered.entries.first { $0.index == index }?.term
    }

    /// Reads every segment there is, also those before the snapshot. Returns how many segments and records, and whether the
    /// last write was torn by a crash, which the next start cuts off.
    func checkAll() throws(CtlFailure) -> (segments: Int, records: Int, isTorn: Bool) {
        let names = try BuildSite.onDisk { () throws(DiskError) in try Disk.names(in: wal) }
        let segments = names.compactMap { SegmentName($0) }.sorted()
        var checksum: UInt32?
        var records = 0
        var isTorn = false
        for segment in segments {
            let path = wal + "/\(segment)"
            let count = try BuildSite.onDisk { () throws(DiskError) in try Disk.size(path) }
            var reader = WALSegmentReader(path, count: count, isLast: segment == segments.last, continuing: checksum)
            while reader.end == nil {
                do throws(LogDamage) { while try reader.next() != nil { records += 1 } } catch { throw CtlFailure(.error, "\(error)") }
                guard let wanted = reader.wanted else { break }
                reader.supply(try BuildSite.onDisk { () throws(DiskError) in try Disk.read(path, wanted) })
            }
            checksum = reader.checksum
            isTorn = reader.end == .torn
        }
        return (segments.count, records, isTorn)
    }

    /// The log's segments and the snapshot file as they are, byte for byte.
    func copy(wal walCopy: String, snap snapCopy: SnapDirectory) throws(CtlFailure) {
        try BuildSite.onDisk { () throws(DiskError) in _ = try Disk.makeDirectory(walCopy) }
        if let snapshot {
            try FileTree.copy(snap.path + "/\(snapshot.name)", to: snapCopy.path + "/\(snapshot.name)")
        }
        let names = try BuildSite.onDisk { () throws(DiskError) in try Disk.names(in: wal) }
        for name in names where SegmentName(name) != nil { try FileTree.copy(wal + "/" + name, to: walCopy + "/" + name) }
        try BuildSite.onDisk { () throws(DiskError) in
            try Disk.syncDirectory(walCopy)
            try Disk.syncDirectory(Disk.parent(of: walCopy))
        }
    }
}
