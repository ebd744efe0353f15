// The segments of a log directory: which there are, which to read, reading them, and cutting what a crash tore off.

import FileFormats
import Foundations
import Glibc
import Linux

/// What a log said when it was opened.
package struct RecoveredLog: Sendable {
    package var identity: LogIdentity
    /// The last hard state; nil when none was ever written.
    package var state: LogState?
    /// Entries behind the snapshot it was opened from.
    package var entries: [LogEntry]
    /// Snapshot records in the segments read, oldest first.
    package var snapshots: [LogSnapshot]
    /// Set when a torn tail was cut; worth a line in the member's log.
    package var repair: TailRepair?
}

package struct TailRepair: Equatable, Sendable, CustomStringConvertible {
    package var file: String
    package var keptBytes: Int
    /// The whole segment as it was.
    package var copy: String

    package var description: String {
        "\(file): a write that was cut off by a crash was removed; \(keptBytes) bytes are kept, the file as it was is in \(copy)"
    }
}

enum LogSegments {
    /// All segments, oldest first.
    static func list(_ directory: String) throws(LogError) -> [SegmentName] {
        let names = try disk { () throws(DiskError) in try Disk.names(in: directory) }
        return names.compactMap { SegmentName($0) }.sorted()
    }

    /// The segments needed to replay from an index: the newest that begins at or before it, and all behind it.
    static func select(_ all: [SegmentName], from index: LogIndex, in directory: String) throws(LogError)
        -> [SegmentName]
    {
        guard !all.isEmpty else { throw .missing(directory) }
        for (a, b) in zip(all, all.dropFirst()) where b.sequence != a.sequence + 1 {
            throw .damage(LogDamage(.missingSegment(sequence: a.sequence + 1), file: directory, offset: 0))
        }
        guard let first = all.lastIndex(where: { $0.firstIndex <= index }) else {
            throw .damage(LogDamage(.gap(after: index, found: all[0].firstIndex), file: directory, offset: 0))
        }
        return Array(all[first...])
    }

    /// Reads the segments. Writes nothing.
    static func replay(
        _ names: [SegmentName], in directory: String, from snapshot: LogSnapshot
    ) throws(LogError) -> WALReplay {
        var replay = WALReplay(from: snapshot)
        for name in names {
            let path = directory + "/" + name.description
            let file = try disk { () throws(DiskError) in try DiskFile(opening: path, O_RDONLY) }
            let count = try disk { () throws(DiskError) in try file.size() }
            replay.begin(path, count: count, isLast: name == names.last)
            while let wanted = try reading({ () throws(LogDamage) in try replay.advance() }) {
                replay.supply(try disk { () throws(DiskError) in try file.read(wanted) })
            }
        }
        do { try replay.finish() } catch { throw .damage(error) }
        return replay
    }

    /// Cuts the torn tail of the last segment after keeping a copy of the file as it was.
    static func repair(_ path: String, keep: Int) throws(LogError) -> TailRepair {
        let copy = path + ".broken"
        try disk { () throws(DiskError) in
            let bytes = try Disk.read(path)
            try Disk.replace(copy, with: bytes, .logRepair)
            let file = try DiskFile(opening: path, O_RDWR)
            try file.truncate(to: keep)
            try file.syncData()
        }
        return TailRepair(file: path, keptBytes: keep, copy: copy)
    }
}
