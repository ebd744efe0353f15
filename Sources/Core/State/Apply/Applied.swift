// What applying an entry tells its member, beside the change of state.

import Foundations
import GRPC

package struct Applied: Equatable {
    package enum Outcome: Equatable, Sendable {
        /// Nobody waits here, or there is nothing to say.
        case silent
        /// The encoded response message was appended to the output.
        case answered
        case failed(GRPCStatus)
    }

    /// What must happen outside the state.
    package enum Effect: Equatable, Sendable {
        case none
        /// The first entry of a term: whoever leads now promotes its leases, and readers that waited for it go on.
        case termBegan
        /// A compaction was accepted: physical deletion may begin (`KeyValueStore.compactionStep`).
        case compactionScheduled
        /// The set of active alarms changed.
        case alarmsChanged
        /// A lease ended: keep-alives that wait for it get their answer.
        case leaseRevoked(LeaseID)
        case clusterVersionChanged(ClusterVersion)
        /// The member must stop; going on would make it differ from the others.
        case halt(HaltReason)
    }

    /// The id the proposer gave; 0: none.
    package var requestID: UInt64
    package var outcome: Outcome
    package var effect: Effect
    /// Keys changed: `KeyValueStore.changes` holds them until the next entry, for the watchers.
    package var hasChanges: Bool

    package init(
        requestID: UInt64 = 0, outcome: Outcome = .silent, effect: Effect = .none, hasChanges: Bool = false
    ) {
        self.requestID = requestID
        self.outcome = outcome
        self.effect = effect
        self.hasChanges = hasChanges
    }

    package var hasFailed: Bool { if case .failed = outcome { true } else { false } }
}

/// Committed entries that a member cannot follow. They are facts about the cluster, not mistakes of the program: the
/// member stops with the reason and changes nothing.
package enum HaltReason: Error, Equatable, Sendable, CustomStringConvertible {
    case undecodableEntry(index: LogIndex)
    case unknownRequest(index: LogIndex)
    case badMembershipChange(index: LogIndex)
    case clusterVersionAboveOwn(cluster: ClusterVersion, own: ClusterVersion)

    package var description: String {
        switch self {
        case .undecodableEntry(let index):
            "committed entry \(index) does not decode. The log is damaged or written by a newer release; "
                + "restore this member from a healthy one."
        case .unknownRequest(let index):
            "committed entry \(index) holds a request this release does not know. The cluster has newer members; "
                + "upgrade this one."
        case .badMembershipChange(let index):
            "committed entry \(index) is a membership change without a valid description; no member can follow it."
        case .clusterVersionAboveOwn(let cluster, let own):
            "invalid downgrade: the cluster runs at \(cluster) and this member at \(own). Start a release that is not older."
        }
    }
}

/// What a membership entry came to. Raft must be told in any case, also of a refused change, with `node` and `kind` as
/// they stand here, so that it lets the next change in.
package struct AppliedMembershipChange {
    package var requestID: UInt64
    /// Kind as on the wire: 0 add voter, 1 remove, 2 update, 3 add learner.
    package var kind: Int32
    /// `none` when the change was refused: raft then changes nothing.
    package var node: MemberID
    package var change: Membership.Change?
    package var failure: GRPCStatus?
    package var halt: HaltReason?
    /// This member was removed: it stops, shortly after.
    package var removesSelf: Bool
}
