// Reads that wait until a leader is sure that it still leads. A read remembers the commit index of its arrival; when a
// majority has answered a heartbeat that carried the read's token, no later leader can have committed anything the read
// should have seen. An answer to one token covers all reads before it.

import Foundations

struct ReadQueue {
    struct Read {
        var token: Bytes
        /// Nobody: asked on this member itself.
        var requester: MemberID
        var index: LogIndex
        var confirmedBy: [MemberID] = []
    }

    /// In order of arrival.
    private(set) var waiting: [Read] = []
    /// Arrived before an entry of this term was committed: the commit index is not known to be current yet.
    var early: [(token: Bytes, requester: MemberID)] = []

    var count: Int { waiting.count + early.count }
    var newestToken: Bytes { waiting.last?.token ?? [] }

    func contains(token: Bytes, requester: MemberID) -> Bool {
        waiting.contains { $0.token == token && $0.requester == requester }
    }

    mutating func add(token: Bytes, requester: MemberID, index: LogIndex) {
        waiting.append(Read(token: token, requester: requester, index: index))
    }

    /// Notes an answer; returns who confirmed the newest read with this token.
    mutating func confirm(_ token: Bytes, by member: MemberID) -> (position: Int, by: [MemberID])? {
        guard let position = waiting.lastIndex(where: { $0.token == token }) else { return nil }
        if !waiting[position].confirmedBy.contains(member) { waiting[position].confirmedBy.append(member) }
        return (position, waiting[position].confirmedBy)
    }

    mutating func take(through position: Int) -> [Read] {
        let done = Array(waiting[...position])
        waiting.removeFirst(position + 1)
        return done
    }
}
