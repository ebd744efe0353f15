// Why a member ended, in its own words: the last complaint in its log since it was started.

import CLinux
import Foundations
import Glibc
import JSON

enum LogTail {
    private static let bytesMax = 64 << 10
    private static let complaints: Set<String> = ["error", "dpanic", "panic", "fatal"]

    /// Nil when it complained of nothing.
    static func complaint(_ path: String, from offset: Int64) -> String? {
        let lines = String(decoding: tail(path, from: offset), as: UTF8.self).split(separator: "\n")
        for line in lines.reversed() {
            // Lines that are no JSON come from below: a crash, the loader.
            guard let json = try? JSONValue(parsing: String(line)) else { return String(line.prefix(300)) }
            guard let level = json["level"]?.string, complaints.contains(level) else { continue }
            let reason = json["error"]?.string.map { ": \($0)" } ?? ""
            return (json["msg"]?.string ?? "") + reason
        }
        return nil
    }

    static func size(_ path: String) -> Int64 {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// A long log is put aside once, so that it and its predecessor are all there is.
    static func rotate(_ path: String, atBytes: Int64) {
        if size(path) > atBytes { unsafe rename(path, path + ".1") }
    }

    private static func tail(_ path: String, from offset: Int64) -> [UInt8] {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var at = max(offset, size(path) - Int64(bytesMax))
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = unsafe pread(descriptor, &buffer, buffer.count, Int(at))
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
            at += Int64(count)
        }
    }
}
