// A member's URLs in the order in which they are tried.

import Connections
import Flags
import Foundations

enum PeerURL {
    /// Nil for what is no peer URL.
    static func origin(_ text: String) -> HTTPOrigin? {
        guard let url = try? URLList.parseOne(text) else { return nil }  // why does not matter: another is tried
        if url.isUnix { return HTTPOrigin(isTLS: url.usesTLS, path: url.socketPath) }
        return HTTPOrigin(isTLS: url.usesTLS, host: url.host, port: url.port)
    }
}

/// The URL that worked last; after a failure the next, round and round.
struct URLRotation {
    private(set) var texts: [String]
    private var origins: [HTTPOrigin]
    private var at = 0

    init(_ texts: [String]) {
        self.texts = texts
        origins = texts.compactMap { PeerURL.origin($0) }
    }

    var current: HTTPOrigin? { origins.isEmpty ? nil : origins[at] }

    var all: [HTTPOrigin] { origins }

    /// Moves on, unless somebody else has already.
    mutating func failed(_ origin: HTTPOrigin) {
        if origins.count > 1 && origins[at] == origin { at = (at + 1) % origins.count }
    }
}
