// How a member comes to be: a fresh directory becomes a member of a new cluster or of one that is there, an existing one is
// opened. What the log holds beyond the store is applied by the member itself, once it knows what is committed.

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

package enum BootError: Error, CustomStringConvertible {
    case directory(DataDirectoryError)
    case log(LogError)
    case store(StoreError)
    case restore(RestoreError)
    case image(ImageLoadError)
    case document(SnapshotDocumentError)
    case disk(DiskError)
    case refused(String)

    package var description: String {
        switch self {
        case .directory(let error): "\(error)"
        case .log(let error): "\(error)"
        case .store(let error): "\(error)"
        case .restore(let error): "\(error)"
        case .image(let error): "\(error)"
        case .document(let error): "\(error)"
        case .disk(let error): "\(error)"
        case .refused(let reason): reason
        }
    }
}

/// What a new cluster consists of: names and peer URLs, as given by --initial-cluster.
package struct InitialCluster: Sendable {
    package var token: String
    package var members: [(name: String, peerURLs: [String])]
    package var ownName: String

    package init(token: String, members: [(name: String, peerURLs: [String])], ownName: String) {
        self.token = token
        self.members = members
        self.ownName = ownName
    }

    /// Ids in the order of `members`.
    package var ids: [MemberID] { members.map { MemberID.atBootstrap(peerURLs: $0.peerURLs, token: token) } }
    package var clusterID: ClusterID { ClusterID(bootstrapMembers: ids) }
}

/// Everything a member needs to run, opened and consistent.
struct OpenedMember {
    var identity: LogIdentity
    var directory: DataDirectory
    var lock: DirectoryLock
    var log: DiskLog
    var store: LMDBStore
    var state: StateMachine
    var restart: RaftNode.Restart
    var snapshotIndex: LogIndex
    var snapshotIndexes: [LogIndex]
    var makeState: (LMDBStore) throws(RestoreError) -> StateMachine
    var openStore: (_ generation: Int) throws(StoreError) -> LMDBStore
    var notes: [String]
}

/// What the state machine needs to be made, again and again.
package struct StateParts {
    package var settings: (inout StateMachine.Settings) -> Void
    package var hasher: any PasswordHasher
    package var signer: (any TokenSigner)?

    package init(
        hasher: any PasswordHasher, signer: (any TokenSigner)?, settings: @escaping (inout StateMachine.Settings) -> Void
    ) {
        self.settings = settings
        self.hasher = hasher
        self.signer = signer
    }
}

/// A data directory, locked, before there is a member.
package struct BootDirectory {
    let directory: DataDirectory
    let lock: DirectoryLock
    let logOptions: LogOptions
    /// There is no member in it yet.
    package let isNew: Bool

    package init(_ root: String, wal: String?, logOptions: LogOptions = LogOptions()) throws(BootError) {
        self.logOptions = logOptions
        directory = DataDirectory(root, wal: wal)
        do throws(DataDirectoryError) { lock = try directory.prepare() } catch { throw .directory(error) }
        isNew = !DiskLog.exists(directory.wal)
    }

    package var permissionWarning: String? { directory.permissionWarning }
    package var snapshotDirectory: String { directory.snap.path }
    package var storePath: String { directory.store }

    /// The first boot of a new cluster: the log holds one membership entry per member, as every member of it writes them
    /// for itself, to the byte.
    package func create(_ cluster: InitialCluster) throws(BootError) {
        let ids = cluster.ids
        guard let own = cluster.members.firstIndex(where: { $0.name == cluster.ownName }) else {
            throw .refused("couldn't find local name \"\(cluster.ownName)\" in the initial cluster configuration")
        }
        var records: [LogEntry] = []
        for (number, i) in ids.indices.sorted(by: { ids[$0] < ids[$1] }).enumerated() {
            let member = State.Member(id: ids[i], peerURLs: cluster.members[i].peerURLs, name: cluster.members[i].name)
            var change = RaftPB.ConfChange()
            change.type = .confChangeAddNode
            change.nodeId = ids[i].rawValue
            change.context = member.additionContext
            records.append(LogEntry(term: 1, index: LogIndex(number + 1), kind: 1, data: change.encoded()))
        }
        try create(
            LogIdentity(member: ids[own], cluster: cluster.clusterID), records,
            LogState(term: 1, vote: .none, commit: LogIndex(ids.count)))
    }

    /// A member that joins: nothing but who it is; the rest comes from the leader.
    package func create(joining identity: LogIdentity) throws(BootError) { try create(identity, [], nil) }

    private func create(_ identity: LogIdentity, _ entries: [LogEntry], _ state: LogState?) throws(BootError) {
        var encoder = WALEncoder()
        var head: Bytes = []
        WALEncoder.appendChecksum(0, to: &head)
        encoder.append(identity, to: &head)
        encoder.append(LogSnapshot(), to: &head)
        for entry in entries { encoder.append(entry, to: &head) }
        if let state { encoder.append(state, to: &head) }
        do throws(LogError) { try DiskLog.create(directory.wal, firstSegment: head, logOptions) } catch { throw .log(error) }
    }
}

