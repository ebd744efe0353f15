// Old revisions are given up by themselves, where that is asked for: by age (`periodic`) or by number (`revision`). Only the
// leader proposes; every member keeps count, so that a new leader knows what the old one knew.

import Foundations
import GRPC
import State
import Wire

package final class AutoCompaction {
    package enum Rule: Equatable, Sendable {
        /// Nanoseconds that history is kept.
        case periodic(UInt64)
        /// Revisions that are kept.
        case revisions(Int64)
    }

    private static let hour: UInt64 = 3_600_000_000_000
    private static let revisionInterval: UInt64 = 300_000_000_000

    private unowned let member: Member
    private let rule: Rule
    private let report: (String, [(String, String)]) -> Void
    /// Periodic: revisions at past looks, oldest first.
    private var samples: [Int64] = []
    private var sinceCompaction = 0
    private var lastCompacted: Int64 = 0

    package init(_ member: Member, _ rule: Rule, report: @escaping (String, [(String, String)]) -> Void) {
        self.member = member
        self.rule = rule
        self.report = report
        schedule()
    }

    /// A tenth of the time between compactions, which is the period or, if that is longer, an hour.
    private var interval: UInt64 {
        switch rule {
        case .periodic(let period): max(min(period, AutoCompaction.hour) / 10, 1_000_000)
        case .revisions: AutoCompaction.revisionInterval
        }
    }

    private func schedule() {
        member.loop.schedule(after: interval) { [weak self] in
            guard let self, !member.isStopped else { return }
            look()
            schedule()
        }
    }

    private func look() {
        let current = member.state.kv.currentRevision
        switch rule {
        case .periodic(let period):
            samples.append(current)
            let needed = max(1, Int(period / interval))
            guard samples.count > needed else { return }
            samples.removeFirst(samples.count - needed - 1)
            sinceCompaction += 1
            guard sinceCompaction >= 10 || lastCompacted == 0 else { return }
            compact(to: samples[0])
        case .revisions(let kept):
            compact(to: current - kept)
        }
    }

    private func compact(to revision: Int64) {
        guard member.isLeader, revision > 0, revision > lastCompacted else { return }
        sinceCompaction = 0
        var request = CompactionRequest()
        request.revision = revision
        report("starting auto compaction", [("revision", "\(revision)")])
        member.propose(
            RequestKind.compaction, request.encoded().rawSpan, identity: member.rootIdentity,
            .body { [weak self] result in
                switch result {
                case .success:
                    self?.lastCompacted = revision
                    self?.report("completed auto compaction", [("revision", "\(revision)")])
                case .failure(let status) where status == EtcdError.compacted: self?.lastCompacted = revision
                case .failure(let status):
                    self?.report("failed auto compaction", [("revision", "\(revision)"), ("error", status.message)])
                }
            })
    }
}
