// Do the members hold the same data? Three occasions to compare hashes of their stores:
//
//     before this member serves      at its current revision                        --experimental-initial-corrupt-check
//     from time to time, the leader  at its current revision                        --corrupt-check-time
//     from time to time, the leader  at the last compactions, by remembered hashes  --feature-gates=CompactHashCheck=true
//
// The last one costs nothing but the question: every member took the hash when it compacted. A difference found while
// running raises the CORRUPT alarm: a cluster that answers differently must not go on quietly.

import Foundations
import GRPC
import JSON
import MVCC
import State
import Wire

package final class CorruptionCheck {
    struct Hash: Equatable {
        var hash: UInt32
        /// The answering member's own revision, not the hashed one.
        var revision: Int64
        var compactRevision: Int64
    }

    private enum Occasion { case stores, compactions }

    /// Lines that operators should see.
    static let mismatch = "Detected compaction hash mismatch"
    static let skipped = "Skipped peer's hash"

    private unowned let api: ClientAPI
    private let report: (String, [(String, String)]) -> Void
    private var underWay: Set<Occasion> = []
    /// All members had the same hash at this compaction: older ones need not be looked at any more.
    private var checkedRevision: Int64 = 0

    package init(_ api: ClientAPI, report: @escaping (String, [(String, String)]) -> Void) {
        self.api = api
        self.report = report
    }

    private var member: Member { api.member }

    package func compareStores(every interval: UInt64) { schedule(interval, .stores) }
    package func compareCompactions(every interval: UInt64) { schedule(interval, .compactions) }

    private func schedule(_ interval: UInt64, _ occasion: Occasion) {
        member.loop.schedule(after: interval) { [weak self] in
            guard let self, !member.isStopped else { return }
            if member.isLeader, underWay.insert(occasion).inserted {
                switch occasion {
                case .stores: look()
                case .compactions: lookAtCompactions()
                }
            }
            schedule(interval, occasion)
        }
    }

    private func end(_ occasion: Occasion) { underWay.remove(occasion) }

    // MARK: Before serving

    /// Why this member must not serve; nil when nobody contradicts it.
    package func initial(_ done: @escaping (String?) -> Void) {
        report("starting initial corruption check", [("timeout", "7s")])
        api.hash(0) { [self] own in
            guard case .success(let own) = own else { return done(nil) }
            ask(at: own.revision) { answers in
                for (id, answer) in answers {
                    guard case .success(let answer) = answer, answer.compactRevision == own.compactRevision,
                        answer.hash != own.hash
                    else { continue }
                    self.report(
                        "found different hash values from remote peer",
                        [("remote-peer-id", "\(id)"), ("revision", "\(own.revision)")])
                    return done("found data inconsistency with peers")
                }
                self.report("initial corruption checking passed; no corruption", [])
                done(nil)
            }
        }
    }

    // MARK: While leading, at the current revision

    private func look() {
        member.linearizable { [self] failure in
            guard failure == nil else { return end(.stores) }
            api.hash(0) { [self] own in
                guard case .success(let own) = own else { return end(.stores) }
                let revision = api.state.kv.currentRevision
                ask(at: own.revision) { answers in
                    self.member.linearizable { failure in
                        if failure == nil { self.compare(own, revision, answers) }
                        self.end(.stores)
                    }
                }
            }
        }
    }

    private func compare(_ own: StoreHash, _ revision: Int64, _ answers: [Answered]) {
        // Read after the others answered: nobody can be ahead of it without having made something up.
        let latest = max(revision, api.state.kv.currentRevision)
        for (id, answer) in answers {
            guard case .success(let answer) = answer else { continue }
            let reason: String
            if answer.revision > latest {
                reason = "revision from the future"
            } else if answer.compactRevision > api.state.kv.compactedRevision {
                reason = "compacted beyond the leader"
            } else if answer.compactRevision == own.compactRevision && answer.hash != own.hash {
                reason = "different hash"
            } else {
                continue
            }
            accuse(id, at: own.revision, reason)
        }
    }

    // MARK: While leading, at the last compactions

    private func lookAtCompactions() {
        report("starting compact hash check", [("local-member-id", "\(member.identity.member)"), ("timeout", "7s")])
        let hashes = api.state.kv.rememberedHashes.filter { $0.revision > checkedRevision }.sorted { $0.revision > $1.revision }
        compareNext(hashes[...], asked: 0)
    }

    /// The newest first: when all members agree about that, they agree about those before.
    private func compareNext(_ hashes: ArraySlice<StoreHash>, asked: Int) {
        func finish(_ asked: Int) {
            report("finished compaction hash check", [("number-of-hashes-checked", "\(asked)")])
            end(.compactions)
        }
        guard let own = hashes.first, !others.isEmpty else { return finish(asked) }
        ask(at: own.revision) { [self] answers in
            // Who does not lead any more leaves it to the next.
            guard member.isLeader, !member.isStopped else { return end(.compactions) }
            if judge(own, answers) { finish(asked + 1) } else { compareNext(hashes.dropFirst(), asked: asked + 1) }
        }
    }

    /// False when older compactions may tell more.
    private func judge(_ own: StoreHash, _ answers: [Answered]) -> Bool {
        let rule = CompactionHashRule(leader: member.identity.member, own, answers.map { ($0.id, $0.answer.forRule) })
        let revisions = [("revision", "\(own.revision)"), ("compactRevision", "\(own.compactRevision)")]
        for (id, reason) in rule.skipped {
            report(
                CorruptionCheck.skipped,
                [("number-of-peers", "\(answers.count)"), ("peer-id", "\(id)"), ("reason", reason)] + revisions)
        }
        let compared = ("number-of-peers-checked", "\(rule.compared)")
        switch rule.verdict {
        case .alike:
            report("successfully checked hash on whole cluster", [compared] + revisions)
            checkedRevision = max(checkedRevision, own.revision)
        case .partly:
            report("successfully checked hash in part of the cluster", [compared] + revisions)
            return false
        case .corrupt(let members):
            reportMismatch(rule, revisions)
            for id in members { accuse(id, at: own.revision, "different hash of a compaction") }
        case .undecided:
            reportMismatch(rule, revisions)
            accuse(.none, at: own.revision, "no hash of the compaction is that of a majority")
        }
        return true
    }

    private func reportMismatch(_ rule: CompactionHashRule, _ revisions: [(String, String)]) {
        let hashes = rule.holders.map { "\($0.hash): \($0.members.map(\.description).joined(separator: " "))" }
        report(CorruptionCheck.mismatch, [("hashes", hashes.joined(separator: ", "))] + revisions)
    }

    // MARK: The alarm

    /// `.none`: somebody's data is wrong, nobody knows whose.
    private func accuse(_ id: MemberID, at revision: Int64, _ reason: String) {
        report("found hash mismatch", [("remote-peer-id", "\(id)"), ("revision", "\(revision)"), ("reason", reason)])
        guard !api.state.alarms.list(.corrupt).contains(where: { $0.member == id.rawValue }) else { return }
        var request = AlarmRequest()
        request.action = .activate
        request.memberID = id.rawValue
        request.alarm = .corrupt
        member.propose(RequestKind.alarm, request.encoded().rawSpan, identity: member.rootIdentity, .nobody)
    }

    // MARK: Asking

    typealias Answered = (id: MemberID, answer: Result<Hash, PeerFailure>)

    private var others: [State.Member] { api.state.membership.members.filter { $0.id != member.identity.member } }

    /// The hashes of the others at a revision, or why there is none.
    private func ask(at revision: Int64, _ done: @escaping ([Answered]) -> Void) {
        let others = others
        guard let transport = member.transport, !others.isEmpty else { return done([]) }
        var answers: [Answered] = []
        for other in others {
            let request = PeerRequest(
                other.peerURLs, "/members/hashkv", body: Bytes("{\"revision\":\(revision)}".utf8),
                contentType: "application/json", cluster: member.identity.cluster, timeout: 7_000_000_000)
            transport.fetch(request) { result in
                answers.append((other.id, result.flatMap { CorruptionCheck.hash(in: $0) }))
                if answers.count == others.count { done(answers) }
            }
        }
    }

    static func hash(in response: PeerResponse) -> Result<Hash, PeerFailure> {
        guard response.status == 200 else { return .failure(PeerFailure(description: response.text)) }
        guard let object = try? JSONValue(parsing: response.body) else {
            return .failure(PeerFailure(description: "the answer is not JSON"))
        }
        return .success(
            Hash(
                hash: UInt32(truncatingIfNeeded: object["hash"]?.int64 ?? 0),
                revision: object["header"]?["revision"]?.int64 ?? 0,
                compactRevision: object["compact_revision"]?.int64 ?? 0))
    }
}

extension Result<CorruptionCheck.Hash, PeerFailure> {
    fileprivate var forRule: CompactionHashRule.Answer {
        switch self {
        case .success(let hash): .hash(hash.hash, compactRevision: hash.compactRevision)
        case .failure(let failure): .none(reason: failure.description)
        }
    }
}
