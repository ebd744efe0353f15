// Answers that are tables at heart: their columns, shared by the simple and the table format.

import FileFormats
import Flags
import Wire

enum MemberRows {
    static let header = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"]

    static func of(_ list: MemberListResponse) -> [[String]] {
        list.members.map { member in
            [
                member.id.hex, member.name.isEmpty ? "unstarted" : "started", member.name,
                member.peerURLs.joined(separator: ","), member.clientURLs.joined(separator: ","),
                String(member.isLearner),
            ]
        }
    }
}

enum StatusRows {
    static let header = [
        "Endpoint", "ID", "Version", "DB Size", "Is Leader", "Is Learner", "Raft Term", "Raft Index",
        "Raft Applied Index", "Errors",
    ]

    static func of(_ statuses: [EndpointStatus]) -> [[String]] {
        statuses.map { entry in
            let status = entry.status
            let id = status.header?.memberId ?? 0
            return [
                entry.endpoint, id.hex, status.version, ByteSize.format(UInt64(clamping: status.dbSize)),
                String(status.leader == id), String(status.isLearner), String(status.raftTerm),
                String(status.raftIndex), String(status.raftAppliedIndex), status.errors.joined(separator: ", "),
            ]
        }
    }
}

enum SnapshotRow {
    static let header = ["Hash", "Revision", "Total Keys", "Total Size"]

    static func of(_ status: SnapshotStatus) -> [String] {
        [
            String(status.hash, radix: 16), String(status.revision), String(status.totalKeys),
            ByteSize.format(UInt64(clamping: status.totalBytes)),
        ]
    }
}
