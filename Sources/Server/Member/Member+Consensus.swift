// Raft's work: what `ready` hands out is written, sent and applied here, in the order that its contract asks for.
//
// What a leader sends leaves before its own sync, so that its disk works in parallel with its followers'. SyncPolicy says
// which thread syncs.

import DiskLog
import FileFormats
import Foundations
import GRPC
import Linux
import MVCC
import Raft
import State
import Wire

extension Member {
    /// Hands what waits to raft. Without a leader it goes on waiting.
    func offerProposals() {
        guard !proposals.isEmpty else { return }
        var taken = 0
        loop: for proposal in proposals {
            let outcome =
                proposal.kind == .normal ? raft.propose(proposal.data) : raft.proposeConfChange(proposal.data, kind: proposal.kind)
            switch outcome {
            case .appended, .forwarded, .removed: taken += 1
            case .noLeader, .transferring, .tooMuchUncommitted: break loop
            }
        }
        if taken == proposals.count { proposals.removeAll(keepingCapacity: true) } else { proposals.removeFirst(taken) }
    }

    func drive() {
        while raft.hasReady && !isStopped { perform(raft.ready()) }
    }

    private func perform(_ ready: Ready) {
        if let softState = ready.softState { leadershipChanged(softState) }
        if let snapshot = ready.snapshot { accept(snapshot) }
        for entry in ready.entries {
            log.append(term: entry.term, index: entry.index, kind: UInt64(entry.kind.rawValue), data: entry.data)
        }
        if let hard = ready.hardState { log.set(LogState(term: hard.term, vote: hard.vote, commit: hard.commit)) }
        send(ready.messages)
        if let ticket = ready.ticket { sync(ticket) }
        if isStopped { return }
        apply(ready.committed)
        for read in ready.readStates { confirmed(read) }
    }

    // MARK: Leadership

    private func leadershipChanged(_ soft: SoftState) {
        state.raftTerm = raft.term
        let stoodBefore = stands
        stands = soft.role == .preCandidate || soft.role == .candidate
        if stands && !stoodBefore { report("\(identity.member) is starting a new election at term \(raft.term)", []) }
        let hadLeader = metrics.leader != .none
        metrics.leader = soft.leader
        if soft.role != .leader {
            if leadsForSure { report("stopped leading", [("term", "\(raft.term)")]) }
            leadsForSure = false
            state.lessor.demote()
        }
        formerOffered = proposals.first?.started ?? loop.now &+ 1
        if soft.leader == .none {
            if leaderlessSince == 0 { leaderlessSince = loop.now }
            if hadLeader { report("lost leader", [("term", "\(raft.term)")]) }
        } else {
            leaderlessSince = 0
            leaderSince = loop.now
            metrics.leaderChanges += 1
            report(
                "elected leader",
                [("local-member-id", "\(identity.member)"), ("leader", "\(soft.leader)"), ("term", "\(raft.term)")])
        }
        failAskedReads(EtcdError.leaderChanged)
        onLeaderChanged()
    }

    /// The first entry of a new term is applied. What was given to leaders before is applied by now, or was lost with
    /// them, but for what is still on its way: whoever asked need not wait for the whole time-out to learn that nobody
    /// knows.
    private func giveUpOnFormerLeaders() {
        let bound = formerOffered
        guard bound > 0, waiters.count > 0 else { return }
        loop.schedule(after: settings.electionTimeout / 2) { [weak self] in
            guard let self, !isStopped else { return }
            for waiter in waiters.expire(now: bound &- 1 &+ settings.requestTimeout) {
                metrics.proposalsFailed += 1
                respond(waiter.reply, .failure(EtcdError.timeoutDueToLeaderFail))
            }
        }
    }

    // MARK: The log

    private func sync(_ ticket: WriteTicket) {
        lastTicket = ticket
        if syncPolicy.inBackground {
            if !log.isSyncing { syncStarted = Linux.Clock.monotonic() }
            log.syncInBackground(ticket: ticket)
            return
        }
        transport?.flush()
        let start = Linux.Clock.monotonic()
        do throws(LogError) { try log.sync() } catch { return halt("\(error)") }
        let took = Linux.Clock.monotonic() - start
        lastSync = SyncTime(took: took, ended: start + took)
        syncPolicy.note(took)
        judgeDisk(took)
        raft.persisted(through: ticket)
    }

    /// Each sync of a second is told; a disk that is slow all the time once a minute, since it would be the same again.
    private func judgeDisk(_ took: UInt64) {
        usualSync = (usualSync * 15 + took) / 16
        if took > 1_000_000_000 { return tellSlowSync(took, "1s") }
        guard usualSync > 50_000_000, slowDiskTold == 0 || loop.now &- slowDiskTold > 60_000_000_000 else { return }
        slowDiskTold = loop.now
        tellSlowSync(usualSync, "50ms")
    }

    private func tellSlowSync(_ took: UInt64, _ expected: String) {
        warn("slow fdatasync", [("took", "\(took / 1_000_000)ms"), ("expected-duration", expected), ("path", log.directory)])
    }

    /// The log's thread reports: writes up to the ticket are durable, or never will be.
    func logSynced(_ ticket: UInt64, _ error: LogError?) {
        guard !isStopped else { return }
        if let error { return halt("\(error)") }
        raft.persisted(through: ticket)
        lastSync.ended = Linux.Clock.monotonic()
        lastSync.took = lastSync.ended &- syncStarted
        syncStarted = lastSync.ended
        syncPolicy.note(lastSync.took)
        judgeDisk(lastSync.took)
    }

    // MARK: Peers

