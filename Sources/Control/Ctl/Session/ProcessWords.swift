// The words of our own command line as the bytes they are. What the runtime hands to `main` has been repaired to be text.

import Flags
import Foundations
import Linux

enum ProcessWords {
    /// The same words, exact where the given ones show signs of repair.
    static func exact(_ words: [String]) -> [String] {
        // Without the file the repaired words have to do.
        guard words.contains(where: { $0.unicodeScalars.contains("\u{fffd}") }),
            let bytes = try? StoredFile.read("/proc/self/cmdline")
        else { return words }
        let all = bytes.split(separator: 0, omittingEmptySubsequences: false).dropLast()
        guard all.count >= words.count else { return words }
        return all.suffix(words.count).map { ArgumentText.text(of: $0) }
    }
}
