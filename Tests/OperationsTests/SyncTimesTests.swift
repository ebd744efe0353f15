// How slow a disk is, from pages of metrics as a member writes them.

import Foundations
import TestSupport
import Testing

@testable import Operations

@Suite struct SyncTimesTests {
    private static let second: UInt64 = 1_000_000_000

    /// Counts of syncs of 1 ms or less, 2 to 1 ms, 32 to 16 ms, and longer.
    private func page(_ counts: [UInt64]) -> String {
        let bounds = ["0.001", "0.002", "0.016", "0.032", "+Inf"]
        var text = "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n"
        var sum: UInt64 = 0
        for (bound, count) in zip(bounds, counts) {
            sum += count
            text += "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"\(bound)\"} \(sum)\n"
        }
        return text + "etcd_disk_wal_fsync_duration_seconds_sum 1.5\netcd_disk_wal_fsync_duration_seconds_count \(sum)\n"
    }

    @Test func `the slowest of a hundred, of what happened between two looks`() throws {
        var times = SyncTimes()
        times.saw(page([1000, 0, 0, 500, 0]), at: Self.second)
        #expect(times.slowest(at: Self.second) == nil, "one look tells nothing of the last minute")
        times.saw(page([1190, 0, 0, 510, 0]), at: 11 * Self.second)
        // 190 of 200 in 1 ms, 10 in 16 to 32 ms: the 198th is four fifths of the way.
        let slowest = try #require(times.slowest(at: 12 * Self.second))
        #expect(slowest > 28_700_000 && slowest < 28_900_000, "\(slowest)")
    }

    @Test func `all quick`() throws {
        var times = SyncTimes()
        times.saw(page([0, 0, 0, 0, 0]), at: 0)
        times.saw(page([1000, 0, 0, 0, 0]), at: 10 * Self.second)
        #expect(try #require(times.slowest(at: 10 * Self.second)) <= 1_000_000)
    }

    @Test func `beyond the last bound it is at least that`() throws {
        var times = SyncTimes()
        times.saw(page([0, 0, 0, 0, 0]), at: 0)
        times.saw(page([0, 0, 0, 0, 200]), at: 10 * Self.second)
        #expect(times.slowest(at: 10 * Self.second) == 32_000_000)
    }

    @Test func `a member that was started again counts from nought, even when it has counted further`() {
        var times = SyncTimes()
        times.saw(page([50, 0, 0, 0, 0]), at: 0)
        times.saw(page([10, 0, 0, 60, 0]), at: 10 * Self.second)
        #expect(times.slowest(at: 10 * Self.second) == nil)
        times.saw(page([10, 0, 0, 260, 0]), at: 20 * Self.second)
        #expect(times.slowest(at: 20 * Self.second) ?? 0 > 16_000_000)
        times.saw("no page of metrics", at: 30 * Self.second)
        times.saw(Self.short, at: 40 * Self.second)
        #expect(times.slowest(at: 40 * Self.second) == nil)
    }

    private static let short = "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 1000\n"

    @Test func `too few syncs tell nothing`() {
        var times = SyncTimes()
        times.saw(page([0, 0, 0, 0, 0]), at: 0)
        times.saw(page([99, 0, 0, 0, 0]), at: 10 * Self.second)
        #expect(times.slowest(at: 10 * Self.second) == nil)
        times.saw(page([100, 0, 0, 0, 0]), at: 20 * Self.second)
        #expect(times.slowest(at: 20 * Self.second) != nil)
    }

    @Test func `too few because each takes so long tell what half of them took at least`() throws {
        func told(_ counts: [UInt64], seconds: UInt64) -> UInt64? {
            var times = SyncTimes()
            times.saw(page([500, 0, 0, 0, 0]), at: 0)
            times.saw(page([500 + counts[0]] + counts.dropFirst()), at: seconds * Self.second)
            return times.slowest(at: seconds * Self.second)
        }
        // 90 of 32 ms and longer in ten seconds: at least 2.88 s of them.
        #expect(told([0, 0, 0, 0, 90], seconds: 10) == 32_000_000)
        #expect(told([0, 0, 0, 0, 90], seconds: 20) == nil, "they may have been a seventh of it")
        #expect(told([0, 0, 0, 40, 50], seconds: 5) == 32_000_000)
        #expect(told([0, 0, 0, 50, 40], seconds: 5) == 16_000_000)
        #expect(told([0, 0, 0, 0, 0], seconds: 5) == nil)
    }

    @Test func `what was slow a minute ago is forgotten`() throws {
        var times = SyncTimes()
        times.saw(page([0, 0, 0, 0, 0]), at: 0)
        for look in 1...20 {
            times.saw(page([UInt64(look) * 200, 0, 0, 100, 0]), at: UInt64(look) * 5 * Self.second)
            let slowest = try #require(times.slowest(at: UInt64(look) * 5 * Self.second))
            #expect((slowest > 16_000_000) == (look <= 14), "after \(look * 5) s: \(slowest)")
        }
    }

    @Test func `a member that was started again begins anew`() {
        var times = SyncTimes()
        times.saw(page([5000, 0, 0, 0, 0]), at: 0)
        times.saw(page([10, 0, 0, 0, 0]), at: 10 * Self.second)
        #expect(times.slowest(at: 10 * Self.second) == nil)
        times.saw(page([10, 0, 0, 200, 0]), at: 20 * Self.second)
        #expect(times.slowest(at: 20 * Self.second) ?? 0 > 16_000_000)
    }

    @Test(arguments: ["nan", "1e300", "-5", "0", "+Inf", "", "x"]) func `a page that makes no sense does no harm`(bound: String) {
        var times = SyncTimes()
        for (look, count) in ["0", "1000", "1e300", "-3", "nan", "7"].enumerated() {
            let lines = [bound, bound, "+Inf"].map { "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"\($0)\"} \(count)" }
            times.saw(lines.joined(separator: "\n"), at: UInt64(look) * Self.second)
            #expect(times.slowest(at: UInt64(look) * Self.second) ?? 0 <= 3_000_000_000 * Self.second)
        }
    }

    @Test func `of a member that is silent nothing is known after a while`() {
        var times = SyncTimes()
        times.saw(page([0, 0, 0, 0, 0]), at: 0)
        times.saw(page([200, 0, 0, 0, 0]), at: 10 * Self.second)
        times.saw("404 page not found\n", at: 20 * Self.second)
        #expect(times.slowest(at: 79 * Self.second) != nil)
        #expect(times.slowest(at: 80 * Self.second) == nil)
    }
}
