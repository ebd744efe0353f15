// One member's part in the consensus, as a pure value: input in, work out. It knows no clock, disk or network.
//
// The driver's contract
// =====================
//
//     step(message)  tick()  propose(...)  readIndex(token)  transferLeader  reportUnreachable  reportGone ...
//            \          |         |
//             v         v         v
//           +-------------------------+   ready()   +--------------------------------------------------+
//           |        RaftNode         | ----------> | write hardState, snapshot, entries   (ticket)    |
//           +-------------------------+             | send messages                                    |
//             ^          ^        ^                 | apply committed entries                          |
//             |          |        |                 | answer readStates                                |
//       persisted     applied  applyConfChange      +--------------------------------------------------+
//
// 1. Call `ready()` after a turn's input, as long as `hasReady`. Many proposals and messages in one turn make one append
//    per follower and one write.
// 2. Write `snapshot`, `entries`, `hardState`, in this order within one `ready()` and in the order of the `ready()`s: a
//    hard state that survives a torn write must not name a commit index whose entries did not. When `ticket` is set,
//    sync, and call `persisted(through: ticket)` when done. Several may be under way; one report covers all before it.
//    `messages` need not wait for the sync: the node withholds answers and vote requests until the report, while a
//    leader's appends leave at once, so that its own disk works in parallel with its followers'.
// 3. Apply `committed` in order. For an entry whose kind is not `.normal`, decode it, check it against the member list and
//    call `applyConfChange(change, at: entry.index)`: `.nothing` if the check failed. Then `applied(to:)`. Entries are
//    handed out when they are committed and in this member's synced log (see `Settings.appliesBeforeStable`). While the
//    state machine is behind, set `isApplyPaused`.
// 4. A `snapshot` in `ready` replaces the state machine: write it, install it, `persisted`, then `applied(to: its index)`.
// 5. `messages` may hold kind `.snapshot`: its metadata says what is the least that helps. The driver sends a snapshot at
//    that index or later, and reports its end with `reportSnapshot`. It must not compact beyond it in the meantime.
//    Messages that cannot be delivered may be dropped; `reportUnreachable` makes the node careful with that member.
// 6. `compact(to:)` after the driver has made a snapshot of its own. Start again with `init(settings:seed:restart)`.
//
// A single member: propose, ready (entries, ticket), sync, persisted, ready (committed): one turn, no message.
//
// Rules are cited as "paper" (the extended raft paper) and by the names etcd uses.

import Foundations

