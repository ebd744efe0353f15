// Pages of files that a process has only looked at count as its memory for as long as they are mapped, though the system has
// them in its cache anyway and takes them back when it likes. Who has walked through a large file, or has just started and will
// not need most of its program again, lets go of them; what is looked at again comes back from the cache.
//
// Invariant: only mappings that nobody can have written to are let go of (shared ones of files, read-only, and the program's own
// code), so their pages are what the file holds. The caller sees to it that the mapping does not end or move meanwhile.

import Glibc

package enum MappedPages {
    package enum Kind: String {
        /// A file that is read through memory.
        case data = "r--s"
        /// A program or library.
        case code = "r-xp"
    }

    /// Of all files together, that are in this process now.
    package static func residentBytes() -> Int {
        let fields = String(decoding: read("/proc/self/statm"), as: UTF8.self).split(separator: " ")
        return fields.count > 2 ? (Int(fields[2]) ?? 0) * sysconf(Int32(_SC_PAGESIZE)) : 0
    }

    /// All pages of one file.
    package static func letGo(of path: String, _ kind: Kind) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return }
        let maps = String(decoding: read("/proc/self/maps"), as: UTF8.self)
        for line in maps.split(separator: "\n") {
            // 7f00-7f80 r--s 00000000 fe:00 1234   /path
            let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard words.count > 4, words[1] == kind.rawValue, UInt64(words[4]) == UInt64(status.st_ino) else { continue }
            let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            guard bounds.count == 2, bounds[0] < bounds[1], let start = unsafe UnsafeMutableRawPointer(bitPattern: bounds[0])
            else { continue }
            _ = unsafe madvise(start, Int(bounds[1] - bounds[0]), MADV_DONTNEED)
        }
    }

    /// Empty when it cannot be read: nothing is let go of then.
    private static func read(_ path: String) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var (bytes, buffer): ([UInt8], [UInt8]) = ([], [UInt8](repeating: 0, count: 16 << 10))
        while true {
            let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
        }
    }
}
