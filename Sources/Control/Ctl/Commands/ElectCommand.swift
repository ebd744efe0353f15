// elect: stands for election and holds the office until stopped, or tells who leads.

import CoveyClient
import Foundations
import GRPC
import Wire

enum ElectCommand {
    private static let sessionTTL: Int64 = 60

    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        let words = invocation.words
        guard words.count == 1 || words.count == 2 else {
            throw .arguments("elect takes one election name argument and an optional proposal argument")
        }
        let listens = invocation.values.bool("listen")
        if words.count == 1 && !listens { throw .arguments("no proposal argument but -l not set") }
        if words.count == 2 && listens { throw .arguments("proposal given but -l is set") }
        let session = try await CtlSession(invocation)
        if listens {
            try await observe(words[0], session, StopEvents(invocation.signals, nil))
        } else {
            try await campaign(words[0], ArgumentText.bytes(of: words[1]), session)
        }
    }

    private static func campaign(_ name: String, _ proposal: Bytes, _ session: CtlSession) async throws(CtlFailure) {
        let lease = try await orFail { () async throws(ClientError) in
            try await LeaseSession(session.client, ttl: sessionTTL)
        }
        let stop = StopEvents(session.invocation.signals, lease)
        let line = WaitingLine(session.client, name: name, lease: lease)
        do throws(CtlFailure) {
            try await orFail { () async throws(ClientError) in
                _ = try await stop.guarding { () async throws(ClientError) in try await line.join(value: proposal) }
            }
            let own = try await orFail { () async throws(ClientError) in
                try await session.client.kv.range(RangeRequest(key: line.key))
            }
            try session.show(.get(own))
            switch await stop.first() {
            case .sessionLost: throw CtlFailure(.error, "elect: session expired")
            case .signal: try await orFail { () async throws(ClientError) in try await line.leave() }
            }
        } catch {
            await lease.end()
            throw error
        }
        await lease.end()
    }

    // MARK: Observing

    /// Shows each leader, and each time it says something new.
    private static func observe(_ name: String, _ session: CtlSession, _ stop: StopEvents) async throws(CtlFailure) {
        do throws(CtlFailure) {
            try await stop.guarding { () async throws(CtlFailure) in try await follow(name, session) }
        } catch {
            if stop.reason != nil { return }
            throw error
        }
    }

    private static func follow(_ name: String, _ session: CtlSession) async throws(CtlFailure) {
        let prefix = ArgumentText.bytes(of: name + "/")
        let first = RangeRequest(
            key: prefix, rangeEnd: KeyRange.prefixEnd(of: prefix), limit: 1, sortOrder: .ascend, sortTarget: .create)
        while true {
            let found = try await orFail { () async throws(ClientError) in try await session.client.kv.range(first) }
            var revision = found.header?.revision ?? 0
            if let leader = found.kvs.first {
                try session.show(.get(RangeResponse(header: found.header, kvs: [leader])))
                try await followOne(leader.key, after: revision, session)
                continue
            }
            // Nobody yet: the first who comes is the leader, and the list says so.
            let arrivals = WatchFeed(
                session.client,
                WatchCreateRequest(
                    key: prefix, rangeEnd: KeyRange.prefixEnd(of: prefix), startRevision: revision + 1))
            waiting: while let answer = await arrivals.next() {
                if answer.canceled || answer.compactRevision != 0 { break }
                revision = answer.header?.revision ?? revision
                for event in answer.events where event.type == .put { break waiting }
            }
            if Task.isCancelled { throw CtlFailure(.error, "elect: observer lost") }
        }
    }

    /// Until the leader's key is gone.
    private static func followOne(_ key: Bytes, after revision: Int64, _ session: CtlSession) async throws(CtlFailure) {
        let feed = WatchFeed(session.client, WatchCreateRequest(key: key, startRevision: revision + 1))
        while let answer = await feed.next() {
            if answer.canceled || answer.compactRevision != 0 { return }
            for event in answer.events {
                if event.type == .delete { return }
                if let pair = event.kv { try session.show(.get(RangeResponse(header: answer.header, kvs: [pair]))) }
            }
        }
        throw CtlFailure(.error, "elect: observer lost")
    }
}
