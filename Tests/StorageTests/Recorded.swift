// Recorded files, which live beside the tests of their formats.

import Foundations
import Glibc
import Testing

enum Recorded {
    static let versions = ["3.4.23", "3.5.1"]

    static func file(_ name: String) throws -> [UInt8] {
        let folder = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        let file = try #require(fopen("/" + folder + "/../FileFormatsTests/Data/" + name, "r"), "\(name)")
        defer { fclose(file) }
        var all: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&piece, 1, piece.count, file)
            if count == 0 { return all }
            all += piece[..<count]
        }
    }

    /// Lines without comments, split at spaces.
    static func table(_ name: String) throws -> [[String]] {
        let text = String(decoding: try file(name), as: UTF8.self)
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }
            .map { $0.split(separator: " ").map(String.init) }
    }
}
