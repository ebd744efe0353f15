// The side of the log that touches the disk. One caller at a time (DiskLog holds it in a mutex): the owner when it syncs
// inline, else the log thread.
//
// After the first failed call nothing is ever written again: a page that failed to reach the disk may be dropped from
// the cache and a later fdatasync may then succeed without it, so only a restart, which reads what the disk has, can go on.

import FileFormats
import Foundations
import Glibc
import Linux

/// Encoded records on their way to the disk.
struct LogChunk: Sendable {
    /// Begins with a checksum record (`LogWriter.markBytes`).
    var bytes: Bytes
    /// The chunk opens this segment: its bytes begin with the segment's head.
    var opens: SegmentName?
    /// The owner's number for everything up to here.
    var ticket: UInt64
}

struct LogWriter: ~Copyable {
    /// Size of the checksum record that opens a chunk.
    static let markBytes = 16

    private let directory: String
    private let options: LogOptions
    private let spares: SpareSegments
    private var file: SegmentFile
    private(set) var failure: LogError?
    /// Told how long each write and each sync took, in nanoseconds.
    var observer: DiskLog.DiskTimes?
    /// When the first of the writes began that no sync has followed yet.
    private var unsyncedSince: UInt64?

    init(_ directory: String, _ options: LogOptions, _ spares: SpareSegments, file: consuming SegmentFile) {
        self.directory = directory
        self.options = options
        self.spares = spares
        self.file = file
    }

    var bypassesCache: Bool { file.bypassesCache }

    /// Writes a chunk and syncs it.
    mutating func write(_ chunk: borrowing LogChunk) throws(LogError) {
        try stickily { writer throws(DiskError) in
            if let name = chunk.opens {
                try writer.cut(to: name, chunk.bytes)
            } else {
                try writer.append(chunk.bytes, from: 0)
                try writer.sync()
            }
        }
    }

    /// Writes chunks that came together and syncs once.
    mutating func write(_ chunks: [LogChunk]) throws(LogError) {
        if chunks.count == 1 { return try write(chunks[0]) }
        try stickily { writer throws(DiskError) in
            var unsynced = false
            for chunk in chunks {
                if let name = chunk.opens {
                    if unsynced { try writer.sync() }
                    try writer.cut(to: name, chunk.bytes)
                    unsynced = false
                } else {
                    // The mark says "all before me was synced", which is true only for the first of them.
                    try writer.append(chunk.bytes, from: unsynced ? LogWriter.markBytes : 0)
                    unsynced = true
                }
            }
            if unsynced { try writer.sync() }
        }
    }

    private mutating func append(_ bytes: Bytes, from start: Int) throws(DiskError) {
        let acknowledged = file.position
        let began = Clock.monotonic()
        unsyncedSince = unsyncedSince ?? began
        do { try file.append(bytes, start..<bytes.count, .logWrite) } catch {
            // A disk tears at sectors, a short write anywhere; without this the half record would read as damage. None
            // of it was acknowledged. If it fails too, the error that is reported stays the first one.
            try? file.cut(to: acknowledged)
            throw error
        }
        observer?.write(Clock.monotonic() - began)
        if case .fail(let errno) = Failpoint.logWritten.hit() { throw DiskError("write", file.path, errno) }
    }

    private mutating func sync() throws(DiskError) {
        var began = Clock.monotonic()
        // Past the page cache it is the write that waits for the disk; what the disk took is what times of syncs are watched for.
        if file.bypassesCache, let unsyncedSince { began = unsyncedSince }
        unsyncedSince = nil
        try file.sync(.logSync)
        observer?.sync(Clock.monotonic() - began)
        if case .fail(let errno) = Failpoint.logSynced.hit() { throw DiskError("fdatasync", file.path, errno) }
    }

    /// Opens the next segment with `bytes` as its first content. It gets its name when it is complete on the disk, so a
    /// segment with a name always has its head.
    private mutating func cut(to name: SegmentName, _ bytes: Bytes) throws(DiskError) {
        if case .fail(let errno) = Failpoint.logCut.hit() { throw DiskError("cut", file.path, errno) }
        let path = directory + "/" + name.description
        let temporary = try spares.take()
        var next = try SegmentFile(opening: temporary, at: 0, bypassingCache: options.bypassesCache)
        let began = Clock.monotonic()
        try next.append(bytes, bytes.indices, .logWrite)
        let written = Clock.monotonic()
        try next.sync(.logSync)
        observer?.write(written - began)
        observer?.sync(Clock.monotonic() - (next.bypassesCache ? began : written))
        try file.cut(to: file.position)
        try Disk.rename(temporary, to: path, .logCutRename)
        try Disk.syncDirectory(directory)
        if case .fail(let errno) = Failpoint.logCutRenamed.hit() { throw DiskError("cut", path, errno) }
        next.wasRenamed(to: path)
        file = next
    }

    private mutating func stickily(
        _ body: (inout LogWriter) throws(DiskError) -> Void
    ) throws(LogError) {
        if let failure { throw failure }
        do { try body(&self) } catch {
            failure = .disk(error)
            throw .disk(error)
        }
    }
}
