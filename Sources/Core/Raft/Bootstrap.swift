// The log of a cluster's very first boot, which every member makes up for itself and which must be the same to the byte;
// and the changes that make one survivor a cluster of its own. Both are then started like any restart.

import Foundations

package enum Bootstrap {
    /// One AddNode entry per member, encoded by the caller, in ascending order of ids; term 1; all committed.
    package static func restart(members: [(id: MemberID, change: Bytes)]) -> RaftNode.Restart {
        let sorted = members.sorted { $0.id < $1.id }
        invariant(!sorted.isEmpty, "a cluster has members")
        invariant(zip(sorted, sorted.dropFirst()).allSatisfy { $0.id != $1.id }, "a member occurs twice")
        var restart = RaftNode.Restart()
        restart.entries = sorted.enumerated().map { position, member in
            Entry(term: 1, index: LogIndex(position) + 1, kind: .confChange, data: member.change)
        }
        restart.hardState = HardState(term: 1, vote: .none, commit: LogIndex(sorted.count))
        return restart
    }

    /// Turns what a member was restarted with into a cluster of itself alone. `known` are all ids that its snapshot's
    /// configuration and the configuration changes in its log name (added and not removed since). Returns the entries
    /// that were appended: the caller writes them, and the hard state, before it starts the node.
    ///
    /// Entries that are not known to be committed become so. A member learns of a commit only after it happened, so that
    /// the last ones may have been acknowledged; the others are writes whose end nobody was told. (etcd drops them all.)
    package static func forceNewCluster(
        _ restart: inout RaftNode.Restart, self id: MemberID, known: [MemberID], addSelf: () -> Bytes,
        remove: (MemberID) -> Bytes
    ) -> [Entry] {
        var index = max(restart.entries.last?.index ?? 0, restart.hardState.commit, restart.snapshotIndex)
        let term = max(restart.entries.last?.term ?? 0, restart.hardState.term)
        var appended: [Entry] = []
        func append(_ data: Bytes) {
            index += 1
            appended.append(Entry(term: term, index: index, kind: .confChange, data: data))
        }
        // Self first: the voters must never be none.
        if !known.contains(id) { append(addSelf()) }
        for other in known.sorted() where other != id { append(remove(other)) }
        restart.entries += appended
        restart.hardState.commit = index
        if restart.hardState.term < term { restart.hardState = HardState(term: term, vote: .none, commit: index) }
        return appended
    }
}
