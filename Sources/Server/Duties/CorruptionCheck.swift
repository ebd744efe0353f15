// Do the members hold the same data? Hashes of the store at one revision are compared, before this member serves
// (--experimental-initial-corrupt-check) and from time to time by the leader (--corrupt-check-time). A difference found
// while running raises the CORRUPT alarm: a cluster that answers differently must not go on quietly.

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

    private unowned let api: ClientAPI
    private let report: (String, [(String, String)]) -> Void
    private var isChecking = false

    package init(_ api: ClientAPI, interval: UInt64, report: @escaping (String, [(String, String)]) -> Void) {
        self.api = api
        self.report = report
        if interval > 0 { schedule(interval) }
    }

    private var member: Member { api.member }

    private func schedule(_ interval: UInt64) {
        member.loop.schedule(after: interval) { [weak self] in
            guard let self, !member.isStopped else { return }
            if member.isLeader, !isChecking { look() }
            schedule(interval)
        }
    }

    // MARK: Before serving

    /// Why this member must not serve; nil when nobody contradicts it.
    package func initial(_ done: @escaping (String?) -> Void) {
        report("starting initial corruption check", [("timeout", "7s")])
        api.hash(0) { [self] own in
            guard case .success(let own) = own else { return done(nil) }
            ask(at: own.revision) { answers in
                for (id, answer) in answers
                where answer.compactRevision == own.compactRevision && answer.hash != own.hash {
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

    // MARK: While leading

    private func look() {
        isChecking = true
        member.linearizable { [self] failure in
            guard failure == nil else { return end() }
            api.hash(0) { [self] own in
                guard case .success(let own) = own else { return end() }
                let revision = api.state.kv.currentRevision
                ask(at: own.revision) { answers in
                    self.member.linearizable { failure in
                        if failure == nil { self.compare(own, revision, answers) }
                        self.end()
                    }
                }
            }
        }
    }

    private func end() { isChecking = false }

    private func compare(_ own: StoreHash, _ revision: Int64, _ answers: [(MemberID, Hash)]) {
        // Read after the others answered: nobody can be ahead of it without having made something up.
        let latest = max(revision, api.state.kv.currentRevision)
        for (id, answer) in answers {
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
            report("found hash mismatch", [("remote-peer-id", "\(id)"), ("revision", "\(own.revision)"), ("reason", reason)])
            alarm(id)
        }
    }

    private func alarm(_ id: MemberID) {
        var request = AlarmRequest()
        request.action = .activate
        request.memberID = id.rawValue
        request.alarm = .corrupt
        member.propose(RequestKind.alarm, request.encoded().rawSpan, identity: member.rootIdentity, .nobody)
    }

    // MARK: Asking

    /// The hashes of the others at a revision; those that cannot answer are left out.
    private func ask(at revision: Int64, _ done: @escaping ([(MemberID, Hash)]) -> Void) {
        let others = api.state.membership.members.filter { $0.id != member.identity.member }
        guard let transport = member.transport, !others.isEmpty else { return done([]) }
        var answers: [(MemberID, Hash)] = []
        var left = others.count
        for other in others {
            let request = PeerRequest(
                other.peerURLs, "/members/hashkv", body: Bytes("{\"revision\":\(revision)}".utf8),
                contentType: "application/json", cluster: member.identity.cluster, timeout: 7_000_000_000)
            transport.fetch(request) { result in
                if case .success(let response) = result, let hash = CorruptionCheck.hash(in: response) { answers.append((other.id, hash)) }
                left -= 1
                if left == 0 { done(answers) }
            }
        }
    }

    static func hash(in response: PeerResponse) -> Hash? {
        guard response.status == 200, let object = try? JSONValue(parsing: response.body) else { return nil }
        return Hash(
            hash: UInt32(truncatingIfNeeded: object["hash"]?.int64 ?? 0), revision: object["header"]?["revision"]?.int64 ?? 0,
            compactRevision: object["compact_revision"]?.int64 ?? 0)
    }
}
