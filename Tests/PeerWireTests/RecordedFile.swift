// Reads the files beside the tests.

import Glibc

enum RecordedFile {
    static func bytes(_ name: String) -> [UInt8] {
        let folder = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        guard let file = fopen("/\(folder)/Data/\(name)", "r") else { fatalError("no Data/\(name) beside the tests") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&room, 1, room.count, file)
            if count == 0 { return bytes }
            bytes += room[..<count]
        }
    }

    static func text(_ name: String) -> String { String(decoding: bytes(name), as: UTF8.self) }
}
