// The errors of etcd's services: code and exact text, each once. Clients compare the texts.

package enum EtcdError {
    // MARK: keys, compaction, quota

    package static let emptyKey = invalid("key is not provided")
    /// Put with `ignore_value` or `ignore_lease` on an absent key; a transaction's operation that is unset.
    package static let keyNotFound = invalid("key not found")
    package static let valueProvided = invalid("value is provided")
    package static let leaseProvided = invalid("lease is provided")
    package static let tooManyOps = invalid("too many operations in txn request")
    package static let duplicateKey = invalid("duplicate key given in txn request")
    package static let invalidSortOption = invalid("invalid sort option")
    package static let compacted = GRPCStatus(.outOfRange, "etcdserver: mvcc: required revision has been compacted")
    package static let futureRevision = GRPCStatus(
        .outOfRange, "etcdserver: mvcc: required revision is a future revision")
    package static let noSpace = GRPCStatus(.resourceExhausted, "etcdserver: mvcc: database space exceeded")
    package static let requestTooLarge = invalid("request is too large")
    /// Declared RESOURCE_EXHAUSTED, but UNKNOWN is what every release sends.
    package static let tooManyRequests = GRPCStatus(.unknown, "etcdserver: too many requests")
    package static let corrupt = GRPCStatus(.dataLoss, "etcdserver: corrupt cluster")

    // MARK: leases

    package static let leaseNotFound = GRPCStatus(.notFound, "etcdserver: requested lease not found")
    package static let leaseExists = failed("lease already exists")
    package static let leaseTTLTooLarge = GRPCStatus(.outOfRange, "etcdserver: too large lease TTL")

    // MARK: watch

    package static let watchCanceled = GRPCStatus(.cancelled, "etcdserver: watch canceled")

    // MARK: membership

    package static let memberBadURLs = invalid("given member URLs are invalid")
    package static let peerURLExists = failed("Peer URLs already exists")
    package static let memberExists = failed("member ID already exist")
    package static let memberNotFound = GRPCStatus(.notFound, "etcdserver: member not found")
    /// Declared FAILED_PRECONDITION, sent as UNKNOWN.
    package static let notEnoughStartedMembers = GRPCStatus(
        .unknown, "etcdserver: re-configuration failed due to not enough started members")
    package static let unhealthy = unavailable("unhealthy cluster")
    package static let memberNotLearner = failed("can only promote a learner member")
    package static let learnerNotReady = failed(
        "can only promote a learner member which is in sync with leader")
    package static let tooManyLearners = failed("too many learner members in cluster")
    package static let notSupportedForLearner = failed("rpc not supported for learner")
    package static let clusterIDMismatch = failed("cluster ID mismatch")
    package static let badLeaderTransferee = failed("bad leader transferee")

    // MARK: leader, availability, life of the server

    package static let noLeader = unavailable("no leader")
    package static let notLeader = failed("not leader")
    package static let leaderChanged = unavailable("leader changed")
    package static let stopped = unavailable("server stopped")
    package static let timeout = unavailable("request timed out")
    package static let timeoutDueToLeaderFail = unavailable(
        "request timed out, possibly due to previous leader failure")
    package static let timeoutDueToConnectionLost = unavailable(
        "request timed out, possibly due to connection lost")
    package static let timeoutWaitingForAppliedIndex = unavailable(
        "request timed out, waiting for the applied index took too long")
    package static let timeoutLeaderTransfer = GRPCStatus(
        .unknown, "etcdserver: request timed out, leader transfer took too long")
    package static let notCapable = failed("not capable")
    package static let canceled = GRPCStatus(.cancelled, "etcdserver: request canceled")
    package static let contextDeadlineExceeded = GRPCStatus(.deadlineExceeded, "context deadline exceeded")
    package static let contextCanceled = GRPCStatus(.cancelled, "context canceled")
    package static let invalidClientAPIVersion = invalid("invalid client api version")

    // MARK: auth

    package static let rootUserNotExist = failed("root user does not exist")
    package static let rootRoleNotExist = failed("root user does not have root role")
    package static let userAlreadyExist = failed("user name already exists")
    package static let userEmpty = invalid("user name is empty")
    package static let userNotFound = failed("user name not found")
    package static let roleAlreadyExist = failed("role name already exists")
    package static let roleNotFound = failed("role name not found")
    package static let roleEmpty = invalid("role name is empty")
    package static let authFailed = invalid("authentication failed, invalid user ID or password")
    package static let noPasswordUser = GRPCStatus(
        .unknown, "auth: authentication failed, password was given for no password user")
    package static let permissionNotGiven = invalid("permission not given")
    package static let permissionDenied = GRPCStatus(.permissionDenied, "etcdserver: permission denied")
    package static let roleNotGranted = failed("role is not granted to the user")
    package static let permissionNotGranted = failed("permission is not granted to the role")
    package static let authNotEnabled = failed("authentication is not enabled")
    package static let invalidAuthToken = GRPCStatus(.unauthenticated, "etcdserver: invalid auth token")
    package static let invalidAuthManagement = invalid("invalid auth management")
    package static let authOldRevision = invalid("revision of auth store is old")
    package static let verifyOnlyKey = GRPCStatus(
        .unknown, "auth: token signing attempted with verify-only key")
    package static let passwordTooLong = GRPCStatus(.unknown, "bcrypt: password length exceeds 72 bytes")

    // MARK: downgrade

    package static let wrongDowngradeVersionFormat = invalid("wrong downgrade target version format")
    package static let invalidDowngradeTargetVersion = invalid("invalid downgrade target version")
    package static let clusterVersionNotFound = failed("cluster version not found during downgrade")
    package static let downgradeInProgress = failed("cluster has a downgrade job in progress")
    package static let noInflightDowngrade = failed("no inflight downgrade job")
    package static let unknownMethod = GRPCStatus(.unknown, "etcdserver: unknown method")

    // MARK: election and lock

    package static let electionNoLeader = GRPCStatus(.unknown, "election: no leader")
    package static let electionNotLeader = GRPCStatus(.unknown, "election: not leader")
    package static let leaderFieldMissing = GRPCStatus(.unknown, "\"leader\" field must be provided")
    package static let lockLeaseNotFound = GRPCStatus(.unknown, leaseNotFound.message)
    package static let lockEmptyKey = GRPCStatus(.unknown, emptyKey.message)
    package static let sessionExpired = GRPCStatus(.unknown, "mutex: session is expired")
    package static let lostWatcher = GRPCStatus(.unknown, "lost watcher waiting for delete")

    // MARK: transport

    package static func messageTooLarge(_ size: Int, limit: Int) -> GRPCStatus {
        GRPCStatus(.resourceExhausted, "grpc: received message larger than max (\(size) vs. \(limit))")
    }
    package static func undecodableRequest(_ reason: some CustomStringConvertible) -> GRPCStatus {
        GRPCStatus(.internal, "grpc: error unmarshalling request: \(reason)")
    }
    package static func unknownService(_ service: String) -> GRPCStatus {
        GRPCStatus(.unimplemented, "unknown service \(service)")
    }
    package static func unknownMethod(_ method: String, of service: String) -> GRPCStatus {
        GRPCStatus(.unimplemented, "unknown method \(method) for service \(service)")
    }
    package static func unknownCompression(_ name: String) -> GRPCStatus {
        GRPCStatus(.unimplemented, "grpc: Decompressor is not installed for grpc-encoding \"\(name)\"")
    }
    package static let compressedWithoutEncoding = GRPCStatus(
        .internal, "grpc: compressed flag set with identity or empty encoding")
    package static func unexpectedPayloadFormat(_ flag: UInt8) -> GRPCStatus {
        GRPCStatus(.internal, "grpc: received unexpected payload format \(flag)")
    }
    package static let unknownHealthService = GRPCStatus(.notFound, "unknown service")

    /// Every error with a fixed text, for tests and for clients that recognise texts.
    package static let all: [GRPCStatus] = [
        emptyKey, keyNotFound, valueProvided, leaseProvided, tooManyOps, duplicateKey, invalidSortOption, compacted,
        futureRevision, noSpace, requestTooLarge, tooManyRequests, corrupt,
        leaseNotFound, leaseExists, leaseTTLTooLarge, watchCanceled,
        memberBadURLs, peerURLExists, memberExists, memberNotFound, notEnoughStartedMembers, unhealthy,
        memberNotLearner,
        learnerNotReady, tooManyLearners, notSupportedForLearner, clusterIDMismatch, badLeaderTransferee,
        noLeader, notLeader, leaderChanged, stopped, timeout, timeoutDueToLeaderFail, timeoutDueToConnectionLost,
        timeoutWaitingForAppliedIndex, timeoutLeaderTransfer, notCapable, canceled, contextDeadlineExceeded,
        contextCanceled, invalidClientAPIVersion,
        rootUserNotExist, rootRoleNotExist, userAlreadyExist, userEmpty, userNotFound, roleAlreadyExist, roleNotFound,
        roleEmpty, authFailed, noPasswordUser, permissionNotGiven, permissionDenied, roleNotGranted,
        permissionNotGranted, authNotEnabled, invalidAuthToken, invalidAuthManagement, authOldRevision, verifyOnlyKey,
        passwordTooLong,
        wrongDowngradeVersionFormat, invalidDowngradeTargetVersion, clusterVersionNotFound, downgradeInProgress,
        noInflightDowngrade, unknownMethod,
        electionNoLeader, electionNotLeader, leaderFieldMissing, lockLeaseNotFound, lockEmptyKey, sessionExpired,
        lostWatcher,
    ]

    private static func invalid(_ text: String) -> GRPCStatus { GRPCStatus(.invalidArgument, "etcdserver: " + text) }
    private static func failed(_ text: String) -> GRPCStatus { GRPCStatus(.failedPrecondition, "etcdserver: " + text) }
    private static func unavailable(_ text: String) -> GRPCStatus { GRPCStatus(.unavailable, "etcdserver: " + text) }
}

/// Reasons a watch was not created or ended, as they stand in `WatchResponse.cancel_reason`. For auth refusals it is
/// the status's `description`.
package enum WatchCancelReason {
    package static let duplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
    package static let emptyRange = "mvcc: watcher range is empty"
    package static let compacted = EtcdError.compacted.message
}
