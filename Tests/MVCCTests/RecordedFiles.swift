// Reads the files beside the tests.

import Glibc

enum RecordedFiles {
    static func lines(_ name: String, from test: String = #filePath) -> [[UInt8]] {
        let path = test.split(separator: "/").dropLast().joined(separator: "/")
        guard let file = fopen("/\(path)/Data/\(name)", "r") else { fatalError("no Data/\(name) beside the tests") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&room, 1, room.count, file)
            if count == 0 { break }
            bytes += room[..<count]
        }
        return bytes.split(separator: 0x0a).map(Array.init).filter { $0.first != 0x23 }
    }

    static func fields(_ name: String, separator: Character) -> [[String]] {
        lines(name).map {
            String(decoding: $0, as: UTF8.self).split(separator: separator, omittingEmptySubsequences: false).map(
                String.init)
        }
    }
}
