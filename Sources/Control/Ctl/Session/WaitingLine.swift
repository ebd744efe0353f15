// Taking turns: everybody puts a key under a common prefix, named after a lease, and whose key is oldest has its turn. The
// layout is the one of etcd's own locks and elections, so holders of both kinds exclude each other.
//
//     mylock/694d7ba0d5f2a1b3    created at revision 84: has it
//     mylock/694d7ba0d5f2a1b9    created at revision 90: waits for the one before to go

import CoveyClient
import Foundations
import GRPC
import Linux
import Wire

struct WaitingLine: Sendable {
    private let client: Client
    private let prefix: Bytes
    let key: Bytes
    private let lease: Int64

    init(_ client: Client, name: String, lease: LeaseSession) {
        self.client = client
        prefix = ArgumentText.bytes(of: name + "/")
        key = prefix + Bytes(lease.id.hex.utf8)
        self.lease = lease.id
    }

    struct Place: Sendable {
        /// Of our key's creation.
        var revision: Int64
        /// Of the store when it was our turn.
        var header: ResponseHeader
    }

    /// Joins the line and returns when it is our turn. A failure, a cancelled task too, leaves the line.
    func join(value: Bytes) async throws(ClientError) -> Place {
        do throws(ClientError) {
            let (revision, owner, header) = try await enter(value)
            if owner == revision { return Place(revision: revision, header: header) }
            try await waitForThose(createdBefore: revision)
            let own = try await client.kv.range(RangeRequest(key: key))
            guard own.kvs.first != nil else { throw ClientError(EtcdError.sessionExpired) }
            return Place(revision: revision, header: own.header ?? header)
        } catch {
            await leaveQuietly()
            throw error
        }
    }

    /// Puts our key unless it is there, and asks who is first.
    private func enter(_ value: Bytes) async throws(ClientError) -> (revision: Int64, owner: Int64, ResponseHeader) {
        let first = RangeRequest(
            key: prefix, rangeEnd: KeyRange.prefixEnd(of: prefix), limit: 1, sortOrder: .ascend, sortTarget: .create)
        var transaction = TxnRequest()
        transaction.compare = [Compare(result: .equal, target: .create, key: key, targetUnion: .createRevision(0))]
        transaction.success = [
            RequestOp(request: .requestPut(PutRequest(key: key, value: value, lease: lease))),
            RequestOp(request: .requestRange(first)),
        ]
        transaction.failure = [
            RequestOp(request: .requestRange(RangeRequest(key: key))), RequestOp(request: .requestRange(first)),
        ]
        let answer = try await client.kv.txn(transaction)
        let header = answer.header ?? ResponseHeader()
        var revision = header.revision
        if !answer.succeeded, case .responseRange(let own)? = answer.responses.first?.response {
            revision = own.kvs.first?.createRevision ?? 0
        }
        guard case .responseRange(let owners)? = answer.responses.last?.response else { return (revision, revision, header) }
        return (revision, owners.kvs.first?.createRevision ?? revision, header)
    }

    /// Watches the youngest of those in front of us, and then the next, until nobody is.
    private func waitForThose(createdBefore revision: Int64) async throws(ClientError) {
        while true {
            let request = RangeRequest(
                key: prefix, rangeEnd: KeyRange.prefixEnd(of: prefix), limit: 1, sortOrder: .descend, sortTarget: .create,
                maxCreateRevision: revision - 1)
            let ahead = try await client.kv.range(request)
            guard let other = ahead.kvs.first else { return }
            try await Self.waitForEnd(of: other.key, after: ahead.header?.revision ?? 0, client)
        }
    }

    static func waitForEnd(of key: Bytes, after revision: Int64, _ client: Client) async throws(ClientError) {
        let feed = WatchFeed(client, WatchCreateRequest(key: key, startRevision: revision + 1))
        while let answer = await feed.next() {
            if answer.events.contains(where: { $0.type == .delete }) { return }
            // What happened meanwhile is compacted away: whether the key is still there is asked again.
            if answer.compactRevision != 0 { return }
            if answer.canceled { throw ClientError(EtcdError.lostWatcher) }
        }
        throw ClientError(EtcdError.contextCanceled)
    }

    /// Gives up our turn.
    func leave() async throws(ClientError) {
        _ = try await client.kv.deleteRange(DeleteRangeRequest(key: key), CallOptions(isSafe: true))
    }

    /// Our key goes away with the lease if this does not reach anybody. Its own task: ours may be cancelled.
    private func leaveQuietly() async {
        let line = self
        _ = await Task { try? await line.leave() }.value
    }
}
