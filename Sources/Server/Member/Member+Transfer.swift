// Whole stores between members, for one that is too far behind for the log. Both directions stream from and to the disk
// on other threads; the member goes on serving meanwhile.
//
//     raft wants a snapshot sent -> an image of the store, with the index and the members it stands for -> transport
//     transport received one     -> <index>.snap.db, or store.received when it came as one of ours does
//                                -> raft accepts -> .snap file and mark in the log
//                                -> store.new built from the image, if it is one
//                                -> swapped with the store -> raft goes on from there
//
// A crash in between: the mark is in the log, the image or the received store beside it, and Boot goes on from them.

import DiskLog
import FileFormats
import Foundations
import GRPC
import Glibc
import LMDBStore
import Linux
import MVCC
import Raft
import State
import Telemetry
import Wire

/// An image of the store and what it stands for, all read in one transaction.
final class StoreImage: DatabaseSource, @unchecked Sendable {
    // Made on the transfer thread, then used by one thread of the transport, one call at a time.
    private let image: SnapshotImage
    let index: LogIndex
    let term: Term
    let conf: Raft.ConfState
    let document: Bytes
    private let madeAt = Linux.Clock.monotonic()
    private let times: Histogram?

    /// `times`: told how long the image was needed.
    init(_ store: LMDBStore, times: Histogram?) throws(StoreError) {
        self.times = times
        image = try store.snapshot(digest: false)
        let view = image.view
        var membership = Membership()
        membership.restore(view)
        document = membership.snapshotDocument
        index = StateMachine.appliedIndex(in: view)
        term = StateMachine.appliedTerm(in: view)
        conf = Raft.ConfState(
            voters: membership.voters.map(\.id), learners: membership.members.filter(\.isLearner).map(\.id))
    }

    deinit { times?.observe(nanoseconds: Linux.Clock.monotonic() - madeAt) }

    var byteCount: Int { image.imageBytes }
    var trees: [BoltTree]? { image.trees }

    func next(_ bytesMax: Int) -> Bytes? { image.next(bytesMax) }
}

extension Member {
    // MARK: Sending

    func sendStore(_ message: Message) {
        let target = message.to
        transfersUnderWay += 1
        report("sending database snapshot", [("remote-peer-id", "\(target)")])
        whenStored { [weak self] in
            guard let self, !isStopped else { return }
            let (store, times) = (store, families?.disk.backendSnapshotDurationSeconds)
            transfers.run(
                loop,
                { () -> Result<StoreImage, StoreError> in
                    do throws(StoreError) { return .success(try StoreImage(store, times: times)) } catch { return .failure(error) }
                },
                { [weak self] result in self?.send(result, message) })
        }
    }

    private func send(_ result: Result<StoreImage, StoreError>, _ message: Message) {
        guard !isStopped, let transport else { return }
        let needed = message.snapshot?.metadata.index ?? 0
        guard case .success(let image) = result, image.index >= needed, raft.term == message.term else {
            if case .failure(let error) = result { report("cannot read the store for a snapshot", [("error", "\(error)")]) }
            return snapshotSent(to: message.to, ok: false)
        }
        var message = message
        message.snapshot = Snapshot(
            metadata: SnapshotMetadata(index: image.index, term: image.term, confState: image.conf), data: image.document)
        transport.sendSnapshot(message, database: image)
    }

    package func snapshotSent(to id: MemberID, ok: Bool) {
        transfersUnderWay -= 1
        transferGrace = loop.now + 30_000_000_000
        if ok { report("sent database snapshot", [("remote-peer-id", "\(id)")]) } else { raft.reportUnreachable(id) }
        raft.reportSnapshot(to: id, succeeded: ok)
        loop.turnAgain()
    }

    // MARK: Receiving

    package func receivedSnapshot(_ message: Message, _ database: ReceivedDatabase) {
        guard !isStopped, let snapshot = message.snapshot else { return }
        // One at a time: whoever sent it finds out what is missing, and sends it again.
        if isInstalling || received != nil { return discard(database) }
        let kept: ReceivedDatabase =
            switch database {
            case .image: .image(path: directory.snap.imagePath(snapshot.metadata.index))
            case .store: .store(folder: directory.receivedStore)
            }
        if kept != database {
            do throws(DiskError) {
                if case .store = kept { try Disk.removeFolder(kept.path) }
                try Disk.rename(database.path, to: kept.path)
                try Disk.syncDirectory(Disk.parent(of: kept.path))
                if case .fail(let errno) = Failpoint.snapshotKept.hit() { throw DiskError("keep", kept.path, errno) }
            } catch { return halt("cannot keep a received snapshot: \(error)") }
        }
        received = (snapshot.metadata.index, kept)
        raft.step(message)
        if raft.installing != snapshot.metadata.index {
            // Of an earlier term, or nothing that the log does not have.
            received = nil
            discard(kept)
        }
        loop.turnAgain()
    }

