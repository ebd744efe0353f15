// Raft messages between members, over etcd's own protocol (rafthttp), so that a cluster may mix Covey and etcd.
//
//     send(messages) -> stream the peer opened with us    \
//                    -> else POST /raft (pipeline)         } the peer -> its streams, POSTs -> owner.received
//     sendSnapshot   -> POST /raft/snapshot               /
//
// Belongs to one loop's thread.

import Connections
import FileFormats
import Foundations
import HTTP1
import Linux
import Raft
import TLSEngine

package final class PeerTransport {
    package struct Settings: Sendable {
        /// Announced to other members; must agree with /version.
        package var serverVersion = "3.5.21"
        /// Our own advertised URLs: a member that does not know us yet answers there.
        package var peerURLs: [String] = []
        /// Where databases of snapshots are received: on the disk of the data directory.
        package var snapshotDirectory = ""
        package var electionTimeout: UInt64 = 1_000_000_000
        /// Do not match the certificates of members that dial us against the address they come from.
        package var skipsAddressCheck = false

        package init() {}
    }

    package init(
        loop: EventLoop, identity: LogIdentity, settings: Settings, tlsServer: TLSContext? = nil,
        tlsClient: TLSContext? = nil, owner: any PeerTransportOwner
    ) {}

    // MARK: Members

    package func listen(_ url: String) throws(SystemError) {}
    /// Adds a member, or changes its URLs.
    package func setPeer(_ id: MemberID, urls: [String]) {}
    package func removePeer(_ id: MemberID) {}
    /// Somebody who may have to be answered before it is known as a member: those a joiner learnt of at boot.
    package func addRemote(_ id: MemberID, urls: [String]) {}

    // MARK: Sending

    /// Queues messages; they leave with `flush`, or at the end of the turn. Never a snapshot.
    package func send(_ messages: [Message]) {}
    /// Writes what is queued now: before a sync that would hold it up.
    package func flush() {}
    package func sendSnapshot(_ message: Message, database: any DatabaseSource) {}

    /// Monotonic time since which the member has been connected without a break; nil when it is not.
    package func activeSince(_ id: MemberID) -> UInt64? { nil }

    /// A small request to a peer URL of a member: /members and /version at boot, promotion, leases.
    package func fetch(_ request: PeerRequest, _ done: @escaping (Result<PeerResponse, PeerFailure>) -> Void) {}

    /// Closes everything. No owner method is called afterwards.
    package func stop() {}
}
