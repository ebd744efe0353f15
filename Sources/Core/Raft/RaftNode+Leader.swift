// The leader's side of replication: what to send to whom, and when an entry is committed.
//
// Nothing is sent while proposals and answers come in: they only mark what is due. `ready` then makes one append for each
// member out of everything that came in this turn, with the newest commit index.

import Foundations

extension RaftNode {
    /// Appends in this member's own term.
    mutating func appendOwn(kind: Entry.Kind, data: Bytes?) {
        invariant(role == .leader, "only a leader appends by itself")
        log.append(Entry(term: term, index: log.lastIndex + 1, kind: kind, data: data))
        appendsDue = true
        if settings.sabotage.contains(.countsUnsynced) { noteOwnProgress(log.lastIndex) }
    }

    /// The leader's own log counts as far as it is durable.
    mutating func noteOwnProgress(_ index: LogIndex) {
        guard role == .leader, let slot = slot(of: id) else { return }
        if peers[slot].accepted(index) { advanceCommit() }
    }

    /// Commits what a majority has, if it is of this term: entries of earlier terms follow (paper, 5.4.2 and figure 8).
    mutating func advanceCommit() {
        let index: LogIndex
        if isOnlyVoter, let slot = slot(of: id) {
            index = peers[slot].match
        } else if settings.sabotage.contains(.learnersCount) {
            index = ConfState(voters: confState.members).quorumIndex { member in peers[self.slot(of: member)!].match }
        } else {
            index = confState.quorumIndex { member in slot(of: member).map { peers[$0].match } ?? 0 }
        }
        guard index > log.committed else { return }
        guard log.term(at: index) == term || settings.sabotage.contains(.commitsOlderTerms) else { return }
        if settings.uncommittedBytesMax != .max {
            for at in (log.committed + 1)...index { uncommittedBytes -= log[at].data?.count ?? 0 }
            uncommittedBytes = max(0, uncommittedBytes)
        }
        let isFirstOfTerm = log.term(at: log.committed) != term
        log.commit(to: index)
        appendsDue = true
        if isFirstOfTerm { startEarlyReads() }
    }

    // MARK: - Sending

    mutating func flushAppends() {
        guard appendsDue else { return }
        appendsDue = false
        var shared: (from: LogIndex, entries: [Entry])?
        for slot in peers.indices where peers[slot].id != id {
            while sendAppend(slot, &shared) {}
        }
    }

    /// Sends one append, if there is reason and room. `shared` is the last slice made: members in step get the same.
    private mutating func sendAppend(_ slot: Int, _ shared: inout (from: LogIndex, entries: [Entry])?) -> Bool {
        let peer = peers[slot]
        let hasEntries = peer.next <= log.lastIndex
        guard !peer.isPaused, hasEntries || peer.owesProbe || peer.sentCommit < log.committed else { return false }
        guard let previousTerm = log.term(at: peer.next - 1) else {
            sendSnapshot(slot)
            return false
        }
        if shared?.from != peer.next {
            let entries = log.entries(from: peer.next, through: log.lastIndex, bytesMax: settings.appendBytesMax)
            shared = (peer.next, entries)
        }
        let entries = shared!.entries
        send(
            Message(
                .append, to: peer.id, from: id, term: term, logTerm: previousTerm, index: peer.next - 1, entries: entries,
                commit: log.committed))
        let bytes = entries.reduce(0) { $0 + $1.weight }
        peers[slot].sentAppend(count: entries.count, bytes: bytes, commit: log.committed)
        return true
    }

    /// The entries are forgotten. A member that does not answer gets nothing: snapshots are expensive.
    private mutating func sendSnapshot(_ slot: Int) {
        guard peers[slot].isRecentlyActive else { return }
        let term = log.term(at: log.applied)
        invariant(term != nil, "no term for the applied index \(log.applied)")
        let metadata = SnapshotMetadata(index: log.applied, term: term!, confState: confState)
        peers[slot].sentSnapshot(index: metadata.index)
        send(
            Message(
                .snapshot, to: peers[slot].id, from: id, term: self.term, snapshot: Snapshot(metadata: metadata)))
    }

    mutating func broadcastHeartbeat() {
        let context = reads.newestToken
        for peer in peers where peer.id != id {
            let commit =
                settings.sabotage.contains(.heartbeatsOvercommit)
                ? log.committed : min(peer.match, log.committed)
            send(Message(.heartbeat, to: peer.id, from: id, term: term, commit: commit, context: context))
        }
    }

    // MARK: - Answers

    mutating func receiveAppendResponse(_ message: Message) {
        guard role == .leader, let slot = slot(of: message.from), message.from != id else { return }
        peers[slot].isRecentlyActive = true
        if message.reject {
            // With a term the hint names the last entry there that could agree: skip all of ours that cannot. Without
            // (3.4) it is only the member's last index.
            let hint = message.rejectHint
            let retry = message.logTerm > 0 ? log.lastIndex(notAfter: hint, termAtMost: message.logTerm) : hint
            if peers[slot].rejected(message.index, retry: retry) { appendsDue = true }
            return
        }
        guard message.index <= log.lastIndex else {
            unreachable("\(message.from) acknowledges \(message.index), the leader's last entry is \(log.lastIndex)")
        }
        if peers[slot].accepted(message.index) { advanceCommit() }
        appendsDue = true
        completeTransferIfCaughtUp(slot)
    }

    mutating func receiveHeartbeatResponse(_ message: Message) {
        guard role == .leader, let slot = slot(of: message.from), message.from != id else { return }
        peers[slot].heartbeatAnswered()
        if peers[slot].match < log.lastIndex {
            peers[slot].owesProbe = true
            appendsDue = true
        }
        if !message.context.isEmpty { confirmRead(message.context, by: message.from) }
    }

    // MARK: - Reports of the driver

    /// Messages to this member were lost: go back to asking where it is.
    package mutating func reportUnreachable(_ member: MemberID) {
        guard role == .leader, let slot = slot(of: member), member != id else { return }
        peers[slot].unreachableReported()
    }

    /// A snapshot for this member has been delivered, or has failed.
    package mutating func reportSnapshot(to member: MemberID, succeeded: Bool) {
        guard role == .leader, let slot = slot(of: member), member != id else { return }
        peers[slot].snapshotReported(succeeded: succeeded)
    }
}
