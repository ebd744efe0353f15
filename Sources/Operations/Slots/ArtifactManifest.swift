// What a program is: the text that is signed. The signature is of this text, and this text has the program's SHA-256, so a
// signature is checked before a byte of the program is sent.
//
//     covey-artifact 1
//     engine covey
//     version 0.5.0
//     platform linux/x86_64
//     size 17367128
//     sha256 9b1f...

import Foundations
import Inventory

struct ArtifactManifest: Sendable, Equatable {
    static let first = "covey-artifact 1"
    /// Larger programs are none of ours.
    static let sizeMax: UInt64 = 1 << 30

    /// `covey` or `etcd`.
    var engine: String
    var version: String
    var platform: String
    var size: UInt64
    var sha256: String

    init(engine: String, version: String, platform: String, size: UInt64, sha256: String) {
        self.engine = engine
        self.version = version
        self.platform = platform
        self.size = size
        self.sha256 = sha256
    }

    var text: String {
        "\(Self.first)\nengine \(engine)\nversion \(version)\nplatform \(platform)\nsize \(size)\nsha256 \(sha256)\n"
    }

    /// Nil for what is no manifest: one spelling only, so that two readers never understand two things.
    init?(_ bytes: [UInt8]) {
        guard bytes.count < 1024 else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        let names = ["engine", "version", "platform", "size", "sha256"]
        guard lines.count == names.count + 2, lines[0] == Self.first, lines[6].isEmpty else { return nil }
        var values: [String] = []
        for (name, line) in zip(names, lines.dropFirst()) {
            guard line.hasPrefix(name + " ") else { return nil }
            values.append(String(line.dropFirst(name.count + 1)))
        }
        guard let size = UInt64(values[3]), size > 0, size <= Self.sizeMax else { return nil }
        self.init(engine: values[0], version: values[1], platform: values[2], size: size, sha256: values[4])
        guard Array(text.utf8) == bytes, engine == "covey" || engine == "etcd", Self.isVersion(version),
            values[4].utf8.count == 64, Hexadecimal.decode(sha256) != nil, sha256 == sha256.lowercased()
        else { return nil }
    }

    /// It becomes the name of a folder.
    static func isVersion(_ text: String) -> Bool {
        guard let first = text.utf8.first, (0x30...0x39).contains(first), text.utf8.count <= 40 else { return false }
        return text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x2b, 0x7e: true
            default: false
            }
        }
    }

    /// Of the folder it is installed in.
    var slot: String { "\(version)-\(sha256.prefix(12))" }

    /// Of a program's own word about itself; nil for what is neither. The first line of `PROGRAM --version`.
    static func engine(saying line: Substring) -> (engine: String, version: String)? {
        if line.hasPrefix("covey ") {
            let version = String(line.dropFirst(6).prefix { $0 != " " })
            return isVersion(version) ? ("covey", version) : nil
        }
        guard line.hasPrefix("etcd Version: ") else { return nil }
        let version = String(line.dropFirst(14))
        return isVersion(version) ? ("etcd", version) : nil
    }
}