    /// What cannot be removed now is found by the next start.
    private func discard(_ database: ReceivedDatabase) {
        switch database {
        case .image(let path): _ = unsafe unlink(path)
        case .store(let folder): try? Disk.removeFolder(folder)
        }
    }

    /// Raft takes the snapshot: from here on this member's history begins there.
    func accept(_ snapshot: Snapshot) {
        let metadata = snapshot.metadata
        guard let (index, database) = received, index == metadata.index else {
            return halt("the snapshot at \(metadata.index) came without its database")
        }
        received = nil
        isInstalling = true
        let conf = metadata.confState.encoded
        report("applying snapshot", [("incoming-leader-snapshot-index", "\(metadata.index)")])
        do throws(LogError) {
            try save(
                SnapFile(data: snapshot.data, index: metadata.index, term: metadata.term, confState: conf))
            try mark(LogSnapshot(index: metadata.index, term: metadata.term, confState: conf))
        } catch { return halt("\(error)") }
        if case .fail(let errno) = Failpoint.snapshotMarked.hit() { return halt("\(DiskError("use", database.path, errno))") }
        guard case .image(let path) = database else {
            // Raft is in the middle of a turn.
            loop.schedule(after: 0) { [weak self] in
                if let self, !isStopped { install(snapshot, database.path) }
            }
            return
        }
        let new = directory.store + ".new"
        transfers.run(
            loop,
            { () -> Result<Void, ImageLoadError> in
                do throws(ImageLoadError) {
                    try ImageLoad.load(path, into: new)
                    return .success(())
                } catch { return .failure(error) }
            },
            { [weak self] result in
                guard let self, !isStopped else { return }
                if case .failure(let error) = result { return halt("cannot restore the received snapshot: \(error)") }
                install(snapshot, new)
                discard(database)
            })
    }

    private func install(_ snapshot: Snapshot, _ new: String) {
        let metadata = snapshot.metadata
        let known = state.kv.currentRevision
        state.kv.endTurn()
        store.waitUntilCommitted()
        let opened: LMDBStore
        let restored: StateMachine
        do {
            try StoreSwap.swap(new: new, current: directory.store)
            storeGeneration += 1
            opened = try openStore(storeGeneration)
            restored = try makeState(opened)
            try restored.adopt(snapshotDocument: snapshot.data, index: metadata.index, term: metadata.term)
        } catch { return halt("cannot restore the received snapshot: \(error)") }
        store = opened
        watchDisk()
        restored.kv.operations = state.kv.operations
        state = restored
        setClock()
        state.raftTerm = raft.term
        submitted = []
        storedIndex = metadata.index
        let waiting = storeWaiters
        storeWaiters = []
        for waiter in compactionWaiters { respond(waiter.reply, .failure(EtcdError.timeout)) }
        compactionWaiters = []
        do throws(DiskError) { try StoreSwap.removeOld(directory.store) } catch {
            report("cannot remove the replaced store", [("error", "\(error)")])
        }
        isInstalling = false
        submitBatch(force: true)
        raft.applied(to: metadata.index)
        isMembershipDirty = true
        syncPeers()
        hub.storeReplaced(known: known, by: state.kv)
        if state.membership.removed.contains(identity.member) {
            onRemoved("the member has been permanently removed from the cluster")
        }
        onAlarmsChanged()
        for waiter in waiting { waiter.body() }
        runConfirmedReads()
        report("applied snapshot", [("current-applied-index", "\(state.appliedIndex)")])
        loop.turnAgain()
    }
}

/// Puts a store built beside the current one into its place. At every moment either store, or the image, is whole.
enum StoreSwap {
    static func swap(new: String, current: String) throws(DiskError) {
        try removeOld(current)
        if Disk.exists(current) { try Disk.rename(current, to: current + ".old") }
        try Disk.rename(new, to: current, .snapshotSwap)
        try Disk.syncDirectory(Disk.parent(of: current))
    }

    static func removeOld(_ current: String) throws(DiskError) { try Disk.removeFolder(current + ".old") }
}
