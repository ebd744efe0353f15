// How slow a member's disk is, by the member's own histogram of the syncs of its log: nobody has to write to a disk that is in
// use to know it.

import Foundations

struct SyncTimes: Sendable {
    static let family = "etcd_disk_wal_fsync_duration_seconds_bucket{le=\""
    /// Fewer tell nothing of the slowest of a hundred, unless there are so few because each takes so long.
    static let syncsMin: UInt64 = 100
    /// Of the time looked at, as one part of so many: a member that waits longer is one whose disk is slow.
    private static let waitingShare: UInt64 = 4
    private static let span: UInt64 = 70_000_000_000

    private struct Bucket: Sendable {
        /// Seconds.
        var bound: Double
        /// Of this length or shorter.
        var count: UInt64
    }
    private struct Look: Sendable {
        var at: UInt64
        var buckets: [Bucket]
    }

    /// The oldest first.
    private var looks: [Look] = []

    /// A page of metrics. A member that was started again counts from nought, and so does this.
    mutating func saw(_ page: String, at now: UInt64) {
        let buckets = page.split(separator: "\n").compactMap(Self.bucket)
        guard !buckets.isEmpty else { return }
        // Any count that is less says so: of a member that syncs much more slowly now, all together may be more.
        if let last = looks.last?.buckets, last.count != buckets.count || zip(last, buckets).contains(where: { $0.count > $1.count }) {
            looks = []
        }
        looks.append(Look(at: now, buckets: buckets))
        looks.removeAll { now &- $0.at > Self.span }
    }

    /// Nanoseconds within which 99 of 100 ended in the last minute; nil when there were too few, or nobody has looked since. When
    /// there were too few because the member did nothing but wait: what half of them took at least.
    func slowest(at now: UInt64) -> UInt64? {
        guard let first = looks.first, let last = looks.last, now &- last.at < Self.span,
            first.buckets.count == last.buckets.count
        else { return nil }
        let buckets = zip(first.buckets, last.buckets).map { Bucket(bound: $1.bound, count: $1.count &- $0.count) }
        guard let total = buckets.last?.count, total > 0 else { return nil }
        if total < Self.syncsMin { return Self.waits(buckets, total, last.at &- first.at) }
        let rank = Double(total) * 0.99
        var lower = Bucket(bound: 0, count: 0)
        for bucket in buckets {
            if Double(bucket.count) >= rank {
                guard bucket.bound.isFinite, bucket.count > lower.count else { return Self.nanoseconds(lower.bound) }
                // As Prometheus does: even between the bounds.
                let share = (rank - Double(lower.count)) / Double(bucket.count - lower.count)
                return Self.nanoseconds(lower.bound + (bucket.bound - lower.bound) * share)
            }
            lower = bucket
        }
        return Self.nanoseconds(lower.bound)
    }

    private static func waits(_ buckets: [Bucket], _ total: UInt64, _ time: UInt64) -> UInt64? {
        var waited = 0.0
        var (lower, half) = (Bucket(bound: 0, count: 0), 0.0)
        for bucket in buckets where bucket.count >= lower.count {
            waited += Double(bucket.count - lower.count) * max(0, lower.bound)
            if lower.count * 2 < total { half = lower.bound }
            lower = bucket
        }
        return nanoseconds(waited) > time / waitingShare ? nanoseconds(half) : nil
    }

    /// Whatever a page says, a century is long enough.
    private static func nanoseconds(_ seconds: Double) -> UInt64 { UInt64(min(max(0, seconds), 3e9) * 1e9) }

    private static func bucket(_ line: Substring) -> Bucket? {
        guard line.hasPrefix(family) else { return nil }
        let rest = line.dropFirst(family.count)
        guard let end = rest.firstIndex(of: "\""), let bound = Double(rest[..<end]),
            let count = rest.split(separator: " ").last.flatMap({ Double($0) }), count >= 0, count < 1e18
        else { return nil }
        return Bucket(bound: bound, count: UInt64(count))
    }
}
