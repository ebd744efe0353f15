// A segment made ahead, full of zeros that are on the disk: appending to it changes no metadata, which makes a small sync
// about a quarter cheaper, and a full disk shows before a write needs the space. The log thread fills it bit by bit while
// it has nothing else to do. When a segment is needed before its time, one without zeros is made on the spot.

import Glibc
import Linux

final class SpareSegments: Sendable {
    /// The piece written at once; between pieces the log thread looks for work.
    static let pieceBytes = 1 << 20

    private struct State: ~Copyable {
        var file: DiskFile?
        var filledBytes = 0
        var ready: String?
        var count = 0
        /// The segment in use is half full. Cleared when making a spare failed: the cut makes its own then.
        var wanted = false
    }

    private let directory: String
    private let segmentBytes: Int
    private let bypassesCache: Bool
    private let state = Mutex(State())

    init(_ directory: String, _ options: LogOptions) {
        self.directory = directory
        segmentBytes = DiskBlocks.roundedUp(options.segmentBytes)
        bypassesCache = options.bypassesCache
    }

    /// Removes spares a former process left.
    func removeLeftovers() throws(DiskError) {
        for name in try Disk.names(in: directory) where name.hasSuffix(".tmp") {
            try Disk.remove(directory + "/" + name)
        }
    }

    /// Path of a file of the segment's size, to be written to and renamed.
    func take() throws(DiskError) -> String {
        let ready = state.withLock { state -> String? in
            defer { state.ready = nil }
            return state.ready
        }
        if let ready { return ready }
        let path = directory + "/cut.tmp"
        try Disk.remove(path)
        let file = try DiskFile(opening: path, O_RDWR | O_CREAT | O_EXCL)
        try file.allocate(segmentBytes)
        return path
    }

    func prepare() {
        state.withLock { $0.wanted = $0.ready == nil }
    }

    /// Fills a piece; false when there is nothing left to do. An error is no error yet: the disk is asked again when the
    /// segment is needed.
    func fillPiece() -> Bool {
        state.withLock { state in
            guard state.wanted else { return false }
            do throws(DiskError) {
                try fill(&state)
                return true
            } catch {
                state.file = nil
                state.wanted = false
                return false
            }
        }
    }

    private func fill(_ state: inout State) throws(DiskError) {
        if state.file == nil {
            let path = directory + "/\(state.count % 2).tmp"
            try Disk.remove(path)
            if case .fail(let errno) = Failpoint.logSpare.hit() { throw DiskError("fallocate", path, errno) }
            var file = try DiskFile(opening: path, O_RDWR | O_CREAT | O_EXCL)
            try file.allocate(segmentBytes)
            if bypassesCache { file.bypassCache() }
            state.file = consume file
            state.filledBytes = 0
            state.count += 1
            return
        }
        let count = min(SpareSegments.pieceBytes, segmentBytes - state.filledBytes)
        try state.file?.fillWithZeros(state.filledBytes..<(state.filledBytes + count))
        // Synced piece by piece, so that no large write-back stands in the way of the log's own syncs.
        try state.file?.syncData()
        state.filledBytes += count
        if state.filledBytes == segmentBytes {
            state.ready = state.file?.path
            state.file = nil
            state.wanted = false
        }
    }
}

extension DiskFile {
    mutating func fillWithZeros(_ range: Range<Int>) throws(DiskError) {
        let zeros = try DiskBlocks(count: min(range.count, SpareSegments.pieceBytes))
        for start in stride(from: range.lowerBound, to: range.upperBound, by: zeros.count) {
            try write(zeros, 0..<min(zeros.count, range.upperBound - start), at: start)
        }
    }
}
