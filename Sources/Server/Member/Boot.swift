// How a member comes to be: a fresh directory is made into the first member of a new cluster, an existing one is opened
// and the log replayed from where the store stands.

import DiskLog
import FileFormats
import Foundations
import Glibc
import Linux
import LMDBStore
import MVCC
import State
import Wire

package enum BootError: Error, CustomStringConvertible {
    case directory(DataDirectoryError)
    case log(LogError)
    case store(StoreError)
    case restore(RestoreError)
    case halted(HaltReason)
    case refused(String)

    package var description: String {
        switch self {
        case .directory(let error): "\(error)"
        case .log(let error): "\(error)"
        case .store(let error): "\(error)"
        case .restore(let error): "\(error)"
        case .halted(let reason): "\(reason)"
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
}

/// Everything a member needs to run, opened and consistent.
struct OpenedMember {
    var identity: LogIdentity
    var directory: DataDirectory
    var lock: DirectoryLock
    var log: DiskLog
    var store: LMDBStore
    var state: StateMachine
    var term: Term
    var lastIndex: LogIndex
    var snapshotIndex: LogIndex
    var isNew: Bool
    var replayed: Int
}

package enum Boot {
    /// Opens `dataDirectory`, or makes it. `post` hands completions of the log's and the store's threads to the loop.
    package static func member(
        settings: Member.Settings, walDirectory: String?, cluster: InitialCluster, stateSettings: (inout StateMachine.Settings) -> Void,
        hasher: any PasswordHasher, signer: (any TokenSigner)?, loop: EventLoop, progress: (String) -> Void = { _ in }
    ) throws(BootError) -> Member {
        let relay = CompletionRelay()
        let opened = try open(settings, walDirectory, cluster, stateSettings, hasher, signer, loop, relay, progress)
        let member = Member(opened: opened, loop: loop, settings: settings)
        relay.member = member
        return member
    }

    private static func open(
        _ settings: Member.Settings, _ walDirectory: String?, _ cluster: InitialCluster,
        _ stateSettings: (inout StateMachine.Settings) -> Void, _ hasher: any PasswordHasher,
        _ signer: (any TokenSigner)?, _ loop: EventLoop, _ relay: CompletionRelay, _ progress: (String) -> Void
    ) throws(BootError) -> OpenedMember {
        let directory = DataDirectory(settings.dataDirectory, wal: walDirectory)
        let lock: DirectoryLock
        do throws(DataDirectoryError) { lock = try directory.prepare() } catch { throw .directory(error) }
        let isNew = !DiskLog.exists(directory.wal)
        if isNew { try create(directory, cluster) }

        let log: DiskLog
        let recovered: RecoveredLog
        let snapshot: SnapFile?
        let mailbox = loop.mailbox
        do throws(LogError) {
            (log, recovered, snapshot, _) = try DiskLog.open(directory.wal, newestOf: directory.snap) { ticket, error in
                mailbox.post { relay.member?.logSynced(ticket, error) }
            }
        } catch { throw .log(error) }
        let mark = snapshot.map { LogSnapshot(index: $0.index, term: $0.term, confState: $0.confState) } ?? LogSnapshot()
        if !LMDBStore.exists(directory.store) {
            // A crash between making the log and making the store; a log that has gone on without one is damage.
            guard mark.index == 0 else {
                throw .refused("\(directory.store) is missing; restore the member from a backup, or replace it")
            }
            do throws(StoreError) { try LMDBStore.create(directory.store) } catch { throw .store(error) }
        }
        let store: LMDBStore
        do throws(StoreError) {
            store = try LMDBStore.open(directory.store) { number, error in
                mailbox.post { relay.member?.batchCommitted(number, error) }
            }
        } catch { throw .store(error) }
        var ownSettings = StateMachine.Settings(member: recovered.identity.member, cluster: recovered.identity.cluster)
        stateSettings(&ownSettings)
        let state: StateMachine
        do throws(RestoreError) {
            state = try StateMachine(store, settings: ownSettings, hasher: hasher, signer: signer)
        } catch { throw .restore(error) }
        guard state.appliedIndex >= mark.index else {
            throw .refused(
                "the store stands at entry \(state.appliedIndex), before the snapshot at \(mark.index): "
                    + "it was replaced or rolled back. Restore the member from a backup, or replace it.")
        }
        let replayed = try replay(recovered.entries, into: state, store, progress)
        let last = recovered.entries.last
        return OpenedMember(
            identity: recovered.identity, directory: directory, lock: lock, log: log, store: store, state: state,
            term: max(recovered.state?.term ?? 0, last?.term ?? mark.term), lastIndex: max(last?.index ?? 0, mark.index),
            snapshotIndex: mark.index, isNew: isNew, replayed: replayed)
    }

    /// A single voter's log is committed as far as it is durable.
    private static func replay(
        _ entries: [LogEntry], into state: StateMachine, _ store: LMDBStore, _ progress: (String) -> Void
    ) throws(BootError) -> Int {
        var output: Bytes = []
        var count = 0
        for entry in entries where entry.index > state.appliedIndex {
            let data = entry.data ?? []
            if entry.kind == 1 {
                let applied = state.applyMembershipChange(index: entry.index, term: entry.term, data: data.rawSpan)
                if let halt = applied.halt { throw .halted(halt) }
                state.recordConfState(
                    voters: state.membership.voters.map(\.id),
                    learners: state.membership.members.filter(\.isLearner).map(\.id))
            } else {
                let applied = state.apply(
                    index: entry.index, term: entry.term, data: data.rawSpan, isAwaited: false, output: &output)
                if case .halt(let reason) = applied.effect { throw .halted(reason) }
            }
            count += 1
            if count % 1_000 == 0 {
                store.submit(state.takeBatch())
                if store.isBacklogged { store.waitUntilCommitted() }
                state.batchCommitted(store.committedBatch)
                state.kv.endTurn()
                if count % 20_000 == 0 { progress("replaying the log: entry \(entry.index) of \(entries[entries.count - 1].index)") }
            }
        }
        if state.hasBatch { store.submit(state.takeBatch()) }
        store.waitUntilCommitted()
        state.batchCommitted(store.committedBatch)
        state.kv.endTurn()
        return count
    }

    /// The first member of a new cluster: its log holds one membership entry per member, as every bootstrap member
    /// writes it for itself (raft-semantics 9).
    private static func create(_ directory: DataDirectory, _ cluster: InitialCluster) throws(BootError) {
        let ids = cluster.members.map { MemberID.atBootstrap(peerURLs: $0.peerURLs, token: cluster.token) }
        guard let own = cluster.members.firstIndex(where: { $0.name == cluster.ownName }) else {
            throw .refused("couldn't find local name \"\(cluster.ownName)\" in the initial cluster configuration")
        }
        guard cluster.members.count == 1 else {
            throw .refused(
                "this release forms clusters of one member; --initial-cluster names \(cluster.members.count). "
                    + "Start it with its own name only.")
        }
        let identity = LogIdentity(member: ids[own], cluster: ClusterID(bootstrapMembers: ids))
        var encoder = WALEncoder()
        var head: Bytes = []
        WALEncoder.appendChecksum(0, to: &head)
        encoder.append(identity, to: &head)
        encoder.append(LogSnapshot(), to: &head)
        for (number, i) in ids.indices.sorted(by: { ids[$0] < ids[$1] }).enumerated() {
            let member = State.Member(id: ids[i], peerURLs: cluster.members[i].peerURLs, name: cluster.members[i].name)
            var change = RaftPB.ConfChange()
            change.type = .init(rawValue: 0)
            change.nodeId = ids[i].rawValue
            change.context = member.additionContext
            encoder.append(LogEntry(term: 1, index: LogIndex(number + 1), kind: 1, data: change.encoded()), to: &head)
        }
        encoder.append(LogState(term: 1, vote: .none, commit: LogIndex(ids.count)), to: &head)
        do throws(LogError) { try DiskLog.create(directory.wal, firstSegment: head) } catch { throw .log(error) }
    }
}

/// Completions may come before there is a member to tell; there are none before it proposes.
final class CompletionRelay: @unchecked Sendable {
    // Set once on the member's thread before the loop runs, read only there.
    weak var member: Member?
}
