// What a log holds beyond a store, applied to the store by the same state machine that serves.

import FileFormats
import Foundations
import LMDBStore
import MVCC
import Passwords
import State
import Wire

enum LogReplay {
    private static let entriesPerBatch = 1000

    /// Applies the entries behind what the store stands for, up to `limit`, and leaves them in it, on the disk. Returns how
    /// many there were.
    static func apply(_ log: StoredLog, upTo limit: LogIndex, to path: String) throws(CtlFailure) -> Int {
        let store: LMDBStore
        do throws(StoreError) { store = try LMDBStore.open(path) } catch { throw CtlFailure(.error, "\(error)") }
        let applied = StateMachine.appliedIndex(in: store.view())
        let entries = log.recovered.entries.filter { $0.index > applied && $0.index <= limit }
        guard let first = entries.first else { return 0 }
        guard first.index == applied + 1 else {
            throw CtlFailure(
                .error, "the store stands at entry \(applied), the log begins at \(first.index): entries between are missing",
                advice: "Use another copy of the member, or a snapshot.")
        }
        let state = try machine(store, log.identity)
        for (number, entry) in entries.enumerated() {
            try apply(entry, state)
            if number % entriesPerBatch == entriesPerBatch - 1 { try commit(state, store) }
        }
        try commit(state, store)
        return entries.count
    }

    /// The members at an index that the log holds, beginning with what its snapshot says.
    static func membership(_ log: StoredLog, at index: LogIndex) throws(CtlFailure) -> Membership {
        let state = try machine(InMemoryStore(), log.identity)
        if let snapshot = log.snapshot {
            do throws(SnapshotDocumentError) {
                try state.adopt(snapshotDocument: snapshot.data ?? [], index: snapshot.index, term: snapshot.term)
            } catch { throw CtlFailure(.error, "\(log.snap.path)/\(snapshot.name): \(error)") }
        }
        for entry in log.recovered.entries where entry.index <= index && concernsMembers(entry) { try apply(entry, state) }
        return state.membership
    }

    static func machine(_ store: any OrderedStore, _ identity: LogIdentity) throws(CtlFailure) -> StateMachine {
        let settings = StateMachine.Settings(member: identity.member, cluster: identity.cluster)
        do throws(RestoreError) {
            return try StateMachine(store, settings: settings, hasher: Bcrypt())
        } catch { throw CtlFailure(.error, "\(error)") }
    }

    /// Changes of members, what members publish, and the cluster's version, in old and new form.
    private static func concernsMembers(_ entry: LogEntry) -> Bool {
        if entry.kind != 0 { return true }
        let data = entry.data ?? []
        guard !data.isEmpty else { return false }
        guard let request = try? InternalRaftRequestView(decoding: data.rawSpan) else { return true }
        return request.kindField == RequestKind.legacy || membershipKinds.contains(request.kindField)
    }

    private static let membershipKinds: ClosedRange<UInt32> = 1300...1302

    private static func apply(_ entry: LogEntry, _ state: StateMachine) throws(CtlFailure) {
        let data = entry.data ?? []
        switch entry.kind {
        case 0:
            var output: Bytes = []
            let applied = state.apply(
                index: entry.index, term: entry.term, data: data.rawSpan, isAwaited: false, output: &output)
            if case .halt(let reason) = applied.effect { throw CtlFailure(.error, "\(reason)") }
        case 1:
            let applied = state.applyMembershipChange(index: entry.index, term: entry.term, data: data.rawSpan)
            if let reason = applied.halt { throw CtlFailure(.error, "\(reason)") }
            let members = state.membership.members
            state.recordConfState(
                voters: members.filter { !$0.isLearner }.map(\.id), learners: members.filter(\.isLearner).map(\.id))
        default:
            throw CtlFailure(.error, "entry \(entry.index) is a joint membership change, which etcd does not make")
        }
    }

    private static func commit(_ state: StateMachine, _ store: LMDBStore) throws(CtlFailure) {
        let batch = state.takeBatch()
        store.submit(batch)
        state.kv.endTurn()
        store.waitUntilCommitted()
        if let failure = store.failure { throw CtlFailure(.error, "\(failure)") }
        state.batchCommitted(batch.number)
    }
}
