// What the kernel says, as etcd's users know it: Go writes "no such file or directory" in lower case.

import Glibc

enum SystemWords {
    /// A text that ends with the kernel's words for an error, those in lower case.
    static func asGo(_ text: String) -> String {
        guard let words = all.first(where: { text.hasSuffix(": " + $0) }) else { return text }
        return text.dropLast(words.count) + words.prefix(1).lowercased() + words.dropFirst()
    }

    private static let all: [String] = (1...133).map { unsafe String(cString: strerror($0)) }
}
