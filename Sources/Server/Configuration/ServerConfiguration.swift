// What a server is told at start, typed, complete and checked: the rest of the server never looks at a flag.

import Flags
import Telemetry

package struct ServerConfiguration: Sendable {
    package enum ClusterState: String, Sendable { case new, existing }

    package struct KeepAlive: Sendable, Equatable {
        package var minimumInterval: Int64
        package var interval: Int64
        package var timeout: Int64
    }

    package struct AutoCompaction: Sendable, Equatable {
        package enum Mode: String, Sendable { case periodic, revision }
        package var mode: Mode
        /// As given; `retention()` reads it.
        package var retentionText: String
    }

    /// The certificates of one kind of listener, and what it asks of those who connect.
    package struct TLS: Sendable, Equatable {
        package var certFile = ""
        package var keyFile = ""
        /// Used where this side connects; empty: the same as above.
        package var clientCertFile = ""
        package var clientKeyFile = ""
        package var requiresClientCertificate = false
        package var trustedCAFile = ""
        package var crlFile = ""
        package var selfSigned = false
        package var allowedCommonNames: [String] = []
        package var allowedHostnames: [String] = []
        package var skipsClientSANVerification = false

        package var isEmpty: Bool { certFile.isEmpty && keyFile.isEmpty }
    }

    package struct Discovery: Sendable, Equatable {
        package var srvDomain = ""
        package var srvName = ""
        package var token = ""
        package var endpoints: [String] = []
        package var dialTimeout: Int64 = 0
        package var requestTimeout: Int64 = 0
        package var keepAliveTime: Int64 = 0
        package var keepAliveTimeout: Int64 = 0
        package var insecureTransport = true
        package var insecureSkipVerify = false
        package var certFile = ""
        package var keyFile = ""
        package var caFile = ""
        package var user = ""
        package var password = ""
        /// Of the v2 service.
        package var url = ""
        package var proxy = ""
        package var fallsBackToProxy = false

        package var isUsed: Bool { !token.isEmpty || !url.isEmpty }
        /// Ids follow from it.
        package var clusterToken: String { url.isEmpty ? token : url }
    }

    // Member
    package var name: String
    package var dataDirectory: String
    /// True when --data-dir was left out.
    package var dataDirectoryIsDefault: Bool
    package var walDirectory: String
    package var walDirectIO: Bool
    package var snapshotCount: UInt64
    package var snapshotCatchupEntries: UInt64
    package var heartbeatMilliseconds: UInt64
    package var electionMilliseconds: UInt64
    package var initialElectionTickAdvance: Bool
    package var listenPeerURLs: [MemberURL]
    package var listenClientURLs: [MemberURL]
    package var listenClientHTTPURLs: [MemberURL]
    package var listenMetricsURLs: [MemberURL]
    package var snapshotFilesMax: UInt64
    package var logSegmentsMax: UInt64
    /// 0: 2 GiB; negative: no limit. `quotaBytes` is the effective value.
    package var quotaBackendBytes: Int64
    package var batchInterval: Int64
    package var batchLimit: Int64
    package var transactionOperationsMax: UInt64
    package var requestBytesMax: UInt64
    package var concurrentStreamsMax: UInt32
    /// Who gets in while it is there; empty: all.
    package var clientAdmissionFile: String
    package var keepAlive: KeepAlive
    package var reusePort: Bool
    package var reuseAddress: Bool
    package var raftReadTimeout: Int64
    package var raftWriteTimeout: Int64
    package var lockMemory: Bool

    // Cluster
    package var advertisePeerURLs: [MemberURL]
    package var advertiseClientURLs: [MemberURL]
    package var initialCluster: String
    package var initialClusterState: ClusterState
    package var initialClusterToken: String
    package var strictReconfigCheck: Bool
    package var preVote: Bool
    package var autoCompaction: AutoCompaction
    package var discovery: Discovery
    package var forceNewCluster: Bool
    /// The v2 API is asked for and ruled out.
    package var wantsV2AndNot = false

    // Security
    package var clientTLS: TLS
    package var peerTLS: TLS
    package var selfSignedValidityYears: UInt64
    package var cipherSuites: [String]
    package var tlsMinVersion: String
    package var tlsMaxVersion: String
    package var corsOrigins: [String]
    package var hostWhitelist: [String]
    package var authToken: String
    package var bcryptCost: Int
    package var authTokenTTLSeconds: UInt64

    // Observation
    package var enablePprof: Bool
    package var extensiveMetrics: Bool
    package var log: LogSettings
    package var warningUnaryRequestDuration: Int64
    package var warningApplyDuration: Int64

    // Features
    package var enableGateway: Bool
    package var corruptCheckInterval: Int64
    package var compactHashCheckInterval: Int64
    package var compactionBatchLimit: Int64
    package var bootstrapDefragThresholdMegabytes: UInt64
    package var compactionSleepInterval: Int64
    package var watchProgressInterval: Int64
    package var downgradeCheckInterval: Int64
    package var learnersMax: Int64
    package var gates: FeatureGates
    package var unsafeNoFsync: Bool

    package static let defaultQuotaBytes: Int64 = 2 * 1024 * 1024 * 1024

    /// Nil: no limit.
    package var quotaBytes: Int64? {
        quotaBackendBytes < 0 ? nil : quotaBackendBytes == 0 ? ServerConfiguration.defaultQuotaBytes : quotaBackendBytes
    }

    /// How long a client's request may take: two elections and five seconds.
    package var requestTimeout: Int64 {
        5 * GoDuration.second + 2 * Int64(electionMilliseconds) * GoDuration.millisecond
    }

    package var electionTicks: Int { Int(electionMilliseconds / heartbeatMilliseconds) }
}
