// The recorded invocations beside the tests.

import Foundations
import Glibc
import JSON

struct Recorded: CustomStringConvertible {
    let sequence: Int
    let arguments: [String]
    let output: Bytes
    let errors: String
    let exit: Int

    var description: String { "\(sequence) \(arguments.joined(separator: " "))" }

    static let single35 = load("single-node-3.5.1.jsonl")

    /// One invocation by its number.
    static func at(_ sequence: Int) -> Recorded { single35.first { $0.sequence == sequence }! }

    private static func load(_ name: String) -> [Recorded] {
        lines(name).dropFirst().map { value in
            let text = value["stdout"]?.string.map { Bytes($0.utf8) }
            let base64 = value["stdout_b64"]?.string.flatMap { Base64.decode($0.utf8) }
            return Recorded(
                sequence: Int(value["seq"]!.int64!), arguments: value["argv"]!.array!.map { $0.string! },
                output: text ?? base64 ?? [], errors: value["stderr"]?.string ?? "", exit: Int(value["exit"]!.int64!))
        }
    }

    static func lines(_ name: String) -> [JSONValue] {
        read("\(folder)/Data/\(name)").split(separator: 0x0a).map { line in
            do { return try JSONValue(parsing: Bytes(line).rawSpan) } catch { fatalError("\(name): \(error)") }
        }
    }

    static let folder = "/" + #filePath.split(separator: "/").dropLast().joined(separator: "/")

    static func read(_ path: String) -> Bytes {
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
