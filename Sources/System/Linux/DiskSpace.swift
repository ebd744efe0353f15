// How much room a file system has: what a failed write does not always say.

import Glibc

package enum DiskSpace {
    /// Nil when the path cannot be asked. What is kept for root does not count.
    package static func freeBytes(_ path: String) -> UInt64? {
        var answer = statvfs()
        guard unsafe statvfs(path, &answer) == 0 else { return nil }
        return UInt64(answer.f_bavail) * UInt64(answer.f_frsize)
    }
}
