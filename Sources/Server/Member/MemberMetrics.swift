// Counts the member keeps as it works; the metrics page reads them. Plain numbers on the member's thread.

import Foundations

package struct MemberMetrics {
    package var applied: UInt64 = 0
    package var proposalsFailed: UInt64 = 0
    package var slowApplies: UInt64 = 0
    package var leasesExpired: UInt64 = 0
    package var leader = MemberID.none
    package var leaderChanges: UInt64 = 0
    package var readIndexesFailed: UInt64 = 0
    package var slowReadIndexes: UInt64 = 0
    package var defragmentsUnderWay = 0
    package var lateHeartbeats: UInt64 = 0
    /// Unix seconds; 0 when there was none since the start.
    package var lastCompaction: Int64 = 0
}
