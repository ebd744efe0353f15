// `covey init`: an inventory to begin with, short because every key has a default.

import Inventory

enum FirstInventory {
    static func text(name: String, addresses: [String]) -> String {
        var out = "# covey schema prints all keys; covey plan FILE --explain KEY says what one does.\n"
        out += "metadata: {name: \(quoted(name))}\nspec:\n"
        if addresses.isEmpty {
            out += "  supervisor: processes\n  hosts:\n"
            for i in 1...3 {
                out += "    m\(i): {address: 127.0.0.1, client: \(i)2379, peer: \(i)2380, metrics: \(i)2381}\n"
            }
            return out
        }
        out += "  hosts:\n"
        for (i, address) in addresses.enumerated() { out += "    kv\(i + 1): \(quoted(address))\n" }
        return out
    }

    /// What a person typed is text, whatever YAML would make of it.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x2d, 0x2e, 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            default: false
            }
        }
        if isPlain && !text.isEmpty && !text.hasPrefix("-") { return text }
        return "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''") + "'"
    }
}