package struct RaftNode: ~Copyable {
    /// What a member comes back with. Everything zero is a member that joins: empty log, empty configuration.
    package struct Restart: Sendable {
        package var hardState = HardState()
        /// The newest snapshot that is backed by the log; the entries follow it.
        package var snapshotIndex: LogIndex = 0
        package var snapshotTerm: Term = 0
        package var entries: [Entry] = []
        /// The state machine has this; later committed entries are handed out again. Not before the snapshot.
        package var applied: LogIndex = 0
        /// As of `applied`.
        package var confState = ConfState()

        package init() {}
    }

    package let settings: Settings
    package var id: MemberID { settings.id }

    // Durable (paper, figure 2).
    package internal(set) var term: Term
    package internal(set) var vote: MemberID
    var log: RaftLog
    package internal(set) var confState: ConfState {
        didSet { (isOnlyVoter, isLearner) = (confState.isOnlyVoter(id), confState.isLearner(id)) }
    }
    // Asked at each request: kept, not found anew.
    /// What this member has applied is all that anybody was told of.
    package private(set) var isOnlyVoter: Bool
    package private(set) var isLearner: Bool

    package internal(set) var role = Role.follower
    package internal(set) var leader = MemberID.none

    // Clocks in ticks.
    var electionElapsed = 0
    var heartbeatElapsed = 0
    var electionTimeout = 0
    /// Ticks until this member campaigns because its leader's process is gone; nil: nobody said so.
    var successionIn: Int?
    var random: SeededRandom

    // Candidates: who answered what.
    var votes: [(id: MemberID, granted: Bool)] = []
    /// A candidate's vote for itself counts when it is durable; nil ticket: not written yet.
    var ownVote: (term: Term, ticket: WriteTicket?)?

    // Leaders.
    /// One for each member of the configuration, itself included, ascending by id. Others keep it for the ids only.
    var peers: [Progress] = []
    var appendsDue = false
    /// No configuration change is taken until this index is applied (raft-semantics 5).
    var pendingConfIndex: LogIndex = 0
    package internal(set) var leaderTransferee = MemberID.none
    /// Others' proposals that came during a transfer.
    var held: [Message] = []
    var uncommittedBytes = 0
    var reads = ReadQueue()

    // Output.
    var outbox: [Message] = []
    /// Wait for the next batch of writes, or for those under way.
    var withheldNew: [Message] = []
    var withheld: [(ticket: WriteTicket, message: Message)] = []
    var readStates: [ReadState] = []
    var lastHardState: HardState
    var lastSoftState = SoftState()
    /// To be handed out by the next `ready`.
    var snapshotToWrite: Snapshot?
    /// Handed out or about to be; nothing is applied and no campaign begun until the driver has installed it.
    package internal(set) var installing: LogIndex?
    var lastTicket: WriteTicket = 0
    /// Batches the disk has, oldest first, and the last entry each of them makes stable.
    var writes: [(ticket: WriteTicket, lastIndex: LogIndex)] = []

    /// Backpressure: no committed entries are handed out while this is set.
    package var isApplyPaused = false

    package init(settings: Settings, seed: UInt64, restart: Restart = Restart()) {
        invariant(settings.id != .none, "a member needs an id")
        invariant(
            settings.heartbeatTicks > 0 && settings.electionTicks > settings.heartbeatTicks,
            "election \(settings.electionTicks) ticks, heartbeat \(settings.heartbeatTicks)")
        self.settings = settings
        random = SeededRandom(seed: seed)
        log = RaftLog(
            snapshotIndex: restart.snapshotIndex, snapshotTerm: restart.snapshotTerm, entries: restart.entries,
            committed: restart.hardState.commit, applied: max(restart.applied, restart.snapshotIndex))
        // A torn write can leave entries of a term whose hard state is lost. No answer of that term has left, so the
        // vote in it is free.
        let isTorn = restart.hardState.term < log.lastTerm
        term = isTorn ? log.lastTerm : restart.hardState.term
        vote = isTorn ? .none : restart.hardState.vote
        confState = restart.confState
        isOnlyVoter = restart.confState.isOnlyVoter(settings.id)
        isLearner = restart.confState.isLearner(settings.id)
        confState.check()
        lastHardState = restart.hardState
        peers = confState.members.map { makeProgress($0) }
        drawElectionTimeout()
    }

    // MARK: - What a driver may want to know

    package var commitIndex: LogIndex { log.committed }
    package var appliedIndex: LogIndex { log.applied }
    package var lastIndex: LogIndex { log.lastIndex }
    package var lastTerm: Term { log.lastTerm }
    /// First entry still in memory.
    package var firstIndex: LogIndex { log.firstIndex }
    package var stableIndex: LogIndex { log.stable }
    package var hardState: HardState { HardState(term: term, vote: vote, commit: log.committed) }
    package var softState: SoftState { SoftState(role: role, leader: leader) }
    package var isLeader: Bool { role == .leader }
    /// Nil when forgotten or not there yet.
    package func term(at index: LogIndex) -> Term? { log.term(at: index) }
    package func entry(at index: LogIndex) -> Entry? {
        index >= log.firstIndex && index <= log.lastIndex ? log[index] : nil
    }

    /// What a leader knows of the others, for promotion checks and metrics; empty on other members.
    package struct PeerStatus: Equatable, Sendable {
        package enum State: Equatable, Sendable { case probe, replicate, snapshot }
        package var id: MemberID
        package var match: LogIndex
        package var next: LogIndex
        package var state: State
        package var isRecentlyActive: Bool
        package var isLearner: Bool
    }

    package var peerStatus: [PeerStatus] {
        guard isLeader else { return [] }
        return peers.map { peer in
            let state: PeerStatus.State =
                switch peer.state {
                case .probe: .probe
                case .replicate: .replicate
                case .snapshot: .snapshot
                }
            return PeerStatus(
                id: peer.id, match: peer.match, next: peer.next, state: state,
                isRecentlyActive: peer.isRecentlyActive || peer.id == id, isLearner: confState.isLearner(peer.id))
        }
    }

    // MARK: - Parts

    func slot(of member: MemberID) -> Int? {
        for slot in peers.indices where peers[slot].id == member { return slot }
        return nil
    }

    func makeProgress(_ member: MemberID) -> Progress {
        Progress(
            id: member, next: log.lastIndex + 1, windowMessagesMax: settings.inflightMessagesMax,
            windowBytesMax: settings.inflightBytesMax)
    }

    mutating func drawElectionTimeout() {
        electionTimeout = settings.electionTicks + Int.random(in: 0..<settings.electionTicks, using: &random)
    }

    /// The only voter there is: it decides alone.
}
