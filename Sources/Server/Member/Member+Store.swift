// What was applied goes to the store in batches; now and then a raft snapshot lets the log be shortened; compaction and
// the catching up of slow watchers are done in slices between requests.

import DiskLog
import FileFormats
import Foundations
import Glibc
import LMDBStore
import Linux
import MVCC
import Raft
import State
import Wire

extension Member {
    /// How long writes and commits take is shown by the metrics. The store may be another one since it was last asked for.
    func watchDisk() {
        guard let families else { return }
        let (writes, syncs) = (families.disk.walWriteDurationSeconds, families.disk.walFsyncDurationSeconds)
        log.observe(DiskLog.DiskTimes(write: { writes.observe(nanoseconds: $0) }, sync: { syncs.observe(nanoseconds: $0) }))
        // A commit of LMDB is the writing of its pages and a sync: there is nothing to rebalance or to spill.
        let (commits, pages) = (
            families.disk.backendCommitDurationSeconds, families.debugging.diskBackendCommitWriteDurationSeconds
        )
        store.observeCommits {
            commits.observe(nanoseconds: $0)
            pages.observe(nanoseconds: $0)
        }
    }

    func submitBatch(force: Bool) {
        guard state.hasBatch else { return }
        let operations = state.kv.batch.operations.count
        guard force || operations >= settings.batchLimit || loop.now &- lastSubmit >= settings.batchInterval else {
            return scheduleSubmit()
        }
        lastSubmit = loop.now
        let index = state.appliedIndex, appliedTerm = state.appliedTerm
        let batch = state.takeBatch()
        submitted.append((batch.number, index, appliedTerm))
        store.submit(batch)
    }

    private func scheduleSubmit() {
        guard submitTimer == nil else { return }
        submitTimer = loop.schedule(after: settings.batchInterval) { [weak self] in
            guard let self else { return }
            submitTimer = nil
            if !isStopped { submitBatch(force: true) }
        }
    }

    /// Calls `body` once everything applied so far is in the store.
    package func whenStored(_ body: @escaping () -> Void) {
        submitBatch(force: true)
        guard let last = submitted.last else { return body() }
        storeWaiters.append((last.batch, body))
    }

    /// A store's thread reports; one that was replaced meanwhile has nothing to say any more.
    func batchCommitted(_ number: UInt64, generation: Int, _ error: StoreError?) {
        guard !isStopped, generation == storeGeneration else { return }
        if let error { return halt("\(error)") }
        state.batchCommitted(number)
        while let first = submitted.first, first.batch <= number {
            storedIndex = first.index
            submitted.removeFirst()
        }
        let ready = storeWaiters.filter { $0.batch <= number }
        storeWaiters.removeAll { $0.batch <= number }
        for waiter in ready { waiter.body() }
        if raft.isApplyPaused && !store.isBacklogged { raft.isApplyPaused = false }
        forgetEntries()
        snapshotIfDue()
    }

    // MARK: Giving space back

    /// What free pages take goes back to the file system, beside everything else: nothing waits for it.
    package func giveBackSpace(_ done: @escaping (Result<Void, StoreError>) -> Void) {
        report(
            "starting defragment",
            [("current-db-size-bytes", "\(store.allocatedBytes)"), ("current-db-size-in-use-bytes", "\(store.usedBytes)")])
        let started = loop.now
        metrics.defragmentsUnderWay += 1
        let mailbox = loop.mailbox
        let box = LoopBound<(Result<Int, StoreError>) -> Void> { [weak self] result in
            guard let self else { return }
            metrics.defragmentsUnderWay -= 1
            families?.disk.backendDefragDurationSeconds.observe(nanoseconds: loop.now &- started)
            switch result {
            case .success(let bytes):
                report(
                    "finished defragment",
                    [
                        ("current-db-size-bytes", "\(store.allocatedBytes)"), ("current-db-size-bytes-diff", "\(-bytes)"),
                        ("took", "\((loop.now &- started) / 1_000_000)ms"),
                    ])
                done(.success(()))
            case .failure(.failed(_, _, EOPNOTSUPP)):
                // Nothing is lost by it: the store uses its free pages again.
                warn("the file system takes no space back from within a file; free pages are kept and used again", [])
                done(.success(()))
            case .failure(let error):
                warn("failed to defragment", [("error", "\(error)")])
                done(.failure(error))
            }
        }
        // What was deleted just now is free only once the store has it.
        submitBatch(force: true)
        store.giveBackSpace { result in mailbox.post { box.value(result) } }
    }

    // MARK: Shortening the log

    /// What the store has need not stay in memory, but for those who may ask for it: a follower that was away a moment.
    private func forgetEntries() {
        guard !keepsLog else { return }
        let kept = isAlone ? 64 : settings.catchUpEntries
        // Many at once; but who wants few of them kept gets few.
        let step = isAlone ? 1_000 : min(1_000, settings.catchUpEntries)
        guard storedIndex > kept, storedIndex - kept > raft.firstIndex + step else { return }
        raft.compact(to: min(storedIndex - kept, raft.appliedIndex))
    }

