// What a leader knows about one member's log, and how fast it may send.
//
//            accepted append                       entries are forgotten
//     probe ------------------> replicate      any ----------------------> snapshot
//       ^   <------------------     |                                        |
//       |    reject, unreachable                                             |
//       +--------------------------------------------------------------------+
//                 snapshot reported (done or failed), or acknowledged by an append response
//
// probe: one append at a time, until we know where the logs agree. replicate: optimistic, `next` moves when sent, bounded
// by the window. snapshot: nothing until it is resolved.

import Foundations

struct Progress {
    enum State: Equatable { case probe, replicate, snapshot(pending: LogIndex) }

    let id: MemberID
    /// Known to be in the member's durable log. match < next.
    private(set) var match: LogIndex = 0
    /// Sent next.
    private(set) var next: LogIndex
    private(set) var state = State.probe
    /// Heard from since the last check of the quorum.
    var isRecentlyActive = false
    /// An append is due even when it would be empty: it asks where the logs agree.
    var owesProbe = false
    /// The commit index the member was last told.
    private(set) var sentCommit: LogIndex = 0
    /// probe: an append is under way, its answer or a heartbeat's is awaited.
    private(set) var isWaiting = false
    private var window: InflightWindow

    init(id: MemberID, next: LogIndex, windowMessagesMax: Int, windowBytesMax: Int) {
        self.id = id
        self.next = next
        window = InflightWindow(messagesMax: windowMessagesMax, bytesMax: windowBytesMax)
    }

    var isPaused: Bool {
        switch state {
        case .probe: isWaiting
        case .replicate: window.isFull
        case .snapshot: true
        }
    }

    /// Forgets what is known, at the start of a leadership.
    mutating func reset(match: LogIndex, next: LogIndex) {
        self.match = match
        self.next = next
        change(to: .probe)
        isRecentlyActive = false
        owesProbe = false
        sentCommit = 0
    }

    // MARK: - Sending

    mutating func sentAppend(count: Int, bytes: Int, commit: LogIndex) {
        owesProbe = false
        sentCommit = commit
        switch state {
        case .probe:
            isWaiting = true
        case .replicate:
            guard count > 0 else { return }
            next += LogIndex(count)
            window.add(last: next - 1, bytes: bytes)
        case .snapshot:
            unreachable("an append sent to \(id) while a snapshot is under way")
        }
    }

    mutating func sentSnapshot(index: LogIndex) {
        change(to: .snapshot(pending: index))
    }

    // MARK: - Answers

    /// The member has everything up to `index`. Returns true when that is news.
    mutating func accepted(_ index: LogIndex) -> Bool {
        let isNews = index > match
        if isNews { match = index }
        if index >= next { next = index + 1 }
        switch state {
        case .probe:
            if isNews || index == match { change(to: .replicate) }
        case .replicate:
            window.free(through: index)
        case .snapshot(let pending):
            if match >= pending { change(to: .replicate) }
        }
        if state == .replicate { next = max(next, match + 1) }
        check()
        return isNews
    }

    /// The member has no entry that agrees at `index`; `retry` is where to look next. False when the answer is stale.
    mutating func rejected(_ index: LogIndex, retry: LogIndex) -> Bool {
        switch state {
        case .replicate:
            guard index > match else { return false }
            change(to: .probe)
            next = match + 1
        case .probe:
            guard index == next - 1 else { return false }
            next = max(min(index, retry + 1), match + 1)
            isWaiting = false
        case .snapshot:
            return false
        }
        owesProbe = true
        check()
        return true
    }

    /// The member is there: a waiting probe may be repeated, and a full window gets one place, in case answers were lost.
    mutating func heartbeatAnswered() {
        isRecentlyActive = true
        isWaiting = false
        if case .replicate = state, window.isFull { window.freeFirst() }
    }

    mutating func unreachableReported() {
        guard state == .replicate else { return }
        change(to: .probe)
        next = match + 1
    }

    /// Waits for the next sign of life before it goes on.
    mutating func snapshotReported(succeeded: Bool) {
        guard case .snapshot(let pending) = state else { return }
        change(to: .probe)
        next = succeeded ? max(match + 1, pending + 1) : match + 1
        isWaiting = true
        owesProbe = true
    }

    private mutating func change(to newState: State) {
        state = newState
        isWaiting = false
        window.removeAll()
        if case .replicate = newState { next = match + 1 }
    }

    private func check() {
        invariant(match < next, "progress of \(id): match \(match), next \(next)")
    }
}

/// Appends sent and not yet acknowledged: bounded by number and bytes, oldest first.
struct InflightWindow {
    private let messagesMax: Int
    private let bytesMax: Int
    private var sent: [(last: LogIndex, bytes: Int)] = []
    private var head = 0
    private(set) var bytes = 0

    init(messagesMax: Int, bytesMax: Int) {
        self.messagesMax = messagesMax
        self.bytesMax = bytesMax
    }

    var count: Int { sent.count - head }
    var isFull: Bool { count >= messagesMax || bytes >= bytesMax }

    mutating func add(last: LogIndex, bytes: Int) {
        invariant(!isFull, "an append beyond the window of \(messagesMax)")
        sent.append((last, bytes))
        self.bytes += bytes
    }

    mutating func free(through index: LogIndex) {
        while head < sent.count && sent[head].last <= index { dropFirst() }
        tidy()
    }

    mutating func freeFirst() {
        if head < sent.count { dropFirst() }
        tidy()
    }

    mutating func removeAll() {
        sent.removeAll(keepingCapacity: true)
        head = 0
        bytes = 0
    }

    private mutating func dropFirst() {
        bytes -= sent[head].bytes
        head += 1
    }

    private mutating func tidy() {
        if head == sent.count {
            removeAll()
        } else if head >= messagesMax {
            sent.removeFirst(head)
            head = 0
        }
    }
}
