// endpoint health, status, hashkv: one question to each endpoint.

import CoveyClient
import Flags
import Foundations
import GRPC
import Linux
import Wire

enum EndpointCommands {
    /// The endpoints given, or those all members advertise.
    static func endpoints(_ session: CtlSession) async throws(CtlFailure) -> [String] {
        guard session.values.bool("cluster") else { return session.settings.endpoints }
        // Without a login: nobody needs one for the list.
        var settings = session.settings
        settings.credentials = nil
        let client = try settings.open()
        defer { client.close() }
        do {
            let list = try await client.cluster.memberList(MemberListRequest(linearizable: true), session.options)
            return list.members.flatMap(\.clientURLs)
        } catch {
            throw CtlFailure(
                .error, "failed to fetch endpoints from etcd cluster member list: \(error)", advice: error.detail)
        }
    }

    // MARK: health

    /// All at once; the answers come in the order in which they were found.
    static func health(_ invocation: Invocation) async throws(CtlFailure) {
        // A refused login is what is wrong with an endpoint, like anything else.
        let session = try await CtlSession(invocation, logsIn: false)
        let endpoints = try await endpoints(session)
        let checks = await withTaskGroup(of: EndpointHealth.self) { group in
            for endpoint in endpoints { group.addTask { await check(endpoint, session) } }
            var found: [EndpointHealth] = []
            for await check in group { found.append(check) }
            return found
        }
        if session.style.format == .simple {
            for check in checks where check.isHealthy { session.console.line(SimpleText.health(check)) }
            for check in checks where !check.isHealthy { session.console.errorLine(SimpleText.health(check)) }
        } else {
            try session.show(.endpointHealth(checks))
        }
        if checks.contains(where: { !$0.isHealthy }) { throw CtlFailure(.error, "unhealthy cluster") }
    }

    private static func check(_ endpoint: String, _ session: CtlSession) async -> EndpointHealth {
        let start = Clock.monotonic()
        var health = EndpointHealth(endpoint: endpoint, took: "")
        let options = session.options(to: endpoint)
        do throws(ClientError) {
            do {
                _ = try await session.client.kv.range(RangeRequest(key: Bytes("health".utf8)), options)
            } catch  where error.is(EtcdError.permissionDenied) {
                // The endpoint works; it is only that we may not look.
            }
            health.took = GoDuration.format(Int64(Clock.monotonic() - start))
        } catch {
            health.took = GoDuration.format(Int64(Clock.monotonic() - start))
            health.error = "\(error)"
            return health
        }
        do {
            let alarms = try await session.client.maintenance.alarm(AlarmRequest(action: .get), options).alarms
            guard !alarms.isEmpty else { return health }
            health.error = "Active Alarm(s): " + alarms.map { word(of: $0.alarm) + " " }.joined()
        } catch {
            health.error = "Unable to fetch the alarm list"
        }
        return health
    }

    private static func word(of alarm: AlarmType) -> String {
        alarm == .nospace || alarm == .corrupt ? alarm.shown : "UNKNOWN"
    }

    // MARK: status, hashkv

    static func status(_ invocation: Invocation) async throws(CtlFailure) {
        let session = try await CtlSession(invocation)
        var statuses: [EndpointStatus] = []
        var failed = false
        for endpoint in try await endpoints(session) {
            do {
                let status = try await session.client.maintenance.status(StatusRequest(), session.options(to: endpoint))
                statuses.append(EndpointStatus(endpoint: endpoint, status: status))
            } catch {
                failed = true
                session.console.failed("get the status of endpoint \(endpoint)", error)
            }
        }
        try session.show(.endpointStatus(statuses))
        if failed { throw CtlFailure(code: CtlFailure.Exit.error.rawValue) }
    }

    static func hashKV(_ invocation: Invocation) async throws(CtlFailure) {
        let session = try await CtlSession(invocation)
        let request = HashKVRequest(revision: invocation.values.integer("rev"))
        var hashes: [EndpointHashKV] = []
        var last: ClientError?
        for endpoint in try await endpoints(session) {
            do {
                let hash = try await session.client.maintenance.hashKV(request, session.options(to: endpoint))
                hashes.append(EndpointHashKV(endpoint: endpoint, hash: hash))
            } catch {
                last = error
                session.console.failed("get the hash of endpoint \(endpoint)", error)
            }
        }
        try session.show(.endpointHashKV(hashes))
        if let last { throw CtlFailure(.error, "\(last)") }
    }
}

extension Console {
    /// `Failed to get the status of endpoint x (context deadline exceeded)`, with the reason for a person.
    func failed(_ action: String, _ error: ClientError) {
        errorLine("Failed to \(action) (\(error))")
        guard !error.detail.isEmpty else { return }
        isEtcdctl ? logLine("warn", "\(error)", [("error", error.detail)]) : errorLine("  " + error.detail)
    }
}
