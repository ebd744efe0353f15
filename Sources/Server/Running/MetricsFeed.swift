// Fills the metric families: counts of calls as they happen, everything else when somebody looks.

import Connections
import Foundations
import GRPC
import Linux
import MVCC
import State
import Telemetry

final class MetricsFeed {
    let metrics: ServerMetrics
    private let server: GRPCServer
    private let configuration: ServerConfiguration
    private weak var api: ClientAPI?
    /// One child per method.
    private var started: [Counter] = []
    private var received: [Counter] = []
    private var sent: [Counter] = []
    private var ok: [Counter] = []
    private var labels: [[String]] = []
    private var isStream: [Bool] = []
    /// Asked of the pages when somebody looks.
    var healthChecks: () -> (successes: UInt64, failures: UInt64) = { (0, 0) }

    init(_ configuration: ServerConfiguration, _ api: ClientAPI, streams: Set<String>, _ logger: Logger) {
        self.configuration = configuration
        self.api = api
        server = api.server
        metrics = ServerMetrics(extensive: configuration.extensiveMetrics)
        for path in server.router.paths {
            let parts = path.split(separator: "/").map(String.init)
            let kind = !streams.contains(path) ? "unary" : MetricsFeed.serverStreams.contains(path) ? "server_stream" : "bidi_stream"
            let list = [parts.count > 1 ? parts[1] : "", parts.first ?? "", kind]
            labels.append(list)
            isStream.append(streams.contains(path))
            started.append(metrics.grpc.startedTotal.child(list))
            received.append(metrics.grpc.msgReceivedTotal.child(list))
            sent.append(metrics.grpc.msgSentTotal.child(list))
            ok.append(metrics.grpc.handledTotal.child(["OK"] + list))
        }
        // All of them are there from the start, so that a rate over the first failure is one.
        for code in 0...GRPCCode.unauthenticated.rawValue {
            for list in labels { _ = metrics.grpc.handledTotal.child([GRPCCode(rawValue: code).name] + list) }
        }
        for code in ["200", "500", "503"] { _ = metrics.scrapes(code) }
        let (handled, labels) = (metrics.grpc.handledTotal, labels)
        server.observeFailure = { method, code in
            guard method >= 0, Int(method) < labels.count else { return }
            handled.child([code.name] + labels[Int(method)]).increment()
        }
        observeDurations(logger)
        api.member.families = metrics
        let families = metrics.server
        ServerMetrics.announce(families.version, api.member.settings.serverVersion)
        ServerMetrics.announce(families.goVersion, "none")
        families.id("\(api.member.identity.member)").set(1.0)
        families.quotaBackendBytes.set(configuration.quotaBytes ?? 0)
        for gate in FeatureGates.known {
            families.featureEnabled(gate.name, gate.stage.rawValue.uppercased()).set(configuration.gates[gate.name])
        }
    }

    /// Costs each call two looks at the clock, so only for who wants to know: of each call at level debug, or in the metrics.
    private func observeDurations(_ logger: Logger) {
        let children = metrics.grpc.handlingSeconds.map { durations in labels.map { durations.child($0) } }
        let isTold = logger.isOn(.debug)
        guard children != nil || isTold else { return }
        let (paths, isStream) = (server.router.paths, isStream)
        server.observeDuration = { method, nanoseconds in
            guard method >= 0, Int(method) < paths.count else { return }
            if let children { children[Int(method)].observe(nanoseconds: nanoseconds) }
            guard isTold, !isStream[Int(method)] else { return }
            logger.debug(
                "request stats",
                ["time spent": .text(SlowRequest.shown(nanoseconds)), "response type": .text(paths[Int(method)])])
        }
    }

    private static let serverStreams: Set<String> = [
        "/etcdserverpb.KV/RangeStream", "/etcdserverpb.Maintenance/Snapshot", "/v3electionpb.Election/Observe",
        "/grpc.health.v1.Health/Watch",
    ]

    /// The page as Prometheus reads it.
    func page() -> String {
        refresh()
        metrics.scrapesInFlight.add(1)
        defer {
            metrics.scrapesInFlight.add(-1)
            metrics.scrapes("200").increment()
        }
        return String(decoding: metrics.registry.exposition(), as: UTF8.self)
    }

    /// One check of `/livez` or `/readyz`.
    func checked(_ type: String, _ name: String, _ ok: Bool) {
        metrics.server.healthcheck(type, name).set(ok)
        metrics.server.healthchecksTotal(type, name, ok ? "success" : "error").increment()
    }

