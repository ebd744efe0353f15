// The members a cluster is founded with, by flags at its first start or by a restore, and the log entries that say so.
// Every member writes these entries for itself, so they must be the same on all of them to the byte.

import Foundations
import Wire

package struct FoundingMembers: Sendable {
    /// In the order of their ids, which is the order of the entries.
    package let members: [Member]

    package init(token: String, members: [(name: String, peerURLs: [String])]) {
        self.members = members.map {
            Member(id: .atBootstrap(peerURLs: $0.peerURLs, token: token), peerURLs: $0.peerURLs, name: $0.name)
        }.sorted { $0.id < $1.id }
    }

    package var cluster: ClusterID { ClusterID(bootstrapMembers: members.map(\.id)) }

    package func member(named name: String) -> Member? { members.first { $0.name == name } }

    /// The data of the membership entries 1, 2, ... of term 1.
    package var entries: [Bytes] {
        members.map { member in
            var change = RaftPB.ConfChange()
            change.type = .confChangeAddNode
            change.nodeId = member.id.rawValue
            change.context = member.additionContext
            return change.encoded()
        }
    }

    /// Raft's configuration once the entries are applied.
    package var confState: RaftPB.ConfState { RaftPB.ConfState(voters: members.map(\.id.rawValue)) }

    package var membership: Membership { Membership(members: members, removed: [], version: nil) }
}
