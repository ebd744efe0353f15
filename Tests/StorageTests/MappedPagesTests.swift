// Pages of a mapped file that are let go of, in this very process.

import Glibc
import Linux
import Testing

@Suite struct MappedPagesTests {
    /// Kilobytes of the mapping at an address that are in this process, as the kernel counts them.
    private static func resident(at start: UnsafeMutableRawPointer) throws -> Int {
        let lines = OwnProcess.text("/proc/self/smaps").split(separator: "\n")
        let begin = String(UInt(bitPattern: start), radix: 16) + "-"
        let index = try #require(lines.firstIndex { $0.hasPrefix(begin) })
        let line = try #require(lines[index...].first { $0.hasPrefix("Rss:") })
        return try #require(line.split(separator: " ").dropFirst().first.flatMap { Int($0) })
    }

    @Test func `pages of a file that is only read are let go of, and hold the same when they are looked at again`() throws {
        let size = 4 << 20
        let place = Workplace()
        let path = place("file")
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 12) }
        try #require(bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, size) } == size)
        func map(_ protection: Int32) throws -> UnsafeMutableRawPointer {
            let start = try #require(mmap(nil, size, protection, MAP_SHARED, descriptor, 0))
            try #require(start != MAP_FAILED)
            return start
        }
        func isSame(_ start: UnsafeMutableRawPointer) -> Bool {
            bytes.withUnsafeBytes { memcmp($0.baseAddress!, start, size) == 0 }
        }
        let read = try map(PROT_READ)
        let written = try map(PROT_READ | PROT_WRITE)
        defer {
            munmap(read, size)
            munmap(written, size)
        }
        #expect(isSame(read) && isSame(written))
        #expect(try Self.resident(at: read) == size >> 10)

        MappedPages.letGo(of: path, .data)
        #expect(try Self.resident(at: read) == 0)
        #expect(try Self.resident(at: written) == size >> 10, "what may have been written to stays")
        #expect(isSame(read))
        #expect(try Self.resident(at: read) == size >> 10)

        MappedPages.letGo(of: path + ".none", .data)
        MappedPages.letGo(of: path, .code)
        #expect(try Self.resident(at: read) == size >> 10)
    }

    @Test func `memory of this process is told`() throws {
        let virtual = try #require(OwnProcess.bytes(.virtual))
        let resident = try #require(OwnProcess.bytes(.resident))
        let files = try #require(OwnProcess.bytes(.files))
        #expect(virtual > resident && resident > files && files > 0)
        #expect(OwnProcess.text("/proc/self/there-is-none").isEmpty)
    }
}
