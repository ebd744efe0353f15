// lease grant, revoke, timetolive, list, keep-alive.

import CoveyClient
import Flags
import Foundations
import Wire

enum LeaseCommands {
    static func grant(_ invocation: Invocation) async throws(CtlFailure) {
        let word = try invocation.onlyWord("lease grant command needs TTL argument")
        let ttl: Int64
        do { ttl = try GoText.parseInt(word) } catch {
            throw .arguments("bad TTL (\(NumberWords.refusal("ParseInt", word, error)))")
        }
        let session = try await CtlSession(invocation)
        let answer: LeaseGrantResponse
        do {
            answer = try await session.client.leases.grant(LeaseGrantRequest(ttl: ttl), session.options)
        } catch {
            throw CtlFailure(.error, "failed to grant lease (\(error))", advice: error.detail)
        }
        try session.show(.leaseGrant(answer))
    }

    static func revoke(_ invocation: Invocation) async throws(CtlFailure) {
        let id = try NumberWords.leaseID(invocation.onlyWord("lease revoke command needs 1 argument"))
        let session = try await CtlSession(invocation)
        let answer: LeaseRevokeResponse
        do {
            answer = try await session.client.leases.revoke(LeaseRevokeRequest(id: id), session.options)
        } catch {
            throw CtlFailure(.error, "failed to revoke lease (\(error))", advice: error.detail)
        }
        try session.show(.leaseRevoke(id: id, answer))
    }

    static func timeToLive(_ invocation: Invocation) async throws(CtlFailure) {
        let word = try invocation.onlyWord("lease timetolive command needs lease ID as argument")
        let request = LeaseTimeToLiveRequest(
            id: try NumberWords.leaseID(word), keys: invocation.values.bool("keys"))
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.leases.timeToLive(request, session.options)
        }
        try session.show(.leaseTimeToLive(answer, withKeys: request.keys))
    }

    static func list(_ invocation: Invocation) async throws(CtlFailure) {
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.leases.list(LeaseLeasesRequest(), session.options)
        }
        try session.show(.leaseList(answer))
    }

    static func keepAlive(_ invocation: Invocation) async throws(CtlFailure) {
        let word = try invocation.onlyWord("lease keep-alive command needs lease ID as argument")
        let id = try NumberWords.leaseID(word)
        let session = try await CtlSession(invocation)
        if invocation.values.bool("once") { return try await keepAliveOnce(id, session) }
        let keeper = LeaseKeeper(session.client, id: id)
        while let answer = await keeper.renewed() { try session.show(.leaseKeepAlive(answer)) }
        session.console.line("lease \(id.fullHex) expired or revoked.")
    }

    private static func keepAliveOnce(_ id: Int64, _ session: CtlSession) async throws(CtlFailure) {
        let stream = session.client.leases.keepAlive(session.options)
        let answer: LeaseKeepAliveResponse?
        do {
            try await stream.send(LeaseKeepAliveRequest(id: id))
            answer = try await stream.next()
        } catch {
            throw CtlFailure(error, exit: .badConnection)
        }
        guard let answer, answer.ttl > 0 else {
            throw CtlFailure(.badConnection, "etcdserver: requested lease not found")
        }
        try session.show(.leaseKeepAlive(answer))
    }
}
