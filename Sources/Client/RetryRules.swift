// Which failed calls are sent again. The rule under all others: a request that changes something is repeated only when the
// server has certainly not begun with it; whether the first one happened could otherwise not be known.
//
//   failure                                          reads       changes
//   (UNAVAILABLE also by its text, see `meansElsewhere`)
//   UNAVAILABLE, not processed (refused, no more streams)   again       again
//   UNAVAILABLE, of a server or a lost connection    again       no
//   token unknown, expired or of an old revision     authenticate, again (both)
//   anything else                                    no          no

import GRPC
import Wire

package enum RetryRules {
    /// Attempts of one call. With a deadline the time usually ends first.
    package static let attemptsMax = 100
    /// A server that refuses every token must not be asked for ever.
    static let authenticationsMax = 2

    package enum Decision: Equatable {
        case fail
        /// Elsewhere if possible.
        case again
        case authenticate
    }

    package static func decide(_ result: CallResult, isSafe: Bool, hasCredentials: Bool) -> Decision {
        if result.isLocal { return .fail }
        if hasCredentials && meansNewToken(result.status) { return .authenticate }
        guard meansElsewhere(result.status) else { return .fail }
        return isSafe || result.notProcessed ? .again : .fail
    }

    /// Another server, or the same one later, may do better. The lock and election services call all their failures
    /// UNKNOWN; those are known by their texts.
    static func meansElsewhere(_ status: GRPCStatus) -> Bool {
        status.code == .unavailable || status.code == .unknown && unavailableTexts.contains(status.message)
    }

    private static let unavailableTexts = Set(EtcdError.all.filter { $0.code == .unavailable }.map(\.message))

    static func meansNewToken(_ status: GRPCStatus) -> Bool {
        status.message == EtcdError.invalidAuthToken.message || status.message == EtcdError.authOldRevision.message
            || status.message == EtcdError.userEmpty.message
    }

    /// The first attempts go to other endpoints at once; then there are pauses of 25 ms to a second, jittered by a tenth.
    package static func pause(beforeAttempt attempt: Int, endpoints: Int) -> Duration {
        let rounds = attempt - 1 - max(endpoints, 1)
        guard rounds >= 0 else { return .zero }
        let milliseconds = min(25.0 * Double(1 << min(rounds, 6)), 1000)
        return .milliseconds(milliseconds * Double.random(in: 0.9...1.1))
    }

    /// Calls that only read, or that do no harm twice.
    private static let safe: Set<String> = [
        RPC.KV.range.path, RPC.KV.rangeStream.path,
        RPC.Lease.leaseRevoke.path, RPC.Lease.leaseKeepAlive.path, RPC.Lease.leaseTimeToLive.path,
        RPC.Lease.leaseLeases.path, RPC.Cluster.memberList.path,
        RPC.Maintenance.status.path, RPC.Maintenance.hash.path, RPC.Maintenance.hashKV.path,
        RPC.Maintenance.snapshot.path,
        RPC.Auth.authStatus.path, RPC.Auth.authenticate.path, RPC.Auth.userGet.path, RPC.Auth.userList.path,
        RPC.Auth.roleGet.path, RPC.Auth.roleList.path,
        RPC.Election.leader.path, RPC.Health.check.path,
    ]

    package static func isSafe(_ method: MethodDescriptor, _ request: some WireMessage) -> Bool {
        if let txn = request as? TxnRequest { return onlyReads(txn) }
        if let alarm = request as? AlarmRequest { return alarm.action == .get }
        return safe.contains(method.path)
    }

    /// Calls that wait for others by their nature have no time-out of their own.
    static func waits(_ method: MethodDescriptor) -> Bool {
        method.path == RPC.Lock.lock.path || method.path == RPC.Election.campaign.path
    }

    private static func onlyReads(_ txn: TxnRequest) -> Bool {
        (txn.success + txn.failure).allSatisfy { operation in
            switch operation.request {
            case .requestRange: true
            case .requestTxn(let inner): onlyReads(inner)
            case .requestPut, .requestDeleteRange, nil: false
            }
        }
    }
}
