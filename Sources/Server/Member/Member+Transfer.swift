// Whole stores between members, for one that is too far behind for the log. Both directions stream from and to the disk
// on other threads; the member goes on serving meanwhile.
//
//     raft wants a snapshot sent -> an image of the store, with the index and the members it stands for -> transport
//     transport received one     -> <index>.snap.db -> raft accepts -> .snap file and mark in the log
//                                -> store.new built from the image -> swapped with the store -> raft goes on from there
//
// A crash in between: the mark is in the log, the image beside it, and Boot builds the store from it.

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

    package func receivedSnapshot(_ message: Message, databasePath: String) {
        guard !isStopped, let snapshot = message.snapshot else { return }
        // One at a time: whoever sent it finds out what is missing, and sends it again.
        if isInstalling || receivedImage != nil {
            _ = unsafe unlink(databasePath)
            return
        }
        let path = directory.snap.imagePath(snapshot.metadata.index)
        if path != databasePath {
            do throws(DiskError) {
                try Disk.rename(databasePath, to: path)
                try Disk.syncDirectory(directory.snap.path)
            } catch { return halt("cannot keep a received snapshot: \(error)") }
        }
        receivedImage = (snapshot.metadata.index, path)
        raft.step(message)
        if raft.installing != snapshot.metadata.index {
            // Of an earlier term, or nothing that the log does not have.
            receivedImage = nil
            _ = unsafe unlink(path)
        }
        loop.turnAgain()
    }

    /// Raft takes the snapshot: from here on this member's history begins there.
    func accept(_ snapshot: Snapshot) {
        let metadata = snapshot.metadata
        guard let image = receivedImage, image.index == metadata.index else {
            return halt("the snapshot at \(metadata.index) came without its database")
        }
        receivedImage = nil
        isInstalling = true
        let conf = metadata.confState.encoded
        report("applying snapshot", [("incoming-leader-snapshot-index", "\(metadata.index)")])
        do throws(LogError) {
            try save(
                SnapFile(data: snapshot.data, index: metadata.index, term: metadata.term, confState: conf))
            try mark(LogSnapshot(index: metadata.index, term: metadata.term, confState: conf))
        } catch { return halt("\(error)") }
        let new = directory.store + ".new"
        transfers.run(
            loop,
            { () -> Result<Void, ImageLoadError> in
                do throws(ImageLoadError) {
                    try ImageLoad.load(image.path, into: new)
                    return .success(())
                } catch { return .failure(error) }
            },
            { [weak self] result in
                guard let self, !isStopped else { return }
                if case .failure(let error) = result { return halt("cannot restore the received snapshot: \(error)") }
                install(snapshot, new, image.path)
            })
    }

    private func install(_ snapshot: Snapshot, _ new: String, _ imagePath: String) {
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
        _ = unsafe unlink(imagePath)
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
        try Disk.rename(new, to: current)
        try Disk.syncDirectory(Disk.parent(of: current))
    }

    static func removeOld(_ current: String) throws(DiskError) { try remove(current + ".old") }

    static func remove(_ folder: String) throws(DiskError) {
        guard Disk.exists(folder) else { return }
        for name in try Disk.names(in: folder) { try Disk.remove(folder + "/" + name) }
        guard unsafe rmdir(folder) == 0 else { throw DiskError("rmdir", folder, errno) }
    }
}
