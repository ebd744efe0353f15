// What a reader may rely on everywhere in the tree, checked so that it stays true.

import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

private struct SourceFile: Sendable, CustomStringConvertible {
    let path: String
    let lines: [Substring]
    var description: String { path }
    var isGenerated: Bool { path.contains("/Generated/") }
}

/// All Swift files below a folder of the checkout.
private func files(_ folder: String) -> [SourceFile] {
    let base = root.appendingPathComponent(folder).path
    guard let names = FileManager.default.enumerator(atPath: base) else { return [] }
    return names.compactMap { $0 as? String }.filter { $0.hasSuffix(".swift") }.sorted().map { name in
        let text = (try? String(contentsOfFile: base + "/" + name, encoding: .utf8)) ?? ""
        return SourceFile(path: folder + "/" + name, lines: text.split(separator: "\n", omittingEmptySubsequences: false))
    }
}

/// "path:line: text" of each line that matches.
private func offenders(_ folder: String, generatedToo: Bool = true, where matches: (Substring) -> Bool) -> [String] {
    files(folder).filter { generatedToo || !$0.isGenerated }.flatMap { file in
        file.lines.enumerated().filter { matches($0.element) }.map { "\(file.path):\($0.offset + 1): \($0.element)" }
    }
}

private func imports(_ line: Substring) -> String? {
    var words = line.split(separator: " ")
    while let first = words.first, first.hasPrefix("@") || ["package", "internal", "public", "private"].contains(first) {
        words.removeFirst()
    }
    return words.first == "import" && words.count > 1 ? String(words.last!) : nil
}

@Suite struct TidyTests {
    @Test func `core imports core only`() {
        let core = Set((try? FileManager.default.contentsOfDirectory(atPath: root.path + "/Sources/Core")) ?? [])
        #expect(core.contains("Foundations"))
        let found = offenders("Sources/Core") { line in imports(line).map { !core.contains($0) } ?? false }
        #expect(found == [])
    }

    @Test func `no Foundation in the product`() {
        let found = offenders("Sources") { imports($0)?.hasPrefix("Foundation") == true && imports($0) != "Foundations" }
        #expect(found == [])
    }

    @Test func `only the client library is public`() {
        let found = ["Core", "System", "Server", "Control", "Operations", "Programs"].flatMap { folder in
            offenders("Sources/" + folder) { $0.drop { $0 == " " }.hasPrefix("public ") }
        }
        #expect(found == [])
    }

    /// The thread sanitizer does not see the standard library's lock; System/Linux has one that it does, where it is needed.
    @Test func `locks are those the thread sanitizer can see`() {
        let mixed = (files("Sources") + files("Tests")).filter { file in
            file.lines.contains("import Synchronization") && file.lines.contains { $0.contains("Mutex") }
        }
        #expect(mixed.map(\.path) == [])
    }

    @Test func `no leftover markers`() {
        let markers = ["TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK:"]
        let found = ["Sources", "Tests"].flatMap { offenders($0, where: { line in markers.contains { line.contains($0) } }) }
        #expect(found == [])
    }

    @Test func `a file holds one idea`() {
        let found = files("Sources").filter { !$0.isGenerated && $0.lines.count > 700 }.map {
            "\($0.path): \($0.lines.count) lines"
        }
        #expect(found == [])
    }

    @Test func `lines fit`() {
        // Tests hold recorded texts and tables, a line a case.
        let found = offenders("Sources", generatedToo: false) { $0.count > 140 }
        #expect(found == [])
    }

    @Test func `tests wait for events and do not sleep`() {
        let calls = ["usleep(", "nanosleep(", "Task.sleep", "Thread.sleep", " sleep("]
        let found = offenders(
            "Tests",
            where: { line in
                calls.contains { line.contains($0) } && !line.contains("let calls = ")
            })
        #expect(found == [])
    }

    @Test func `no placeholder stays where real files are`() {
        let folders = Set(files("Sources").filter { !$0.path.hasSuffix("/Placeholder.swift") }.map { folder(of: $0.path) })
        let found = files("Sources").filter { $0.path.hasSuffix("/Placeholder.swift") && folders.contains(folder(of: $0.path)) }
        #expect(found.map(\.path) == [])
    }

    private func folder(of path: String) -> String { String(path[..<path.lastIndex(of: "/")!]) }
}
