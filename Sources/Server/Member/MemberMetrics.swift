// Counts the member keeps as it works; the metrics page reads them. Plain numbers on the member's thread.

import Foundations

package struct MemberMetrics {
    package var applied: UInt64 = 0
    package var proposalsPending = 0
    package var proposalsFailed: UInt64 = 0
    package var slowApplies: UInt64 = 0
    package var leasesExpired: UInt64 = 0
    package var walSync = Durations(first: 0.001, count: 14)
    package var storeCommit = Durations(first: 0.001, count: 14)
}

/// A histogram of durations whose bounds double.
package struct Durations: Sendable {
    package let bounds: [Double]
    package private(set) var counts: [UInt64]
    package private(set) var sum: Double = 0
    package private(set) var total: UInt64 = 0

    package init(first: Double, count: Int) {
        bounds = (0..<count).map { first * Double(1 << $0) }
        counts = Array(repeating: 0, count: count + 1)
    }

    package mutating func observe(nanoseconds: UInt64) {
        let seconds = Double(nanoseconds) / 1e9
        sum += seconds
        total += 1
        var i = 0
        while i < bounds.count && seconds > bounds[i] { i += 1 }
        counts[i] += 1
    }
}
