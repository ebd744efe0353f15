// One member's share of the traffic metrics, looked up once.

import Foundations
import Telemetry

struct PeerCounters {
    let sentBytes: Counter
    let receivedBytes: Counter
    let sentFailures: Counter
    let receivedFailures: Counter
    let roundTrip: Histogram
    let active: Gauge
    let known: Gauge
    let disconnected: Counter
    let snapshotSends: SnapshotCounters

    struct SnapshotCounters {
        let failures: Counter
        let underWay: Gauge
        let successes: Counter
        let duration: Histogram
    }

    init(_ families: NetworkFamilies, local: MemberID, remote: MemberID) {
        let (local, remote) = ("\(local)", "\(remote)")
        sentBytes = families.peerSentBytesTotal(remote)
        receivedBytes = families.peerReceivedBytesTotal(remote)
        sentFailures = families.peerSentFailuresTotal(remote)
        receivedFailures = families.peerReceivedFailuresTotal(remote)
        roundTrip = families.peerRoundTripTimeSeconds(remote)
        active = families.activePeers(local, remote)
        known = families.knownPeers(local, remote)
        disconnected = families.disconnectedPeersTotal(local, remote)
        snapshotSends = SnapshotCounters(
            failures: families.snapshotSendFailures(remote), underWay: families.snapshotSendInflightsTotal(remote),
            successes: families.snapshotSendSuccess(remote), duration: families.snapshotSendTotalDurationSeconds(remote))
    }

    static func receiving(_ families: NetworkFamilies, from remote: MemberID) -> SnapshotCounters {
        let remote = "\(remote)"
        return SnapshotCounters(
            failures: families.snapshotReceiveFailures(remote), underWay: families.snapshotReceiveInflightsTotal(remote),
            successes: families.snapshotReceiveSuccess(remote),
            duration: families.snapshotReceiveTotalDurationSeconds(remote))
    }
}
