// Who sends, to which cluster, with which version: what members put on every request, and the check of it. Peer protocol,
// section 2.

import FileFormats
import Foundations
import HTTP1
import State

struct PeerHeaders {
    enum Name {
        static let cluster = "X-Etcd-Cluster-Id"
        static let from = "X-Server-From"
        static let to = "X-Raft-To"
        static let version = "X-Server-Version"
        static let minimum = "X-Min-Cluster-Version"
        static let urls = "X-Peerurls"
        /// Ours alone: `BoltTree.text` of the image that follows.
        static let trees = "X-Covey-Image-Trees"
    }

    /// Oldest version that may be in one cluster with us; also what an absent header is not.
    static let minimumVersion = ClusterVersion(3, 0)
    private static let absent = ClusterVersion(2, 0)

    let identity: LogIdentity
    let versionText: String
    private let version: ClusterVersion
    private let urls: String

    init(_ identity: LogIdentity, version text: String, urls: [String]) {
        guard let version = ClusterVersion(text) else { unreachable("server version \(text)") }
        self.identity = identity
        versionText = text
        self.version = version
        self.urls = urls.joined(separator: ",")
    }

    /// On every request to another member's raft paths.
    var outgoing: HTTPFields {
        var fields: HTTPFields = [
            .init(Name.cluster, "\(identity.cluster)"), .init(Name.from, "\(identity.member)"),
            .init(Name.version, versionText), .init(Name.minimum, "\(PeerHeaders.minimumVersion)"),
        ]
        if !urls.isEmpty { fields.append(Name.urls, urls) }
        return fields
    }

    enum Verdict: Equatable {
        case good
        /// 412 with this text.
        case refused(String)
        /// Not even an answer.
        case cut
    }

    static let incompatible = "incompatible version"
    static let otherCluster = "cluster ID mismatch"

    func check(_ request: HTTPRequest) -> Verdict {
        guard let server = Self.version(request.header("x-server-version")),
            let minimum = Self.version(request.header("x-min-cluster-version"))
        else { return .cut }
        if server.release < PeerHeaders.minimumVersion || minimum.release > version.release {
            return .refused(PeerHeaders.incompatible)
        }
        if request.header("x-etcd-cluster-id") != "\(identity.cluster)" { return .refused(PeerHeaders.otherCluster) }
        return .good
    }

    /// Nil when it is there and no version.
    private static func version(_ text: String?) -> ClusterVersion? {
        guard let text else { return absent }
        return ClusterVersion(text)
    }

    /// What a stream's answer says of its server; nil when it has no streams, or no version.
    static func streamVersion(_ fields: HTTPFields) -> ClusterVersion? {
        guard let version = version(fields[Name.version]), version >= ClusterVersion(2, 1) else { return nil }
        return version
    }

    /// Who sent a request and where it can be answered; nil when it does not say, or not sensibly.
    static func sender(_ request: HTTPRequest) -> (id: MemberID, urls: [String])? {
        guard let id = request.header("x-server-from").flatMap({ MemberID(hexadecimal: $0) }), id != .none,
            let text = request.header("x-peerurls")
        else { return nil }
        let urls = text.split(separator: ",").map(String.init)
        guard !urls.isEmpty, urls.allSatisfy({ PeerURL.origin($0) != nil }) else { return nil }
        return (id, urls)
    }
}
