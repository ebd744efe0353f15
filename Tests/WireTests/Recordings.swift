import Foundations
import Glibc
import Wire

/// The recorded files beside the tests.
enum Recordings {
    struct Message: CustomStringConvertible {
        var type: String
        var bytes: Bytes
        var json: String?
        var line: Int
        var description: String { "\(type) line \(line)" }
    }

    static func lines(_ name: String) -> [[String]] {
        let folder = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        let text = String(decoding: read("/\(folder)/Data/\(name)"), as: UTF8.self)
        return text.split(separator: "\n").map { line in
            line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        }
    }

    static let messages: [Message] = lines("messages.txt").enumerated().map { index, columns in
        Message(
            type: columns[0], bytes: Hexadecimal.decode(columns[1])!, json: columns.count > 2 ? columns[2] : nil,
            line: index + 1)
    }

    private static func read(_ path: String) -> Bytes {
        guard let file = fopen(path, "r") else { fatalError("cannot open \(path)") }
        defer { fclose(file) }
        var bytes: Bytes = []
        var chunk = Bytes(repeating: 0, count: 65536)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { return bytes }
            bytes += chunk[..<count]
        }
    }
}
