// What members say to each other. One flat value, as on the wire, because versions of etcd differ in which fields they
// fill; which field means what for which kind is in the peer protocol's table, in short:
//
//   append            term, index and logTerm of the entry before, entries, commit
//   appendResponse    index (matched), or reject: index echoes, rejectHint and logTerm say where to go on
//   vote, preVote     term (pre-vote: own + 1), index and logTerm of the last entry, context on a transfer
//   heartbeat(R.)     commit (never beyond what the target acknowledged), context = token of a read
//   propose           term 0, entries with kind and data only
//   readIndex(R.)     term 0 in the request; entries[0].data = token; index in the response
//   transferLeader    from = the member that shall lead
//   snapshot          snapshot

import Foundations

package struct Message: Equatable, Sendable {
    /// The kinds that may travel; raw values as on the wire. The local kinds of other implementations are calls here.
    package enum Kind: UInt8, Sendable, CaseIterable {
        case propose = 2
        case append = 3
        case appendResponse = 4
        case vote = 5
        case voteResponse = 6
        case snapshot = 7
        case heartbeat = 8
        case heartbeatResponse = 9
        case transferLeader = 13
        case timeoutNow = 14
        case readIndex = 15
        case readIndexResponse = 16
        case preVote = 17
        case preVoteResponse = 18

        /// Answers count only when they come from a member of the current configuration.
        var isResponse: Bool {
            switch self {
            case .appendResponse, .voteResponse, .heartbeatResponse, .preVoteResponse: true
            default: false
            }
        }

        /// Only the leader of a term sends these.
        var isFromLeader: Bool { self == .append || self == .heartbeat || self == .snapshot }
    }

    package var kind: Kind
    package var to: MemberID
    package var from: MemberID
    package var term: Term
    package var logTerm: Term
    package var index: LogIndex
    package var entries: [Entry]
    package var commit: LogIndex
    package var snapshot: Snapshot?
    package var reject: Bool
    package var rejectHint: LogIndex
    package var context: Bytes

    package init(
        _ kind: Kind, to: MemberID, from: MemberID, term: Term = 0, logTerm: Term = 0, index: LogIndex = 0,
        entries: [Entry] = [], commit: LogIndex = 0, snapshot: Snapshot? = nil, reject: Bool = false,
        rejectHint: LogIndex = 0, context: Bytes = []
    ) {
        self.kind = kind
        self.to = to
        self.from = from
        self.term = term
        self.logTerm = logTerm
        self.index = index
        self.entries = entries
        self.commit = commit
        self.snapshot = snapshot
        self.reject = reject
        self.rejectHint = rejectHint
        self.context = context
    }

    /// The context of a vote request that a leader asked for: voters answer it in spite of their lease.
    package static let campaignTransfer = Bytes("CampaignTransfer".utf8)
}

/// Where a snapshot stands in the log, and the configuration there.
package struct SnapshotMetadata: Equatable, Sendable {
    package var index: LogIndex
    package var term: Term
    package var confState: ConfState

    package init(index: LogIndex = 0, term: Term = 0, confState: ConfState = ConfState()) {
        self.index = index
        self.term = term
        self.confState = confState
    }
}

/// The data is opaque here (etcd puts the membership there, the database travels beside it).
package struct Snapshot: Equatable, Sendable {
    package var metadata: SnapshotMetadata
    package var data: Bytes

    package init(metadata: SnapshotMetadata, data: Bytes = []) {
        self.metadata = metadata
        self.data = data
    }
}
