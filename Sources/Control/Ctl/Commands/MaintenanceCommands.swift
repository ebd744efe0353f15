// move-leader, alarm, defrag, downgrade.

import CoveyClient
import Flags
import Foundations
import Wire

enum MaintenanceCommands {
    static func moveLeader(_ invocation: Invocation) async throws(CtlFailure) {
        let word = try invocation.onlyWord("move-leader command needs 1 argument")
        let target: UInt64
        do { target = try GoText.parseUInt(word, base: 16) } catch {
            throw .arguments(NumberWords.refusal("ParseUint", word, error))
        }
        let session = try await CtlSession(invocation)
        let options = session.options
        for endpoint in session.settings.endpoints {
            var there = options
            there.endpoint = endpoint
            let status = try await orFail { () async throws(ClientError) in
                try await session.client.maintenance.status(StatusRequest(), there)
            }
            guard let id = status.header?.memberId, id == status.leader else { continue }
            let answer = try await orFail { () async throws(ClientError) in
                try await session.client.maintenance.moveLeader(MoveLeaderRequest(targetID: target), there)
            }
            return try session.show(.moveLeader(leader: id, target: target, answer))
        }
        let list = session.settings.endpoints.joined(separator: " ")
        throw .arguments("no leader endpoint given at [\(list)]")
    }

    // MARK: Alarms

    static func listAlarms(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("alarm list command accepts no arguments")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.maintenance.alarm(AlarmRequest(action: .get), session.options)
        }
        try session.show(.alarms(answer))
    }

    /// Each alarm that is up is put down by itself.
    static func disarmAlarms(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("alarm disarm command accepts no arguments")
        let session = try await CtlSession(invocation)
        let options = session.options
        var disarmed = AlarmResponse()
        let up = try await orFail { () async throws(ClientError) in
            try await session.client.maintenance.alarm(AlarmRequest(action: .get), options)
        }
        for alarm in up.alarms {
            let request = AlarmRequest(action: .deactivate, memberID: alarm.memberID, alarm: alarm.alarm)
            disarmed.alarms += try await orFail { () async throws(ClientError) in
                try await session.client.maintenance.alarm(request, options)
            }.alarms
        }
        try session.show(.alarms(disarmed))
    }

    // MARK: Defragmentation

    static func defragment(_ invocation: Invocation) async throws(CtlFailure) {
        if !invocation.values.text("data-dir").isEmpty {
            invocation.console.errorLine(
                "Use `etcdutl defrag` instead. The --data-dir is going to be decomissioned in v3.6.\n")
            throw CtlFailure(.error, "this tool does not open data directories; use `covey util defrag` on a stopped member")
        }
        let session = try await CtlSession(invocation)
        var failed = false
        for endpoint in try await EndpointCommands.endpoints(session) {
            do {
                _ = try await session.client.maintenance.defragment(
                    DefragmentRequest(), session.options(to: endpoint))
                session.console.line("Finished defragmenting etcd member[\(endpoint)]")
            } catch {
                failed = true
                session.console.failed("defragment etcd member[\(endpoint)]", error)
            }
        }
        if failed { throw CtlFailure(code: CtlFailure.Exit.error.rawValue) }
    }

    // MARK: Downgrade

    static func downgrade(
        _ invocation: Invocation, _ verb: String, _ action: DowngradeRequest.DowngradeAction
    ) async throws(CtlFailure) {
        var request = DowngradeRequest(action: action)
        if action != .cancel {
            guard let version = invocation.words.first else { throw .arguments("TARGET_VERSION not provided") }
            guard invocation.words.count == 1 else { throw .arguments("too many arguments") }
            request.version = version
        }
        let session = try await CtlSession(invocation)
        let answer = try await orFail { [request] () async throws(ClientError) in
            try await session.client.maintenance.downgrade(request, session.options)
        }
        try session.show(.downgrade(verb: verb, answer))
    }
}
