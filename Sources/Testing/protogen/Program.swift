// protoc plugin: .proto files in, the Swift of Sources/Core/Wire/Generated out. Run through Protos/generate.sh.
//
// What it writes is small and regular on purpose: one line per field and verb, everything else is in the shared reader
// and writer. It supports what our schemas use (varint numbers, bool, string, bytes, enums, messages, oneofs, lists) and
// refuses the rest.

import Foundations
import Glibc

@main
enum Program {
    static func main() {
        let input = readAll()
        var response: [UInt8] = []
        do {
            let request = try GeneratorRequest(input)
            let generator = Generator(request)
            for (name, content) in try generator.files() {
                var file: [UInt8] = []
                tinyAppend(1, Array(name.utf8), to: &file)
                tinyAppend(15, Array(content.utf8), to: &file)
                tinyAppend(15, file, to: &response)
            }
        } catch {
            tinyAppend(1, Array("protogen: \(error.reason)".utf8), to: &response)
        }
        writeAll(response)
    }

    private static func readAll() -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let size = chunk.count
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe read(0, $0.baseAddress, size) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return bytes }
            bytes += chunk[..<count]
        }
    }

    private static func writeAll(_ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { unsafe write(1, $0.baseAddress! + start, bytes.count - start) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { exit(1) }
            start += count
        }
    }
}
