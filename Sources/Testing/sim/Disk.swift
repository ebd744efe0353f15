// A member's disk: what a crash leaves behind. Records become durable in order and in groups, as with one log file; a
// crash keeps the synced ones, any number of those after them, and none after the first that is lost.

import Foundations
import Raft

/// A state machine's snapshot, with what the member needs to go on from there.
struct StoredState {
    var metadata = SnapshotMetadata()
    var store: Bytes = []
    var removed: [MemberID] = []
}

struct Disk {
    enum Record {
        case entry(Entry)
        case hardState(HardState)
        /// Received from a leader: voids the log, unless it matches.
        case received(StoredState)
        /// Made by this member; entries up to `compactTo` may go.
        case own(StoredState, compactTo: LogIndex)
    }

    /// What was read back.
    private(set) var hardState = HardState()
    private(set) var state = StoredState()
    private(set) var logStart: (index: LogIndex, term: Term) = (0, 0)
    private(set) var entries: [Entry] = []

    /// Not yet durable, with the batch they belong to.
    private var pending: [(record: Record, ticket: WriteTicket)] = []
    private var newestTicket: WriteTicket = 0
    /// What the sync under way covers.
    private var syncing: (records: Int, ticket: WriteTicket)?

    var isSyncing: Bool { syncing != nil }
    var needsSync: Bool { !pending.isEmpty && syncing == nil }

    mutating func write(_ records: [Record], ticket: WriteTicket?) {
        newestTicket = ticket ?? newestTicket
        for record in records { pending.append((record, newestTicket)) }
    }

    mutating func beginSync() {
        syncing = (pending.count, newestTicket)
    }

    /// Returns the batch up to which everything is durable.
    mutating func endSync() -> WriteTicket {
        let (records, ticket) = syncing!
        syncing = nil
        for (record, _) in pending[..<records] { keep(record) }
        pending.removeFirst(records)
        return ticket
    }

    mutating func crash(using random: inout SeededRandom) {
        let survivors = Int.random(in: 0...pending.count, using: &random)
        for (record, _) in pending[..<survivors] { keep(record) }
        pending = []
        syncing = nil
        newestTicket = 0
    }

    /// For the proof that the simulator would notice: a disk that does not keep what it promised.
    mutating func forgetVote() { hardState.vote = .none }
    mutating func loseLastEntry() { if let last = entries.last, last.index > hardState.commit { entries.removeLast() } }

    /// True when the entry is certain to be there after a crash.
    func holds(index: LogIndex, term: Term) -> Bool {
        if index <= state.metadata.index || index <= logStart.index { return true }
        let position = Int(index - logStart.index) - 1
        return position < entries.count && entries[position].term == term
    }

    func restart() -> RaftNode.Restart {
        var restart = RaftNode.Restart()
        restart.hardState = hardState
        restart.snapshotIndex = logStart.index
        restart.snapshotTerm = logStart.term
        restart.entries = entries
        restart.applied = state.metadata.index
        restart.confState = state.metadata.confState
        return restart
    }

    private mutating func keep(_ record: Record) {
        switch record {
        case .entry(let entry):
            let position = Int(entry.index - logStart.index) - 1
            invariant(position >= 0 && position <= entries.count, "the disk got entry \(entry.index) after a gap")
            entries.removeLast(entries.count - position)
            entries.append(entry)
        case .hardState(let state):
            hardState = state
        case .received(let received):
            state = received
            let position = Int(received.metadata.index) - Int(logStart.index) - 1
            if position >= 0 && position < entries.count && entries[position].term == received.metadata.term { return }
            logStart = (received.metadata.index, received.metadata.term)
            entries = []
        case .own(let own, let compactTo):
            state = own
            guard compactTo > logStart.index else { return }
            let count = Int(compactTo - logStart.index)
            logStart = (compactTo, entries[count - 1].term)
            entries.removeFirst(count)
        }
    }
}
