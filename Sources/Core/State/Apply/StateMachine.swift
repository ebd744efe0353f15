// The replicated state of a member, and the only way to change it: applying committed entries, in order.
//
//     entry  ->  apply  ->  keys (MVCC), leases, users, alarms, members      all into one batch
//                       ->  Applied: the answer for the client that waits, and what the member must do
//
// Two members that apply the same entries hold the same state, to the byte where it is hashed. So an outcome may depend
// on the state, the entry and its index, and on nothing else: not on time, not on who waits, not on how much room the
// disk has. (Lease deadlines and tokens depend on time; they decide nothing here.) A request that fails changes
// nothing but the index.
//
// The index and term of the last applied entry travel in the batch with what it changed (`takeBatch`), so a crash can
// neither lose nor repeat an entry. Owned by the member's thread.
//
// Cost of a put: the borrowed view of the entry, a few comparisons, KeyValueStore.put, some thirty bytes of answer.

import Foundations
import GRPC
import MVCC
import Wire

package final class StateMachine {
    package struct Settings: Sendable {
        package var member: MemberID
        package var cluster: ClusterID
        /// What this server announces; the cluster version must not exceed it.
        package var serverVersion = ClusterVersion(3, 5)
        package var lease = Lessor.Settings()
        package var learnersMax = Membership.learnersMaxDefault
        package var authRules = AuthStore.Rules.current
        package var tokenTimeToLive = SimpleTokens.defaultTimeToLive
        /// See `KeyValueStore.remembersCompactionHashes`.
        package var remembersCompactionHashes = false

        package init(member: MemberID, cluster: ClusterID) {
            self.member = member
            self.cluster = cluster
        }
    }

    package let settings: Settings
    package let kv: KeyValueStore
    package var lessor: Lessor
    package let auth: AuthStore
    package internal(set) var alarms = Alarms()
    package internal(set) var membership: Membership

    package private(set) var appliedIndex: LogIndex
    package private(set) var appliedTerm: Term

    /// Set once a turn by the member: the time (for lease deadlines and tokens), and raft's term, for headers.
    package var clock = Clock()
    package var raftTerm: Term = 0

    let header: AnswerHeader
    /// Empty between calls.
    var scratch: Bytes = []
    private var hasUnsavedIndex = false

    private static let indexKey = Bytes("consistent_index".utf8)
    private static let termKey = Bytes("term".utf8)
    private static let confStateKey = Bytes("confState".utf8)

    /// Opens the state that a store holds; an empty store becomes that of a new member.
    package init(
        _ store: any OrderedStore, settings: Settings, hasher: any PasswordHasher, signer: (any TokenSigner)? = nil
    ) throws(RestoreError) {
        self.settings = settings
        header = AnswerHeader(cluster: settings.cluster, member: settings.member)
        let view = store.view()
        var lessor = Lessor(settings.lease)
        lessor.restore(view)
        kv = try KeyValueStore(store) { key, lease in lessor.setLease(of: key.rawSpan, to: LeaseID(lease)) }
        kv.remembersCompactionHashes = settings.remembersCompactionHashes
        self.lessor = lessor
        auth = AuthStore(
            hasher: hasher, signer: signer, rules: settings.authRules,
            tokens: SimpleTokens(timeToLive: settings.tokenTimeToLive))
        auth.restore(view)
        membership = Membership(learnersMax: settings.learnersMax)
        membership.restore(view)
        alarms.restore(view)

        let index = StateMachine.number(StateMachine.indexKey, in: view)
        appliedIndex = index ?? 0
        appliedTerm = StateMachine.number(StateMachine.termKey, in: view) ?? 0
        if index == nil && view.count(.auth) == 0 { auth.initialise(into: &kv.batch) }
    }

    // MARK: batches

    /// Everything applied since the last one, with the index it stands for. The member submits it and reports
    /// `batchCommitted` when it is durable.
    package func takeBatch() -> StoreBatch {
        if hasUnsavedIndex {
            kv.batch.put(.meta, StateMachine.indexKey, bigEndian(appliedIndex))
            kv.batch.put(.meta, StateMachine.termKey, bigEndian(appliedTerm))
            hasUnsavedIndex = false
        }
        return kv.takeBatch()
    }

    package var hasBatch: Bool { hasUnsavedIndex || !kv.batch.isEmpty }

    package func batchCommitted(_ number: UInt64) { kv.batchCommitted(number) }

    /// Raft's configuration after a membership entry was applied to it too; belongs into the same batch.
    package func recordConfState(
        voters: [MemberID], learners: [MemberID], votersOutgoing: [MemberID] = [], learnersNext: [MemberID] = [],
        autoLeave: Bool = false
    ) {
        var parts: [String] = []
        func add(_ name: String, _ ids: [MemberID]) {
            if !ids.isEmpty { parts.append("\"\(name)\":[\(ids.map { String($0.rawValue) }.joined(separator: ","))]") }
        }
        add("voters", voters)
        add("learners", learners)
        add("voters_outgoing", votersOutgoing)
        add("learners_next", learnersNext)
        parts.append("\"auto_leave\":\(autoLeave)")
        kv.batch.put(.meta, StateMachine.confStateKey, Bytes("{\(parts.joined(separator: ","))}".utf8))
    }

    /// After a snapshot of another member became the store: its document is the authority about members, and the
    /// snapshot's index the one to go on from.
    package func adopt(snapshotDocument: Bytes, index: LogIndex, term: Term) throws(SnapshotDocumentError) {
        let document = try Membership(learnersMax: settings.learnersMax, snapshotDocument: snapshotDocument)
        // The old document knows nothing of a downgrade under way; the table does.
        membership = Membership(
            learnersMax: settings.learnersMax, members: document.members, removed: document.removed,
            version: document.version ?? membership.version, downgrade: membership.downgrade)
        membership.storeAll(into: &kv.batch)
        appliedIndex = max(appliedIndex, index)
        appliedTerm = max(appliedTerm, term)
        hasUnsavedIndex = true
    }

    // MARK: applying

    /// Applies a normal entry. With `isAwaited` a client of this member waits for the outcome: a response message is
    /// appended to `output`, or the outcome is an error; otherwise reads inside the entry are left out.
    package func apply(
        index: LogIndex, term: Term, data: RawSpan, isAwaited: Bool, output: inout Bytes
    ) -> Applied {
        advance(to: index, term: term)
        if data.byteCount == 0 { return Applied(effect: .termBegan) }
        guard let entry = try? InternalRaftRequestView(decoding: data), entry.kindField != RequestKind.legacy else {
            return applyLegacy(data, index: index)
        }
        let revisionBefore = kv.currentRevision
        var applied = Applied(requestID: entry.requestID)
        let start = output.count
        do {
            applied.effect = try dispatch(entry, index: index, isAwaited: isAwaited, output: &output)
            if isAwaited { applied.outcome = .answered }
        } catch {
            output.removeSubrange(start...)
            switch error {
            case .failed(let reason): if isAwaited { applied.outcome = .failed(reason) }
            case .halt(let reason): applied.effect = .halt(reason)
            }
        }
        applied.hasChanges = kv.currentRevision != revisionBefore
        return applied
    }

    private func advance(to index: LogIndex, term: Term) {
        invariant(index > appliedIndex, "entry \(index) applied after \(appliedIndex)")
        invariant(term >= appliedTerm, "entry \(index) of term \(term) after one of term \(appliedTerm)")
        appliedIndex = index
        appliedTerm = term
        hasUnsavedIndex = true
    }

    /// Applies a membership entry. Raft is to be told what stands in the result.
    package func applyMembershipChange(index: LogIndex, term: Term, data: RawSpan) -> AppliedMembershipChange {
        advance(to: index, term: term)
        var applied = AppliedMembershipChange(
            requestID: 0, kind: 0, node: .none, change: nil, failure: nil, halt: nil, removesSelf: false)
        guard let entry = try? RaftPB.ConfChange(decoding: data) else {
            applied.halt = .undecodableEntry(index: index)
            return applied
        }
        applied.requestID = entry.id
        applied.kind = entry.type.rawValue
        let node = MemberID(entry.nodeId)
        guard let change = Membership.Change(kind: applied.kind, node: node, context: entry.context ?? []) else {
            applied.halt = .badMembershipChange(index: index)
            return applied
        }
        applied.change = change
        do {
            try membership.apply(change, into: &kv.batch)
            applied.node = node
            applied.removesSelf = change == .remove(settings.member)
        } catch {
            applied.failure = error
        }
        return applied
    }

    /// What a store stands for.
    package static func appliedIndex(in view: any StoreView) -> LogIndex { number(indexKey, in: view) ?? 0 }
    package static func appliedTerm(in view: any StoreView) -> Term { number(termKey, in: view) ?? 0 }

    private static func number(_ key: Bytes, in view: any StoreView) -> UInt64? {
        var number: UInt64?
        view.get(.meta, key.rawSpan) { value in
            if let value { number = bigEndianNumber(value) }
        }
        return number
    }
}