    private func refresh() {
        for (method, counts) in zip(started.indices, server.callCounts) {
            advance(started[method], to: counts.started)
            advance(received[method], to: isStream[method] ? counts.streamReceived : counts.started)
            advance(ok[method], to: counts.succeeded)
            advance(sent[method], to: isStream[method] ? counts.streamSent : counts.succeeded)
        }
        guard let api else { return }
        let member = api.member, state = member.state
        let server = metrics.server
        server.hasLeader.set(member.hasLeader)
        server.isLeader.set(member.isLeader)
        server.isLearner.set(member.isLearner)
        advance(server.leaderChangesSeenTotal, to: member.metrics.leaderChanges)
        server.proposalsAppliedTotal.set(state.appliedIndex)
        server.proposalsCommittedTotal.set(member.committed)
        server.proposalsPending.set(member.waitingProposals)
        advance(server.proposalsFailedTotal, to: member.metrics.proposalsFailed)
        advance(server.slowApplyTotal, to: member.metrics.slowApplies)
        advance(server.readIndexesFailedTotal, to: member.metrics.readIndexesFailed)
        advance(server.slowReadIndexesTotal, to: member.metrics.slowReadIndexes)
        advance(server.heartbeatSendFailuresTotal, to: member.metrics.lateHeartbeats)
        server.snapshotApplyInProgressTotal.set(member.isInstalling)
        for client in api.clientVersions.counts {
            let version = String(decoding: client.version, as: UTF8.self)
            if client.unary > 0 { advance(server.clientRequestsTotal("unary", version), to: client.unary) }
            if client.streams > 0 { advance(server.clientRequestsTotal("stream", version), to: client.streams) }
        }
        metrics.disk.walWriteBytesTotal.set(member.writtenLogBytes)
        if let version = state.membership.version {
            ServerMetrics.announce(metrics.clusterVersion, "\(version.major).\(version.minor)")
        }
        let operations = state.kv.operations
        advance(metrics.mvcc.putTotal, to: operations.puts)
        advance(metrics.mvcc.deleteTotal, to: operations.deletes)
        advance(metrics.mvcc.rangeTotal, to: operations.ranges)
        advance(metrics.mvcc.txnTotal, to: operations.transactions)
        advance(metrics.network.clientGrpcReceivedBytesTotal, to: self.server.receivedBytes)
        advance(metrics.network.clientGrpcSentBytesTotal, to: self.server.sentBytes)
        let health = healthChecks()
        advance(server.healthSuccess, to: health.successes)
        advance(server.healthFailures, to: health.failures)
        metrics.mvcc.dbOpenReadTransactions.set(member.store.openReads)
        metrics.mvcc.dbTotalSizeInBytes.set(member.store.allocatedBytes)
        metrics.mvcc.dbTotalSizeInUseInBytes.set(member.store.usedBytes)
        metrics.disk.defragInflight.set(member.metrics.defragmentsUnderWay > 0 ? 1 : 0)
        let debugging = metrics.debugging
        debugging.mvccCurrentRevision.set(state.kv.currentRevision)
        debugging.mvccCompactRevision.set(state.kv.compactedRevision)
        debugging.mvccKeysTotal.set(state.kv.keyCount)
        debugging.mvccWatcherTotal.set(member.hub.watcherCount)
        debugging.mvccSlowWatcherTotal.set(member.hub.slowWatcherCount)
        debugging.mvccWatchStreamTotal.set(member.hub.streamCount)
        advance(debugging.mvccRangeTotal, to: operations.ranges)
        advance(debugging.mvccDBCompactionKeysTotal, to: operations.compacted)
        debugging.mvccDBCompactionLast.set(member.metrics.lastCompaction)
        debugging.mvccTotalPutSizeInBytes.set(operations.putBytes)
        advance(debugging.mvccEventsTotal, to: member.hub.eventsDelivered)
        advance(debugging.leaseGrantedTotal, to: state.lessor.counts.granted)
        debugging.leaseTtlTotal.set(state.lessor.counts.timesToLive, sum: Double(state.lessor.counts.timesToLiveSum))
        advance(debugging.leaseRevokedTotal, to: state.lessor.counts.revoked)
        advance(debugging.leaseRenewedTotal, to: state.lessor.counts.renewed)
        debugging.authRevision.set(state.auth.revision)
        advance(debugging.serverLeaseExpiredTotal, to: member.metrics.leasesExpired)
        debugging.serverAlarms.remove { _ in true }
        for alarm in state.alarms.list() {
            let type = alarm.type == .nospace ? "NOSPACE" : alarm.type == .corrupt ? "CORRUPT" : "NONE"
            debugging.serverAlarms("\(MemberID(alarm.member))", type).set(1.0)
        }
    }

    private func advance(_ counter: Counter, to value: UInt64) {
        if value > counter.value { counter.increment(by: Int(value - counter.value)) }
    }
}
