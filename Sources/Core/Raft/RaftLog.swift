// The log in memory: everything since the last compaction, and the cursors that say how far each part has come.
//
//     snapshotIndex          applied  handedOut        committed           lastIndex
//          |                    |        |                 |                   |
//   -------[####################|########|#################|###################]
//                                             ^ stable             ^ written
//
//   applied <= handedOut <= committed <= lastIndex       what the state machine has, was given, may have
//   stable <= written <= lastIndex                       what the disk has synced, was given
//
// Entries are appended at the end, cut off at the end (a conflict), and forgotten at the front (compaction). Entries cut
// off are followed by the disk in order, so a sync that was under way says nothing about what replaced them: whoever
// cuts must also lower the cursors, see `truncate`.

import Foundations

struct RaftLog {
    /// The live entries are `storage[head...]`; those before are forgotten and dropped in bulk.
    private var storage: [Entry]
    private var head = 0

    /// Position before the first entry.
    private(set) var snapshotIndex: LogIndex
    private(set) var snapshotTerm: Term

    private(set) var committed: LogIndex
    private(set) var applied: LogIndex
    private(set) var handedOut: LogIndex
    private(set) var stable: LogIndex
    private(set) var written: LogIndex

    init(snapshotIndex: LogIndex, snapshotTerm: Term, entries: [Entry], committed: LogIndex, applied: LogIndex) {
        storage = entries
        self.snapshotIndex = snapshotIndex
        self.snapshotTerm = snapshotTerm
        let last = snapshotIndex + LogIndex(entries.count)
        var expected = snapshotIndex
        var term = snapshotTerm
        for entry in entries {
            expected += 1
            invariant(entry.index == expected, "a log with a gap: index \(entry.index) where \(expected) belongs")
            invariant(entry.term >= term, "terms fall in the log: \(term), then \(entry.term) at \(entry.index)")
            term = entry.term
        }
        self.committed = max(committed, snapshotIndex)
        self.applied = applied
        handedOut = applied
        stable = last
        written = last
        invariant(applied >= snapshotIndex, "applied \(applied) is before the snapshot at \(snapshotIndex)")
        invariant(self.committed <= last, "committed \(committed) is beyond the last entry \(last): the log lost entries")
        // The state machine may have been synced when the newest commit index was not: applied is then the better one.
        invariant(applied <= last, "applied \(applied) is beyond the last entry \(last): the log lost entries")
        self.committed = max(self.committed, applied)
    }

    var firstIndex: LogIndex { snapshotIndex + 1 }
    var lastIndex: LogIndex { snapshotIndex + LogIndex(storage.count - head) }
    var lastTerm: Term { storage.count > head ? storage[storage.count - 1].term : snapshotTerm }

    /// The entry at `index`, which must be there.
    subscript(index: LogIndex) -> Entry {
        invariant(index > snapshotIndex && index <= lastIndex, "entry \(index) of \(firstIndex)...\(lastIndex)")
        return storage[position(of: index)]
    }

    /// Nil when forgotten or not there yet.
    func term(at index: LogIndex) -> Term? {
        if index == snapshotIndex { return snapshotTerm }
        guard index > snapshotIndex && index <= lastIndex else { return nil }
        return storage[position(of: index)].term
    }

    func matches(index: LogIndex, term: Term) -> Bool { self.term(at: index) == term }

    /// Whether a log that ends with (term, index) holds at least what this one holds (the paper's up-to-date rule).
    func isUpToDate(term: Term, index: LogIndex) -> Bool {
        term > lastTerm || (term == lastTerm && index >= lastIndex)
    }

    /// The largest index at or below `index` whose term is at most `term`; not before the snapshot.
    func lastIndex(notAfter index: LogIndex, termAtMost term: Term) -> LogIndex {
        var at = min(index, lastIndex)
        while at > snapshotIndex, let here = self.term(at: at), here > term { at -= 1 }
        return max(at, min(index, snapshotIndex))
    }

    /// Entries from `index` on, as many as weigh `bytesMax` together, at least one.
    func entries(from index: LogIndex, through last: LogIndex, bytesMax: Int) -> [Entry] {
        guard index <= last else { return [] }
        invariant(index > snapshotIndex && last <= lastIndex, "entries \(index)...\(last) of \(firstIndex)...\(lastIndex)")
        let first = position(of: index)
        let end = position(of: last) + 1
        var stop = first
        var weight = 0
        while stop < end {
            weight += storage[stop].weight
            if weight > bytesMax && stop > first { break }
            stop += 1
        }
        return Array(storage[first..<stop])
    }

    /// True when an entry that changes the configuration lies in (after, through].
    func containsConfChange(after: LogIndex, through: LogIndex) -> Bool {
        guard through > after else { return false }
        return storage[position(of: after + 1)...position(of: through)].contains { $0.kind != .normal }
    }

    // MARK: - Changes

    mutating func append(_ entry: Entry) {
        storage.append(entry)
    }

    /// Cuts off everything from `index` on. The disk cursors fall back: what it holds there is about to be overwritten.
    mutating func truncate(from index: LogIndex) {
        invariant(index > committed, "a conflict at \(index), committed up to \(committed): members disagree about the past")
        storage.removeLast(storage.count - position(of: index))
        stable = min(stable, index - 1)
        written = min(written, index - 1)
    }

    mutating func commit(to index: LogIndex) {
        guard index > committed else { return }
        invariant(
            index <= lastIndex,
            "told to commit \(index), the last entry is \(lastIndex): this member lost entries it acknowledged")
        committed = index
    }

    /// Lowered again only by `truncate` and `restore`.
    mutating func markStable(to index: LogIndex) {
        invariant(index <= written, "stable \(index), written only \(written)")
        stable = max(stable, index)
    }

    mutating func markWritten() { written = lastIndex }

    mutating func markHandedOut(to index: LogIndex) {
        invariant(index >= handedOut && index <= committed, "handing out \(index) of \(handedOut)...\(committed)")
        handedOut = index
    }

    mutating func markApplied(to index: LogIndex) {
        guard index > applied else { return }
        invariant(index <= handedOut, "applied \(index), handed out only \(handedOut)")
        applied = index
    }

    /// Replaces everything by the state at a snapshot, which is yet to be written and installed.
    mutating func restore(index: LogIndex, term: Term) {
        invariant(index > committed, "a snapshot at \(index) would undo what is committed, \(committed)")
        storage.removeAll(keepingCapacity: true)
        head = 0
        snapshotIndex = index
        snapshotTerm = term
        stable = min(stable, committed)
        committed = index
        written = index
    }

    /// Forgets the entries up to `index`.
    mutating func compact(to index: LogIndex) {
        guard index > snapshotIndex else { return }
        invariant(index <= applied && index <= stable, "compacting to \(index), applied \(applied), stable \(stable)")
        let end = position(of: index) + 1
        snapshotTerm = storage[end - 1].term
        snapshotIndex = index
        for position in head..<end { storage[position].data = nil }
        head = end
        // Moving the rest costs as much as was forgotten, so each entry pays for one move.
        if head >= storage.count - head {
            storage.removeFirst(head)
            head = 0
        }
    }

    private func position(of index: LogIndex) -> Int { head + Int(index - snapshotIndex) - 1 }
}