    private func send(_ messages: [Message]) {
        guard !messages.isEmpty, let transport else { return }
        if messages.contains(where: { $0.kind == .snapshot }) {
            for message in messages where message.kind == .snapshot { sendStore(message) }
            transport.send(messages.filter { $0.kind != .snapshot })
        } else {
            transport.send(messages)
        }
    }

    /// The transport talks to the members of the list.
    func syncPeers() {
        guard isMembershipDirty, let transport else { return }
        isMembershipDirty = false
        let others = state.membership.members.filter { $0.id != identity.member }
        for id in connectedPeers where !others.contains(where: { $0.id == id }) { transport.removePeer(id) }
        for member in others { transport.setPeer(member.id, urls: member.peerURLs) }
        connectedPeers = others.map(\.id)
    }

    // MARK: Applying

    private func apply(_ entries: [Entry]) {
        guard let last = entries.last else { return }
        applyTimes?.begin()
        for entry in entries {
            if entry.index <= state.appliedIndex {
                // The store has it; consensus learns its own configuration from the list the store holds.
                continue
            }
            if entry.kind == .normal { apply(entry) } else { applyMembership(entry) }
            if isStopped { return }
        }
        if raft.appliedIndex < last.index { raft.applied(to: last.index) }
        runConfirmedReads()
        raft.isApplyPaused = store.isBacklogged
        if isMembershipDirty { syncPeers() }
    }

    private func apply(_ entry: Entry) {
        output.removeAll(keepingCapacity: output.capacity <= 1 << 20)
        let data = entry.data ?? []
        let request = Member.request(in: data)
        var waiter = request.flatMap { waiters.take($0.id) }
        let applied = state.apply(
            index: entry.index, term: entry.term, data: data.rawSpan, isAwaited: waiter != nil, output: &output)
        metrics.applied += 1
        // A legacy entry (a name is published, a cluster version set) is no request of today's kind: what it was is known now.
        if waiter == nil, applied.requestID != 0 { waiter = waiters.take(applied.requestID) }
        if let waiter {
            answer(waiter, applied)
            noteSlowRequest(waiter, data, answer: output.count)
        }
        if applied.hasChanges, let watches { hub.notify(state.kv, watches) }
        perform(applied.effect, entry)
        if let request, RequestKind.takesRoom(request.kind) { checkQuota() }
        if !data.isEmpty { applyTimes?.applied(request?.kind ?? RequestKind.legacy, data, ok: !applied.hasFailed) }
    }

    private static func request(in data: Bytes) -> (id: UInt64, kind: UInt32)? {
        guard !data.isEmpty, let view = try? InternalRaftRequestView(decoding: data.rawSpan) else { return nil }
        return (view.requestID, view.kindField)
    }

    private func answer(_ waiter: Waiter, _ applied: Applied) {
        switch applied.outcome {
        case .failed(let status):
            respond(waiter.reply, .failure(status))
        case .answered, .silent:
            if waiter.compactsTo > 0 && state.kv.isCompacting {
                compactionWaiters.append((waiter.compactsTo, waiter.reply, output))
                return
            }
            switch waiter.reply {
            case .call(let call): server?.reply(call) { $0.append(contentsOf: output) }
            case .body(let body): body(.success(output))
            case .nobody: break
            }
        }
    }

    private func applyMembership(_ entry: Entry) {
        let data = entry.data ?? []
        let applied = state.applyMembershipChange(index: entry.index, term: entry.term, data: data.rawSpan)
        if let halted = applied.halt { return halt("\(halted)") }
        let kind = ConfChange.Kind(rawValue: UInt8(clamping: applied.kind)) ?? .updateNode
        let conf = raft.applyConfChange(applied.node == .none ? .nothing : ConfChange(kind, applied.node), at: entry.index)
        state.recordConfState(
            voters: conf.voters, learners: conf.learners, votersOutgoing: conf.votersOutgoing,
            learnersNext: conf.learnersNext, autoLeave: conf.autoLeave)
        isMembershipDirty = true
        if let change = applied.change, applied.failure == nil {
            report("applied a membership change", [("change", "\(change)"), ("index", "\(entry.index)")])
        }
        if let waiter = waiters.take(applied.requestID) {
            respond(waiter.reply, applied.failure.map { .failure($0) } ?? .success([]))
        }
        if applied.removesSelf {
            expel()
            // The others learn of it first, and a removed leader lets the entry spread.
            loop.schedule(after: 1_000_000_000) { [weak self] in
                self?.onRemoved("the member has been permanently removed from the cluster")
            }
        }
    }

    private func perform(_ effect: Applied.Effect, _ entry: Entry) {
        switch effect {
        case .none: break
        case .compactionScheduled:
            if compactionStarted == 0 { compactionStarted = Linux.Clock.monotonic() }
            onCompacted(state.kv.compactedRevision)
        case .termBegan:
            askAgain()
            giveUpOnFormerLeaders()
            guard raft.isLeader, entry.term == raft.term else { return }
            leadsForSure = true
            state.lessor.promote(now: state.clock.now)
            onLeaderChanged()
        case .alarmsChanged:
            quotaAlarmProposed = false
            for alarm in state.alarms.list() {
                let kind = alarm.type == .nospace ? "NOSPACE" : "CORRUPT"
                report("raised alarm", [("alarm", kind), ("member-id", "\(MemberID(alarm.member))")])
            }
            onAlarmsChanged()
        case .leaseRevoked(let lease): onLeaseRevoked(lease)
        case .clusterVersionChanged(let version):
            report("updated cluster version", [("to", "\(version.major).\(version.minor)")])
        case .halt(let reason): halt("\(reason)")
        }
    }

    /// Raft may be told to hand over; the caller learns the end by looking at `leader`.
    package func transferLeadership(to id: MemberID) {
        raft.transferLeader(to: id)
        loop.turnAgain()
    }
}