package enum Boot {
    /// Opens the member that lives in a directory.
    package static func open(
        _ boot: BootDirectory, settings: Member.Settings, parts: StateParts, forceNewCluster: Bool = false,
        loop: EventLoop, note: (String) -> Void = { _ in }
    ) throws(BootError) -> Member {
        let relay = CompletionRelay()
        let opened = try open(boot, parts, forceNewCluster, loop, relay)
        for text in opened.notes { note(text) }
        let member = Member(opened: opened, loop: loop, settings: settings)
        relay.member = member
        return member
    }

    private static func open(
        _ boot: BootDirectory, _ parts: StateParts, _ forceNewCluster: Bool, _ loop: EventLoop, _ relay: CompletionRelay
    ) throws(BootError) -> OpenedMember {
        let directory = boot.directory
        var notes: [String] = []
        let log: DiskLog
        let recovered: RecoveredLog
        let snapshot: SnapFile?
        let snapshotIndexes: [LogIndex]
        let mailbox = loop.mailbox
        do throws(LogError) {
            let broken: [LogDamage]
            (log, recovered, snapshot, broken) = try DiskLog.open(
                directory.wal, newestOf: directory.snap, boot.logOptions
            ) { ticket, error in mailbox.post { relay.member?.logSynced(ticket, error) } }
            notes += broken.map { "a snapshot file is not used: \($0)" }
            if let repair = recovered.repair { notes.append("\(repair)") }
            snapshotIndexes = try directory.snap.names().map(\.index).reversed()
        } catch { throw .log(error) }
        let mark = snapshot.map { LogSnapshot(index: $0.index, term: $0.term, confState: $0.confState) } ?? LogSnapshot()

        let openStore = { (generation: Int) throws(StoreError) -> LMDBStore in
            try LMDBStore.open(directory.store) { number, error in
                mailbox.post { relay.member?.batchCommitted(number, generation: generation, error) }
            }
        }
        var ownSettings = StateMachine.Settings(member: recovered.identity.member, cluster: recovered.identity.cluster)
        parts.settings(&ownSettings)
        let stateSettings = ownSettings
        let makeState = { (store: LMDBStore) throws(RestoreError) -> StateMachine in
            try StateMachine(store, settings: stateSettings, hasher: parts.hasher, signer: parts.signer)
        }
        let (store, state) = try openState(directory, snapshot, mark, openStore, makeState, &notes)
        do throws(DiskError) { try directory.removeLeftovers() } catch { throw .disk(error) }

        var restart = RaftNode.Restart()
        restart.hardState = HardState(
            term: recovered.state?.term ?? mark.term, vote: recovered.state?.vote ?? .none,
            commit: recovered.state?.commit ?? mark.index)
        restart.snapshotIndex = mark.index
        restart.snapshotTerm = mark.term
        restart.entries = recovered.entries.map {
            Entry(term: $0.term, index: $0.index, kind: Entry.Kind(rawValue: UInt8(clamping: $0.kind)) ?? .normal, data: $0.data)
        }
        restart.applied = state.appliedIndex
        restart.confState = Raft.ConfState(
            voters: state.membership.voters.map(\.id), learners: state.membership.members.filter(\.isLearner).map(\.id))
        // A change of the commit index alone is not synced: what is applied is known to be committed.
        restart.hardState.commit = max(restart.hardState.commit, state.appliedIndex)
        if forceNewCluster { try makeAlone(&restart, recovered.identity.member, state, log) }
        return OpenedMember(
            identity: recovered.identity, directory: directory, lock: boot.lock, log: log, store: store, state: state,
            restart: restart, snapshotIndex: mark.index, snapshotIndexes: snapshotIndexes, makeState: makeState,
            openStore: openStore, notes: notes)
    }

    /// The store, or what was received to take its place where a crash came between the two.
    private static func openState(
        _ directory: DataDirectory, _ snapshot: SnapFile?, _ mark: LogSnapshot,
        _ openStore: (Int) throws(StoreError) -> LMDBStore, _ makeState: (LMDBStore) throws(RestoreError) -> StateMachine,
        _ notes: inout [String]
    ) throws(BootError) -> (LMDBStore, StateMachine) {
        let image = directory.snap.imagePath(mark.index)
        func hasReceived() throws(BootError) -> Bool {
            if Disk.exists(image) { return true }
            guard let index = try receivedIndex(directory) else { return false }
            return index >= mark.index
        }
        func open() throws(BootError) -> (LMDBStore, StateMachine) {
            let store: LMDBStore
            do throws(StoreError) { store = try openStore(0) } catch { throw .store(error) }
            do throws(RestoreError) { return (store, try makeState(store)) } catch { throw .restore(error) }
        }
        if LMDBStore.exists(directory.store) {
            let opened = try open()
            if opened.1.appliedIndex >= mark.index { return opened }
            guard try hasReceived() else {
                throw .refused(
                    "the store stands at entry \(opened.1.appliedIndex), before the snapshot at \(mark.index): "
                        + "it was replaced or rolled back. Restore the member from a backup, or replace it.")
            }
            opened.1.kv.endTurn()
        } else if mark.index == 0 {
            // A crash between making the log and making the store.
            do throws(StoreError) { try LMDBStore.create(directory.store) } catch { throw .store(error) }
            return try open()
        }
        guard let snapshot, try hasReceived() else {
            throw .refused("\(directory.store) is missing; restore the member from a backup, or replace it")
        }
        var new = directory.receivedStore
        if Disk.exists(image) {
            new = directory.store + ".new"
            notes.append("restoring the store from the received snapshot \(image)")
            do throws(ImageLoadError) { try ImageLoad.load(image, into: new) } catch { throw .image(error) }
        } else {
            notes.append("the store that was received with a snapshot takes the place of the one before")
        }
        do throws(DiskError) {
            try StoreSwap.swap(new: new, current: directory.store)
            try StoreSwap.removeOld(directory.store)
        } catch { throw .disk(error) }
        let opened = try open()
        do throws(SnapshotDocumentError) {
            try opened.1.adopt(
                snapshotDocument: snapshot.data ?? [], index: snapshot.index, term: snapshot.term)
        } catch { throw .document(error) }
        return opened
    }

    /// Where the store stands that came with a snapshot; nil when there is none.
    private static func receivedIndex(_ directory: DataDirectory) throws(BootError) -> LogIndex? {
        guard LMDBStore.exists(directory.receivedStore) else { return nil }
        do throws(StoreError) {
            let store = try LMDBStore.open(directory.receivedStore)
            return StateMachine.appliedIndex(in: store.view())
        } catch { throw .store(error) }
    }

    /// --force-new-cluster: what is left of a cluster that lost its quorum becomes a cluster of itself alone, with all that
    /// it has of the log.
    private static func makeAlone(
        _ restart: inout RaftNode.Restart, _ own: MemberID, _ state: StateMachine, _ log: DiskLog
    ) throws(BootError) {
        var known = Set(state.membership.members.map(\.id))
        for entry in restart.entries where entry.kind == .confChange {
            let data = entry.data ?? []
            guard let change = try? RaftPB.ConfChange(decoding: data) else { continue }
            if change.type == .confChangeRemoveNode { known.remove(MemberID(change.nodeId)) } else { known.insert(MemberID(change.nodeId)) }
        }
        func encoded(_ type: RaftPB.ConfChangeType, _ id: MemberID, _ context: Bytes?) -> Bytes {
            var change = RaftPB.ConfChange()
            change.type = type
            change.nodeId = id.rawValue
            change.context = context
            return change.encoded()
        }
        let appended = Bootstrap.forceNewCluster(
            &restart, self: own, known: known.sorted(),
            addSelf: {
                encoded(.confChangeAddNode, own, State.Member(id: own, peerURLs: ["http://localhost:2380"]).additionContext)
            },
            remove: { encoded(.confChangeRemoveNode, $0, nil) })
        for entry in appended {
            log.append(term: entry.term, index: entry.index, kind: UInt64(entry.kind.rawValue), data: entry.data)
        }
        let hard = restart.hardState
        log.set(LogState(term: hard.term, vote: hard.vote, commit: hard.commit))
        do throws(LogError) { try log.sync() } catch { throw .log(error) }
    }
}

/// Completions may come before there is a member to tell; there are none before it proposes.
final class CompletionRelay: @unchecked Sendable {
    // Set once on the member's thread before the loop runs, read only there.
    weak var member: Member?
}