    /// A transfer is under way, or was a moment ago.
    private var keepsLog: Bool { transfersUnderWay > 0 || loop.now < transferGrace || isInstalling }

    /// A raft snapshot: the membership at an index the store has reached. From there on the log may forget.
    private func snapshotIfDue() {
        guard storedIndex > lastSnapshotIndex + settings.snapshotCount, submitted.isEmpty, !state.hasBatch,
            storedIndex == state.appliedIndex, !isInstalling
        else { return }
        let index = state.appliedIndex
        let confBytes = raft.confState.encoded
        let file = SnapFile(data: state.membership.snapshotDocument, index: index, term: state.appliedTerm, confState: confBytes)
        do throws(LogError) {
            try save(file)
            try mark(LogSnapshot(index: index, term: state.appliedTerm, confState: confBytes))
        } catch { return halt("\(error)") }
        report("saved snapshot", [("snapshot-index", "\(index)")])
    }

    func save(_ file: SnapFile) throws(LogError) {
        let times = try directory.snap.save(file)
        guard let families else { return }
        families.debugging.snapSaveMarshallingDurationSeconds.observe(nanoseconds: times.encoding)
        families.snap.fsyncDurationSeconds.observe(nanoseconds: times.writing)
        families.debugging.snapSaveTotalDurationSeconds.observe(nanoseconds: times.encoding + times.writing)
    }

    /// The log learns of a `.snap` file that is on the disk.
    func mark(_ snapshot: LogSnapshot) throws(LogError) {
        log.append(snapshot)
        log.set(LogState(term: raft.term, vote: raft.vote, commit: max(raft.commitIndex, snapshot.index)))
        try log.sync()
        raft.persisted(through: lastTicket)
        try directory.snap.purge()
        lastSnapshotIndex = snapshot.index
        snapshotIndexes.append(snapshot.index)
        snapshotIndexes = Array(snapshotIndexes.suffix(SnapDirectory.keptFiles))
        // The newest file may be found damaged one day: the log goes back to the one before.
        if !keepsLog, snapshotIndexes.count > 1 { log.release(upTo: snapshotIndexes[snapshotIndexes.count - 2]) }
    }

    // MARK: Work in slices

    func compactSlice() {
        guard state.kv.isCompacting else { return finishCompactions() }
        // Deletions become durable with their batch; a long queue of them would hold up puts.
        if submitted.count > 4 { return }
        let began = Linux.Clock.monotonic()
        let isFinished = state.kv.compactionStep(budget: 2_000)
        noteCompaction(began, isFinished: isFinished)
        if !isFinished { loop.turnAgain() } else { finishCompactions() }
    }

    /// The index and the store forget in the same slices: one pause is both.
    private func noteCompaction(_ began: UInt64, isFinished: Bool) {
        let now = Linux.Clock.monotonic()
        let pause = Double(now - began) / 1e6
        families?.debugging.mvccIndexCompactionPauseDurationMilliseconds.observe(pause)
        guard isFinished else {
            families?.debugging.mvccDBCompactionPauseDurationMilliseconds.observe(pause)
            return
        }
        // One that goes on after a restart began with this process.
        let total = Double(now - (compactionStarted == 0 ? began : compactionStarted)) / 1e6
        families?.debugging.mvccDBCompactionTotalDurationMilliseconds.observe(total)
        compactionStarted = 0
        metrics.lastCompaction = state.clock.unixTime
    }

    private func finishCompactions() {
        guard !compactionWaiters.isEmpty else { return }
        let waiting = compactionWaiters
        compactionWaiters = []
        // "Physically" means that what was removed is gone from the store, not only from memory.
        whenStored { [weak self] in
            for waiter in waiting { self?.respond(waiter.reply, .success(waiter.answer)) }
        }
    }

    func catchUpSlice() {
        guard hub.hasLagging, let watches else { return }
        if !hub.catchUp(state.kv, watches) { loop.turnAgain() }
    }
}

extension Raft.ConfState {
    var message: RaftPB.ConfState {
        var conf = RaftPB.ConfState()
        conf.voters = voters.map(\.rawValue)
        conf.learners = learners.map(\.rawValue)
        conf.votersOutgoing = votersOutgoing.map(\.rawValue)
        conf.learnersNext = learnersNext.map(\.rawValue)
        conf.autoLeave = autoLeave
        return conf
    }

    var encoded: Bytes { message.encoded() }

    init(_ conf: RaftPB.ConfState) {
        self.init(
            voters: conf.voters.map { MemberID($0) }, learners: conf.learners.map { MemberID($0) },
            votersOutgoing: conf.votersOutgoing.map { MemberID($0) }, learnersNext: conf.learnersNext.map { MemberID($0) },
            autoLeave: conf.autoLeave)
    }
}
