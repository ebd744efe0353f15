// Members, alarms, and the care of single servers.

import Foundations
import Wire

/// A member of the cluster.
public struct ClusterMember: Hashable, Sendable {
    public var id: UInt64
    /// Empty until it has started for the first time.
    public var name: String
    public var peerURLs: [String]
    public var clientURLs: [String]
    public var isLearner: Bool

    init(_ member: Member) {
        id = member.id
        name = member.name
        peerURLs = member.peerURLs
        clientURLs = member.clientURLs
        isLearner = member.isLearner
    }
}

/// How one server is.
public struct ServerStatus: Sendable {
    public var memberID: UInt64
    public var version: String
    /// 0: it knows none.
    public var leaderID: UInt64
    public var revision: Int64
    /// Bytes on the disk, and how many of them hold something.
    public var storeBytes: Int64
    public var storeBytesInUse: Int64
    public var raftTerm: UInt64
    public var raftIndex: UInt64
    public var appliedIndex: UInt64
    public var isLearner: Bool
    /// What it complains about.
    public var errors: [String]

    public var isLeader: Bool { leaderID != 0 && leaderID == memberID }
}

/// Something that keeps the cluster from working as it should.
public struct Alarm: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        /// The store is full: writes are refused.
        case noSpace
        /// A member's data differs from the others'.
        case corrupt
        case other(Int32)

        init(_ wire: AlarmType) {
            switch wire {
            case .nospace: self = .noSpace
            case .corrupt: self = .corrupt
            default: self = .other(wire.rawValue)
            }
        }

        var wire: AlarmType {
            switch self {
            case .noSpace: .nospace
            case .corrupt: .corrupt
            case .other(let number): AlarmType(rawValue: number)
            }
        }
    }

    public var memberID: UInt64
    public var kind: Kind
}

extension Client {
    // MARK: Members

    public func members(timeout: Duration? = nil) async throws(ClientError) -> [ClusterMember] {
        try await cluster.memberList(MemberListRequest(linearizable: true), options(timeout)).members.map { ClusterMember($0) }
    }

    /// Uses the client URLs of the members from now on.
    public func syncEndpoints(timeout: Duration? = nil) async throws(ClientError) {
        let endpoints = try await members(timeout: timeout).filter { !$0.isLearner }.flatMap(\.clientURLs)
        // A cluster whose members advertise nothing is better reached the way it was.
        if !endpoints.isEmpty { setEndpoints(endpoints) }
    }

    @discardableResult
    public func addMember(
        peerURLs: [String], asLearner: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> ClusterMember {
        let request = MemberAddRequest(peerURLs: peerURLs, isLearner: asLearner)
        return ClusterMember(try await cluster.memberAdd(request, options(timeout)).member ?? Member())
    }

    public func removeMember(_ id: UInt64, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await cluster.memberRemove(MemberRemoveRequest(id: id), options(timeout))
    }

    public func updateMember(_ id: UInt64, peerURLs: [String], timeout: Duration? = nil) async throws(ClientError) {
        _ = try await cluster.memberUpdate(MemberUpdateRequest(id: id, peerURLs: peerURLs), options(timeout))
    }

    /// Makes a learner a voter.
    public func promoteMember(_ id: UInt64, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await cluster.memberPromote(MemberPromoteRequest(id: id), options(timeout))
    }

    // MARK: One server

    /// Asks one server how it is. It answers without a majority too.
    public func status(of endpoint: String, timeout: Duration? = nil) async throws(ClientError) -> ServerStatus {
        let answer = try await maintenance.status(StatusRequest(), at(endpoint, timeout))
        return ServerStatus(
            memberID: answer.header?.memberId ?? 0, version: answer.version, leaderID: answer.leader,
            revision: answer.header?.revision ?? 0, storeBytes: answer.dbSize, storeBytesInUse: answer.dbSizeInUse,
            raftTerm: answer.raftTerm, raftIndex: answer.raftIndex, appliedIndex: answer.raftAppliedIndex,
            isLearner: answer.isLearner, errors: answer.errors)
    }

    /// Gives free space back to the file system. etcd's servers stand still meanwhile: one after the other, leaders last.
    public func defragment(_ endpoint: String, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await maintenance.defragment(DefragmentRequest(), at(endpoint, timeout))
    }

    /// A checksum of the data at a revision (0: now), to compare members.
    public func hash(of endpoint: String, at revision: Int64 = 0, timeout: Duration? = nil) async throws(ClientError) -> UInt32 {
        try await maintenance.hashKV(HashKVRequest(revision: revision), at(endpoint, timeout)).hash
    }

    /// Hands leadership over. `endpoint` must be the leader's.
    public func moveLeader(from endpoint: String, to member: UInt64, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await maintenance.moveLeader(MoveLeaderRequest(targetID: member), at(endpoint, timeout))
    }

    private func at(_ endpoint: String, _ timeout: Duration?) -> CallOptions {
        var there = options(timeout)
        there.endpoint = endpoint
        return there
    }

    // MARK: Alarms

    public func alarms(timeout: Duration? = nil) async throws(ClientError) -> [Alarm] {
        try await maintenance.alarm(AlarmRequest(action: .get), options(timeout)).alarms.map {
            Alarm(memberID: $0.memberID, kind: Alarm.Kind($0.alarm))
        }
    }

    /// Switches an alarm off, after its cause is gone.
    public func disarm(_ alarm: Alarm, timeout: Duration? = nil) async throws(ClientError) {
        let request = AlarmRequest(action: .deactivate, memberID: alarm.memberID, alarm: alarm.kind.wire)
        _ = try await maintenance.alarm(request, options(timeout))
    }

    // MARK: Snapshots

    /// The whole store of one server as a file in etcd's format: write the pieces one after the other.
    ///
    ///     for try await piece in client.snapshot(of: "127.0.0.1:2379") { try file.write(piece.bytes) }
    ///
    /// The file ends with a checksum of itself, which `etcdutl snapshot status` and `restore` verify. A snapshot that
    /// breaks off throws; it never just ends early.
    public func snapshot(of endpoint: String) -> Snapshot { Snapshot(client: self, endpoint: endpoint) }
}

/// The pieces of a snapshot; see ``Client/snapshot(of:)``.
public struct Snapshot: AsyncSequence, Sendable {
    public struct Piece: Sendable {
        public var bytes: [UInt8]
        /// Of the store, still to come.
        public var remaining: UInt64
    }

    let client: Client
    let endpoint: String

    public struct Iterator: AsyncIteratorProtocol {
        let stream: RawStream<SnapshotRequest, SnapshotResponse>
        var remaining: UInt64 = 1

        public mutating func next(isolation actor: isolated (any Actor)?) async throws(ClientError) -> Piece? {
            guard let answer = try await stream.next() else {
                if remaining == 0 { return nil }
                throw ClientError(code: .dataLoss, message: "the snapshot ended early: \(remaining) bytes are missing")
            }
            remaining = answer.remainingBytes
            return Piece(bytes: answer.blob, remaining: remaining)
        }
    }

    public func makeAsyncIterator() -> Iterator {
        Iterator(stream: client.maintenance.snapshot(SnapshotRequest(), CallOptions(endpoint: endpoint)))
    }
}
