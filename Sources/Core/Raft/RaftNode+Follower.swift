// The follower's side of replication.

import Foundations

extension RaftNode {
    mutating func receiveAppend(_ message: Message) {
        if message.index < log.committed {
            return sendWhenDurable(appendResponse(to: message.from, index: log.committed))
        }
        guard
            log.matches(index: message.index, term: message.logTerm)
                || (settings.sabotage.contains(.appendsUnmatched) && message.index <= log.lastIndex)
        else {
            return rejectAppend(message)
        }
        let last = message.index + LogIndex(message.entries.count)
        appendConflictFree(message.entries)
        log.commit(to: min(message.commit, last))
        sendWhenDurable(appendResponse(to: message.from, index: last))
    }

    private func appendResponse(to leader: MemberID, index: LogIndex) -> Message {
        Message(.appendResponse, to: leader, from: id, term: term, index: index)
    }

    /// Entries that are there already stay; the first that differs cuts off the rest (paper, figure 7).
    private mutating func appendConflictFree(_ entries: [Entry]) {
        var new = 0
        while new < entries.count, log.matches(index: entries[new].index, term: entries[new].term) { new += 1 }
        guard new < entries.count else { return }
        if entries[new].index <= log.lastIndex { truncate(from: entries[new].index) }
        for entry in entries[new...] {
            invariant(entry.index == log.lastIndex + 1, "an append with a gap: \(entry.index) after \(log.lastIndex)")
            invariant(
                entry.term >= log.lastTerm && entry.term <= term,
                "an append of term \(entry.term) after \(log.lastTerm), in term \(term)")
            log.append(entry)
        }
    }

    /// What is under way to the disk makes stable only what is not cut off.
    private mutating func truncate(from index: LogIndex) {
        log.truncate(from: index)
        for i in writes.indices { writes[i].lastIndex = min(writes[i].lastIndex, index - 1) }
    }

    /// Says where the logs could agree at best: an entry of a later term than the leader's cannot.
    private mutating func rejectAppend(_ message: Message) {
        let hint = log.lastIndex(notAfter: message.index, termAtMost: message.logTerm)
        sendWhenDurable(
            Message(
                .appendResponse, to: message.from, from: id, term: term, logTerm: log.term(at: hint) ?? 0,
                index: message.index, reject: true, rejectHint: hint))
    }

    mutating func receiveHeartbeat(_ message: Message) {
        log.commit(to: message.commit)
        send(Message(.heartbeatResponse, to: message.from, from: id, term: term, context: message.context))
    }

    mutating func receiveSnapshot(_ message: Message) {
        guard let snapshot = message.snapshot else { return }
        _ = restore(snapshot)
        sendWhenDurable(appendResponse(to: message.from, index: log.committed))
    }

    /// False when the snapshot is of no use: too old, not for this member, or already in the log.
    private mutating func restore(_ snapshot: Snapshot) -> Bool {
        let metadata = snapshot.metadata
        guard metadata.index > log.committed else { return false }
        guard metadata.confState.contains(id) else { return false }
        if log.matches(index: metadata.index, term: metadata.term) {
            log.commit(to: metadata.index)
            return false
        }
        for i in writes.indices { writes[i].lastIndex = min(writes[i].lastIndex, log.committed) }
        log.restore(index: metadata.index, term: metadata.term)
        snapshotToWrite = snapshot
        installing = metadata.index
        confState = metadata.confState
        confState.check()
        peers = confState.members.map { makeProgress($0) }
        return true
    }
}
