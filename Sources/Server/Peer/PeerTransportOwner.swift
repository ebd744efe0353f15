// What the transport between members asks of the member it works for. Everything is called on the loop's thread, and never
// from inside a call the owner makes to the transport.

import FileFormats
import Foundations
import Raft

package protocol PeerTransportOwner: AnyObject {
    /// A message another member sent to this one, over a stream or a POST; complete, well-formed, addressed to us, and not
    /// from a removed member. Not necessarily from a member of the current configuration.
    func received(_ message: Message)

    /// A snapshot with its database, which is synced. The owner takes it: it renames or removes it.
    func receivedSnapshot(_ message: Message, _ database: ReceivedDatabase)

    /// Messages to this member were lost: what was sent and not acknowledged may not have arrived.
    func unreachable(_ id: MemberID)

    /// It was there, its connections broke, and its host refuses new ones: no process of it runs.
    func gone(_ id: MemberID)

    /// The end of `sendSnapshot`. `ok` says that the member has the snapshot and stepped it, not that it restored it.
    func snapshotSent(to id: MemberID, ok: Bool)

    /// Was once a member and is none any more. Its requests are answered with 410 or 403, which stops it for good.
    func isRemoved(_ id: MemberID) -> Bool

    /// Another member says that we were removed (410, 403): this server must stop, and not come back with its data.
    func selfRemoved(_ reason: String)

    /// A page of the peer port. Method, path and cluster id are checked. Answer once, now or later.
    func page(_ page: PeerPage, _ answer: @escaping (PeerPageAnswer) -> Void)
}

/// The pages whose content is the member's; paths and forms in the peer protocol, section 3.
package enum PeerPage: Equatable, Sendable {
    /// GET /members: the members as JSON and a newline, ascending by id. Never an empty list with 200.
    case members
    /// GET /version: `{"etcdserver":"3.5.21","etcdcluster":"3.5.0"}`.
    case version
    /// GET /downgrade/enabled: `true` or `false`, after a linearizable read.
    case downgradeEnabled
    /// POST /members/promote/ID; the list as in `members`, or 404/412 with the texts of the protocol.
    case promote(MemberID)
    /// GET /members/hashkv with the body as sent, `{"revision":N}`.
    case hashKV(body: Bytes)
    /// POST /leases: a LeaseKeepAliveRequest.
    case leaseKeepAlive(body: Bytes)
    /// POST /leases/internal: a LeaseInternalRequest; never empty.
    case leaseTimeToLive(body: Bytes)
}

package struct PeerPageAnswer: Equatable, Sendable {
    package var status: Int
    package var contentType: String
    package var body: Bytes

    package init(_ status: Int = 200, contentType: String, body: Bytes) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    package static func json(_ text: String) -> PeerPageAnswer {
        PeerPageAnswer(contentType: "application/json", body: Bytes(text.utf8))
    }

    /// One line of text; the newline is added. Other members compare these texts.
    package static func error(_ status: Int, _ text: String) -> PeerPageAnswer {
        PeerPageAnswer(status, contentType: PeerPageAnswer.errorType, body: Bytes((text + "\n").utf8))
    }

    static let errorType = "text/plain; charset=utf-8"
}

/// The database that came with a snapshot.
package enum ReceivedDatabase: Equatable, Sendable {
    /// A bbolt image without digest.
    case image(path: String)
    /// A store, made of the image while it came.
    case store(folder: String)

    package var path: String {
        switch self {
        case .image(let path): path
        case .store(let folder): folder
        }
    }
}

/// The database that goes with a snapshot. Used by one thread of the transport's, one call at a time, never the loop's.
package protocol DatabaseSource: AnyObject, Sendable {
    /// Bytes of the image, without a digest.
    var byteCount: Int { get }
    /// At least one and at most `bytesMax` bytes; nil at the end.
    func next(_ bytesMax: Int) throws -> Bytes?
    /// Where in the image each bucket is, for a member that makes a store of it while it comes.
    var trees: [BoltTree]? { get }
}

extension DatabaseSource {
    package var trees: [BoltTree]? { nil }
}
