// From input to work: gathers what one turn has made due, and takes the reports of what was done.

import Foundations

extension RaftNode {
    package var hasReady: Bool {
        appendsDue || !outbox.isEmpty || !withheldNew.isEmpty || !readStates.isEmpty || log.written < log.lastIndex
            || snapshotToWrite != nil || mayHandOut || hardState != lastHardState || softState != lastSoftState
    }

    package mutating func ready() -> Ready {
        flushAppends()
        var ready = Ready()
        gatherWrites(&ready)
        withholdUntilDurable()
        if softState != lastSoftState {
            lastSoftState = softState
            ready.softState = softState
        }
        if mayHandOut {
            ready.committed = log.entries(
                from: log.handedOut + 1, through: handOutLimit, bytesMax: settings.applyBytesMax)
            log.markHandedOut(to: log.handedOut + LogIndex(ready.committed.count))
        }
        swap(&ready.messages, &outbox)
        swap(&ready.readStates, &readStates)
        return ready
    }

    private mutating func gatherWrites(_ ready: inout Ready) {
        var mustSync = false
        let state = hardState
        if state != lastHardState {
            invariant(
                state.term >= lastHardState.term && state.commit >= lastHardState.commit,
                "the hard state goes backwards: \(lastHardState), then \(state)")
            mustSync = state.term != lastHardState.term || state.vote != lastHardState.vote
            lastHardState = state
            ready.hardState = state
        }
        if let snapshot = snapshotToWrite {
            snapshotToWrite = nil
            ready.snapshot = snapshot
            log.markHandedOut(to: snapshot.metadata.index)
            mustSync = true
        }
        if log.written < log.lastIndex {
            ready.entries = log.entries(from: log.written + 1, through: log.lastIndex, bytesMax: .max)
            log.markWritten()
            mustSync = true
        }
        guard mustSync else { return }
        lastTicket += 1
        ready.ticket = lastTicket
        writes.append((lastTicket, log.lastIndex))
        if let own = ownVote, own.ticket == nil { ownVote = (own.term, lastTicket) }
    }

    /// Answers wait for the newest batch under way; when there is none, everything they rest on is durable.
    private mutating func withholdUntilDurable() {
        guard !withheldNew.isEmpty else { return }
        if writes.isEmpty {
            outbox.append(contentsOf: withheldNew)
        } else {
            for message in withheldNew { withheld.append((lastTicket, message)) }
        }
        withheldNew.removeAll(keepingCapacity: true)
    }

    private var handOutLimit: LogIndex {
        settings.appliesBeforeStable ? log.committed : min(log.committed, log.stable)
    }

    private var mayHandOut: Bool {
        !isApplyPaused && installing == nil && log.handedOut < handOutLimit
    }

    // MARK: - Reports of the driver

    /// Everything up to and with this batch is synced.
    package mutating func persisted(through ticket: WriteTicket) {
        invariant(ticket <= lastTicket, "batch \(ticket) is durable, the last one was \(lastTicket)")
        var done = 0
        while done < writes.count && writes[done].ticket <= ticket {
            log.markStable(to: writes[done].lastIndex)
            done += 1
        }
        guard done > 0 else { return }
        writes.removeFirst(done)
        var released = 0
        while released < withheld.count && withheld[released].ticket <= ticket {
            outbox.append(withheld[released].message)
            released += 1
        }
        withheld.removeFirst(released)
        noteOwnProgress(log.stable)
        countOwnVote(durableThrough: ticket)
    }

    /// The state machine has everything up to here.
    package mutating func applied(to index: LogIndex) {
        log.markApplied(to: index)
        if let waiting = installing, log.applied >= waiting { installing = nil }
        proposeLeavingJoint()
    }

    /// Forgets entries: a snapshot of the state machine at `index` or later exists.
    package mutating func compact(to index: LogIndex) {
        log.compact(to: index)
    }
}
