// Files others parse, compared with what is written now. REWRITE_GOLDEN=1 writes them; the diff is then for review.

import PKI
import TestSupport
import Testing

func golden(_ path: String, _ text: String, _ place: SourceLocation = #_sourceLocation) throws {
    if RealTools.environment("REWRITE_GOLDEN") == "1" {
        try KeyFile.makeFolder(String(path[..<path.lastIndex(of: "/")!]), mode: 0o755)
        return try KeyFile.write(Array(text.utf8), to: path, mode: 0o644)
    }
    let there = (try? KeyFile.read(path).bytes).map { String(decoding: $0, as: UTF8.self) }
    #expect(there == text, "\(path) differs; run the tests with REWRITE_GOLDEN=1 and look at the diff", sourceLocation: place)
}
