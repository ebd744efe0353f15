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

    /// All pages of one file.
    package static func letGo(of path: String, _ kind: Kind) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return }
        // Nothing is let go of when it cannot be read.
        for line in OwnProcess.text("/proc/self/maps").split(separator: "\n") {
            // 7f00-7f80 r--s 00000000 fe:00 1234   /path
            let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard words.count > 4, words[1] == kind.rawValue, UInt64(words[4]) == UInt64(status.st_ino) else { continue }
            let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            guard bounds.count == 2, bounds[0] < bounds[1], let start = unsafe UnsafeMutableRawPointer(bitPattern: bounds[0])
            else { continue }
            _ = unsafe madvise(start, Int(bounds[1] - bounds[0]), MADV_DONTNEED)
        }
    }
}
