// Sees everything and forgets nothing: the properties of the paper's figure 3, and some of our own, checked at the moment
// they could break.

import Foundations
import Raft

struct Oracle {
    private struct Place: Hashable {
        var index: LogIndex
        var term: Term
    }

    private struct Ballot: Hashable {
        var voter: MemberID
        var term: Term
    }

    private var leaders: [Term: MemberID] = [:]
    private var votes: [Ballot: MemberID] = [:]
    private var entries: [Place: (digest: UInt64, previousTerm: Term)] = [:]
    private var committed: [(term: Term, digest: UInt64, commitTerm: Term)] = []
    private var states: [LogIndex: UInt64] = [:]
    private(set) var appliedCommands: Set<UInt64> = []

    /// Index 1 is the founding of the cluster.
    init() { committed = [(1, 0, 1)] }

    var commitIndex: LogIndex { LogIndex(committed.count) }
    var terms: Int { leaders.count }

    private func fail(_ what: String) -> Never { Report.fail(what) }

    // MARK: - Observations

    /// Election safety: at most one leader in a term. Leader completeness: it has all that was committed before.
    mutating func leads(_ node: borrowing RaftNode) {
        let (id, term) = (node.id, node.term)
        if let known = leaders[term] {
            if known != id { fail("election safety: \(known) and \(id) lead term \(term)") }
            return
        }
        leaders[term] = id
        for (position, entry) in committed.enumerated() where entry.commitTerm < term {
            let index = LogIndex(position) + 1
            if index < node.firstIndex { continue }
            if node.term(at: index) != entry.term {
                fail("leader completeness: \(id) leads term \(term) without entry \(index) of term \(entry.term)")
            }
        }
    }

    mutating func sends(_ message: Message) {
        guard message.kind == .voteResponse, !message.reject else { return }
        let ballot = Ballot(voter: message.from, term: message.term)
        if let known = votes[ballot], known != message.to {
            fail("\(message.from) votes for \(known) and for \(message.to) in term \(message.term)")
        }
        votes[ballot] = message.to
    }

    /// Log matching: an entry is the same wherever it is, and so is the one before it.
    mutating func appends(_ new: [Entry], on node: borrowing RaftNode) {
        for entry in new {
            let place = Place(index: entry.index, term: entry.term)
            let digest = Self.digest(of: entry)
            let previousTerm = node.term(at: entry.index - 1) ?? 0
            if let known = entries[place] {
                let isKnown =
                    known.digest == digest
                    && (known.previousTerm == previousTerm || node.term(at: entry.index - 1) == nil)
                if !isKnown { fail("log matching: two entries \(entry.index) of term \(entry.term), one at \(node.id)") }
            } else {
                entries[place] = (digest, previousTerm)
            }
        }
    }

    /// State-machine safety: an index is committed once and for all. Durability: by a majority that has it on disk.
    mutating func commits(_ node: borrowing RaftNode, after old: LogIndex, isDurable: (MemberID, LogIndex, Term) -> Bool) {
        let new = node.commitIndex
        if new < old { fail("\(node.id) takes back its commit index, from \(old) to \(new)") }
        guard new > old else { return }
        for index in max(old + 1, node.firstIndex)..<(new + 1) {
            guard let entry = node.entry(at: index) else { fail("\(node.id) commits entry \(index), which it has not") }
            let digest = Self.digest(of: entry)
            if index <= commitIndex {
                let known = committed[Int(index) - 1]
                if known.term != entry.term || known.digest != digest {
                    fail(
                        "state-machine safety: entry \(index) is committed with term \(known.term), and by \(node.id) with "
                            + "term \(entry.term)")
                }
                continue
            }
            if index != commitIndex + 1 { fail("\(node.id) commits \(index), but nobody has committed \(commitIndex + 1)") }
            committed.append((entry.term, digest, node.term))
        }
        guard new == commitIndex, let term = node.term(at: new) else { return }
        if node.isLeader && !node.confState.hasQuorum({ isDurable($0, new, term) }) {
            fail("durability: \(node.id) commits \(new), which no majority has on disk")
        }
    }

    /// All members go through the same states.
    mutating func reaches(_ digest: UInt64, at index: LogIndex, member: MemberID) {
        if let known = states[index], known != digest {
            fail("the state machines differ at index \(index): \(member) has another state than those before it")
        }
        states[index] = digest
    }

    mutating func applies(_ command: UInt64) { appliedCommands.insert(command) }

    private static func digest(of entry: Entry) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(entry.kind.rawValue)
        for byte in entry.data ?? [] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }
}
