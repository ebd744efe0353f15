// lock: waits for its turn, then holds the lock until it is stopped, or for as long as a program runs.

import CoveyClient
import Foundations
import GRPC
import Linux
import Wire

enum LockCommand {
    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        guard let name = invocation.words.first else {
            throw .arguments("lock takes a lock name argument and an optional command to execute")
        }
        let session = try await CtlSession(invocation)
        let lease = try await orFail { () async throws(ClientError) in
            try await LeaseSession(session.client, ttl: invocation.values.integer("ttl"))
        }
        let stop = StopEvents(invocation.signals, lease)
        let line = WaitingLine(session.client, name: name, lease: lease)
        let place = try await orFail { () async throws(ClientError) in
            try await stop.guarding { () async throws(ClientError) in try await line.join(value: []) }
        }
        let command = Array(invocation.words.dropFirst())
        do throws(CtlFailure) {
            if command.isEmpty {
                try await hold(line, stop, session)
            } else {
                try await use(command, line, place, session)
            }
        } catch {
            await lease.end()
            throw error
        }
        await lease.end()
    }

    private static func hold(
        _ line: WaitingLine, _ stop: StopEvents, _ session: CtlSession
    ) async throws(CtlFailure) {
        let own = try await orFail { () async throws(ClientError) in
            try await session.client.kv.range(RangeRequest(key: line.key))
        }
        guard !own.kvs.isEmpty else { throw CtlFailure(.error, "lock lost on init") }
        try session.show(.get(own))
        switch await stop.first() {
        case .sessionLost: throw CtlFailure(.error, "session expired")
        case .signal: try await orFail { () async throws(ClientError) in try await line.leave() }
        }
    }

    /// The lock ends with the program, and our exit code is the program's.
    private static func use(
        _ command: [String], _ line: WaitingLine, _ place: WaitingLine.Place, _ session: CtlSession
    ) async throws(CtlFailure) {
        let environment =
            ["ETCD_LOCK_KEY=\(ArgumentText.text(of: line.key))", "ETCD_LOCK_REV=\(place.header.revision)"]
            + ChildProcess.environment
        let result = await Children.run(command, environment: environment)
        try await orFail { () async throws(ClientError) in try await line.leave() }
        guard let reason = Children.refusal(result, command) else { return }
        switch result {
        case .success(.exited(let code)): throw CtlFailure(code: code, reason)
        case .success(.killed): throw CtlFailure(code: 255, reason)
        case .failure: throw CtlFailure(.error, reason)
        }
    }
}
