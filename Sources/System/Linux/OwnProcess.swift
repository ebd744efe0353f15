// What the kernel says of this process, from /proc.

import Glibc

package enum OwnProcess {
    /// Words of /proc/self/statm, all in pages.
    package enum Memory: Int {
        case virtual = 0
        case resident = 1
        /// The part of it that files are mapped to.
        case files = 2
    }

    /// Nil when the kernel does not tell.
    package static func bytes(_ memory: Memory) -> Int? {
        let words = text("/proc/self/statm").split(separator: " ")
        guard words.count > memory.rawValue, let pages = Int(words[memory.rawValue]) else { return nil }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }

    /// All of a file of /proc, whose size is not known before; empty when it cannot be read.
    package static func text(_ path: String) -> String {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var (bytes, buffer): ([UInt8], [UInt8]) = ([], [UInt8](repeating: 0, count: 16 << 10))
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }
}
