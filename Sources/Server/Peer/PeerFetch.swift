// Small requests to other members.

import Foundations

package struct PeerRequest: Sendable, Equatable {
    /// A member's URLs, tried in order until one answers.
    package var urls: [String]
    /// With leading slash.
    package var path: String
    package var method: String
    package var body: Bytes
    package var contentType: String?
    /// Time for all of it, over all URLs.
    package var timeout: UInt64

    package init(
        _ urls: [String], _ path: String, method: String = "GET", body: Bytes = [], contentType: String? = nil,
        timeout: UInt64 = 5_000_000_000
    ) {
        self.urls = urls
        self.path = path
        self.method = method
        self.body = body
        self.contentType = contentType
        self.timeout = timeout
    }
}

package struct PeerResponse: Sendable, Equatable {
    package var status: Int
    /// X-Etcd-Cluster-ID as sent, if it was.
    package var clusterID: String?
    package var body: Bytes

    /// An error's line without its newline.
    package var text: String {
        let text = String(decoding: body, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }
}

package struct PeerFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package var description: String
}
