// One member of the cluster as every member knows it.

import Foundations

package struct Member: Hashable, Sendable {
    package var id: MemberID
    package var peerURLs: [String]
    package var isLearner: Bool
    /// Empty until the member has started and published its attributes.
    package var name: String
    package var clientURLs: [String]

    package init(
        id: MemberID, peerURLs: [String], isLearner: Bool = false, name: String = "", clientURLs: [String] = []
    ) {
        self.id = id
        self.peerURLs = peerURLs
        self.isLearner = isLearner
        self.name = name
        self.clientURLs = clientURLs
    }

    package var isStarted: Bool { !name.isEmpty }
}

/// The URLs a member may be reached at by its peers.
package enum PeerURLs {
    /// The URLs sorted and cleaned of blanks, or nil if there is none or one is not scheme://host:port with nothing
    /// behind it. `unix` and `unixs` take any address.
    package static func validated(_ urls: [String]) -> [String]? {
        guard !urls.isEmpty else { return nil }
        var clean: [String] = []
        for url in urls {
            let text = trimmed(url)
            guard isValid(text) else { return nil }
            clean.append(text)
        }
        return clean.sorted { precedes(Bytes($0.utf8), Bytes($1.utf8)) }
    }

    private static func trimmed(_ text: String) -> String {
        let bytes = Bytes(text.utf8)
        guard let first = bytes.firstIndex(where: { $0 > 0x20 }), let last = bytes.lastIndex(where: { $0 > 0x20 })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }

    private static func isValid(_ url: String) -> Bool {
        let bytes = Array(url.utf8)
        guard !bytes.contains(where: { $0 <= 0x20 || $0 == 0x7f }) else { return false }
        guard let colon = bytes.firstIndex(of: 0x3a), bytes[colon...].starts(with: "://".utf8) else { return false }
        let rest = bytes[(colon + 3)...]
        switch String(decoding: bytes[..<colon], as: UTF8.self).lowercased() {
        case "http", "https": return isHostAndPort(rest)
        case "unix", "unixs": return !rest.isEmpty
        default: return false
        }
    }

    /// host:port, or [address]:port; neither a path nor a query behind it. The port may be empty only in etcd's view
    /// of a URL that ends in ":"; it is a number when there is one.
    private static func isHostAndPort(_ text: ArraySlice<UInt8>) -> Bool {
        guard !text.contains(where: { $0 == 0x2f || $0 == 0x3f || $0 == 0x23 }) else { return false }
        var address = text
        if let at = text.lastIndex(of: 0x40) { address = text[(at + 1)...] }
        let portStart: Int
        if address.first == 0x5b {
            guard let close = address.lastIndex(of: 0x5d), close + 1 < address.endIndex, address[close + 1] == 0x3a
            else { return false }
            portStart = close + 2
        } else {
            guard let colon = address.lastIndex(of: 0x3a), !address[..<colon].contains(0x3a) else { return false }
            portStart = colon + 1
        }
        return address[portStart...].allSatisfy { (0x30...0x39).contains($0) }
    }
}
